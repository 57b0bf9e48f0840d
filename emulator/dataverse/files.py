"""File columns: whole uploads, uploads in blocks, downloads with ranges, deletion.

The bytes live in the same SQLite file; the row's column holds the file's id and its neighbour the
name. Unfinished block uploads are forgotten when the process ends, as sessions are.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import quote

from emulator.dataverse import errors
from emulator.dataverse.messages import Call, Reply
from emulator.dataverse.rows import Rows
from emulator.dataverse.schema import Column, Table

BLOCK = 4 * 1024 * 1024
WHOLE_LIMIT = 128 * 1024 * 1024
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_WANTED = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(slots=True)
class _Upload:
    row_id: str
    column: str
    name: str
    mime: str
    received: bytearray = field(default_factory=bytearray)


class Files:
    """Answers everything below a file column of a row."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.store = rows.store
        self.uploads: dict[str, _Upload] = {}

    def handle(
        self, call: Call, table: Table, row_id: str, column: Column, tail: list[str]
    ) -> Reply:
        """GET `/$value`, PATCH (whole, or a block of a session), DELETE."""
        if call.method == "GET":
            self.rows.demand("Read", table)
            return self._download(call, table, row_id, column, raw=tail == ["$value"])
        with self.store.transaction():
            if call.method == "DELETE":
                self._forget(table, row_id, column)
                self.rows.change(table, row_id, {column.name: None, f"{column.name}_name": None})
                return Reply()
            if call.method not in ("PATCH", "PUT"):
                raise errors.not_supported(f"{call.method} is not supported on a file column.")
            self.rows.demand("Write", table)
            if "sessiontoken" in call.query:
                return self._block(call, table, row_id, column)
            name = self._name(call)
            mime = call.headers.get("content-type") or "application/octet-stream"
            if call.headers.get("x-ms-transfer-mode", "").lower() == "chunked":
                return self._start(call, row_id, column, name, mime)
            if len(call.body) > WHOLE_LIMIT:
                raise errors.too_large()
            self._keep(table, row_id, column, name=name, mime=mime, content=call.body)
            return Reply()

    def _name(self, call: Call) -> str:
        name = call.query.get("x-ms-file-name") or call.headers.get("x-ms-file-name")
        if not name:
            raise errors.invalid_argument("The file name is missing: send x-ms-file-name.")
        return name

    def _start(self, call: Call, row_id: str, column: Column, name: str, mime: str) -> Reply:
        token = self.store.next_guid()
        self.uploads[token] = _Upload(row_id, column.name, name, mime)
        place = f"{call.root}{quote(call.path, safe='()=,/')}?sessiontoken={token}"
        headers = {"Location": place, "x-ms-chunk-size": str(BLOCK), "Accept-Ranges": "bytes"}
        return Reply(200, None, headers)

    def _block(self, call: Call, table: Table, row_id: str, column: Column) -> Reply:
        token = call.query["sessiontoken"]
        upload = self.uploads.get(token)
        match = _RANGE.fullmatch(call.headers.get("content-range", ""))
        if upload is None or (upload.row_id, upload.column) != (row_id, column.name):
            raise errors.invalid_argument("The upload session is unknown or has ended.")
        if match is None:
            raise errors.invalid_argument("A block needs the header Content-Range.")
        first, last, total = (int(text) for text in match.groups())
        if first != len(upload.received) or last - first + 1 != len(call.body) or last >= total:
            raise errors.invalid_argument(
                f"The block {first}-{last}/{total} does not continue at {len(upload.received)}."
            )
        upload.received += call.body
        if len(upload.received) < total:
            return Reply(206)
        del self.uploads[token]
        content = bytes(upload.received)
        self._keep(table, row_id, column, name=upload.name, mime=upload.mime, content=content)
        return Reply()

    def _keep(
        self, table: Table, row_id: str, column: Column, *, name: str, mime: str, content: bytes
    ) -> None:
        if len(content) > int(column.definition["MaxSizeInKB"]) * 1024:
            raise errors.DataverseError(400, "0x80044a02", "Attachment file size is too big.")
        self._forget(table, row_id, column)
        file_id = self.store.next_guid()
        self.store.connection.execute(
            "INSERT INTO _file VALUES (?, ?, ?, ?, ?, ?, ?)",
            (file_id, table.logical, row_id, column.name, name, mime, content),
        )
        self.rows.change(table, row_id, {column.name: file_id, f"{column.name}_name": name})

    def _forget(self, table: Table, row_id: str, column: Column) -> None:
        self.store.connection.execute(
            'DELETE FROM _file WHERE "table" = ? AND "row" = ? AND "column" = ?',
            (table.logical, row_id, column.name),
        )

    def _download(
        self, call: Call, table: Table, row_id: str, column: Column, *, raw: bool
    ) -> Reply:
        """The bytes themselves with `/$value`, else in Base64 as the value of the property.

        The second form is undocumented; it is what `dynamics-web-api` reads from live environments.
        """
        row = self.store.one(
            'SELECT name, mime, content FROM _file WHERE "table" = ? AND "row" = ? AND "column" = ?',
            (table.logical, row_id, column.name),
        )
        if row is None:
            raise errors.no_file(column.name)
        name, mime, content = row
        shown = quote(name, safe=" ()+,;=@")
        headers = {
            "x-ms-file-name": shown,
            "x-ms-file-size": str(len(content)),
            "mimetype": mime,
            "Content-Disposition": f'inline; filename="{shown}"',
            "Access-Control-Expose-Headers": "x-ms-file-size; x-ms-file-name; mimetype",
        }
        status = 200
        wanted = _WANTED.fullmatch(call.headers.get("range", ""))
        if wanted is not None:
            first = int(wanted[1])
            last = min(int(wanted[2] or len(content) - 1), len(content) - 1)
            if first > last:
                raise errors.DataverseError(416, "", "The requested range is not satisfiable.")
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            headers["x-ms-chunk-size"] = str(BLOCK)
            status, content = 206, content[first : last + 1]
        if raw:
            return Reply(status, content, headers | {"Content-Type": "application/octet-stream"})
        context = f"{call.root}$metadata#{table.entity_set}({row_id})/{column.name}"
        body = {"@odata.context": context, "value": b64encode(content).decode()}
        return Reply(status, body, headers)
