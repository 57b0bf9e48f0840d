"""The four billing exports: operations that finish after some polls, manifests, and gzipped parts.

An export is computed when its operation first succeeds, from the world as of that moment, and kept
as compressed bytes: two exports of one closed invoice are the same bytes. A re-issued invoice is
another version under another directory with another eTag. The blob host knows no tokens, only the
signature in the query (SAS), which expires by the emulator's clock.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Resource = dict[str, Any]
TYPE = "#microsoft.graph.partners.billing."
# In this order, so that each kind of export shows another shape of success when shapes rotate.
KINDS = ("usage/billed", "reconciliation/billed", "usage/unbilled", "reconciliation/unbilled")
_SHAPES = ("link", "inline", "url")
_DIRECTORIES = {
    "usage/billed": "billedusagefastpath",
    "usage/unbilled": "unbilledusagefastpath",
    "reconciliation/billed": "billedreconfastpath",
    "reconciliation/unbilled": "unbilledreconfastpath",
}
# What `basic` leaves out of daily usage. For reconciliation lines the published set is unconfirmed:
# they keep everything.
NOT_IN_BASIC = frozenset(
    (
        *("CustomerName", "CustomerDomainName", "CustomerCountry", "MpnId", "Tier2MpnId"),
        *("AvailabilityId", "ProductName", "PublisherId", "SubscriptionDescription", "MeterType"),
        *("MeterCategory", "MeterId", "MeterSubCategory", "MeterName", "MeterRegion", "Unit"),
        *("ResourceLocation", "ConsumedService", "ResourceGroup", "EntitlementDescription"),
        *("PartnerEarnedCreditPercentage", "BenefitID", "ServiceInfo1", "ServiceInfo2", "Tags"),
    )
)


class BadExportError(ValueError):
    """A request body that cannot start an export."""


@dataclass(slots=True)
class Export:
    """One finished data set: where it lies and its parts by name."""

    manifest_id: str
    directory: str
    created: datetime
    parts: dict[str, bytes]
    etag: str


@dataclass(slots=True)
class Operation:
    """One export that was asked for."""

    id: str
    kind: str
    body: Resource
    created: datetime
    polls_left: int
    polled: int = 0
    finished: datetime | None = None
    export: Export | None = field(default=None)


class Exports:
    """Operations and manifests for the Graph host, and the blob host that serves the parts."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._operations: dict[str, Operation] = {}
        self._manifests: dict[str, Export] = {}
        self._made: dict[tuple[object, ...], Export | None] = {}
        self._versions: dict[str, int] = {}

    def reset(self) -> None:
        """Forget operations, manifests, parts and re-issues."""
        for memory in (self._operations, self._manifests, self._made, self._versions):
            memory.clear()

    def reissue(self, invoice_id: str) -> int:
        """Count an invoice's version up; ValueError when there is no such invoice."""
        if not any(row["id"] == invoice_id for row in self._stage.world.invoices()):
            raise ValueError(f"there is no invoice {invoice_id}")
        self._versions[invoice_id] = self._versions.get(invoice_id, 1) + 1
        return self._versions[invoice_id]

    # --- operations ----------------------------------------------------------------------------

    def start(self, kind: str, body: Resource) -> Operation:
        """Begin an export; BadExportError when the body is not one for this kind."""
        wanted = _checked(kind, body)
        number = len(self._operations) + 1
        operation = Operation(
            id=wire.derived_guid("operation", self._stage.seed, number),
            kind=kind,
            body=wanted,
            created=self._stage.clock.now(),
            polls_left=self._stage.control.settings.export_polls,
        )
        self._operations[operation.id] = operation
        return operation

    def poll(self, operation_id: str) -> Resource | None:
        """The operation as a Graph resource, one step further; None when it is not known."""
        operation = self._operations.get(operation_id)
        if operation is None:
            return None
        operation.polled += 1
        now = self._stage.clock.now()
        common: Resource = {"id": operation.id, "createdDateTime": wire.stamp(operation.created)}
        if operation.polls_left > 0:
            operation.polls_left -= 1
            waiting = operation.polled == 1 and operation.polls_left > 0
            common |= {"lastActionDateTime": wire.stamp(now)}
            status = "notStarted" if waiting else "running"
            return {"@odata.type": TYPE + "runningOperation"} | common | {"status": status}
        if operation.finished is None:
            operation.finished = now
            operation.export = self._export(operation)
        common |= {"lastActionDateTime": wire.stamp(operation.finished)}
        if operation.export is None:
            failed = {"status": "failed", "error": {"code": "5000", "message": "No data available"}}
            return {"@odata.type": TYPE + "failedOperation"} | common | failed
        success = {"@odata.type": TYPE + "exportSuccessOperation"} | common
        return success | {"status": "succeeded"} | self._location(operation.kind, operation.export)

    def manifest(self, manifest_id: str) -> Resource | None:
        """A manifest with a fresh signature; None when it is not known."""
        export = self._manifests.get(manifest_id)
        return None if export is None else self._manifest(export)

    def _location(self, kind: str, export: Export) -> Resource:
        """Where the manifest is, in one of the three shapes that clients have met."""
        shape = self._stage.control.settings.manifest_shape
        if shape == "rotate":
            shape = _SHAPES[KINDS.index(kind) % len(_SHAPES)]
        graph = self._stage.base_urls["graph"]
        address = f"{graph}/v1.0/reports/partners/billing/manifests/{export.manifest_id}"
        if shape == "link":
            return {"resourceLocation@odata.navigationLink": address}
        return {"resourceLocation": address if shape == "url" else self._manifest(export)}

    def _manifest(self, export: Export) -> Resource:
        return {
            "id": export.manifest_id,
            "schemaVersion": "1",
            "dataFormat": "compressedJSON",
            "createdDateTime": wire.stamp(export.created),
            "eTag": export.etag,
            "partnerTenantId": self._stage.world.partner.tenant_id,
            "rootDirectory": self._stage.base_urls["blob"] + export.directory,
            "sasToken": self._sas(export.directory),
            "partitionType": "default",
            "blobCount": len(export.parts),
            "blobs": [self._blob_entry(export, name) for name in export.parts],
        }

    def _blob_entry(self, export: Export, name: str) -> Resource:
        """One part in a manifest; its size and count were seen in one client's classes only."""
        entry: Resource = {"name": name, "partitionValue": "default"}
        if self._stage.control.settings.manifest_counts:
            entry["sizeInBytes"] = len(export.parts[name])
            entry["itemCount"] = gzip.decompress(export.parts[name]).count(b"\n")
        return entry

    # --- data sets -----------------------------------------------------------------------------

    def _export(self, operation: Operation) -> Export | None:
        """The data set of an operation, made once; None when there are no lines."""
        body = operation.body
        billed = "invoiceId" in body
        version = self._versions.get(body["invoiceId"], 1) if billed else 1
        # Unbilled data move with the clock, a closed invoice does not.
        moment = None if billed else self._stage.clock.now()
        key = (operation.kind, *body.values(), version, moment)
        if key not in self._made:
            self._made[key] = self._make(operation, version)
        export = self._made[key]
        if export is not None:
            self._manifests[export.manifest_id] = export
        return export

    def _make(self, operation: Operation, version: int) -> Export | None:
        lines = list(self._lines(operation.kind, operation.body))
        if not lines:
            return None
        if operation.body["attributeSet"] == "basic" and operation.kind.startswith("usage"):
            lines = [{k: v for k, v in line.items() if k not in NOT_IN_BASIC} for line in lines]
        directory = self._directory(operation, version)
        # At least two parts, so that nobody comes to rely on one.
        cap = max(1, self._stage.control.settings.export_lines_per_blob)
        size = min(cap, -(-len(lines) // 2))
        parts = {}
        for number, start in enumerate(range(0, len(lines), size)):
            guid = wire.derived_guid(directory, number)
            name = f"part-{number:05d}-{guid}.c000.json.gz"
            text = "".join(wire.encode(line) + "\n" for line in lines[start : start + size])
            parts[name] = gzip.compress(text.encode(), compresslevel=1, mtime=0)
        digest = hashlib.sha256(b"".join((directory.encode(), *parts.values()))).digest()
        moment = operation.finished or operation.created
        return Export(
            manifest_id=wire.derived_guid("manifest", directory, moment),
            directory=directory,
            created=moment,
            # Parts come in no order.
            parts=dict(sorted(parts.items(), key=lambda item: item[0][11:])),
            etag=base64.urlsafe_b64encode(digest[:12]).decode(),
        )

    def _lines(self, kind: str, body: Resource) -> Iterable[Resource]:
        world = self._stage.world
        match kind:
            case "usage/billed":
                return world.usage_lines(body["invoiceId"]) or []
            case "reconciliation/billed":
                return world.reconciliation_lines(body["invoiceId"]) or []
            case "usage/unbilled":
                return world.unbilled_usage_lines(body["currencyCode"], body["billingPeriod"])
            case _:
                return world.unbilled_reconciliation_lines(
                    body["currencyCode"], body["billingPeriod"]
                )

    def _directory(self, operation: Operation, version: int) -> str:
        body = operation.body
        if "invoiceId" in body:
            invoices = {row["id"]: row for row in self._stage.world.invoices()}
            month = invoices[body["invoiceId"]]["billingPeriodStartDate"]
            scope = (
                f"BillingMonth={month[:4]}{month[5:7]}/InvoiceId={body['invoiceId']}"
                f"/InvoiceVersion={version}"
            )
        else:
            made = (operation.finished or operation.created).strftime("%Y%m%dT%H%M%SZ")
            scope = (
                f"BillingPeriod={body['billingPeriod']}/CurrencyCode={body['currencyCode']}"
                f"/Snapshot={made}"
            )
        return (
            f"/{_DIRECTORIES[operation.kind]}/v1"
            f"/PartnerTenantId={self._stage.world.partner.tenant_id}/{scope}"
            f"/Fragment={body['attributeSet']}/PartitionType=default"
        )

    # --- the blob host -------------------------------------------------------------------------

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one part to whoever holds its signature; ranges and HEAD work."""
        request = Request(environ)
        response = self._blob(request)
        response.headers["x-ms-request-id"] = wire.derived_guid("blob", request.full_path)
        response.headers["x-ms-version"] = "2023-01-03"
        return response(environ, start_response)

    def _blob(self, request: Request) -> Response:
        directory, _, name = request.path.rpartition("/")
        if request.method not in ("GET", "HEAD"):
            return _blob_error(405, "UnsupportedHttpVerb", "The resource doesn't support the verb.")
        if "Authorization" in request.headers:
            return _blob_error(
                400, "InvalidAuthenticationInfo", "Authentication information is not in the form."
            )
        refusal = self._refusal(directory, request)
        if refusal:
            return _blob_error(
                403,
                "AuthenticationFailed",
                "Server failed to authenticate the request. Make sure the value of Authorization "
                "header is formed correctly including the signature.",
                refusal,
            )
        for export in self._manifests.values():
            if export.directory == directory and name in export.parts:
                content = export.parts[name]
                response = Response(content, content_type="application/octet-stream")
                response.set_etag(hashlib.sha256(content).hexdigest()[:16])
                return response.make_conditional(
                    request, accept_ranges=True, complete_length=len(content)
                )
        return _blob_error(404, "BlobNotFound", "The specified blob does not exist.")

    def _refusal(self, directory: str, request: Request) -> str:
        """Why the signature in the query does not open this directory; empty when it does."""
        ends = request.args.get("se", "")
        signature = request.args.get("sig", "")
        if not hmac.compare_digest(self._signature(directory, ends).encode(), signature.encode()):
            return "Signature did not match."
        now = wire.stamp(self._stage.clock.now())
        return f"Signed expiry time [{ends}] must be after [{now}]" if ends <= now else ""

    def _sas(self, directory: str) -> str:
        seconds = self._stage.control.settings.sas_seconds
        ends = wire.stamp(self._stage.clock.now() + timedelta(seconds=seconds))
        fixed = {"sv": "2023-01-03", "se": ends, "sr": "d", "sp": "rl", "sdd": "7"}
        return urlencode(fixed | {"sig": self._signature(directory, ends)})

    def _signature(self, directory: str, ends: str) -> str:
        key = f"emulator|sas|{self._stage.seed}".encode()
        return base64.b64encode(
            hmac.digest(key, f"{directory}\n{ends}".encode(), "sha256")
        ).decode()


def _checked(kind: str, body: Resource) -> Resource:
    """The body with its defaults, in a fixed order; BadExportError otherwise."""
    wanted: Resource = {}
    if kind.endswith("/billed"):
        wanted["invoiceId"] = body.get("invoiceId")
        if not isinstance(wanted["invoiceId"], str) or not wanted["invoiceId"]:
            raise BadExportError("invoiceId is required.")
    else:
        wanted["currencyCode"] = body.get("currencyCode")
        wanted["billingPeriod"] = body.get("billingPeriod")
        if not isinstance(wanted["currencyCode"], str) or len(wanted["currencyCode"]) != 3:
            raise BadExportError("currencyCode is required and has three letters.")
        if wanted["billingPeriod"] not in ("current", "last"):
            raise BadExportError("billingPeriod must be current or last.")
    wanted["attributeSet"] = body.get("attributeSet", "full")
    if wanted["attributeSet"] not in ("full", "basic"):
        raise BadExportError("attributeSet must be full or basic.")
    unknown = body.keys() - wanted.keys()
    if unknown:
        raise BadExportError(f"Unknown property: {', '.join(sorted(unknown))}.")
    return wanted


def _blob_error(status: int, code: str, message: str, detail: str = "") -> Response:
    """An error of Azure Storage: XML with a byte order mark, the code in a header as well."""
    extra = f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>" if detail else ""
    text = (
        '\ufeff<?xml version="1.0" encoding="utf-8"?>'
        f"<Error><Code>{code}</Code><Message>{message}</Message>{extra}</Error>"
    )
    headers = {"x-ms-error-code": code}
    return Response(text, status=status, headers=headers, content_type="application/xml")
