"""Where requests go: pooled sockets, a WSGI app in this process, or another address.

One `requests.Session` serves every client. In embedded mode `mount_wsgi` binds base URLs to apps and
closes every other way out, so no request can reach the net. Cookies are never kept, and `.netrc` is
never read: it would replace our Authorization header.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse
from urllib3._collections import HTTPHeaderDict

from transport.redaction import quieten

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

CONNECT_SECONDS = 10.0
READ_SECONDS = 180.0


class PooledAdapter(HTTPAdapter):
    """Sockets with time-outs on every call, those of libraries that share the session included."""

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, *, timeout: Any = None, **options: Any
    ) -> requests.Response:
        """Send over a pooled connection; retries are decided elsewhere, so none here."""
        return super().send(request, timeout=timeout or (CONNECT_SECONDS, READ_SECONDS), **options)


class WsgiAdapter(HTTPAdapter):
    """Calls a WSGI app in this process; headers, status and body stay exactly as it gave them."""

    def __init__(self, app: WSGIApplication) -> None:
        super().__init__()
        self._app = app

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **_: Any
    ) -> requests.Response:
        """Answer from the app; a connection that it lets break or time out is one that did."""
        started: list[tuple[str, list[tuple[str, str]]]] = []
        head: list[bytes] = []

        def start_response(
            status: str, headers: list[tuple[str, str]], _: Any = None
        ) -> Callable[[bytes], object]:
            started[:] = [(status, headers)]
            return head.append

        try:
            answer = self._app(_environ(request), _typed(start_response))
            chunks = iter(answer)
            first = next(chunks, b"")  # an app may call start_response as late as here
        except ConnectionError as error:
            raise requests.ConnectionError(error, request=request) from error
        except TimeoutError as error:  # no answer came in time, and in process no one waits for it
            raise requests.ReadTimeout(error, request=request) from error
        line, headers = started[0]
        code, reason = line.split(" ", 1) if " " in line else (line, "")
        raw = HTTPResponse(
            body=io.BufferedReader(_Chunks(_joined(answer, [*head, first], chunks))),
            headers=HTTPHeaderDict(headers),
            status=int(code),
            reason=reason,
            preload_content=False,
            request_method=request.method,
        )
        return self.build_response(request, raw)


class RehostingAdapter(HTTPAdapter):
    """Sends what is meant for a public address to another one, and answers as if from the first.

    MSAL accepts https authorities alone, for itself and in the discovery document that it reads; an
    emulated sign-in on loopback speaks plain http. Small answers only: they are read whole.
    """

    def __init__(self, session: requests.Session, public: str, actual: str) -> None:
        super().__init__()
        self._session = session
        self._public = public
        self._actual = actual

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **options: Any
    ) -> requests.Response:
        """Send to the other address, by whatever adapter is mounted for it."""
        moved = request.copy()
        moved.url = self._actual + (request.url or "").removeprefix(self._public)
        with self._session.get_adapter(moved.url).send(moved, **options) as answer:
            content = answer.content.replace(self._actual.encode(), self._public.encode())
            headers = {
                name: value
                for name, value in answer.headers.items()
                if name.lower() not in ("content-length", "content-encoding", "transfer-encoding")
            }
            raw = HTTPResponse(
                body=io.BytesIO(content),
                headers=headers,
                status=answer.status_code,
                reason=answer.reason,
                preload_content=False,
            )
        return self.build_response(request, raw)


class _Closed(HTTPAdapter):
    """The way out that does not exist in embedded mode."""

    def send(  # type: ignore[override]
        self, request: requests.PreparedRequest, **_: Any
    ) -> requests.Response:
        host = urlsplit(request.url or "").netloc
        msg = f"{host} is not mounted: nothing leaves this process in embedded mode"
        raise requests.ConnectionError(msg, request=request)


class _Chunks(io.RawIOBase):
    """A WSGI body as a readable stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def new_session(pool_size: int = 64) -> requests.Session:
    """Return a session with pooled connections, without cookies and without retries of its own."""
    quieten()
    session = requests.Session()
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("https://", "http://"):
        session.mount(scheme, PooledAdapter(pool_maxsize=pool_size))
    return session


def mount_wsgi(session: requests.Session, apps: Mapping[str, WSGIApplication]) -> None:
    """Bind base URLs to apps in this process and refuse every other host."""
    session.trust_env = False  # a proxy has no part in this, and looking for one costs each request
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Closed())
    for base_url, app in apps.items():
        session.mount(f"{base_url.rstrip('/')}/", WsgiAdapter(app))


def mount_rehosted(session: requests.Session, public: str, actual: str) -> None:
    """Send requests for the public base URL to the actual one."""
    prefix = f"{public.rstrip('/')}/"
    session.mount(prefix, RehostingAdapter(session, prefix, f"{actual.rstrip('/')}/"))


def in_time(raw: Any, seconds: float) -> Iterator[bytes]:
    """Yield a body as it comes in; ReadTimeout where all of it does not come in time, drop by drop."""
    ends = time.monotonic() + seconds
    while chunk := raw.read1(1 << 16, decode_content=True):
        yield chunk
        if time.monotonic() > ends:
            raise requests.ReadTimeout("the body was not whole in time")


def _joined(answer: Iterable[bytes], head: list[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from head
        yield from rest
    finally:
        close = getattr(answer, "close", None)
        if close is not None:
            close()


def _typed(start_response: Any) -> StartResponse:
    return start_response  # type: ignore[no-any-return]


def _environ(request: requests.PreparedRequest) -> dict[str, Any]:
    url = urlsplit(request.url or "")
    sent: Any = request.body or b""  # requests allows bytes, text and iterables of bytes
    body = (
        sent.encode()
        if isinstance(sent, str)
        else b"".join([sent] if isinstance(sent, bytes) else sent)
    )
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(url.path).decode("latin-1"),
        "QUERY_STRING": url.query,
        "REQUEST_URI": f"{url.path}?{url.query}" if url.query else url.path,
        "SERVER_NAME": url.hostname,
        "SERVER_PORT": str(url.port or (443 if url.scheme == "https" else 80)),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": url.netloc,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = value
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ
