"""The HTTP functions called as the host calls them, with the worker of a test in place of its own."""

from __future__ import annotations

import json
from typing import Any

import azure.functions as func

from tests.app.conftest import functions
from transport.queues import KINDS

JSON = {"Content-Type": "application/json"}


def ask(
    name: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    query: dict[str, str] | None = None,
    **route: str,
) -> func.HttpResponse:
    """Call a function by its name; `route` are the parameters of its path."""
    function = functions()[name]
    trigger = next(
        one.get_dict_repr()
        for one in function.get_bindings()
        if one.get_dict_repr()["type"] == "httpTrigger"
    )
    method = trigger["methods"][0].value
    content = body if isinstance(body, bytes) else b"" if body is None else _json(body)
    path = f"/api/{trigger['route']}"
    for key, value in route.items():
        path = path.replace(f"{{{key}}}", value)
    request = func.HttpRequest(
        method,
        f"https://app.example{path}",
        body=content,
        headers={**({} if body is None else JSON), **(headers or {})},
        params=query or {},
        route_params=route,
    )
    answer: func.HttpResponse = function.get_user_function()(request)
    return answer


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()


def data(response: func.HttpResponse) -> Any:
    return json.loads(response.get_body())


def waiting(worker: Any) -> list[tuple[str, Any]]:
    """What is on the queues, taken off; what says nothing is left out."""
    found = []
    for kind in KINDS:
        while (message := worker.ports.queue.receive(kind)) is not None:
            said = {k: v for k, v in json.loads(message.body).items() if v is not None}
            found.append((kind, said))
            worker.ports.queue.delete(message)
    return found
