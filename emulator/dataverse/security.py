"""Security roles: the privileges that come with each table, and what the roles of a caller allow.

A privilege is a row of `privilege`; which roles hold it stands in `roleprivileges`. Depths are kept
and shown, but not weighed: a caller has a privilege for all rows or for none. Nothing is enforced
until the switch `enforce_roles` is on; System Administrator may do everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.dataverse.schema import Table
from emulator.dataverse.store import Store
from emulator.dataverse.values import Cell

if TYPE_CHECKING:
    from emulator.dataverse.rows import Rows

ADMINISTRATOR = "System Administrator"
DEPTHS = {"Basic": 1, "Local": 2, "Deep": 4, "Global": 8}
"""PrivilegeDepth by name, and its bit in `privilegedepthmask`."""
# AccessRights of Microsoft's enumeration; the last two exist where rows have an owner.
_RIGHTS = {
    "Create": 32,
    "Read": 1,
    "Write": 2,
    "Delete": 65_536,
    "Append": 4,
    "AppendTo": 16,
    "Assign": 524_288,
    "Share": 262_144,
}
_OF_OWNERS = ("Assign", "Share")
# Where the name is not the table's schema name.
_NAMES = {"systemuser": "User", "task": "Activity", "savedquery": "Query"}
# Privileges of no table of rows.
_NAMED = (
    "prvCreateEntity prvReadEntity prvWriteEntity prvDeleteEntity prvReadAttribute "
    "prvReadRelationship prvPublishCustomization prvExportToExcel"
)


def name_of(right: str, table: Table) -> str:
    """The name of a privilege on a table: prvCreatence_Invoice."""
    return f"prv{right}{_NAMES.get(table.logical, table.schema_name)}"


def add_privileges(rows: Rows, table: Table) -> None:
    """The privileges that the platform makes with a table."""
    owned = "ownerid" in table.columns
    for right, bit in _RIGHTS.items():
        if owned or right not in _OF_OWNERS:
            _add(rows, name_of(right, table), bit, narrow=owned)


def add_named_privileges(rows: Rows) -> None:
    """Privileges of customisation, which belong to no table of rows."""
    for name in _NAMED.split():
        _add(rows, name, 0, narrow=False)


def remove_privileges(store: Store, table: Table) -> None:
    """What goes when a table is deleted."""
    names = [name_of(right, table) for right in _RIGHTS]
    marks = ", ".join("?" * len(names))
    gone = f"SELECT privilegeid FROM privilege WHERE name IN ({marks})"
    store.connection.execute(f"DELETE FROM roleprivileges WHERE privilegeid IN ({gone})", names)
    store.connection.execute(f"DELETE FROM privilege WHERE name IN ({marks})", names)


def allows(store: Store, user_id: str, privilege: str) -> bool:
    """Whether a role of the user holds the privilege, or may do everything."""
    found = store.one(
        'SELECT 1 FROM "_many_systemuserroles_association" AS mine '
        "JOIN role ON role.roleid = mine.b "
        "LEFT JOIN roleprivileges AS held ON held.roleid = role.roleid "
        "LEFT JOIN privilege ON privilege.privilegeid = held.privilegeid "
        "WHERE mine.a = ? AND (role.name = ? OR privilege.name = ? COLLATE NOCASE) LIMIT 1",
        (user_id, ADMINISTRATOR, privilege),
    )
    return found is not None


def _add(rows: Rows, name: str, right: int, *, narrow: bool) -> None:
    cells: dict[str, Cell] = {
        "name": name,
        "accessright": right,
        "canbebasic": int(narrow),
        "canbelocal": int(narrow),
        "canbedeep": int(narrow),
        "canbeglobal": 1,
    }
    table = rows.store.schema.tables["privilege"]
    if rows.store.one("SELECT 1 FROM privilege WHERE name = ?", (name,)) is None:
        rows.insert(table, cells)
