"""Azure consumption: which resources run, what they use each day, and Microsoft's usage arithmetic.

Quantities come from the seed alone, a month at a time, so any month can be asked for in any order.
Two stages keep it quick: monthly sums need only integers; the wide daily lines are made when asked.
Rules (section 13.3 of the published contract): with partner earned credit the effective unit price
is FLOOR(BCU x UP x 0.85, 2) / BCU, recomputed each day over the month so far; a daily amount is
FLOOR(EUP x Quantity x rate, 2); a month's line is ROUNDDOWN(ROUNDDOWN(EUP x BCU, 2) x rate, 2).
The daily lines of a month therefore do not add up to its reconciliation line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from random import Random
from typing import Any

from emulator.terms import Span, stamp

CENT = Decimal("0.01")
KEPT_AFTER_CREDIT = Decimal("0.85")
MICRO = -6


def plain(number: Decimal) -> Decimal:
    """The same number without trailing zeros and without an exponent on the wire."""
    short = number.normalize() + 0  # a credit of nothing is not minus nothing
    return short.quantize(Decimal(1)) if short.as_tuple().exponent > 0 else short  # type: ignore[operator]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """One billable meter; ``daily`` is the usual consumption of a resource in millionths of a unit."""

    meter_id: str
    category: str
    sub_category: str
    name: str
    region: str
    unit: str
    price: Decimal
    product_id: str
    sku_id: str
    product_name: str
    sku_name: str
    consumed_service: str
    resource_type: str
    location: str
    daily: int
    steady: bool = False
    earns_credit: bool = True
    publisher: str = "Microsoft"
    service_type: str = ""


def _meter(number: int, *cells: str, daily: int, **more: Any) -> Meter:
    names = (
        "category",
        "sub_category",
        "name",
        "region",
        "unit",
        "price",
        "product_id",
        "sku_id",
        "product_name",
        "consumed_service",
        "resource_type",
        "location",
    )
    fields: dict[str, Any] = dict(zip(names, cells, strict=True))
    fields["price"] = Decimal(fields["price"])
    return Meter(
        meter_id=f"e0a1c5b0-0000-4000-8000-{number:012d}",
        sku_name=fields["name"],
        daily=daily,
        **fields,
        **more,
    )


_VM = ("Microsoft.Compute", "virtualMachines")
_DISK = ("Microsoft.Compute", "disks")
_STORE = ("Microsoft.Storage", "storageAccounts")
_SQL = ("Microsoft.Sql", "servers")
_WEB = ("Microsoft.Web", "serverFarms")
_LOGS = ("Microsoft.OperationalInsights", "workspaces")
_NET = ("Microsoft.Network", "publicIPAddresses")
_SAVES = ("Microsoft.RecoveryServices", "vaults")
_AI = ("Microsoft.CognitiveServices", "accounts")

# fmt: off
METERS: tuple[Meter, ...] = (
    _meter(1, "Virtual Machines", "Dsv5 Series", "D4s v5", "US East", "1 Hour", "0.192", "DZH318Z0EBA1", "00XY", "Virtual Machines Dsv5 Series", *_VM, "EASTUS", daily=24_000_000, steady=True, service_type="Standard_D4s_v5"),
    _meter(2, "Virtual Machines", "Bsv2 Series", "B2s v2", "EU West", "1 Hour", "0.0958", "DZH318Z0EBA2", "00QK", "Virtual Machines Bsv2 Series", *_VM, "WESTEUROPE", daily=24_000_000, steady=True, service_type="Standard_B2s_v2"),
    _meter(3, "Virtual Machines", "Esv5 Series", "E8s v5", "EU West", "1 Hour", "0.608", "DZH318Z0EBA3", "01C2", "Virtual Machines Esv5 Series", *_VM, "WESTEUROPE", daily=10_000_000, service_type="Standard_E8s_v5"),
    _meter(4, "Storage", "Premium SSD Managed Disks", "P10 LRS Disk", "US East", "1/Month", "19.71", "DZH318Z0EBB1", "0041", "Premium SSD Managed Disks", *_DISK, "EASTUS", daily=32_258, steady=True),
    _meter(5, "Storage", "Tables", "LRS Data Stored", "EU West", "1 GB/Month", "0.045", "DZH318Z0EBB2", "006G", "Tables", *_STORE, "WESTEUROPE", daily=12_900_000),
    _meter(6, "Storage", "General Block Blob v2", "Hot LRS Data Stored", "US East", "1 GB/Month", "0.0208", "DZH318Z0EBB3", "00B1", "General Block Blob v2", *_STORE, "EASTUS", daily=48_000_000),
    _meter(7, "Storage", "General Block Blob v2", "Hot LRS Write Operations", "US East", "10K", "0.05", "DZH318Z0EBB3", "00B4", "General Block Blob v2", *_STORE, "EASTUS", daily=9_400_000),
    _meter(8, "SQL Database", "Single Standard", "S3 DTUs", "EU West", "1/Day", "4.8387", "DZH318Z0EBC1", "00FT", "SQL Database Single Standard", *_SQL, "WESTEUROPE", daily=1_000_000, steady=True),
    _meter(9, "Azure App Service", "Premium v3 Plan", "P1 v3 App", "US East", "1 Hour", "0.169", "DZH318Z0EBD1", "003N", "Azure App Service Premium v3 Plan", *_WEB, "EASTUS", daily=24_000_000, steady=True),
    _meter(10, "Log Analytics", "Log Analytics", "Analytics Logs Data Ingestion", "EU West", "1 GB", "2.99", "DZH318Z0EBE1", "0007", "Log Analytics", *_LOGS, "WESTEUROPE", daily=1_450_000),
    _meter(11, "Virtual Network", "IP Addresses", "Standard IPv4 Static Public IP", "US East", "1 Hour", "0.005", "DZH318Z0EBF1", "0012", "IP Addresses", *_NET, "EASTUS", daily=24_000_000, steady=True),
    _meter(12, "Bandwidth", "Rtn Preference: MGN", "Standard Data Transfer Out", "EU West", "1 GB", "0.087", "DZH318Z0EBF2", "002B", "Bandwidth - Routing Preference", *_NET, "WESTEUROPE", daily=7_300_000),
    _meter(13, "Backup", "Backup", "Azure VM Protected Instance", "EU West", "1/Month", "10.00", "DZH318Z0EBG1", "0009", "Backup", *_SAVES, "WESTEUROPE", daily=32_258, steady=True),
    _meter(14, "Azure OpenAI", "GPT", "Input Tokens", "US East", "1K", "0.0025", "DZH318Z0EBH1", "00AI", "Azure OpenAI", *_AI, "EASTUS", daily=880_000_000),
    # Third-party meters earn the partner no credit.
    _meter(15, "Virtual Machine Licenses", "Northwind Firewall", "2 vCPU Hours", "EU West", "1 Hour", "0.41", "DZH318Z0EBJ1", "0002", "Northwind Next Generation Firewall", *_VM, "WESTEUROPE", daily=24_000_000, steady=True, earns_credit=False, publisher="Northwind Networks"),
)
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitlement:
    """One Azure subscription in a plan; without the partner's access it earns no credit."""

    id: str
    name: str
    started: date
    managed: bool = True
    status: str = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One resource and what meters it runs, from a day on; ``percent`` scales usual consumption."""

    entitlement: Entitlement
    group: str
    name: str
    meters: tuple[Meter, ...]
    tags: Mapping[str, str]
    started: date
    stopped: date | None = None
    percent: int = 100
    # From that day on it consumes so many times the usual: a mistake, or an intruder.
    surge: tuple[date, int] | None = None
    # A sponsorship pays for it: the lines show consumption at price nil.
    sponsored: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AzurePlan:
    """A customer's Azure plan, the one subscription that holds all Azure subscriptions."""

    subscription_id: str
    customer_id: str
    created: datetime
    order_id: str
    entitlements: tuple[Entitlement, ...]
    deployments: tuple[Deployment, ...]


