"""The columns of Partner Center's files, present and older names, and which file they make."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from enum import StrEnum
from functools import cache

from domain.problems import InputError


class Kind(StrEnum):
    """What a file holds."""

    RECONCILIATION = "reconciliation"
    USAGE = "usage"
    INVOICES = "invoices"
    """Heads of Microsoft's invoices, as the v1 API shows them."""
    MANIFEST = "manifest"
    """What an export consists of."""
    SOLD = "sold"
    """The partner's own invoices."""


class NotOursError(InputError):
    """The file is nothing that Partner Center exports; in a folder it is passed over."""


_RECONCILIATION = (
    *"PartnerId CustomerId CustomerName CustomerDomainName CustomerCountry InvoiceNumber".split(),
    *"MpnId Tier2MpnId OrderId OrderDate ProductId SkuId AvailabilityId SkuName".split(),
    *"ProductName ChargeType UnitPrice EffectiveUnitPrice Quantity BillableQuantity".split(),
    *"UnitType Subtotal TaxTotal Total Currency PricingCurrency PCToBCExchangeRate".split(),
    *"PCToBCExchangeRateDate PriceAdjustmentDescription PublisherName PublisherId".split(),
    *"SubscriptionDescription SubscriptionId SubscriptionStartDate SubscriptionEndDate".split(),
    *"ChargeStartDate ChargeEndDate TermAndBillingCycle BillingFrequency AlternateId".split(),
    *"MeterDescription ReservationOrderId CreditReasonCode ReferenceId".split(),
    *"ProductQualifiers PromotionId ProductCategory".split(),
)
_USAGE = (
    *"PartnerId PartnerName CustomerId CustomerName CustomerDomainName CustomerCountry".split(),
    *"MpnId Tier2MpnId InvoiceNumber ProductId SkuId AvailabilityId SkuName ProductName".split(),
    *"PublisherName PublisherId SubscriptionDescription SubscriptionId ChargeStartDate".split(),
    *"ChargeEndDate UsageDate MeterType MeterCategory MeterId MeterSubCategory".split(),
    *"MeterName MeterRegion Unit ResourceLocation ConsumedService ResourceGroup".split(),
    *"ResourceURI ChargeType UnitPrice Quantity UnitType BillingPreTaxTotal".split(),
    *"BillingCurrency PricingPreTaxTotal PricingCurrency ServiceInfo1 ServiceInfo2 Tags".split(),
    *"AdditionalInfo EffectiveUnitPrice PCToBCExchangeRate PCToBCExchangeRateDate".split(),
    *"EntitlementId EntitlementDescription PartnerEarnedCreditPercentage".split(),
    *"CreditPercentage CreditType BenefitID BenefitOrderID BenefitType".split(),
)
_ALSO = {
    "resellermpnid": "Tier2MpnId",
    "totalforcustomer": "Total",
    "rateofpartnerearnedcredit": "PartnerEarnedCreditPercentage",
    "rateofcredit": "CreditPercentage",
    "unitofmeasure": "Unit",
    "tax": "TaxTotal",
}
_NEEDED = {
    Kind.RECONCILIATION: (
        *"CustomerId ProductId ChargeType Subtotal Currency".split(),
        "Quantity|BillableQuantity",
    ),
    Kind.USAGE: tuple(
        "CustomerId SubscriptionId UsageDate Quantity BillingPreTaxTotal BillingCurrency".split()
    ),
}
_COLUMNS = {Kind.RECONCILIATION: _RECONCILIATION, Kind.USAGE: _USAGE}
LEGACY = {
    "durableofferid": "legacy licence-based lines",
    "syndicationpartnersubscriptionnumber": "legacy licence-based lines",
    "totalotherdiscount": "legacy licence-based lines",
    "pretaxcharges": "legacy usage-based lines",
    "overagequantity": "legacy usage-based lines",
    "customerbillableaccount": "legacy daily usage",
}
DATES = frozenset(
    "OrderDate SubscriptionStartDate SubscriptionEndDate ChargeStartDate ChargeEndDate "
    "UsageDate PCToBCExchangeRateDate".split()
)
NUMBERS = frozenset(
    "UnitPrice EffectiveUnitPrice Quantity BillableQuantity Subtotal TaxTotal Total "
    "PCToBCExchangeRate BillingPreTaxTotal PricingPreTaxTotal PartnerEarnedCreditPercentage "
    "CreditPercentage".split()
)


def folded(name: str) -> str:
    """Write a column's name without case, spaces and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


NAMES = {folded(name): name for columns in _COLUMNS.values() for name in columns} | _ALSO


def v1_name(column: str) -> str:
    """Write a present name as the v1 API does."""
    older = {"PartnerEarnedCreditPercentage": "rateOfPartnerEarnedCredit", "Unit": "unitOfMeasure"}
    older |= {"CreditPercentage": "rateOfCredit", "Tier2MpnId": "resellerMpnId"}
    known = older.get(column, column)
    return f"pc{known[2:]}" if known.startswith("PC") else known[:1].lower() + known[1:]


@cache
def column_of(name: str) -> str:
    """Return the present name of a column, however it is written; the name itself where unknown."""
    return NAMES.get(folded(name), name)


def kind_of(name: str, header: Sequence[str]) -> Kind:
    """Tell the kind by the columns; NotOursError where they are no kind's, InputError where some lack."""
    there = {folded(one) for one in header}
    for mark, legacy in LEGACY.items():
        if mark in there:
            raise InputError(
                f"{name} holds {legacy} (column {next(h for h in header if folded(h) == mark)}), "
                "from before the new commerce experience, which this audit does not read",
                hint="give the reconciliation file of a G... invoice",
            )
    if {"totalcharges", "currencycode"} <= there:
        return Kind.INVOICES
    if {"blobs", "rootdirectory"} <= there or {"lines", "sumbillingpretax"} <= there:
        return Kind.MANIFEST
    columns = {column_of(one) for one in header}
    usage = {"UsageDate", "BillingPreTaxTotal", "BillingCurrency", "EntitlementId", "MeterCategory"}
    lines = {
        "Subtotal",
        "Total",
        "Currency",
        "BillableQuantity",
        "TermAndBillingCycle",
        "OrderDate",
    }
    scores = {Kind.USAGE: len(usage & columns), Kind.RECONCILIATION: len(lines & columns)}
    kind = max(scores, key=lambda one: scores[one])
    known = len(columns & set(_COLUMNS[kind]))
    missing = [one for one in _NEEDED[kind] if not columns & set(one.split("|"))]
    if known < 4 or (len(missing) > 3 and known < 8):
        raise NotOursError(
            f"{name} is neither a reconciliation nor a daily usage file: its columns are "
            f"{', '.join(header[:6]) or 'none'}{', ...' if len(header) > 6 else ''}",
            hint="give the files as Partner Center exports them",
        )
    if missing:
        spare = [one for one in header if folded(one) not in NAMES and one.strip()]
        raise InputError(
            f"{name} looks like a {kind.value} file, but has no column "
            + ", ".join(with_nearest(one, spare) for one in missing),
            hint="export it again with all columns, or write the name as Microsoft does",
        )
    return kind


def with_nearest(wanted: str, spare: Sequence[str]) -> str:
    """Name a missing column (`a|b`: one of two) and what comes near it among `spare`."""
    shown = wanted.replace("|", " or ")
    near = {
        found
        for one in wanted.split("|")
        for found in difflib.get_close_matches(folded(one), [folded(s) for s in spare], 1, 0.6)
    }
    names = [one for one in spare if folded(one) in near]
    return f"{shown} (nearest: {', '.join(names)})" if names else shown
