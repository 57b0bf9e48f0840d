"""Posts that leave the emulator: to a function in this process or to a loopback address, no further."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

Receiver = Callable[[str, Mapping[str, str], bytes], int]
"""Takes address, headers and body of a post in this process; returns the status."""

SECONDS = 60
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
FAILURES = (OSError, http.client.HTTPException)
"""What a post raises that nobody answered."""


def on_this_machine(url: str) -> bool:
    """Whether an address is one of loopback."""
    return urlsplit(url).hostname in LOOPBACK


def receiver_of(url: str, receivers: Mapping[str, Receiver]) -> Receiver | None:
    """The function in this process that stands for an address, by how the address begins."""
    return next((one for start, one in receivers.items() if url.startswith(start)), None)


def post(url: str, headers: Mapping[str, str], body: bytes) -> int:
    """Post to a loopback address; a redirect is not followed, it might lead elsewhere."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=SECONDS)
    try:
        path = parts._replace(scheme="", netloc="").geturl() or "/"
        connection.request("POST", path, body=body, headers=dict(headers))
        return connection.getresponse().status
    finally:
        connection.close()
