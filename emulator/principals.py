"""Who else there is in the partner's tenant: APIs that were registered, who may call them, identities.

The partner's own app and its admin agent stand in `partner.py`. Here are what an administrator adds:
an API with app roles, applications and people who hold some of them, and the managed identity of a
deployed worker, which the partner's app trusts as a federated credential.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from emulator import wire
from emulator.control import Stage

EXCHANGE = "api://AzureADTokenExchange"
EXCHANGE_ID = "fb60f99c-7a34-4190-8149-302f77469936"
"""The resource of federated credentials; tokens for it name it by this id [known]."""
DEFAULT_ROLES = ("Runs.Start", "Runs.Read", "Invoices.Approve", "Holds.Release")


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A registration that tokens are issued for."""

    app_id: str
    roles: tuple[str, ...]
    token_version: int = 2

    @property
    def names(self) -> tuple[str, str]:
        """How a scope may name it."""
        return (self.app_id, f"api://{self.app_id}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who holds app roles: an application with a secret, or a person with an address."""

    object_id: str
    name: str
    roles: tuple[str, ...]
    client_id: str = ""
    client_secret: str = ""
    upn: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagedIdentity:
    """A user-assigned identity of the function app."""

    client_id: str
    principal_id: str
    resource_id: str


@dataclass(slots=True)
class Trust:
    """A federated credential of the partner's app: whose assertion stands for its secret."""

    issuer: str
    subject: str
    audience: str = EXCHANGE


@dataclass(slots=True)
class Principals:
    """What an administrator has added; a reset forgets it."""

    stage: Stage
    apis: dict[str, Api] = field(default_factory=dict)
    holders: list[Principal] = field(default_factory=list)
    identities: list[ManagedIdentity] = field(default_factory=list)
    trusts: list[Trust] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Leave the identity of the worker, trusted by the partner's app, and one that is not."""
        self.apis.clear()
        self.holders.clear()
        self.identities[:] = [self._identity("csp-billing"), self._identity("another")]
        tenant = self.stage.world.partner.tenant_id
        self.trusts[:] = [
            Trust(
                issuer=f"https://login.microsoftonline.com/{tenant}/v2.0",
                subject=self.identities[0].principal_id,
            )
        ]

    def _identity(self, name: str) -> ManagedIdentity:
        return ManagedIdentity(
            client_id=wire.derived_guid("identity", name),
            principal_id=wire.derived_guid("principal of identity", name),
            resource_id="/subscriptions/00000000-0000-4000-8000-000000000001/resourcegroups/csp/"
            f"providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}",
        )

    def register(
        self, *, name: str, roles: Sequence[str] = DEFAULT_ROLES, token_version: int = 2
    ) -> Api:
        """Register an API with its app roles; the same name again is the same registration."""
        if token_version not in {1, 2}:
            raise ValueError("token_version must be 1 or 2")
        made = Api(
            app_id=wire.derived_guid("api", name), roles=tuple(roles), token_version=token_version
        )
        self.apis[made.app_id] = made
        return made

    def add(self, *, kind: str, name: str, roles: Sequence[str] = ()) -> Principal:
        """Add an application or a user, with the app roles that are assigned to it."""
        known = {role for api in self.apis.values() for role in api.roles}
        if unknown := sorted(set(roles) - known):
            raise ValueError(f"no registered API has the app role {unknown[0]}")
        if kind not in {"application", "user"}:
            raise ValueError("kind must be application or user")
        domain = self.stage.world.partner.domain
        made = Principal(
            object_id=wire.derived_guid(kind, name),
            name=name,
            roles=tuple(roles),
            client_id=wire.derived_guid("client", name) if kind == "application" else "",
            client_secret=f"invented~{wire.derived_guid('secret', name)}"
            if kind == "application"
            else "",
            upn=f"{name}@{domain}" if kind == "user" else "",
        )
        self.holders = [one for one in self.holders if one.object_id != made.object_id] + [made]
        return made

    def api(self, name: str) -> Api | None:
        """The registered API that a scope names."""
        return next((one for one in self.apis.values() if name.lower() in one.names), None)

    def application(self, client_id: str) -> Principal | None:
        """The application of a client id; the partner's own has no app roles."""
        partner = self.stage.world.partner
        if client_id.lower() == partner.client_id:
            return Principal(
                object_id=wire.derived_guid("service principal", partner.client_id),
                name=partner.name,
                roles=(),
                client_id=partner.client_id,
                client_secret=partner.client_secret,
            )
        return next(
            (one for one in self.holders if one.client_id and one.client_id == client_id.lower()),
            None,
        )

    def user(self, upn: str) -> Principal | None:
        """The person of an address; the partner's admin agent has no app roles."""
        partner = self.stage.world.partner
        if upn.lower() in {"", partner.upn.lower()}:
            return Principal(
                object_id=partner.user_id, name="Admin agent", roles=(), upn=partner.upn
            )
        return next((one for one in self.holders if one.upn.lower() == upn.lower()), None)

    def identity(self, **names: str) -> ManagedIdentity | None:
        """The identity of a client id, object id or resource id; none named: none is meant."""
        for one in self.identities:
            known = {
                "client_id": one.client_id,
                "object_id": one.principal_id,
                "principal_id": one.principal_id,
                "mi_res_id": one.resource_id,
            }
            if names and all(known[key].lower() == value.lower() for key, value in names.items()):
                return one
        return None

    def trusted(self, claims: dict[str, Any]) -> str:
        """What a federated credential lacks to take an assertion: "", issuer, subject, audience."""
        issuers = [one for one in self.trusts if one.issuer == claims.get("iss")]
        subjects = [one for one in issuers if one.subject == claims.get("sub")]
        said = claims.get("aud")
        if not issuers:
            return "issuer"
        if not subjects:
            return "subject"
        audiences = {one.audience for one in subjects}
        if said in audiences or (said == EXCHANGE_ID and EXCHANGE in audiences):
            return ""
        return "audience"
