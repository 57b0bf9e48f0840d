"""What an environment has of ours, read past its caches and including what is not published yet.

Where Microsoft's documentation leaves a form open, both are read: drafts through
`RetrieveUnpublishedMultiple` and, where a table does not know it, as plain rows; depths of privileges
as names and as numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataverse.client import API, DataverseClient, literal, one_of
from dataverse.provision.metadata import CRM
from dataverse.provision.plan import STRONG
from dataverse.provision.roles import DEPTH
from dataverse.schema import Kind, Table
from dataverse.tables import PUBLISHER, SOLUTION
from domain.problems import NotFound, ServiceError

_WIDEST = "3"
_UNKNOWN_HERE = frozenset({400, 404, 405, 501})


@dataclass(slots=True)
class FoundTable:
    """What the environment has of one table."""

    type_code: int = 0
    """The number of the table's type, which layouts of views name."""
    audited: bool = False
    columns: dict[str, dict[str, Any]] = field(default_factory=dict)
    options: dict[str, set[int]] = field(default_factory=dict)
    relationships: dict[str, str] = field(default_factory=dict)
    """Schema name in small letters, and what deleting the target does."""
    keys: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    """Schema name in small letters, the state of its index, its columns."""


def definition(table: Table) -> str:
    """Return the path of a table's definition."""
    return f"EntityDefinitions(LogicalName={literal(table.name)})"


class Environment:
    """Reads one environment; nothing is remembered from one question to the next."""

    def __init__(self, client: DataverseClient) -> None:
        self._client = client

    def address(self, path: str) -> str:
        """Return the absolute address of a row, as links between rows want it."""
        return f"{self._client.http.base_url}{API}{path}"

    def read(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Read one document."""
        return self._client.call("GET", path, params=params, headers=STRONG).json()

    def rows(self, path: str, params: Mapping[str, str]) -> list[dict[str, Any]]:
        """Read all rows of a query."""
        page = self.read(path, params)
        found: list[dict[str, Any]] = page["value"]
        while page.get("@odata.nextLink"):
            page = self.read(page["@odata.nextLink"])
            found += page["value"]
        return found

    # Publisher, solution, organisation -----------------------------------------------------------

    def publisher(self) -> dict[str, Any] | None:
        """Read our publisher."""
        return self._named("publishers", PUBLISHER, "publisherid,customizationprefix")

    def solution(self) -> dict[str, Any] | None:
        """Read our solution."""
        return self._named("solutions", SOLUTION, "solutionid,version")

    def _named(self, entity_set: str, name: str, columns: str) -> dict[str, Any] | None:
        where = f"uniquename eq {literal(name)}"
        rows = self.rows(entity_set, {"$select": columns, "$filter": where})
        return rows[0] if rows else None

    def is_audited(self) -> bool:
        """Say whether the organisation keeps an audit at all."""
        rows = self.rows("organizations", {"$select": "isauditenabled"})
        return all(row.get("isauditenabled") is not False for row in rows)

    def root_unit(self) -> str:
        """Return the id of the root business unit, to which roles of all rows belong."""
        params = {"$select": "businessunitid", "$filter": "_parentbusinessunitid_value eq null"}
        return str(self.rows("businessunits", params)[0]["businessunitid"])

    # Tables --------------------------------------------------------------------------------------

    def table(self, table: Table) -> FoundTable | None:
        """Read a table's definition; None when there is no such table."""
        path = definition(table)
        expand = (
            "Keys($select=SchemaName,KeyAttributes,EntityKeyIndexStatus),"
            "ManyToOneRelationships($select=SchemaName,CascadeConfiguration)"
        )
        try:
            select = "LogicalName,ObjectTypeCode,IsAuditEnabled"
            found = self.read(path, {"$select": select, "$expand": expand})
        except NotFound:
            return None
        columns = self.read(f"{path}/Attributes")["value"]
        choices: list[dict[str, Any]] = []
        if any(column.kind is Kind.CHOICE for column in table.columns):
            choices = self.read(
                f"{path}/Attributes/{CRM}PicklistAttributeMetadata",
                {"$select": "LogicalName", "$expand": "OptionSet"},
            )["value"]
        return FoundTable(
            type_code=int(found.get("ObjectTypeCode") or 0),
            audited=bool((found.get("IsAuditEnabled") or {}).get("Value")),
            columns={column["LogicalName"]: column for column in columns},
            options={
                choice["LogicalName"]: {o["Value"] for o in choice["OptionSet"]["Options"]}
                for choice in choices
            },
            relationships={
                link["SchemaName"].lower(): str(
                    (link.get("CascadeConfiguration") or {}).get("Delete", "")
                )
                for link in found["ManyToOneRelationships"]
            },
            keys={
                key["SchemaName"].lower(): (
                    str(key["EntityKeyIndexStatus"]),
                    tuple(key["KeyAttributes"]),
                )
                for key in found["Keys"]
            },
        )

    # Views, forms, apps --------------------------------------------------------------------------

    def drafts(self, entity_set: str, select: str, where: str) -> list[dict[str, Any]]:
        """Read rows of views, forms, site maps or apps as they were last saved."""
        params = {"$select": select, "$filter": where}
        try:
            return self.rows(f"{entity_set}/{CRM}RetrieveUnpublishedMultiple()", params)
        except ServiceError as fault:
            if fault.status not in _UNKNOWN_HERE:
                raise
            return self.rows(entity_set, params)

    def app_parts(self, unique_id: str) -> set[str]:
        """Return the ids of what belongs to an app, published or not.

        Not by `RetrieveAppComponents`, which does not find an app before it is published.
        """
        where = f"_appmoduleidunique_value eq {unique_id}"
        rows = self.rows("appmodulecomponents", {"$select": "objectid", "$filter": where})
        return {str(row["objectid"]).lower() for row in rows}

    def app_roles(self, app_id: str) -> set[str]:
        """Return the ids of the roles that may open an app."""
        path = f"appmodules({app_id})/appmoduleroles_association"
        try:
            rows = self.rows(path, {"$select": "roleid"})
        except NotFound:  # not published yet
            return set()
        return {str(row["roleid"]).lower() for row in rows}

    # Roles ---------------------------------------------------------------------------------------

    def roles(self, ids: Iterable[str]) -> dict[str, str]:
        """Return the names of the roles with these ids that are there."""
        where = " or ".join(f"roleid eq {one}" for one in ids)
        rows = self.rows("roles", {"$select": "roleid,name", "$filter": where})
        return {str(row["roleid"]).lower(): str(row["name"]) for row in rows}

    def privileges(self, names: Collection[str]) -> dict[str, str]:
        """Return the ids of those of these privileges that the environment has."""
        params = {"$select": "privilegeid,name", "$filter": one_of("name", sorted(names))}
        known = {str(row["name"]).lower(): row for row in self.rows("privileges", params)}
        return {
            name: str(known[name.lower()]["privilegeid"]).lower()
            for name in names
            if name.lower() in known
        }

    def held(self, role_id: str) -> set[str]:
        """Return the ids of the privileges that a role has for all rows."""
        answer = self.read(f"RetrieveRolePrivilegesRole(RoleId={role_id})")
        return {
            str(one["PrivilegeId"]).lower()
            for one in answer["RolePrivileges"]
            if str(one["Depth"]) in (DEPTH, _WIDEST)
        }
