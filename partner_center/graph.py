"""Microsoft Graph's partner APIs: delegated admin relationships and the billing exports.

An export is started, polled until it is ready, and fetched as gzip JSON lines from blob storage with
a signature that expires. "No data" is an ordinary answer and means no files. Where the manifest
stands differs between Microsoft's documentation and its behaviour: all three places are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from pydantic import ValidationError

from domain.customer import DelegatedAdminRelationship
from domain.problems import Finding, NotAuthorised, NotFound, ServiceError, Unavailable
from partner_center.customers import AssignmentWire, RelationshipWire
from partner_center.wire import Text, Whole, Wire, label, objects, read
from transport import exact_json
from transport.session import Answer, Http, request_id_of

GRAPH_URL = "https://graph.microsoft.com"
GRAPH_SCOPE = f"{GRAPH_URL}/.default"
_RELATIONSHIPS = "/v1.0/tenantRelationships/delegatedAdminRelationships"
_BILLING = "/v1.0/reports/partners/billing"
_PART_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,200}")
_PARALLEL = 4


class GraphDirectory:
    """Who may administer whom."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def relationships(self) -> Iterator[DelegatedAdminRelationship | Finding]:
        """Yield every GDAP relationship with the number of its active assignments."""
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for page in self._pages(f"{_RELATIONSHIPS}?$top=300"):
                yield from pool.map(self._relationship, page)

    def _relationship(self, payload: Any) -> DelegatedAdminRelationship | Finding:
        customer = payload.get("customer") if isinstance(payload, Mapping) else None
        known = customer.get("tenantId") if isinstance(customer, Mapping) else None
        return read(
            RelationshipWire,
            payload,
            lambda wire: wire.to_domain(self._active_assignments(wire)),
            check="relationship",
            record=label("relationship", payload),
            customer_id=str(known or "").lower(),
        )

    def _active_assignments(self, relationship: RelationshipWire) -> int:
        """Count what gives access: an active relationship without any gives none."""
        if not relationship.may_give_access:
            return 0
        path = f"{_RELATIONSHIPS}/{quote(relationship.id, safe='')}/accessAssignments"
        try:
            assignments = [one for page in self._pages(path) for one in page]
        except NotFound:  # terminated since the list was read
            return 0
        return sum(AssignmentWire.model_validate(one).gives_access for one in assignments)

    def _pages(self, url: str) -> Iterator[list[Any]]:
        seen: set[str] = set()
        while url:
            if url in seen:
                raise ServiceError("a next link leads back", service=self._http.service)
            seen.add(url)
            body = json_of(self._http.request("GET", url), self._http.service)
            yield list(objects(body))
            url = str(body.get("@odata.nextLink") or "")


class _PartWire(Wire):
    name: Text


class _ManifestWire(Wire):
    root_directory: Text
    sas_token: Text = ""
    blob_count: Whole | None = None
    blobs: tuple[_PartWire, ...] = ()


