"""The emulated hosts on loopback: one port for each, so that every client can use a root path.

While a server runs, the emulator's absolute links (next pages, operations, blob directories) name
the loopback addresses; stopping brings the public names back. Threads, no sandboxing: this is for
one machine, and binds to 127.0.0.1.

Plain HTTP unless TLS is asked for. Then every look-alike of a Microsoft host speaks it, because
Microsoft's own libraries refuse anything else (the Dataverse SDK for its environment, MSAL for its
authority); the control plane, which they never see, stays plain, so that curl needs no certificate,
and so does the identity endpoint, which is a port of the same machine at Azure too.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from emulator.control import PUBLIC_URLS

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication, WSGIEnvironment

    from emulator.machine import Emulator

_PLAIN = ("control", "identity")


class _QuietHandler(WSGIRequestHandler):
    """Writes no log, the control plane keeps one; and no date, each answer has the emulated one."""

    protocol_version = "HTTP/1.1"

    def connection_dropped(
        self, error: BaseException, environ: WSGIEnvironment | None = None
    ) -> None:
        """Close the socket without an answer: an injected drop looks like a real one.

        An injected silence keeps it open until the client gives up or the server stops.
        """
        if environ is not None and isinstance(error, TimeoutError):
            self._say_nothing()
        self.close_connection = True

    def _say_nothing(self) -> None:
        self.connection.settimeout(0.05)
        while self.server.socket.fileno() != -1:
            try:
                if not self.connection.recv(1024):
                    return
            except TimeoutError:
                continue
            except OSError:
                return

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - Werkzeug's name
        """Stay quiet: a client that does not trust the certificate finds that out by itself."""

    def send_response(self, code: int, message: str | None = None) -> None:
        """Send the status line alone: the usual Date would stand beside the emulator's."""
        self.send_response_only(code, message)


class Loopback:
    """Running servers, one for each emulated host; a context manager that stops them."""

    ca_bundle: Path | None = None
    """The authority that clients must trust: a PEM file, gone when the server stops."""

    def __init__(
        self, emulator: Emulator, *, host: str = "127.0.0.1", port: int = 0, tls: bool = False
    ) -> None:
        self._emulator = emulator
        self._folder: TemporaryDirectory[str] | None = None
        self._servers: dict[str, BaseWSGIServer] = {}
        self._threads: list[threading.Thread] = []
        try:
            for offset, name in enumerate(
                sorted(emulator.apps, key=lambda name: name != "control")
            ):
                self._servers[name] = _listening(
                    host, port + offset if port else 0, emulator.apps[name]
                )
        except OSError as error:
            self._close()
            raise OSError(f"a port of {host} from {port} on is taken") from error
        if tls:
            self._secure()
        for name, server in self._servers.items():
            scheme = "http" if server.ssl_context is None else "https"
            # VIES is a path of its host, and its clients ask below it.
            path = urlsplit(PUBLIC_URLS[name]).path
            emulator.base_urls[name] = f"{scheme}://{host}:{server.port}{path}"

    def _secure(self) -> None:
        from emulator.certificates import loopback_context  # noqa: PLC0415 - only TLS needs it

        self._folder = TemporaryDirectory(prefix="emulator-tls-")
        context, self.ca_bundle = loopback_context(Path(self._folder.name))
        for name, server in self._servers.items():
            if name not in _PLAIN:
                server.ssl_context = context
                # The handshake is left to the thread of the connection: one that never begins it
                # must not hold up the others.
                server.socket = _secured(server.socket, context)

    def start(self) -> Loopback:
        """Begin to answer."""
        for name, server in self._servers.items():
            thread = threading.Thread(
                target=server.serve_forever, args=(0.02,), name=f"emulator-{name}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        return self

    def stop(self) -> None:
        """Stop answering, free the ports, and put the public names back."""
        for server in self._servers.values():
            if self._threads:
                server.shutdown()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._close()
        self._emulator.base_urls.update(PUBLIC_URLS)

    def wait(self) -> None:
        """Block until the servers are stopped from another thread or by an interrupt."""
        for thread in self._threads:
            thread.join()

    def _close(self) -> None:
        for server in self._servers.values():
            server.server_close()
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _secured(listening: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(listening, server_side=True, do_handshake_on_connect=False)


def _listening(host: str, port: int, app: WSGIApplication) -> BaseWSGIServer:
    """A server on a socket bound here: Werkzeug itself prints and leaves over a taken port."""
    with socket.socket() as ours:
        if os.name == "posix":  # elsewhere the option would let two programs share the port
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind((host, port))
        ours.listen(128)
        return make_server(
            host, port, app, threaded=True, request_handler=_QuietHandler, fd=ours.fileno()
        )
