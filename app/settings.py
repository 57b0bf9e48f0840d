"""Settings, read from the environment once, into one frozen value; secrets print stars.

Three modes. `embedded` is the default off Azure: the emulators run in this process, nothing can
reach the network. `emulator` speaks to the same emulators on loopback. `cloud` is Microsoft. On
Azure anything but an explicit `cloud` is refused: no deployed worker may bill invented data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    ValidationError,
    field_validator,
    model_validator,
)

from domain.problems import ConfigurationError, Severity
from domain.tax import NumberProof, TaxRounding
from rules.checks import CHECKS, nearest
from transport.redaction import Secret

PREFIX = "CSP_"
ON_AZURE = ("WEBSITE_INSTANCE_ID", "WEBSITE_SITE_NAME", "WEBSITE_POD_NAME")
"""Set by the Functions platform; any of them means that this is a deployed worker."""


SECRETS_BY_NAME = ("client_secret", "tax_engine_key", "webhook_key")
"""Secrets that may be given as the name of a secret of the Key Vault: CSP_CLIENT_SECRET_NAME..."""
_ROLE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _url(text: str) -> str:
    parts = urlsplit(text)
    local = parts.hostname in {"127.0.0.1", "localhost"}
    if not parts.hostname or parts.scheme not in ({"http", "https"} if local else {"https"}):
        msg = "must be an https address (http only on 127.0.0.1)"
        raise ValueError(msg)
    if parts.port == 0 or "@" in parts.netloc or parts.query or parts.fragment:
        msg = "must be a plain address, without user, query or fragment"
        raise ValueError(msg)
    return text.rstrip("/")


def _hosts(value: Any) -> Any:
    """Read a list of names of hosts, as a list or with commas; no addresses of machines, no ports."""
    names = value.split(",") if isinstance(value, str) else value
    found = tuple(str(name).strip().lower() for name in names or ())
    label = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
    for name in found:
        if len(name) > 253 or not re.fullmatch(rf"({label}\.)+[a-z]{label}", name):
            msg = "must be names of hosts with commas between, such as certificates.example.com"
            raise ValueError(msg)
    return found


def _local(text: str) -> str:
    if urlsplit(text).hostname not in {"127.0.0.1", "localhost"}:
        msg = "must be on 127.0.0.1: emulators are nowhere else"
        raise ValueError(msg)
    return text


Url = Annotated[str, AfterValidator(_url)]
Local = Annotated[Url, AfterValidator(_local)]
Hosts = Annotated[tuple[str, ...], BeforeValidator(_hosts)]


def _zone(value: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(value).key
    except (OSError, ValueError, KeyError):  # a KeyError where nothing has the name
        msg = "must be the IANA name of a time zone, such as Europe/Berlin"
        raise ValueError(msg) from None


Zone = Annotated[str, AfterValidator(_zone)]
SecretName = Annotated[str, Field(pattern=r"^[0-9A-Za-z-]{1,127}$")]
Id = Annotated[str, Field(pattern=r"^[0-9A-Za-z.-]{1,80}$")]
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class Settings(BaseModel):
    """Everything that can be set. Environment variables are the names below in capitals, after CSP_."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    mode: Literal["embedded", "emulator", "cloud"] = "embedded"
    state_dir: Path = Path(".state")
    """Where embedded mode keeps its database and every mode its token, archive and scratch files."""
    scenario: str = "partner-month"
    seed: int = Field(default=1, ge=0, le=2**31)
    emulator_url: Local | None = None
    """Control plane of a running `python -m app emulate`; it tells all other addresses."""

    tenant_id: Id | None = None
    client_id: Id | None = None
    client_secret: InstanceOf[Secret] | None = None
    client_secret_name: SecretName | None = None
    """Under which it stands in the Key Vault, in place of the secret itself."""
    federated: bool = False
    """Sign the app in by a token of the managed identity, which its registration must trust: no
    secret at all."""
    refresh_token: InstanceOf[Secret] | None = None
    """The first one; what rotation makes of it is kept in the token store."""
    key_vault_url: Url | None = None
    """Holds the refresh token in the cloud; left out: a file in state_dir."""
    managed_identity_client_id: Id | None = None

    login_url: Url = "https://login.microsoftonline.com"
    partner_center_url: Url = "https://api.partnercenter.microsoft.com"
    price_url: Url = "https://api.partner.microsoft.com"
    graph_url: Url = "https://graph.microsoft.com"
    dataverse_url: Url | None = None

    storage_account_url_queue: Url | None = None
    storage_account_url_blob: Url | None = None
    storage_connection_string: InstanceOf[Secret] | None = None
    """Azurite or a local test; in the cloud the account addresses and the identity are used."""
    archive_container: str = Field(default="archive", pattern=r"^[a-z0-9-]{3,63}$")

    projection: bool = False
    """Whether issued documents are also written to the standard invoices of Dynamics 365 Sales."""

    time_zone: Zone = "UTC"
    """The partner's calendar, as the IANA names it (Europe/Berlin): which day it is when one bills."""
    bill_day: int = Field(default=9, ge=1, le=28)
    """From this day on the month before is billed, where a contract names no day of its own:
    Microsoft's invoices are out about the 8th."""

    unwatched: tuple[str, ...] = ()
    """Kinds of runs, separated by commas, that are not told when they are late: their timer is off."""

    tax_register: Literal["offline", "vies"] | None = None
    """Who is asked about tax numbers: nobody (their form is looked at), or VIES. Left out: offline
    in the cloud, so that nothing leaves unless it is chosen; else the emulated VIES."""
    tax_number_proof: NumberProof = NumberProof.REGISTER
    """What lets a reverse charge rest on a number: a register's answer, or its form alone."""
    tax_number_days: int = Field(default=30, ge=1, le=366)
    """For how many days a register's answer counts."""
    tax_requester: str | None = Field(default=None, pattern=r"^[A-Za-z]{2}[0-9A-Za-z+*. -]{2,20}$")
    """The partner's own EU VAT number: VIES then numbers each inquiry, which proves it."""
    vies_url: Url = "https://ec.europa.eu/taxation_customs/vies/rest-api"
    vies_requester_path: str = Field(
        default="/check-vat-number", pattern=r"^/[0-9A-Za-z/_-]{1,80}$"
    )
    tax_engine_url: Url | None = None
    """Where an external tax engine answers, for contracts that leave their tax to it."""
    tax_engine_key: InstanceOf[Secret] | None = None
    """Sent to it as a bearer token."""
    tax_engine_key_name: SecretName | None = None
    """Under which it stands in the Key Vault, in place of the key itself."""
    http_door: Literal["key", "entra"] = "key"
    """Who may call over HTTP: whoever has a function key, or holders of app roles in Entra ID."""
    http_audience: str | None = Field(default=None, pattern=r"^[0-9A-Za-z][0-9A-Za-z:/._-]{1,200}$")
    """Client id or `api://` address of the registration that callers ask tokens for."""
    http_issuer: Url | None = None
    """Who must have issued their tokens; left out: the tenant, in both versions of its tokens."""
    webhook_url: Url | None = None
    """Public address of this worker's `/api/partner-center-events`, without its key."""
    webhook_key: InstanceOf[Secret] | None = None
    """Function key with which Partner Center is told to post; `webhook --register` adds it."""
    webhook_key_name: SecretName | None = None
    """Under which it stands in the Key Vault, in place of the key itself."""
    webhook_cert_hosts: Hosts = ("3psostorageacct.blob.core.windows.net",)
    """Where certificates that sign events may stand: the host of Microsoft's published example. That
    it is the only one, and the one of every cloud, is UNCONFIRMED."""
    webhook_issuer_hosts: Hosts = (
        "www.microsoft.com",
        "caissuers.microsoft.com",
        "cacerts.digicert.com",
    )
    """Where the authorities above those certificates publish their own (UNCONFIRMED)."""
    webhook_ca_file: Path | None = None
    """PEM: roots in place of the usual ones, and authorities between them and the certificates."""

    telemetry: Literal["off", "console", "otlp", "azure"] | None = None
    """Where traces, metrics and events go. Left out: to Application Insights where functions run and
    APPLICATIONINSIGHTS_CONNECTION_STRING is set, else nowhere."""

    export_hosts: Hosts = ("blob.core.windows.net", "blob.storage.azure.net")
    """Endings of the hosts from which the parts of billing exports are fetched; the first is that
    of Microsoft's published example, other clouds have others."""
    patience_seconds: float = Field(default=300, ge=0, le=3600)
    """How long a failing foreign system is waited for, in all, per call."""
    export_deadline_seconds: float = Field(default=3600, ge=1, le=86400)
    """How long Microsoft may prepare one billing export; it says one to fifteen minutes."""
    required_roles: tuple[str, ...] = ()
    """Entra role template ids, separated by commas, that a group must hold in each customer."""
    expiring_days: int = Field(default=30, ge=1, le=365)
    """How long ahead the end of access is told."""
    stale_days: int = Field(default=7, ge=0, le=365)
    """How long a customer whose access was lost is billed by what was read before."""
    severities: Mapping[str, Severity] = Field(default_factory=dict)
    """JSON object: finding check name to warn, hold or block."""
    tax_rounding: Mapping[str, TaxRounding] = Field(default_factory=dict)
    """`line` or `document`, or a JSON object of them by accounting target: {"quickbooks": "document"};
    under "" what holds for all others, and `line` where nothing is said."""

    @field_validator(
        "client_secret",
        "refresh_token",
        "storage_connection_string",
        "tax_engine_key",
        "webhook_key",
        mode="before",
    )
    @classmethod
    def _hide(cls, value: Any) -> Any:
        return Secret(value) if isinstance(value, str) else value

    @field_validator("required_roles", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        roles = tuple(part.strip().lower() for part in value.split(",") if part.strip())
        if not all(_ROLE.fullmatch(role) for role in roles):
            msg = "must be Entra role template ids, separated by commas"
            raise ValueError(msg)
        return roles

    @field_validator("unwatched", mode="before")
    @classmethod
    def _kinds(cls, value: Any) -> Any:
        from sync.ports import WATCHED

        if not isinstance(value, str):
            return value
        kinds = tuple(part.strip().lower() for part in value.split(",") if part.strip())
        if not WATCHED.issuperset(kinds):
            msg = f"must be among {', '.join(sorted(WATCHED))}, separated by commas"
            raise ValueError(msg)
        return kinds

    @field_validator("severities", mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        import json

        try:
            policy = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            policy = None
        if not isinstance(policy, dict):
            msg = 'must be a JSON object, e.g. {"gdap.missing": "warn"}'
            raise ValueError(msg)  # noqa: TRY004 - pydantic reports ValueErrors
        unknown = [name for name in policy if name not in CHECKS]
        if unknown:
            near = " or ".join(nearest(unknown[0])) or "one of docs/checks.md"
            msg = f"{unknown[0][:60]} is the name of no check; do you mean {near}?"
            raise ValueError(msg)
        final = [name for name, one in policy.items() if one == "warn" and CHECKS[name].final]
        if final:
            msg = f"{final[0]} cannot be warn: {CHECKS[final[0]].final}"
            raise ValueError(msg)
        return policy

    @field_validator("tax_rounding", mode="before")
    @classmethod
    def _by_target(cls, value: Any) -> Any:
        import json

        words = value.strip() if isinstance(value, str) else ""
        if words in set(TaxRounding):
            return {"": words}
        try:
            roundings = json.loads(words) if words else value
        except (ValueError, RecursionError):
            roundings = None
        if not isinstance(roundings, dict):
            msg = 'must be line, document or a JSON object, e.g. {"xero": "line", "": "document"}'
            raise ValueError(msg)  # noqa: TRY004 - pydantic reports ValueErrors
        return {str(target).strip().lower(): one for target, one in roundings.items()}

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        needed: tuple[str, ...] = ()
        if self.mode == "cloud":
            needed = ("tenant_id", "client_id", "dataverse_url")
        missing = [PREFIX + name.upper() for name in needed if getattr(self, name) is None]
        if self.mode == "cloud" and not (
            self.federated or self.client_secret or self.client_secret_name
        ):
            missing.append("CSP_FEDERATED (or CSP_CLIENT_SECRET_NAME, or CSP_CLIENT_SECRET)")
        if self.mode == "emulator" and self.emulator_url is None:
            missing.append(PREFIX + "EMULATOR_URL")
        if self.tax_engine_url is not None and not (
            self.tax_engine_key or self.tax_engine_key_name
        ):
            missing.append(PREFIX + "TAX_ENGINE_KEY")
        if missing:
            msg = f"mode {self.mode} needs {', '.join(missing)}"
            raise ValueError(msg)
        self._one_credential()
        if self.http_door == "entra" and self.http_audience is None:
            msg = "door entra needs CSP_HTTP_AUDIENCE: the client id of the registration"
            raise ValueError(msg)
        if self.http_door == "entra" and self.tenant_id and not _GUID.fullmatch(self.tenant_id):
            msg = "door entra needs the tenant's own id in CSP_TENANT_ID: tokens name no domain"
            raise ValueError(msg)
        if self.tax_engine_url is not None and self.mode == "embedded":
            msg = (
                "CSP_TAX_ENGINE_URL cannot be reached in mode embedded: nothing leaves the process"
            )
            raise ValueError(msg)
        return self

    def _one_credential(self) -> None:
        """See that each secret is said once, and that what it needs to be read is there."""
        for secret in SECRETS_BY_NAME:
            name = f"{PREFIX}{secret.upper()}"
            if getattr(self, f"{secret}_name") is None:
                continue
            if getattr(self, secret) is not None:
                msg = f"set {name} or {name}_NAME, not both"
                raise ValueError(msg)
            if self.key_vault_url is None:
                msg = f"{name}_NAME needs CSP_KEY_VAULT_URL"
                raise ValueError(msg)
            if self.mode == "embedded":
                msg = f"{name}_NAME cannot be read in mode embedded: nothing leaves the process"
                raise ValueError(msg)
        if self.federated and (self.client_secret or self.client_secret_name):
            msg = "CSP_FEDERATED needs no secret: unset CSP_CLIENT_SECRET and its name"
            raise ValueError(msg)
        if self.federated and (self.managed_identity_client_id is None or self.mode == "embedded"):
            msg = "CSP_FEDERATED needs CSP_MANAGED_IDENTITY_CLIENT_ID, and not mode embedded"
            raise ValueError(msg)

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Settings:
        """Read and check the environment; ConfigurationError names every variable that is wrong."""
        values = {
            key[len(PREFIX) :].lower(): value
            for key, value in environ.items()
            if key.startswith(PREFIX) and value
        }
        platform = next((name for name in ON_AZURE if environ.get(name)), None)
        if platform and values.get("mode") != "cloud":
            raise ConfigurationError(
                f"this is Azure ({platform} is set), but CSP_MODE is "
                f"{values.get('mode') or 'not set'}",
                hint="set CSP_MODE=cloud in the app settings: a deployed worker never bills "
                "invented data",
            )
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigurationError(
                _sentence(error),
                hint="every setting is explained in app/settings.py and listed by check-config",
            ) from None


def _sentence(error: ValidationError) -> str:
    """Name what is wrong where, without repeating the value: it may be a secret."""
    parts = []
    for fault in error.errors(include_url=False, include_input=False):
        name = PREFIX + str(fault["loc"][0]).upper() if fault["loc"] else "settings"
        what = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            what = "is not a setting"
        parts.append(f"{name}: {what}")
    return "; ".join(parts)
