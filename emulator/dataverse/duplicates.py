"""Duplicate detection: published rules that a request may ask to be held against what it writes.

Off by default for the Web API; `MSCRM.SuppressDuplicateDetection: false` turns it on for one
request. A rule here is a table and a column whose values should not repeat.
"""

from __future__ import annotations

from emulator.dataverse import errors
from emulator.dataverse.rows import Event, Rows


class Duplicates:
    """A step before every write that refuses what another row has already."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.wanted = False  # by the request at work

    def before(self, event: Event) -> None:
        """Compare the written values with those of other rows, without case as all texts."""
        if not self.wanted or event.message == "Delete":
            return
        table = event.table
        for logical, column in self._rows.settings.duplicate_rules:
            value = event.cells.get(column)
            if logical != table.logical or value is None:
                continue
            found = self._rows.store.one(
                f'SELECT 1 FROM {table.sql} WHERE "{column}" = ? AND "{table.primary_id}" <> ?',
                (value, event.row_id),
            )
            if found:
                raise errors.duplicate_found()

    def after(self, event: Event) -> None:
        """Nothing is left to do."""