class BillingExports:
    """The four billing exports of Graph: usage and reconciliation, billed and unbilled.

    `blobs` fetches the parts: it carries no token, the signature in the URL is the permission.
    """

    def __init__(
        self,
        http: Http,
        blobs: Http,
        *,
        deadline_seconds: float = 3600.0,
        poll_seconds: float = 10.0,
        attribute_set: str = "full",
    ) -> None:
        self._http = http
        self._blobs = blobs
        self._deadline = deadline_seconds
        self._poll_seconds = poll_seconds
        self._attribute_set = attribute_set

    def billed(self, report: str, invoice_id: str, directory: Path) -> tuple[Path, ...]:
        """Fetch `usage` or `reconciliation` of an invoice into a folder; no data: no files."""
        return self._fetch(f"{report}/billed", {"invoiceId": invoice_id}, directory)

    def unbilled(
        self, report: str, currency: str, period: str, directory: Path
    ) -> tuple[Path, ...]:
        """Fetch what is not billed yet, of the `current` or the `last` period."""
        wanted = {"currencyCode": currency, "billingPeriod": period}
        return self._fetch(f"{report}/unbilled", wanted, directory)

    def _fetch(self, report: str, wanted: dict[str, str], directory: Path) -> tuple[Path, ...]:
        """Fetch all parts; the folder then holds these and no parts of an earlier export."""
        wanted = wanted | {"attributeSet": self._attribute_set}
        directory.mkdir(parents=True, exist_ok=True)
        try:
            paths = self._download(self._export(report, wanted), directory)
        except NotAuthorised as error:
            if error.service != self._blobs.service:
                raise
            # The signature expired between manifest and download: a new export signs anew.
            paths = self._download(self._export(report, wanted), directory)
        for stale in set(directory.glob("*.json.gz")) - set(paths):
            stale.unlink()
        return paths

    def _export(self, report: str, wanted: dict[str, str]) -> _ManifestWire | None:
        started = self._http.request(
            "POST",
            f"{_BILLING}/{report}/export",
            json=wanted,
            headers={
                "client-request-id": str(
                    uuid5(NAMESPACE_URL, f"{report}/{exact_json.dumps(wanted)}")
                )
            },
            keyed=True,  # a second export of the same data does no harm
        )
        location = started.headers.get("Location", "")
        if not location:
            raise self._fault("an export started without saying where")
        operation = self._finished(location, started)
        if operation is None:
            return None
        place = operation.get("resourceLocation@odata.navigationLink")
        place = place or operation.get("resourceLocation")
        if isinstance(place, str):
            place = json_of(self._http.request("GET", place), self._http.service)
        try:
            manifest = _ManifestWire.model_validate(place)
        except ValidationError as error:
            raise self._fault("an export without a readable manifest") from error
        return self._checked(manifest)

    def _finished(self, location: str, answer: Answer) -> Mapping[str, Any] | None:
        """Poll an operation until it succeeded (its body) or found no data (None)."""
        waited = 0.0
        while True:
            pause = self._pause(answer)
            if waited + pause > self._deadline:
                raise Unavailable(
                    f"an export was not ready after {waited:.0f} seconds",
                    service=self._http.service,
                    hint="try again later: Microsoft may still be preparing it",
                )
            self._http.sleep(pause)
            waited += pause
            answer = self._http.request("GET", location)
            body = json_of(answer, self._http.service)
            status = str(body.get("status", "")).lower()
            if status == "succeeded":
                return body
            if status == "failed":
                error = body.get("error")
                detail = error if isinstance(error, Mapping) else {}
                code, message = str(detail.get("code", "")), str(detail.get("message", ""))
                if code == "5000" or "no data" in message.lower():
                    return None
                raise self._fault(f"an export failed: {message}", code)

    def _pause(self, answer: Answer) -> float:
        text = answer.headers.get("Retry-After", "")
        return float(text) if text.isdecimal() else self._poll_seconds

    def _checked(self, manifest: _ManifestWire) -> _ManifestWire:
        names = [part.name for part in manifest.blobs]
        if manifest.blob_count is not None and manifest.blob_count != len(names):
            raise self._fault(
                f"an incomplete manifest: {len(names)} parts named, {manifest.blob_count} announced"
            )
        # The names become file names here, so they are not trusted.
        if len(set(names)) != len(names) or not all(_PART_NAME.fullmatch(name) for name in names):
            raise self._fault("a manifest with part names that are no plain file names")
        return manifest

    def _download(self, manifest: _ManifestWire | None, directory: Path) -> tuple[Path, ...]:
        if manifest is None:
            return ()
        root, signature = manifest.root_directory.rstrip("/"), manifest.sas_token.lstrip("?")

        def fetch(part: _PartWire) -> Path:
            url = f"{root}/{quote(part.name)}?{signature}"
            return self._blobs.download(url, directory / part.name)

        with ThreadPoolExecutor(_PARALLEL) as pool:
            return tuple(sorted(pool.map(fetch, manifest.blobs)))

    def _fault(self, sentence: str, code: str = "") -> ServiceError:
        return ServiceError(sentence, service=self._http.service, code=code)


def json_of(answer: Answer, service: str) -> dict[str, Any]:
    """Read an answer that must be a JSON object or array; an array comes back under `items`."""
    body = answer.json()
    if isinstance(body, list):
        return {"items": body}
    if not isinstance(body, dict):
        raise ServiceError("an answer without content", service=service, status=answer.status)
    if "code" in body and "description" in body and "items" not in body:
        # Partner Center sometimes answers 200 with an error inside.
        raise ServiceError(
            str(body["description"])[:500],
            service=service,
            status=answer.status,
            code=str(body["code"]),
            request_id=request_id_of(answer.headers),
        )
    return body
