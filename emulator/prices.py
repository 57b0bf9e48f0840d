"""The price host: price sheets as a ZIP with one CSV inside, and exchange rates as CSV.

It is another host than Partner Center, with its own audience, takes users only, wants a
`client-request-id`, and words its errors as Graph does. Sheets come from the emulated catalogue;
a sheet that does not exist (a future month, an unknown market) is 404.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.tokens import TokenRefusedError, Tokens

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_SHEET = re.compile(
    r"/v1\.0/sales/pricesheets\(Market='(?P<market>[^']*)',PricesheetView='(?P<view>[^']*)'\)/\$value",
    re.IGNORECASE,
)
_RATES = re.compile(r"/v1\.0/sales/fxrates\(Month='(?P<month>[^']*)'\)/\$value", re.IGNORECASE)
_TIMELINES = ("history", "current", "future")
# Every file of an archive carries this date, so that the same sheet has the same bytes.
_ZIP_DATE = (2020, 1, 1, 0, 0, 0)


class _RefusalError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Prices:
    """The host api.partner.microsoft.com."""

    def __init__(self, stage: Stage, tokens: Tokens) -> None:
        self._stage = stage
        self._tokens = tokens

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        try:
            response = self._answer(request)
        except _RefusalError as refusal:
            error = {"code": refusal.code, "message": str(refusal), "target": None}
            body = {"error": error | {"innerError": None}}
            response = wire.json_response(body, refusal.status)
        asked = request.headers.get("client-request-id", "")
        response.headers["request-id"] = wire.derived_guid("price", asked, request.full_path)
        response.headers["x-ms-ags-diagnostic"] = '{"ServerInfo":{"DataCenter":"Emulator"}}'
        if asked:
            response.headers["client-request-id"] = asked
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        try:
            claims = self._tokens.verify(wire.bearer(request), "price")
        except TokenRefusedError as refused:
            raise _RefusalError(401, "Unauthorized", str(refused)) from refused
        if claims["idtyp"] == "app":
            raise _RefusalError(403, "Forbidden", "Prices need a user: Admin agent or Sales agent.")
        if not request.headers.get("client-request-id"):
            raise _RefusalError(400, "BadRequest", "The header client-request-id is required.")
        if request.method not in ("GET", "HEAD"):
            raise _RefusalError(405, "MethodNotAllowed", "Only GET is supported.")
        if hit := _SHEET.fullmatch(request.path):
            return self._sheet(request, hit["market"], hit["view"])
        if hit := _RATES.fullmatch(request.path):
            return self._rates(hit["month"])
        raise _RefusalError(404, "ResourceNotFound", "The resource was not found.")

    def _sheet(self, request: Request, market: str, view: str) -> Response:
        timeline = request.args.get("timeline", "current").lower()
        month = request.args.get("month")
        if timeline not in _TIMELINES:
            raise _RefusalError(400, "BadRequest", "timeline is history, current or future.")
        if (month is not None) != (timeline == "history"):
            raise _RefusalError(
                400, "BadRequest", "month goes with timeline=history, and only there."
            )
        if month is not None and not re.fullmatch(r"\d{4}(0[1-9]|1[0-2])", month):
            raise _RefusalError(400, "BadRequest", "month is YYYYMM.")
        rows = self._stage.world.price_sheet(market.upper(), view.lower(), timeline, month)
        if rows is None:
            raise _RefusalError(404, "ResourceNotFound", "There is no such price sheet.")
        name = f"{market.upper()}_{view.lower()}_{month or timeline}"
        form = self._stage.control.settings.price_sheet_form
        text = _csv(rows)
        if form == "zip":
            return _download(_zipped(f"{name}.csv", text.encode()), f"{name}.zip")
        encoding = "utf-8-sig" if form == "csv_bom" else "utf-8"
        return _download(text.encode(encoding), f"{name}.csv")

    def _rates(self, month: str) -> Response:
        rows = self._stage.world.fx_rates(month)
        if rows is None:
            raise _RefusalError(404, "ResourceNotFound", "There are no rates for this month.")
        return _download(_csv(rows).encode(), f"fxrates_{month}.csv")


def _download(content: bytes, name: str) -> Response:
    response = Response(content, content_type="application/octet-stream")
    response.headers["Content-Disposition"] = f"attachment; filename={name}"
    return response


def _csv(rows: list[dict[str, str]]) -> str:
    """RFC 4180 text with every field quoted, as the published sheets are."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), quoting=csv.QUOTE_ALL, lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def _zipped(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, _ZIP_DATE), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
