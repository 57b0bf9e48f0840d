"""What Microsoft sells in the emulated world, at what price, in which market and from when.

Titles are real product names; every id and every price is invented (only the Azure plan keeps its
public id). A price belongs to one product, term, billing plan, segment and market and covers the
WHOLE term per unit: what a sheet's UnitPrice covers for an annual term billed monthly is not
published clearly, and this world takes the whole year. The list changes once, on 1 October 2026.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_DOWN, ROUND_HALF_UP, Decimal
from hashlib import sha256

from emulator.meters import METERS
from emulator.terms import TERM_MONTHS, month_of

CENT = Decimal("0.01")
PRICE_CHANGE = date(2026, 10, 1)
LIST_OPENED = date(2024, 1, 1)
OPEN_END = date(9999, 11, 30)

MARKETS = {
    "US": "USD",
    "DE": "EUR",
    "FR": "EUR",
    "AT": "EUR",
    "NL": "EUR",
    "IE": "EUR",
    "ES": "EUR",
    "GB": "GBP",
}
_LOCAL = {"USD": Decimal(1), "EUR": Decimal("0.93"), "GBP": Decimal("0.80")}
_SEGMENT = {"Commercial": Decimal(1), "Education": Decimal("0.36"), "Charity": Decimal("0.5")}

# Month -> US dollars per unit. Rates stand for a month; a month without a row uses the last one.
_FX = {
    "EUR": {date(2024, 1, 1): "1.0850", date(2026, 9, 1): "1.1742", date(2026, 10, 1): "1.1687"},
    "GBP": {date(2024, 1, 1): "1.2705", date(2026, 9, 1): "1.3511", date(2026, 10, 1): "1.3449"},
    "CHF": {date(2024, 1, 1): "1.1320"},
    "SEK": {date(2024, 1, 1): "0.0961"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One SKU; ``yearly`` are the US prices of a year paid upfront before and after the change."""

    key: str
    product_id: str
    sku_id: str
    title: str
    description: str
    yearly: tuple[str, str]
    view: str = "updatedlicensebased"
    product_type: str = "OnlineServicesNCE"
    category: str = "Online services"
    publisher: str = "Microsoft Corporation"
    publisher_id: str = ""
    terms: tuple[tuple[str, str], ...] = (("P1M", "monthly"), ("P1Y", "monthly"), ("P1Y", "annual"))
    segments: tuple[str, ...] = ("Commercial",)
    unit: str = "Licenses"
    qualifiers: tuple[str, ...] = ()
    trial: bool = False
    # Only in the extended service term: the premium on a month (section 13.5).
    premium: Decimal | None = None
    # Properties of the subscription that no published page names; clients must carry them along.
    unpublished: tuple[tuple[str, str], ...] = ()
    # Microsoft's instalments are mostly whole cents; of this product they are not.
    odd_instalments: bool = False

    @property
    def microsoft(self) -> bool:
        """Whether Microsoft is the publisher; false for the marketplace."""
        return self.publisher.startswith("Microsoft")

    def availability_id(self, segment: str, term: str, plan: str) -> str:
        """The availability that stands for one way to buy the SKU."""
        digest = sha256(f"{self.product_id}/{self.sku_id}/{segment}/{term}/{plan}".encode())
        return self.product_id[:8] + digest.hexdigest()[:4].upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One row of a sheet: the price of a unit for a whole term, in force on [start, end)."""

    product: Product
    term: str
    plan: str
    segment: str
    market: str
    currency: str
    amount: Decimal
    retail: Decimal
    start: date
    end: date


_ALL_TERMS = (
    ("P1M", "monthly"),
    ("P1Y", "monthly"),
    ("P1Y", "annual"),
    ("P3Y", "monthly"),
    ("P3Y", "annual"),
    ("P3Y", "triennial"),
)

PRODUCTS: dict[str, Product] = {
    product.key: product
    for product in (
        Product(
            key="business-basic",
            product_id="CFQ7TTC0EB01",
            sku_id="0001",
            title="Microsoft 365 Business Basic",
            description="Web and mobile apps, mail, Teams and 1 TB of storage",
            yearly=("57.60", "62.40"),
            segments=("Commercial", "Charity"),
        ),
        Product(
            key="business-standard",
            product_id="CFQ7TTC0EB02",
            sku_id="0001",
            title="Microsoft 365 Business Standard",
            description="Desktop, web and mobile apps, mail, Teams and 1 TB of storage",
            yearly=("120.00", "126.00"),
        ),
        Product(
            key="business-premium",
            product_id="CFQ7TTC0EB03",
            sku_id="0001",
            title="Microsoft 365 Business Premium",
            description='Business Standard with device management and "defender" protection',
            yearly=("211.20", "220.80"),
            terms=_ALL_TERMS,
            segments=("Commercial", "Charity"),
        ),
        Product(
            key="business-premium-trial",
            product_id="CFQ7TTC0EB03",
            sku_id="0005",
            title="Microsoft 365 Business Premium Trial",
            description="One month, 25 seats, free of charge",
            yearly=("0", "0"),
            terms=(("P1M", "monthly"),),
            qualifiers=("Trial",),
            trial=True,
        ),
        Product(
            key="e3",
            product_id="CFQ7TTC0EB04",
            sku_id="000K",
            title="Microsoft 365 E3",
            description="Enterprise apps, security and compliance, Windows Enterprise",
            yearly=("345.60", "374.40"),
            terms=_ALL_TERMS,
            segments=("Commercial", "Education"),
        ),
        Product(
            key="e5",
            product_id="CFQ7TTC0EB05",
            sku_id="000L",
            title="Microsoft 365 E5",
            description="E3 with advanced security, analytics and voice",
            yearly=("547.20", "576.00"),
            terms=_ALL_TERMS,
            segments=("Commercial", "Education"),
        ),
        Product(
            key="exchange-1",
            product_id="CFQ7TTC0EB06",
            sku_id="0001",
            title="Exchange Online (Plan 1)",
            description="Mailbox of 50 GB",
            yearly=("38.40", "40.80"),
        ),
        Product(
            key="teams-phone",
            product_id="CFQ7TTC0EB07",
            sku_id="0002",
            title="Microsoft Teams Phone Standard",
            description="Phone system in the cloud, add-on",
            yearly=("76.80", "81.60"),
            qualifiers=("Add-on",),
        ),
        Product(
            key="visio-2",
            product_id="CFQ7TTC0EB08",
            sku_id="0001",
            title="Visio Plan 2",
            description="Diagrams, desktop and web",
            yearly=("143.50", "148.90"),
            odd_instalments=True,
        ),
        Product(
            key="power-bi-pro",
            product_id="CFQ7TTC0EB09",
            sku_id="0001",
            title="Power BI Pro",
            description="Self-service analytics",
            yearly=("96.00", "134.40"),
            segments=("Commercial", "Education"),
        ),
        Product(
            key="agent-pack",
            product_id="CFQ7TTC0EB10",
            sku_id="0001",
            title="Copilot Agent Message Pack",
            description="25,000 messages a month",
            yearly=("192.00", "192.00"),
            # A product type younger than any client: enumerations of Microsoft are open.
            product_type="AgentCapacityNCE",
            unpublished=(("endOfTermPreference", "renew"),),
        ),
        Product(
            key="sql-standard",
            product_id="DG7GMGF0EB31",
            sku_id="0003",
            title="SQL Server Standard - 2 Core License Pack - 1 year",
            description="Software subscription",
            yearly=("1320.00", "1392.00"),
            view="software",
            product_type="Software",
            category="Software",
            publisher="Microsoft",
            terms=(("P1Y", "annual"), ("P3Y", "triennial")),
        ),
        Product(
            key="windows-server-perpetual",
            product_id="DG7GMGF0EB32",
            sku_id="0001",
            title="Windows Server 2025 Standard - 16 Core License Pack",
            description="Perpetual licence",
            yearly=("912.00", "912.00"),
            view="software",
            product_type="Software",
            category="Software",
            publisher="Microsoft",
            terms=(("NoTerm", "one_time"),),
        ),
        Product(
            key="reserved-d4s",
            product_id="DZH318Z0EB41",
            sku_id="000Z",
            title="Reserved VM Instance, Standard_D4s_v5, US East, 1 Year",
            description="Reservation of one virtual machine size for a year",
            yearly=("1009.16", "1009.16"),
            view="azure_reservations",
            product_type="AzureReservations",
            category="Azure reservation",
            publisher="Microsoft",
            terms=(("P1Y", "one_time"),),
            unit="",
        ),
        Product(
            key="litware-backup",
            product_id="DZH318Z0EB51",
            sku_id="0002",
            title="Litware Backup for Microsoft 365",
            description="Third-party backup, per user",
            yearly=("21.60", "22.80"),
            view="marketplace",
            product_type="SaaS",
            category="Marketplace",
            publisher="Litware Software BV",
            publisher_id="litware",
            terms=(("P1M", "monthly"), ("P1Y", "annual")),
        ),
        Product(
            key="azure-plan",
            product_id="DZH318Z0BPS6",
            sku_id="0001",
            title="Azure plan",
            description="Pay as you go consumption",
            yearly=("0", "0"),
            view="azure_consumption",
            product_type="Azure",
            category="Azure",
            publisher="Microsoft",
            terms=(),
            unit="Usage-based",
        ),
    )
}


def extended(product: Product) -> Product:
    """The SKU that a subscription rolls into when it neither renews nor is told to end.

    Monthly price plus 3 %, or a twelfth of the year plus 23 % where no monthly plan is sold.
    """
    monthly = ("P1M", "monthly") in product.terms
    return replace(
        product,
        key=f"{product.key}-extended",
        sku_id=f"E{product.sku_id[1:]}",
        title=f"{product.title} (Extended service term)",
        view="licensebasedest",
        terms=(("P1M", "monthly"),),
        premium=Decimal("1.20") * Decimal("1.03") if monthly else Decimal("1.23"),
    )


_SHEETS = (
    *PRODUCTS.values(),
    *(
        extended(product)
        for product in PRODUCTS.values()
        if product.view == "updatedlicensebased" and not product.trial
    ),
)

SHEET_COLUMNS = (
    "ProductTitle",
    "ProductId",
    "SkuId",
    "SkuTitle",
    "Publisher",
    "SkuDescription",
    "UnitOfMeasure",
    "TermDuration",
    "BillingPlan",
    "Market",
    "Currency",
    "UnitPrice",
    "PricingTierRangeMin",
    "PricingTierRangeMax",
    "EffectiveStartDate",
    "EffectiveEndDate",
    "Tags",
    "ERP Price",
    "Segment",
)
AZURE_COLUMNS = (
    *SHEET_COLUMNS[:8],
    *SHEET_COLUMNS[9:16],
    "MeterIds",
    "MeterType",
    "Tags",
)
_PLAN_TEXT = {
    "monthly": "Monthly",
    "annual": "Annual",
    "triennial": "Triennial",
    "one_time": "OneTime",
}


def find_price(
    product: Product, *, term: str, plan: str, segment: str, market: str, on: date
) -> Price:
    """The row of the sheet in force on a day; KeyError when the SKU is not sold that way."""
    if (term, plan) not in product.terms or segment not in product.segments:
        raise KeyError(f"{product.title} is not sold as {term} {plan} {segment} in {market}")
    changed = product.yearly[0] != product.yearly[1]
    late = on >= PRICE_CHANGE
    return Price(
        product=product,
        term=term,
        plan=plan,
        segment=segment,
        market=market,
        currency=MARKETS[market],
        amount=_amount(product, term, plan, segment, market, late=late),
        retail=(_amount(product, term, plan, segment, market, late=late) / Decimal("0.8")).quantize(
            CENT, ROUND_HALF_UP
        ),
        start=PRICE_CHANGE if changed and late else LIST_OPENED,
        end=PRICE_CHANGE if changed and not late else OPEN_END,
    )


def _amount(
    product: Product, term: str, plan: str, segment: str, market: str, *, late: bool
) -> Decimal:
    """The whole term's price per unit: monthly billing of a year costs 5 % more, a month 20 %."""
    local = Decimal(product.yearly[late]) * _LOCAL[MARKETS[market]] * _SEGMENT[segment]
    year = local.quantize(CENT, ROUND_HALF_UP)
    if term == "NoTerm" or plan == "one_time":
        return year
    years = Decimal(TERM_MONTHS[term]) / 12
    if term == "P1M":
        return (year * (product.premium or Decimal("1.20")) / 12).quantize(CENT, ROUND_HALF_UP)
    if plan == "monthly":
        if product.odd_instalments:
            return (year * years * Decimal("1.05")).quantize(CENT, ROUND_HALF_UP)
        month = (year * Decimal("1.05") / 12).quantize(CENT, ROUND_HALF_UP)
        return month * TERM_MONTHS[term]
    return year * years