@dataclass(frozen=True, slots=True)
class Rate:
    """What decides the price of consumption besides the meter: how much credit of which kind."""

    meter: Meter
    earned: bool
    sponsored: bool

    def effective(self, consumed: Decimal) -> Decimal:
        """EffectiveUnitPrice over so many units of a month.

        Rounded up in the 12th place: times the units it gives the floored cents, not one less.
        """
        if self.sponsored or not consumed:
            return Decimal(0)
        if not self.earned:
            return self.meter.price
        paid = (consumed * self.meter.price * KEPT_AFTER_CREDIT).quantize(CENT, ROUND_FLOOR)
        return plain((paid / consumed).quantize(Decimal("1e-12"), ROUND_CEILING))

    def month_total(self, consumed: Decimal, exchange: Decimal) -> Decimal:
        """The reconciliation Subtotal of a month's consumption, in the billing currency."""
        priced = (self.effective(consumed) * consumed).quantize(CENT, ROUND_DOWN)
        return (priced * exchange).quantize(CENT, ROUND_DOWN)


@dataclass(frozen=True, slots=True)
class _Series:
    deployment: Deployment
    rate: Rate
    # One amount a day of the month, millionths of a unit.
    amounts: tuple[int, ...]


class PlanUsage:
    """The consumption of one plan in one calendar month, up to and including a day."""

    def __init__(
        self,
        plan: AzurePlan,
        *,
        seed: int,
        month: Span,
        through: date,
        corrected: Mapping[str, int] | None = None,
    ) -> None:
        """`corrected` are percentages by meter id, where a re-issued invoice says otherwise."""
        self.plan = plan
        self.month = month
        self.through = min(through, month.last)
        self._series = [
            replace(
                one,
                amounts=tuple(
                    amount * (corrected or {}).get(one.rate.meter.meter_id, 100) // 100
                    for amount in one.amounts
                ),
            )
            for one in _series(plan, seed, month, self.through)
        ]

    def by_rate(self) -> dict[Rate, Decimal]:
        """Units consumed per meter and kind of credit, in the order of the plan."""
        sums: dict[Rate, int] = {}
        for series in self._series:
            sums[series.rate] = sums.get(series.rate, 0) + sum(series.amounts)
        return {rate: _units(total) for rate, total in sums.items() if total}

    def daily_lines(
        self, shared: Mapping[str, Any], exchange: Decimal, currency: str
    ) -> Iterator[dict[str, Any]]:
        """Daily rated usage lines, a day after the other; ``shared`` names partner and customer."""
        templates = [self._template(series, shared, exchange, currency) for series in self._series]
        rates = list(dict.fromkeys(series.rate for series in self._series))
        numbers = [rates.index(series.rate) for series in self._series]
        consumed = [0] * len(rates)
        for index in range((self.through - self.month.start).days + 1):
            for series, number in zip(self._series, numbers, strict=True):
                consumed[number] += series.amounts[index]
            prices = [
                rate.effective(_units(total)) for rate, total in zip(rates, consumed, strict=True)
            ]
            day = stamp(self.month.start + timedelta(days=index))
            for series, number, template in zip(self._series, numbers, templates, strict=True):
                if amount := series.amounts[index]:
                    quantity = _units(amount)
                    price = prices[number]
                    priced = plain(price * quantity)
                    yield template | {
                        "UsageDate": day,
                        "Quantity": quantity,
                        "EffectiveUnitPrice": price,
                        "PricingPreTaxTotal": priced,
                        "BillingPreTaxTotal": (priced * exchange).quantize(CENT, ROUND_FLOOR),
                    }

    def _template(
        self, series: _Series, shared: Mapping[str, Any], exchange: Decimal, currency: str
    ) -> dict[str, Any]:
        deployment, meter = series.deployment, series.rate.meter
        entitlement = deployment.entitlement
        uri = (
            f"/subscriptions/{entitlement.id}/resourceGroups/{deployment.group}"
            f"/providers/{meter.consumed_service}/{meter.resource_type}/{deployment.name}"
        )
        return {
            **shared,
            "ProductId": meter.product_id,
            "SkuId": meter.sku_id,
            "AvailabilityId": meter.product_id[:8] + meter.sku_id,
            "SkuName": meter.sku_name,
            "ProductName": meter.product_name,
            "PublisherName": meter.publisher,
            "PublisherId": "",
            "SubscriptionDescription": "Azure plan",
            "SubscriptionId": self.plan.subscription_id,
            "ChargeStartDate": stamp(self.month.start),
            "ChargeEndDate": f"{self.month.last.isoformat()}T23:59:59Z",
            "UsageDate": "",
            "MeterType": meter.unit,
            "MeterCategory": meter.category,
            "MeterId": meter.meter_id,
            "MeterSubCategory": meter.sub_category,
            "MeterName": meter.name,
            "MeterRegion": meter.region,
            "Unit": meter.unit,
            "ResourceLocation": meter.location,
            "ConsumedService": meter.consumed_service,
            "ResourceGroup": deployment.group,
            "ResourceURI": uri,
            "ChargeType": "new",
            "UnitPrice": meter.price,
            "Quantity": Decimal(0),
            "UnitType": meter.unit,
            "BillingPreTaxTotal": Decimal(0),
            "BillingCurrency": currency,
            "PricingPreTaxTotal": Decimal(0),
            "PricingCurrency": "USD",
            "ServiceInfo1": "",
            "ServiceInfo2": "",
            "Tags": json.dumps(dict(deployment.tags)) if deployment.tags else "",
            "AdditionalInfo": (
                json.dumps({"ServiceType": meter.service_type}) if meter.service_type else ""
            ),
            "EffectiveUnitPrice": Decimal(0),
            "PCToBCExchangeRate": exchange,
            "PCToBCExchangeRateDate": stamp(self.month.last),
            "EntitlementId": entitlement.id,
            "EntitlementDescription": entitlement.name,
            "PartnerEarnedCreditPercentage": 15 if series.rate.earned else 0,
            "CreditPercentage": 100 if series.rate.sponsored else 0,
            "CreditType": "Azure Credit Applied" if series.rate.sponsored else "Not Applicable",
            "BenefitOrderID": "",
            "BenefitID": "",
            "BenefitType": "Charge",
        }


