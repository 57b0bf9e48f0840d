"""Who calls over HTTP, and may they: a function key that the host checks, or a token of Entra ID.

Door `key` (the default): the host asks for a function key before it calls us, and whoever has it may
do everything; it names nobody. Door `entra`: the routes are open to the host, and each asks here for
a bearer token, which is judged by ourselves (`transport.bearer`) with the app roles below. The header
X-MS-CLIENT-PRINCIPAL is read nowhere: without the platform's own sign-in anybody may write it.
Webhooks always ask for a key: what calls them cannot sign in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

import azure.functions as func

from domain.problems import WorkerError

if TYPE_CHECKING:
    from app.wiring import Worker

ROLES = {
    "Runs.Start": "Start runs and hand messages to them",
    "Runs.Read": "Read runs, findings, invoices and reports",
    "Invoices.Approve": "Approve drafts, which issues them",
    "Holds.Release": "Release a finding, so that a held customer is billed",
}
"""App roles of the registration that callers ask tokens for, and what each lets them do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who called, for the audit trail."""

    name: str
    """As a person reads it; empty behind a function key, which names nobody."""
    object_id: str
    """Of the user or service principal in Entra ID; empty behind a function key."""
    roles: frozenset[str]


class _Refused(WorkerError):  # noqa: N818 - named after what happened, as in domain.problems
    """A caller that is not let in; `headers` belong on the answer."""

    status: int
    headers: Mapping[str, str]


class Unauthenticated(_Refused):
    """No token, or one that is not to be believed: 401."""

    status = HTTPStatus.UNAUTHORIZED

    def __init__(self, message: str, *, given: bool) -> None:
        """`given`: there was a token. RFC 6750 tells an error code only then."""
        super().__init__(message, hint="send a token of Entra ID for this API as Bearer")
        self.headers = {"WWW-Authenticate": 'Bearer error="invalid_token"' if given else "Bearer"}


class Forbidden(_Refused):
    """A believable caller without the role: 403."""

    status = HTTPStatus.FORBIDDEN

    def __init__(self, needs: str) -> None:
        super().__init__(
            f"this needs the app role {needs}",
            hint=f"assign {needs} to the user or application in Entra ID, and get a new token",
        )
        self.headers = {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}


def auth_level(environ: Mapping[str, str] = os.environ) -> func.AuthLevel:
    """What the host asks for on a route that calls `caller_of`; anything but `entra` is a key."""
    entra = environ.get("CSP_HTTP_DOOR") == "entra"
    return func.AuthLevel.ANONYMOUS if entra else func.AuthLevel.FUNCTION


def caller_of(req: func.HttpRequest, needs: str, worker: Worker | None = None) -> Caller:
    """Say who calls and check their role; Unauthenticated, Forbidden, Unavailable (no keys now).

    `needs` is one of ROLES.
    """
    if worker is None:
        from app.wiring import worker as of_process

        worker = of_process()
    if worker.settings.http_door == "key":
        return Caller(name="", object_id="", roles=frozenset(ROLES))
    from transport.bearer import BadToken

    given = req.headers.get("Authorization", "")
    try:
        bearer = worker.bearers().read(given)
    except BadToken as problem:
        raise Unauthenticated(str(problem), given=bool(given)) from None
    if needs not in bearer.roles:
        raise Forbidden(needs)
    return Caller(name=bearer.name, object_id=bearer.object_id, roles=bearer.roles)