def price_rows(market: str, view: str, on: date) -> list[dict[str, str]] | None:
    """The rows of a sheet in force on a day, in column order; None for an unknown market or view."""
    products = [product for product in _SHEETS if product.view == view]
    if market not in MARKETS or not products:
        return None
    if view == "azure_consumption":
        return _meter_rows(market)
    return [
        _row(find_price(product, term=term, plan=plan, segment=segment, market=market, on=on))
        for product in products
        for term, plan in product.terms
        for segment in product.segments
    ]


def _row(price: Price) -> dict[str, str]:
    product = price.product
    cells = (
        product.title,
        product.product_id,
        product.sku_id,
        product.title,
        product.publisher,
        product.description,
        "1 License" if product.unit else "1 Hour",
        price.term,
        _PLAN_TEXT[price.plan],
        price.market,
        price.currency,
        str(price.amount),
        "",
        "",
        _sheet_date(price.start),
        _sheet_date(price.end),
        "" if product.microsoft else "Third Party",
        str(price.retail),
        price.segment,
    )
    return dict(zip(SHEET_COLUMNS, cells, strict=True))


def _meter_rows(market: str) -> list[dict[str, str]]:
    # Azure plan prices are retail US dollars in every market.
    rows = []
    for meter in METERS:
        cells = (
            meter.product_name,
            meter.product_id,
            meter.sku_id,
            meter.sku_name,
            meter.publisher,
            f"{meter.product_name} - {meter.name} - {meter.region}",
            meter.unit,
            "payG-1",
            market,
            "USD",
            str(meter.price),
            "",
            "",
            _sheet_date(LIST_OPENED),
            _sheet_date(OPEN_END),
            meter.meter_id,
            meter.unit,
            "Azure" if meter.earns_credit else "Azure;Third Party",
        )
        rows.append(dict(zip(AZURE_COLUMNS, cells, strict=True)))
    return rows


def _sheet_date(day: date) -> str:
    clock = "11:59:59 PM" if day == OPEN_END else "12:00:00 AM"
    return f"{day.month}/{day.day}/{day.year} {clock}"


def dollars_per_unit(currency: str, month: date) -> Decimal:
    """US dollars for one unit of a currency in the month holding a day."""
    if currency == "USD":
        return Decimal(1)
    rates = _FX[currency]
    return Decimal(rates[max(start for start in rates if start <= month_of(month).start)])


def exchange_rate(pricing: str, billing: str, month: date) -> Decimal:
    """PCToBCExchangeRate of a month: billing currency per unit of pricing currency, 9 places."""
    if pricing == billing:
        return Decimal(1)
    ratio = dollars_per_unit(pricing, month) / dollars_per_unit(billing, month)
    return ratio.quantize(Decimal("1e-9"), ROUND_DOWN)


def fx_rows(month: date) -> list[dict[str, str]]:
    """The FX file of a month."""
    return [
        {
            "CurrencyCode": currency,
            "USDPerUnit": str(dollars_per_unit(currency, month)),
            "Month": f"{month:%Y%m}",
        }
        for currency in sorted(_FX)
    ]
