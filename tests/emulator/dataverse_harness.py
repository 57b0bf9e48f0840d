"""A small client of the Dataverse look-alike for its tests, and a table to work on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import quote

from werkzeug.test import Client

from emulator.clock import Clock
from emulator.dataverse import DataverseApp
from emulator.wire import encode

ORG = "https://contoso.crm.dynamics.com"
ROOT = f"{ORG}/api/data/v9.2/"
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
CRM = "Microsoft.Dynamics.CRM."


def label(text: str) -> dict[str, Any]:
    return {
        "@odata.type": f"{CRM}Label",
        "LocalizedLabels": [
            {"@odata.type": f"{CRM}LocalizedLabel", "Label": text, "LanguageCode": 1033}
        ],
    }


def attribute(kind: str, name: str, **properties: Any) -> dict[str, Any]:
    return {
        "@odata.type": f"{CRM}{kind}AttributeMetadata",
        "AttributeType": kind,
        "SchemaName": name,
        "DisplayName": label(name),
        **properties,
    }


def options(**values: int) -> dict[str, Any]:
    items = [{"Value": value, "Label": label(name)} for name, value in values.items()]
    return {"IsGlobal": False, "OptionSetType": "Picklist", "Options": items}


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes
    json: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        if "json" in self.headers.get("content-type", ""):
            self.json = json.loads(self.raw, parse_float=Decimal)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])

    @property
    def message(self) -> str:
        return str(self.json["error"]["message"])

    @property
    def new_id(self) -> str:
        return self.headers["odata-entityid"].rsplit("(", 1)[1].rstrip(")")


@cache
def with_tables() -> Dataverse:
    """An environment with the tables, made once; copy it."""
    made = Dataverse()
    made.make_tables()
    return made


class Dataverse:
    """Sends requests to one application in process."""

    def __init__(self, file: str = ":memory:", **arguments: Any) -> None:
        self.clock = Clock(NOW)
        self.arguments = arguments
        self.app = DataverseApp(file=file, clock=self.clock, base_url=lambda: ORG, **arguments)
        self.settings = self.app.settings
        self.http = Client(self.app)

    def copy(self) -> Dataverse:
        """Another environment of the same content; what is done to one the other does not see."""
        other = Dataverse(**self.arguments)
        other.app.store.copy_from(self.app.store)
        return other

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
    ) -> Answer:
        path = path.removeprefix(ROOT)
        resource, _, text = path.partition("?")
        if query:
            text = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        sent = (
            body
            if isinstance(body, bytes)
            else (encode(body).encode() if body is not None else b"")
        )
        response = self.http.open(
            "/api/data/v9.2/" + quote(resource, safe="/()'=,:$"),
            method=method,
            query_string=text,
            data=sent,
            headers={"Authorization": "Bearer t", "Content-Type": "application/json"}
            | (headers or {}),
        )
        lower = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, lower, response.get_data())

    def get(self, path: str, prefer: str = "", **query: str) -> Answer:
        given = {"$" + name if name in _SYSTEM else name: value for name, value in query.items()}
        return self.send("GET", path, headers={"Prefer": prefer} if prefer else {}, query=given)

    def post(self, path: str, body: Any = None, **headers: str) -> Answer:
        return self.send("POST", path, body, headers=_named(headers))

    def patch(self, path: str, body: Any, **headers: str) -> Answer:
        return self.send("PATCH", path, body, headers=_named(headers))

    def delete(self, path: str, **headers: str) -> Answer:
        return self.send("DELETE", path, headers=_named(headers))

    def values(self, path: str, prefer: str = "", **query: str) -> list[dict[str, Any]]:
        answer = self.get(path, prefer, **query)
        assert answer.status == 200, answer.raw
        found: list[dict[str, Any]] = answer.json["value"]
        return found

    def bulk(
        self, message: str, targets: list[dict[str, Any]], table: str = "nce_subscription"
    ) -> Answer:
        typed = [{"@odata.type": f"{CRM}{table}", **target} for target in targets]
        return self.post(f"{table}s/{CRM}{message}", {"Targets": typed})

    def make_tables(self, **table: Any) -> None:
        """nce_subscription with every kind of column, an alternate key, and lines below it."""
        body = {
            "@odata.type": f"{CRM}EntityMetadata",
            "SchemaName": "nce_Subscription",
            "DisplayName": label("Subscription"),
            "DisplayCollectionName": label("Subscriptions"),
            "OwnershipType": "UserOwned",
            "HasActivities": False,
            "HasNotes": True,
            "ChangeTrackingEnabled": True,
            "Attributes": [
                attribute("String", "nce_Name", IsPrimaryName=True, MaxLength=200),
                attribute("String", "nce_ExternalKey", MaxLength=100),
                attribute("Memo", "nce_Notes", MaxLength=4000),
                attribute("Integer", "nce_Quantity", MinValue=0, MaxValue=1_000_000),
                attribute("BigInt", "nce_Big"),
                attribute("Decimal", "nce_UnitPrice", Precision=10),
                attribute("Double", "nce_Ratio", Precision=3),
                attribute("Money", "nce_Amount", PrecisionSource=0, Precision=4),
                attribute("Money", "nce_Total", PrecisionSource=0, Precision=2),
                attribute(
                    "DateTime",
                    "nce_Start",
                    Format="DateOnly",
                    DateTimeBehavior={"Value": "DateOnly"},
                ),
                attribute("DateTime", "nce_SeenOn"),
                attribute("Boolean", "nce_AutoRenew"),
                attribute(
                    "Picklist", "nce_Status", OptionSet=options(Draft=727000000, Active=727000001)
                ),
                attribute("MultiSelectPicklist", "nce_Tags", OptionSet=options(A=1, B=2, C=3)),
                attribute("File", "nce_Pdf", MaxSizeInKB=10240),
            ],
            **table,
        }
        assert self.post("EntityDefinitions", body).status == 204
        key = {
            "SchemaName": "nce_SubscriptionKey",
            "KeyAttributes": ["nce_externalkey"],
            "DisplayName": label("External key"),
        }
        path = "EntityDefinitions(LogicalName='nce_subscription')/Keys"
        assert self.post(path, key).status == 204
        lines = {
            "SchemaName": "nce_Line",
            "DisplayName": label("Line"),
            "DisplayCollectionName": label("Lines"),
            "HasNotes": False,
            "HasActivities": False,
            "Attributes": [
                attribute("String", "nce_Name", IsPrimaryName=True),
                attribute("Integer", "nce_Number"),
            ],
        }
        assert self.post("EntityDefinitions", lines).status == 204
        self.relate("nce_subscription", "nce_line", "nce_SubscriptionId", "Restrict")
        self.relate("account", "nce_subscription", "nce_AccountId", "RemoveLink")

    def relate(self, parent: str, child: str, lookup: str, on_delete: str) -> Answer:
        body = {
            "@odata.type": f"{CRM}OneToManyRelationshipMetadata",
            "SchemaName": f"{parent}_{child}_{lookup}"
            if "_" in parent
            else f"nce_{parent}_{child}",
            "ReferencedEntity": parent,
            "ReferencingEntity": child,
            "CascadeConfiguration": {"Delete": on_delete},
            "Lookup": attribute("Lookup", lookup),
        }
        answer = self.post("RelationshipDefinitions", body)
        assert answer.status == 204, answer.raw
        return answer


_SYSTEM = {
    "select", "filter", "orderby", "top", "count", "expand", "apply", "skip", "skiptoken",
}  # fmt: skip


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