def _series(plan: AzurePlan, seed: int, month: Span, through: date) -> Iterator[_Series]:
    for deployment in plan.deployments:
        if deployment.started > through:
            continue
        if deployment.stopped is not None and deployment.stopped <= month.start:
            continue
        first = max((deployment.started - month.start).days, 0)
        stop = month.days
        if deployment.stopped is not None:
            stop = min(stop, (deployment.stopped - month.start).days)
        stop = min(stop, (through - month.start).days + 1)
        for meter in deployment.meters:
            usual = meter.daily * deployment.percent // 100
            if meter.steady:
                amounts = [usual] * month.days
            else:
                name = f"{seed}/{deployment.entitlement.id}/{deployment.name}/{meter.meter_id}"
                noise = Random(f"{name}/{month.start}").randbytes(month.days)  # noqa: S311 - repeatable on purpose
                amounts = [usual * (160 + byte) // 288 for byte in noise]
            if deployment.surge is not None:
                surged, factor = (deployment.surge[0] - month.start).days, deployment.surge[1]
                amounts = [
                    amount * factor if day >= surged else amount
                    for day, amount in enumerate(amounts)
                ]
            yield _Series(
                deployment,
                Rate(
                    meter,
                    # What a sponsor pays for earns the partner nothing.
                    earned=meter.earns_credit
                    and deployment.entitlement.managed
                    and not deployment.sponsored,
                    sponsored=deployment.sponsored,
                ),
                tuple(amount if first <= day < stop else 0 for day, amount in enumerate(amounts)),
            )


def _units(millionths: int) -> Decimal:
    return plain(Decimal(millionths).scaleb(MICRO))
