"""Change tracking: everything once, then what changed or went since a delta token.

A token is a row version with its date. A row that was made and deleted between two polls shows as
deleted; delivery is by state, so a consumer that applies it twice ends in the same place.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from emulator.dataverse import errors
from emulator.dataverse.messages import Call, Reply
from emulator.dataverse.query import Fetch, Reader, link, next_link, read_skiptoken
from emulator.dataverse.schema import Table

_REFUSED = ("$filter", "$orderby", "$expand", "$top")
_DATE = "%m/%d/%Y %H:%M:%S"


class Tracking:
    """Answers `Prefer: odata.track-changes` and `$deltatoken`."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.store = reader.store

    def start(self, call: Call, table: Table) -> Reply:
        """All rows, page by page; the last page carries the delta link."""
        self._check(call, table)
        # The token of the first page is kept to the last: what changes meanwhile comes again.
        token = call.query.get("$deltastart") or self._token()
        where: list[Any] = []
        last = call.query.get("$after")
        if last:
            where.append((f'"t"."{table.primary_id}" > ?', [last]))
        size = self._page_size(call)
        found = self.reader.fetch(Fetch(table, _select(call), where=where, limit=size + 1), call)
        context = f"{call.root}$metadata#{table.entity_set}"
        body: dict[str, Any] = {"@odata.context": context}
        body["value"] = [item.document for item in found[:size]]
        if len(found) > size:
            after = str(found[size - 1].position[-1])
            query = {**call.query, "$deltastart": token, "$after": after}
            body["@odata.nextLink"] = link(call, query)
        else:
            body["@odata.deltaLink"] = link(call, {**_select(call), "$deltatoken": token})
        call.prefer.applied.insert(0, "odata.track-changes")
        return Reply(200, body)

    def since(self, call: Call, table: Table) -> Reply:
        """Changed rows page by page; with the last ones the deleted, then the next delta link."""
        self._check(call, table)
        version = self._read(call.query["$deltatoken"])
        page, position = read_skiptoken(call)
        # What changes while the pages are fetched comes again: the token is that of the first page.
        seen, token = position or [version, self._token()]
        changed = ('"t"."versionnumber" > ?', [seen])
        gone = self.store.rows(
            f'SELECT id FROM _tombstone WHERE "table" = ? AND version > ? AND id NOT IN '
            f'(SELECT "{table.primary_id}" FROM {table.sql}) ORDER BY version',
            (table.logical, version),
        )
        if call.path.endswith("/$count"):
            total = self.reader.count(table, [changed]) + len(gone)
            return Reply(200, str(total).encode(), {"Content-Type": "text/plain"})
        size = self._page_size(call)
        options = _select(call) | {"$orderby": "versionnumber"}
        fetch = Fetch(table, options, where=[changed], limit=size + 1)
        found = self.reader.fetch(fetch, call)
        body: dict[str, Any] = {
            "@odata.context": f"{call.root}$metadata#{table.entity_set}/$delta",
            "value": [item.document for item in found[:size]],
        }
        if len(found) > size:
            last = found[size - 1].cells["versionnumber"]
            body["@odata.nextLink"] = next_link(call, page + 1, [last, token], tracking=True)
            return Reply(200, body)
        deleted = f"{call.root}$metadata#{table.entity_set}/$deletedEntity"
        body["value"] += [
            {"@odata.context": deleted, "id": row_id, "reason": "deleted"} for (row_id,) in gone
        ]
        body["@odata.deltaLink"] = link(call, {**_select(call), "$deltatoken": str(token)})
        return Reply(200, body)

    def _page_size(self, call: Call) -> int:
        wished, cap = call.prefer.page_size, self.reader.settings.page_size_cap
        if wished:
            call.prefer.applied.append(f"odata.maxpagesize={wished}")
        return min(wished or cap, cap)

    def _check(self, call: Call, table: Table) -> None:
        if not table.tracked:
            message = f"Change tracking is not enabled for the entity {table.logical}."
            raise errors.bad_query(message)
        for option in _REFUSED:
            if option in call.query:
                name = "${" + option[1:] + "}"
                raise errors.bad_query(
                    f'The "{name}" query parameter isn\'t supported when Change Tracking is enabled.'
                )

    def _token(self) -> str:
        return f"{self.store.current_version()}!{self.store.clock.now().strftime(_DATE)}"

    def _read(self, token: str) -> int:
        version, _, text = token.partition("!")
        try:
            made = datetime.strptime(text, _DATE).replace(tzinfo=UTC)
            number = int(version)
        except ValueError:
            raise errors.bad_query(f"The delta token '{token}' is not valid.") from None
        if self.store.clock.now() - made > timedelta(days=self.reader.settings.delta_days):
            raise errors.DataverseError(
                400, "0x80044352", "The delta token has expired; retrieve all rows again."
            )
        return number


def _select(call: Call) -> dict[str, str]:
    return {"$select": call.query["$select"]} if "$select" in call.query else {}
