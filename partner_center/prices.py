"""Microsoft's price sheets: fetched from the price host, read into `SheetPrice`s.

The host takes tokens of a user alone, for an audience of its own, and answers with a ZIP of one CSV or
with the CSV itself. What `UnitPrice` covers for a yearly term billed monthly (the year or the month)
is not documented (UNCONFIRMED): it is passed on as it stands, and the setting belongs to whoever
prices with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from pydantic import PlainValidator

from domain.contract import SheetPrice
from domain.period import Period
from domain.problems import Finding, Severity
from partner_center.files import csv_rows
from partner_center.wire import Day, Number, Text, Wire, day_of, label, read, term_of
from transport.session import Http, Tokens

PRICE_URL = "https://api.partner.microsoft.com"
PRICE_SCOPE = f"{PRICE_URL}/.default"
_COLUMNS = ("productid", "skuid", "unitprice", "market", "currency", "effectivestartdate")


def _end(value: Any) -> date:
    """Read an end as the first day without the price; the year 9999: no end."""
    day = day_of(value)
    if day is None or day.year >= 9999:
        return date.max
    # Midnight is the end itself; 11:59:59 PM, or no time at all, belongs to the last day.
    midnight = str(value).endswith(("12:00:00 AM", "T00:00:00Z", "T00:00:00", " 00:00:00"))
    return day if midnight else day + timedelta(days=1)


class PriceWire(Wire):
    """One row of a price sheet, of licences or of Azure."""

    product_title: Text = ""
    product_id: Text
    sku_id: Text
    sku_title: Text = ""
    term_duration: Text = ""
    billing_plan: Text = ""
    market: Text
    currency: Text
    unit_price: Number
    pricing_tier_range_min: Number | None = None
    effective_start_date: Day
    effective_end_date: Annotated[date, PlainValidator(_end)] = date.max
    erp_price: Number | None = None
    segment: Text = ""

    @property
    def is_higher_tier(self) -> bool:
        """Whether the price is for larger quantities only."""
        return self.pricing_tier_range_min is not None and self.pricing_tier_range_min > 1

    def to_domain(self) -> SheetPrice:
        """Translate; ValueError when the price ends before it starts."""
        if self.effective_start_date is None:
            raise ValueError("the field effectiveStartDate holds no date")
        return SheetPrice(
            product_id=self.product_id,
            sku_id=self.sku_id,
            term=term_of(self.term_duration),
            billing_plan=self.billing_plan.lower(),
            market=self.market.upper(),
            currency=self.currency.upper(),
            segment=self.segment,
            unit_price=self.unit_price,
            erp_price=self.erp_price,
            valid=Period(self.effective_start_date, self.effective_end_date),
            title=self.sku_title or self.product_title,
        )


def sheet_prices_in(path: Path) -> Iterator[SheetPrice | Finding]:
    """Read a price sheet; prices of higher tiers are left out and counted in a finding."""
    higher = 0

    def translate(wire: PriceWire) -> SheetPrice | None:
        return None if wire.is_higher_tier else wire.to_domain()

    for row in csv_rows(path, _COLUMNS):
        if isinstance(row, Finding):
            yield row
            continue
        found = read(
            PriceWire, row, translate, check="price", record=label(f"price of {path.name}", row)
        )
        if found is None:
            higher += 1
        else:
            yield found
    if higher:
        yield Finding(
            check="wire.price_tiers",
            severity=Severity.WARN,
            customer_id="",
            record=path.name,
            sentence=f"{higher} prices for larger quantities in {path.name} were left out.",
            hint="Quantities above the first tier are priced too high by the sheet.",
        )


class PriceSheets:
    """The price host; `user` is a user's sign-in, for an app alone is refused there."""

    def __init__(
        self,
        http: Http,
        user: Tokens,
        *,
        on_payload: Callable[[str, bytes], None] | None = None,
    ) -> None:
        self._http = http
        self._user = user
        self._on_payload = on_payload

    def sheet_prices(self, market: str, view: str) -> Iterator[SheetPrice | Finding]:
        """Fetch the sheet now in force and yield its prices; NotFound for an unknown view."""
        name = f"{market.upper()}-{view}"
        market_text, view_text = quote(market.upper(), safe=""), quote(view, safe="")
        path = (
            f"/v1.0/sales/pricesheets(Market='{market_text}',PricesheetView='{view_text}')/$value"
        )
        with TemporaryDirectory(prefix="price-sheet-") as folder:
            target = self._http.download(
                f"{self._http.base_url}{path}",
                Path(folder) / name,
                params={"timeline": "current"},
                headers={
                    "client-request-id": str(uuid5(NAMESPACE_URL, f"{path}?timeline=current")),
                    # This is how the compressed form is asked for; the answer is a ZIP all the same.
                    "Accept-Encoding": "deflate",
                },
                tokens=self._user,
            )
            if self._on_payload:
                self._on_payload(f"prices/{name}", target.read_bytes())
            yield from sheet_prices_in(target)
