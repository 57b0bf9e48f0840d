"""Serves HTTP functions on loopback, and the host's own addresses that are of use on a laptop.

A route is matched without regard to case; a method that it does not take is answered 405, an
exception 500 without a body. Keys are not asked for, as with the platform's tools on a laptop.
`POST /admin/functions/NAME` with `{"input": ...}` invokes any other function, `GET
/admin/host/status` says that the host runs.
"""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import azure.functions as func
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from host.declared import App, Function, NotRunnable
from host.invocation import Invokes

log = logging.getLogger("host")
MAX_BODY = 100 * 1024 * 1024  # of the platform
_PART = re.compile(r"\{(\*?)(\w+)(?::(\w+))?(\??)\}")
_KINDS = {
    None: r"[^/]+",
    "int": r"-?\d+",
    "long": r"-?\d+",
    "alpha": r"[A-Za-z]+",
    "guid": r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}",
}


class Route(NamedTuple):
    """One HTTP function and the paths and methods that it takes; no methods means any."""

    function: Function
    path: re.Pattern[str]
    methods: frozenset[str]


def routes(app: App) -> list[Route]:
    """The routes of an app, those with fewer parameters first."""
    found = []
    for function in app.of("httpTrigger"):
        trigger = function.trigger
        methods = frozenset(
            str(getattr(one, "value", one)).upper() for one in trigger.get("methods") or ()
        )
        route = str(trigger.get("route") or function.name)
        path = f"{app.route_prefix}/{route}".strip("/")
        found.append(Route(function, pattern(path), methods))
    return sorted(found, key=lambda one: one.path.groups)


def pattern(route: str) -> re.Pattern[str]:
    """Turn a route such as `runs/{run_id}` into what matches a path."""
    made, at = "", 0
    for part in _PART.finditer(route):
        star, name, kind, optional = part.groups()
        if kind not in _KINDS:
            raise NotRunnable(f"route {route}: the constraint {kind} is not stood in for here")
        text = re.escape(route[at : part.start()])
        value = f"(?P<{name}>{'.*' if star else _KINDS[kind]})"
        made += f"{text.removesuffix('/')}(?:/{value})?" if optional else text + value
        at = part.end()
    return re.compile(made + re.escape(route[at:]) + "/?", re.IGNORECASE)


class Door:
    """The WSGI application over the HTTP functions."""

    def __init__(
        self, app: App, invoker: Invokes, invoke: Callable[[str, str], None] | None = None
    ) -> None:
        self._routes = routes(app)
        self._invoker = invoker
        self._invoke = invoke

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        request.max_content_length = MAX_BODY
        return self.answer(request)(environ, start_response)

    def answer(self, request: Request) -> Response:
        """Find the function, invoke it, and turn what it returns into an answer."""
        path = request.path.strip("/")
        if path.startswith("admin/"):
            return self._admin(request, path)
        allowed: set[str] = set()
        for route in self._routes:
            found = route.path.fullmatch(path)
            if found is None:
                continue
            if route.methods and request.method not in route.methods:
                allowed |= route.methods
                continue
            return self._call(route.function, request, found.groupdict(""))
        if allowed:
            return Response(status=405, headers={"Allow": ", ".join(sorted(allowed))})
        return Response(status=404)

    def _call(self, function: Function, request: Request, parts: dict[str, str]) -> Response:
        given = func.HttpRequest(
            request.method,
            request.url,
            headers=dict(request.headers.items()),
            params=request.args.to_dict(),
            route_params=parts,
            body=request.get_data(),
        )
        reason = "This function was programmatically called via the host APIs."
        try:
            answer = self._invoker.submit(function, given, reason).result()
        except Exception:  # noqa: BLE001 - logged where it ran
            return Response(status=500)
        if answer is None:
            return Response(status=204)
        if not isinstance(answer, func.HttpResponse):
            return Response(str(answer), mimetype="text/plain")
        made = Response(answer.get_body(), status=answer.status_code)
        made.headers["Content-Type"] = f"{answer.mimetype}; charset={answer.charset}"
        for name, value in answer.headers.items():
            made.headers[name] = value
        return made

    def _admin(self, request: Request, path: str) -> Response:
        if path == "admin/host/status" and request.method == "GET":
            return Response(json.dumps({"state": "Running"}), mimetype="application/json")
        name = path.removeprefix("admin/functions/")
        if name == path or self._invoke is None:
            return Response(status=404)
        if request.method != "POST":
            return Response(status=405, headers={"Allow": "POST"})
        try:
            given = json.loads(request.get_data() or b"{}").get("input", "")
            self._invoke(name, given if isinstance(given, str) else json.dumps(given))
        except (ValueError, AttributeError):
            return Response('the body is not {"input": ...}', status=400)
        except NotRunnable as error:
            return Response(str(error), status=404)
        return Response(status=202)


class _Quiet(WSGIRequestHandler):
    """Leaves out the line for each request: the function's own lines tell it."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing."""


def serve(door: Door, port: int) -> BaseWSGIServer:
    """Bind a server on loopback; port 0 leaves the choice to the system, a taken one is an OSError."""
    # Where werkzeug itself finds a port taken, it ends the process.
    with socket.create_server(("127.0.0.1", port), backlog=128) as bound:
        return make_server(
            "127.0.0.1",
            port,
            door,
            threaded=True,
            request_handler=_Quiet,
            fd=bound.fileno(),
        )
