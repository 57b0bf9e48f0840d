"""File columns: a file on a row, sent whole or in blocks, read in ranges.

A file can only be set on a row that exists, by an address of its own; sending it again replaces it.
A large one goes in blocks within a session. An answer that is lost there leaves it unknown how far
the session came, so it is begun anew: nothing of an unfinished session is ever seen.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from dataverse.client import SERVICE, DataverseClient
from domain.problems import NotFound, ServiceError
from transport.session import persist

WHOLE = 4 << 20
"""Bytes up to which a file goes in one request; Dataverse takes 128 MB."""
RANGE = 4 << 20
"""Bytes asked for at once; Dataverse advises ranges above 16 MB."""

_SIZE = re.compile(r"bytes \d+-\d+/(\d+)")


def upload(
    client: DataverseClient, row: str, column: str, name: str, content: bytes, *, whole: int = WHOLE
) -> None:
    """Set the file of a row (`row` is its path, by primary key); an earlier one is replaced.

    `name` may hold any characters. ServiceError when it is larger than the column takes.
    """
    path = f"{row}/{column}?x-ms-file-name={quote(name, safe='')}"
    if len(content) <= whole:
        headers = {"Content-Type": "application/octet-stream"}
        client.call("PATCH", path, headers=headers, body=content, keyed=True)
        return
    # A lost answer inside a session is not repeated by itself; the whole session is.
    persist(
        lambda: _in_blocks(client, path, content),
        patience=client.patience,
        sleep=client.http.sleep,
    )


def _in_blocks(client: DataverseClient, path: str, content: bytes) -> None:
    begun = client.call("PATCH", path, headers={"x-ms-transfer-mode": "chunked"}, keyed=True)
    block = int(begun.headers["x-ms-chunk-size"])
    for start in range(0, len(content), block):
        piece = content[start : start + block]
        client.call(
            "PATCH",
            begun.headers["Location"],
            headers={
                "Content-Type": "application/octet-stream",
                "Content-Range": f"bytes {start}-{start + len(piece) - 1}/{len(content)}",
            },
            body=piece,
        )


def download(client: DataverseClient, row: str, column: str) -> bytes:
    """Read the file of a row; NotFound when it has none."""
    content = b""
    while True:
        wanted = {"Range": f"bytes={len(content)}-{len(content) + RANGE - 1}"}
        answer = client.call("GET", f"{row}/{column}/$value", headers=wanted)
        if answer.status == 204:
            msg = f"{row} has no file in {column}"
            raise NotFound(msg, service=SERVICE, status=204)
        content += answer.content
        size = _SIZE.fullmatch(answer.headers.get("Content-Range", ""))
        if size is None or len(content) >= int(size[1]):
            return content
        if not answer.content:
            msg = f"the file {column} of {row} ends after {len(content)} of {size[1]} bytes"
            raise ServiceError(msg, service=SERVICE)
