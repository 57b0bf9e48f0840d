"""Microsoft's Python worker, driven from outside: `python -m host.worker` in its own environment.

The library that the platform loads for Python 3.13 and later (`azure-functions-runtime`) indexes
function_app.py of the current folder and invokes its functions; this file is the host's half of the
protocol, one JSON document a line on standard input and output (remote.py is the other end). What a
function prints goes to standard error. The process can connect to loopback only: whatever else it
asks for is refused and told.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import logging
import os
import sys
import uuid
from collections.abc import Mapping
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

LOOKS_UP = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"}
CONNECTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
refused: list[str] = []


def only_loopback(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse, as an audit hook, every connection and look-up that is not of this machine."""
    if event in LOOKS_UP:
        place = arguments[0]
    elif event in CONNECTS:
        address = arguments[1]
        place = address[0] if isinstance(address, tuple) else None
    else:
        return
    if place is None or is_loopback(place):
        return
    refused.append(f"{event} {place}")
    raise PermissionError(f"{event}: {place} is not on this machine, and nothing else is allowed")


def is_loopback(place: str | bytes) -> bool:
    """Say whether a name or address is of this machine."""
    text = place.decode() if isinstance(place, bytes) else str(place)
    try:
        return ipaddress.ip_address(text).is_loopback
    except ValueError:
        return text in {"localhost", ""}


class Driver:
    """The host's half: what it asks the library for, and what it makes of the answers."""

    def __init__(self, folder: str) -> None:
        from azure_functions_runtime import handle_event  # noqa: PLC0415

        from host.protos import messages  # noqa: PLC0415

        self._library = handle_event
        self._protos = messages()
        self._folder = folder
        self._ids: dict[str, str] = {}
        self._kinds: dict[str, tuple[str, str]] = {}

    def _request(self, **content: Any) -> SimpleNamespace:
        return SimpleNamespace(
            request=SimpleNamespace(**content),
            properties={"host": "127.0.0.1", "protos": self._protos},
        )

    async def index(self) -> dict[str, Any]:
        """Let the library read the app and load each function."""
        init = self._protos.WorkerInitRequest(
            host_version="4.0", function_app_directory=self._folder
        )
        answer = await self._library.worker_init_request(self._request(worker_init_request=init))
        if answer.result.status != self._protos.StatusResult.Success:
            return failure(answer.result)
        metadata = await self._library.functions_metadata_request(self._request())
        functions = []
        for one in metadata.function_metadata_results:
            bindings = [json.loads(text) for text in one.raw_bindings]
            load = self._protos.FunctionLoadRequest(function_id=one.function_id, metadata=one)
            loaded = await self._library.function_load_request(
                self._request(function_load_request=load)
            )
            if loaded.result.status != self._protos.StatusResult.Success:
                return failure(loaded.result)
            self._ids[one.name] = one.function_id
            trigger = next(each for each in bindings if str(each["type"]).endswith("Trigger"))
            self._kinds[one.name] = (trigger["type"], trigger["name"])
            functions.append({"name": one.name, "bindings": bindings})
        return {
            "ok": True,
            "functions": functions,
            "python": answer.worker_metadata.runtime_version,
            "library": version("azure-functions-runtime"),
            "sdk": version("azure-functions"),
        }

    async def invoke(self, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Let the library invoke a function with what triggered it."""
        kind, argument = self._kinds[name]
        data, metadata = self._data(kind, given)
        protos = self._protos
        invocation = protos.InvocationRequest(
            invocation_id=str(uuid.uuid4()),
            function_id=self._ids[name],
            input_data=[protos.ParameterBinding(name=argument, data=data)],
            trigger_metadata=metadata,
            trace_context=protos.RpcTraceContext(
                trace_parent=f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"
            ),
        )
        answer = await self._library.invocation_request(
            self._request(invocation_request=invocation)
        )
        if answer.result.status != protos.StatusResult.Success:
            return failure(answer.result)
        told: dict[str, Any] = {"ok": True}
        if answer.return_value.WhichOneof("data") == "http":
            http = answer.return_value.http
            body = getattr(http.body, http.body.WhichOneof("data") or "bytes")
            content = body if isinstance(body, bytes) else str(body).encode()
            told["http"] = {
                "status": int(http.status_code),
                "headers": dict(http.headers),
                "body": base64.b64encode(content).decode(),
            }
        return told

    def _data(self, kind: str, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """What triggered, as the platform sends it."""
        typed = self._protos.TypedData
        if kind == "timerTrigger":
            return typed(json=json.dumps(given["timer"])), {}
        body = base64.b64decode(given["body"])
        if kind == "queueTrigger":
            metadata = {
                name: typed(string=value) if isinstance(value, str) else typed(json=str(value))
                for name, value in given["metadata"].items()
            }
            return typed(string=body.decode(errors="replace")), metadata
        http = self._protos.RpcHttp(
            method=given["method"],
            url=given["url"],
            headers={name.lower(): value for name, value in given["headers"].items()},
            params=given["parts"],
            query=given["query"],
            body=typed(bytes=body),
        )
        return typed(http=http), {}


def failure(result: Any) -> dict[str, Any]:
    """What the library says of a failure."""
    error = result.exception
    return {"ok": False, "error": error.message, "stack": error.stack_trace}


async def serve(driver: Driver, answers: Any) -> None:
    """Answer each line until the input ends; invocations run side by side."""
    tasks: set[asyncio.Task[None]] = set()

    async def answer(asked: dict[str, Any]) -> None:
        try:
            if asked["do"] == "index":
                told = await driver.index()
            elif asked["do"] == "invoke":
                told = await driver.invoke(asked["function"], asked["given"])
            else:
                told = {"ok": True, "refused": refused}
        except Exception as error:  # noqa: BLE001 - the other end is told, whatever it was
            told = {"ok": False, "error": f"{type(error).__name__}: {error}", "stack": ""}
        answers.write(json.dumps({"id": asked["id"], **told}) + "\n")
        answers.flush()

    while line := await asyncio.to_thread(sys.stdin.readline):
        task = asyncio.create_task(answer(json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


def main() -> int:
    """Serve the app of the current folder."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what functions print must not stand between the answers
    sys.addaudithook(only_loopback)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    for chatty in ("azure", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    from azure_functions_runtime import (  # noqa: PLC0415
        start_threadpool_executor,
        stop_threadpool_executor,
    )

    sys.path.insert(0, os.getcwd())  # noqa: PTH109
    start_threadpool_executor()
    try:
        asyncio.run(serve(Driver(os.getcwd()), answers))  # noqa: PTH109
    finally:
        stop_threadpool_executor()
        answers.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
