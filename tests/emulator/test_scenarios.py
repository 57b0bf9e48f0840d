"""Every story of the partner's month is really there: the concrete thing, found in the data."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from decimal import Decimal

import pytest

from emulator.scenarios import STORIES
from emulator.world import World, build_world

SEPTEMBER = ("G000912343", "G000912344")
OCTOBER = ("G000912345", "G000912346")


class Teller:
    """Finds the records of a story by its key."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told = {story["key"]: story for story in world.stories()}

    def customer(self, key: str) -> dict:
        found = self.world.customer(self.told[key]["customerId"])
        assert found is not None
        return found

    def subscription(self, key: str, name: str) -> dict:
        ids = {each["friendlyName"]: each["id"] for each in self.told[key]["subscriptions"]}
        found = self.world.subscription(self.told[key]["customerId"], ids[name])
        assert found is not None
        return found

    def lines(self, key: str, name: str | None = None, month: tuple = OCTOBER) -> list[dict]:
        """The billed lines of the story's customer, or of one subscription."""
        wanted = self.subscription(key, name)["id"] if name else None
        return [
            line
            for invoice in month
            for line in self.world.reconciliation_lines(invoice) or []
            if line["CustomerId"] == self.told[key]["customerId"]
            and wanted in {None, line["SubscriptionId"]}
        ]

    def relationships(self, key: str) -> list[dict]:
        return [
            each
            for each in self.world.gdap_relationships()
            if each["customer"] and each["customer"]["tenantId"] == self.told[key]["customerId"]
        ]

    def usage(self, key: str) -> list[dict]:
        return [
            line
            for invoice in OCTOBER
            for line in self.world.usage_lines(invoice) or []
            if line["CustomerId"] == self.told[key]["customerId"]
        ]


@pytest.fixture(scope="module", params=[1, 7], ids=["seed 1", "seed 7"])
def teller(request) -> Teller:
    return Teller(build_world(seed=request.param, scenario="partner-month"))


def dates(line: dict) -> tuple[str, str]:
    return line["ChargeStartDate"][:10], line["ChargeEndDate"][:10]


def kinds(lines: list[dict]) -> list[str]:
    return [line["ChargeType"].lower() for line in lines]


TESTED = set()


def story(key: str):
    """Mark a test as the proof of a story."""
    TESTED.add(key)
    return pytest.mark.parametrize("key", [key])


def test_every_story_is_proved_and_finds_its_place(teller: Teller):
    assert set(STORIES) == TESTED == set(teller.told)
    for key, told in teller.told.items():
        assert told["customerId"]
        assert {each["friendlyName"] for each in told["subscriptions"]} == set(
            STORIES[key].subscriptions
        )


def test_the_month_has_its_size(teller: Teller):
    customers = teller.world.customers()
    assert len(customers) == 25
    assert 135 <= sum(len(teller.world.subscriptions(each["id"])) for each in customers) <= 165
    usage = [line for each in OCTOBER for line in teller.world.usage_lines(each) or []]
    assert 17_000 < len(usage) < 23_000
    assert len({line["CustomerId"] for line in usage}) == 8
    assert len({line["MeterCategory"] for line in usage}) >= 10
    assert {line["PartnerEarnedCreditPercentage"] for line in usage} == {0, 15}


def test_rows_are_untidy_in_the_known_ways(teller: Teller):
    lines = [each for one in OCTOBER for each in teller.world.reconciliation_lines(one) or []]
    assert any(isinstance(line["UnitPrice"], str) for line in lines)
    assert any(line["ChargeType"][:1].isupper() for line in lines)
    assert any(line["ChargeType"][:1].islower() for line in lines)
    statuses = Counter(each["status"] for each in teller.world.gdap_relationships())
    assert set(statuses) == {
        "created", "approvalPending", "approved", "activating", "active", "expiring", "expired",
        "terminationRequested", "terminating", "terminated",
    }  # fmt: skip
    unaddressed = [each for each in teller.world.gdap_relationships() if each["customer"] is None]
    assert unaddressed[0]["endDateTime"] is None
    customers = {each["id"] for each in teller.world.customers()}
    assert any(
        each["customer"] and each["customer"]["tenantId"] not in customers
        for each in teller.world.gdap_relationships()
    )


def test_september_is_computable_as_well(teller: Teller):
    for invoice in SEPTEMBER:
        lines = teller.world.reconciliation_lines(invoice) or []
        assert {line["OrderDate"][:7] for line in lines} == {"2026-09"}
        assert list(teller.world.usage_lines(invoice) or [])


@story("seat-changes")
def test_seat_changes(teller: Teller, key: str):
    lines = teller.lines(key, "Office seats")
    moved = [line for line in lines if "quantity" in line["ChargeType"].lower()]
    assert Counter(line["OrderDate"][8:10] for line in moved) == {
        "05": 2, "09": 2, "20": 4, "26": 2, "28": 4,
    }  # fmt: skip
    assert [int(line["Quantity"]) for line in moved][-4:] == [31, 34, 34, 31]
    assert sum(line["Subtotal"] for line in moved[-4:]) == 0
    for old, new in zip(moved[::2], moved[1::2], strict=True):
        assert old["Subtotal"] < 0 < new["Subtotal"]
        assert dates(old) == dates(new)
    audited = [
        record
        for record in teller.world.audit_records(*_october())
        if record["operationType"] == "update_subscription"
        and json.loads(record["resourceNewValue"])["FriendlyName"] == "Office seats"
    ]
    assert [json.loads(each["resourceNewValue"])["Quantity"] for each in audited] == [
        30, 28, 33, 35, 31, 34, 31,
    ]  # fmt: skip


@story("add-on")
def test_add_on(teller: Teller, key: str):
    assert teller.subscription(key, "Phones")["parentSubscriptionId"]
    assert teller.lines(key, "Phones")[0]["ProductQualifiers"] == '["Add-on"]'


@story("several-relationships")
def test_several_relationships(teller: Teller, key: str):
    running = [each for each in teller.relationships(key) if each["status"] != "expired"]
    assert len(running) == 2
    assert len({each["endDateTime"] for each in running}) == 2


@story("cancelled-in-window")
def test_cancelled_in_window(teller: Teller, key: str):
    pilot, mistake = (teller.lines(key, name) for name in STORIES[key].subscriptions)
    assert kinds(pilot) == kinds(mistake) == ["new", "cancelimmediate"]
    assert dates(pilot[1]) == ("2026-10-16", "2026-11-11")
    assert mistake[0]["Subtotal"] == -mistake[1]["Subtotal"]
    assert pilot[0]["Subtotal"] > -pilot[1]["Subtotal"]
    assert teller.subscription(key, "Visio pilot")["status"] == "deleted"


@story("refused-after-window")
def test_refused_after_window(teller: Teller, key: str):
    assert kinds(teller.lines(key, "Partner mailboxes")) == ["new"]
    assert teller.subscription(key, "Partner mailboxes")["quantity"] == 20
    failed = [
        {each["key"]: each["value"] for each in record["customizedData"]}["ErrorCode"]
        for record in teller.world.audit_records(*_october())
        if record["operationStatus"] == "failed"
    ]
    assert failed == ["900117", "800090"]


@story("renewed-at-new-price")
def test_renewed_at_new_price(teller: Teller, key: str):
    head, branch = teller.lines(key, "Head office E3"), teller.lines(key, "Branch E3")
    assert kinds(head) == ["renew"]
    assert kinds(branch) == ["cyclecharge"]
    assert Decimal(head[0]["UnitPrice"]) == Decimal("32.76")
    assert Decimal(branch[0]["UnitPrice"]) == Decimal("30.24")
    earlier = teller.lines(key, "Head office E3", SEPTEMBER)
    assert Decimal(earlier[0]["UnitPrice"]) == Decimal("30.24")
    assert head[0]["SubscriptionEndDate"] == "2027-10-13T00:00:00Z"


@story("scheduled-renewal")
def test_scheduled_renewal(teller: Teller, key: str):
    assert int(teller.lines(key, "Analysts", SEPTEMBER)[0]["Quantity"]) == 12
    (line,) = teller.lines(key, "Analysts")
    assert (line["ChargeType"].lower(), int(line["Quantity"])) == ("renew", 8)


@story("promotion-ends")
def test_promotion_ends(teller: Teller, key: str):
    (before,) = teller.lines(key, "Practice seats", SEPTEMBER)
    (after,) = teller.lines(key, "Practice seats")
    assert before["EffectiveUnitPrice"] == Decimal(before["UnitPrice"]) * Decimal("0.85")
    assert before["PromotionId"]
    assert "15.0%" in json.loads(before["PriceAdjustmentDescription"])[1]
    assert after["EffectiveUnitPrice"] == Decimal(after["UnitPrice"])
    assert after["PromotionId"] == ""


@story("co-terminated")
def test_co_terminated(teller: Teller, key: str):
    (stub,) = teller.lines(key, "Seasonal desk")
    assert dates(stub) == ("2026-10-20", "2026-10-31")
    assert stub["SubscriptionEndDate"] == "2026-10-31T00:00:00Z"
    (short,) = teller.lines(key, "Aligned E5")
    assert dates(short) == ("2026-10-10", "2027-06-30")
    assert short["EffectiveUnitPrice"] < Decimal(short["UnitPrice"])


@story("trial-converts")
def test_trial_converts(teller: Teller, key: str):
    source, target = teller.lines(key, "Premium trial")
    assert kinds([source, target]) == ["convert", "convert"]
    assert source["ReferenceId"] == target["ReferenceId"] != ""
    assert (source["Subtotal"], source["ProductQualifiers"]) == (0, '["Trial"]')
    assert (int(target["Quantity"]), dates(target)) == (18, ("2026-10-14", "2026-11-13"))
    subscription = teller.subscription(key, "Premium trial")
    assert (subscription["isTrial"], subscription["quantity"]) == (False, 18)
    assert any(
        record["operationType"] == "convert_trial_subscription"
        for record in teller.world.audit_records(*_october())
    )


@story("month-end-anchor")
def test_month_end_anchor(teller: Teller, key: str):
    for name in STORIES[key].subscriptions:
        (september,) = teller.lines(key, name, SEPTEMBER)
        (october,) = teller.lines(key, name)
        assert dates(september) == ("2026-09-30", "2026-10-30")
        assert dates(october) == ("2026-10-31", "2026-11-29")


@story("suspended")
def test_suspended(teller: Teller, key: str):
    assert teller.subscription(key, "Clinic E3")["status"] == "suspended"
    (line,) = teller.lines(key, "Clinic E3")
    assert line["Subtotal"] > 0


@story("expired")
def test_expired(teller: Teller, key: str):
    subscription = teller.subscription(key, "Evaluation")
    assert subscription["status"] == "expired"
    assert subscription["commitmentEndDate"] == "2026-10-02T00:00:00Z"
    assert len(teller.lines(key, "Evaluation", SEPTEMBER)) == 1
    assert teller.lines(key, "Evaluation") == []


@story("extended-service-term")
def test_extended_service_term(teller: Teller, key: str):
    (line,) = teller.lines(key, "Showroom")
    assert (line["SkuId"], dates(line)) == ("E001", ("2026-10-27", "2026-11-26"))
    sheet = teller.world.price_sheet("US", "licensebasedest", "current", None)
    (price,) = [
        Decimal(row["UnitPrice"])
        for row in sheet or []
        if (row["ProductId"], row["Segment"]) == (line["ProductId"], "Commercial")
    ]
    assert Decimal(line["UnitPrice"]) == price == Decimal("6.43")
    subscription = teller.subscription(key, "Showroom")
    assert (subscription["status"], subscription["autoRenewEnabled"]) == ("active", False)
    # May be cancelled at any time: the date equals the end of the month.
    assert subscription["cancellationAllowedUntilDate"] == "2026-11-27T00:00:00Z"


@story("azure-credit")
def test_azure_credit(teller: Teller, key: str):
    (credit,) = [each for each in teller.lines(key) if each["ChargeType"] == "customerCredit"]
    assert credit["Subtotal"] == credit["Total"] == Decimal("-150.00")
    assert credit["CreditReasonCode"].startswith("Credit Reason: SLA")
    plans = {
        each["id"]
        for each in teller.world.subscriptions(teller.told[key]["customerId"])
        if each["billingType"] == "usage"
    }
    assert credit["SubscriptionId"] in plans


@story("azure-without-pec")
def test_azure_without_pec(teller: Teller, key: str):
    earned = {
        (line["EntitlementDescription"].split()[-1], line["PartnerEarnedCreditPercentage"])
        for line in teller.usage(key)
        if line["PublisherName"] == "Microsoft"
    }
    assert earned == {("claims", 15), ("legacy", 0)}
    (plan,) = [
        each
        for each in teller.world.subscriptions(teller.told[key]["customerId"])
        if each["billingType"] == "usage"
    ]
    entitlements = teller.world.azure_entitlements(teller.told[key]["customerId"], plan["id"])
    assert {each["id"] for each in entitlements} == {
        line["EntitlementId"] for line in teller.usage(key)
    }


@story("usage-spike")
def test_usage_spike(teller: Teller, key: str):
    machines = [line for line in teller.usage(key) if line["MeterName"] == "D4s v5"]
    surged = max(machines, key=lambda line: line["Quantity"])["ResourceURI"]
    quantities = {
        line["UsageDate"][:10]: line["Quantity"]
        for line in machines
        if line["ResourceURI"] == surged
    }
    assert quantities["2026-10-21"] == 8 * quantities["2026-10-20"] > 0


@story("load-test")
def test_load_test(teller: Teller, key: str):
    customer = teller.told[key]["customerId"]
    hours: dict[str, Decimal] = {}
    for line in teller.world.unbilled_usage_lines("USD", "current"):
        if line["CustomerId"] == customer and line["ResourceGroup"] == "rg-loadtest":
            assert line["EntitlementDescription"] == "Northwind Traders development"
            assert line["MeterCategory"] == "Virtual Machines"
            if line["MeterName"] == "D4s v5":
                hours[line["UsageDate"][:10]] = line["Quantity"]
    assert hours == dict.fromkeys(("2026-11-03", "2026-11-04", "2026-11-05"), 40 * 24)
    assert not [line for line in teller.usage(key) if line["ResourceGroup"] == "rg-loadtest"]


@story("azure-sponsored")
def test_azure_sponsored(teller: Teller, key: str):
    paid = [line for line in teller.usage(key) if line["CreditPercentage"] == 100]
    assert paid
    assert {line["BillingPreTaxTotal"] for line in paid} == {0}
    assert {line["CreditType"] for line in paid} == {"Azure Credit Applied"}


@story("unknown-product-type")
def test_unknown_product_type(teller: Teller, key: str):
    subscription = teller.subscription(key, "Agent messages")
    assert subscription["productType"]["id"] == "AgentCapacityNCE"
    assert subscription["endOfTermPreference"] == "renew"


@story("reservation")
def test_reservation(teller: Teller, key: str):
    (line,) = [each for each in teller.lines(key) if each["ReservationOrderId"]]
    assert (line["ChargeType"], line["Quantity"], line["BillingFrequency"]) == ("new", 2, "NA")
    assert dates(line) == ("2026-10-06", "2027-10-05")
    orders = teller.world.orders(teller.told[key]["customerId"])
    assert line["OrderId"] in {order["id"] for order in orders}


@story("full-upgrade")
def test_full_upgrade(teller: Teller, key: str):
    cycle, source, target = teller.lines(key, "Research E3")
    assert kinds([cycle, source, target]) == ["cyclecharge", "convert", "convert"]
    assert source["Subtotal"] < 0 < target["Subtotal"]
    assert source["ReferenceId"] == target["ReferenceId"] != ""
    assert (source["ProductId"], target["ProductId"]) == ("CFQ7TTC0EB04", "CFQ7TTC0EB05")
    assert teller.subscription(key, "Research E3")["offerName"] == "Microsoft 365 E5"


@story("unmapped")
def test_unmapped(teller: Teller, key: str):
    assert teller.customer(key)["companyProfile"]["companyName"] == "Umbra Unmapped"
    assert len(teller.lines(key, "Umbra seats")) == 1


@story("partner-of-record-drift")
def test_partner_of_record_drift(teller: Teller, key: str):
    (line,) = teller.lines(key, "Marina seats")
    assert (line["MpnId"], line["Tier2MpnId"]) == ("6034453", "7654321")
    assert line["MpnId"] != teller.world.partner.mpn_id
    assert teller.subscription(key, "Marina seats")["partnerId"] == "7654321"
    assert teller.world.indirect_resellers(teller.told[key]["customerId"]) == []


@story("indirect-reseller")
def test_indirect_reseller(teller: Teller, key: str):
    (reseller,) = teller.world.indirect_resellers(teller.told[key]["customerId"])
    assert {line["Tier2MpnId"] for line in teller.lines(key)} == {reseller["mpnId"]}
    signed = teller.world.reseller_agreement_signed(mpn_id=reseller["mpnId"], tenant_id=None)
    assert signed is True


@story("reseller-not-signed")
def test_reseller_not_signed(teller: Teller, key: str):
    (reseller,) = teller.world.indirect_resellers(teller.told[key]["customerId"])
    signed = teller.world.reseller_agreement_signed(mpn_id=None, tenant_id=reseller["id"])
    assert signed is False
    assert teller.world.reseller_agreement_signed(mpn_id="1", tenant_id=None) is None


@story("annual-upfront")
def test_annual_upfront(teller: Teller, key: str):
    (line,) = teller.lines(key, "Saison")
    assert (line["BillingFrequency"], dates(line)) == ("Annual", ("2026-10-07", "2027-10-06"))
    assert line["EffectiveUnitPrice"] == Decimal(line["UnitPrice"])


@story("gdap-expiring")
def test_gdap_expiring(teller: Teller, key: str):
    (only,) = teller.relationships(key)
    assert (only["status"], only["endDateTime"][:10]) == ("expiring", "2026-11-27")


@story("gdap-expired")
def test_gdap_expired(teller: Teller, key: str):
    (only,) = teller.relationships(key)
    assert only["status"] == "expired"
    customer = teller.customer(key)
    assert customer["allowDelegatedAccess"] is False
    assert "address" not in customer["companyProfile"]
    assert "customDomains" not in customer


@story("gdap-without-assignment")
def test_gdap_without_assignment(teller: Teller, key: str):
    (only,) = teller.relationships(key)
    assert only["status"] == "active"
    assignments = teller.world.access_assignments(only["id"])
    assert sorted(each["status"] for each in assignments) == ["deleted", "pending"]


@story("old-agreement-only")
def test_old_agreement_only(teller: Teller, key: str):
    customer = teller.told[key]["customerId"]
    (old,) = teller.world.agreements(customer, None)
    assert old["type"] == "MicrosoftCloudAgreement"
    assert teller.world.agreements(customer, "MicrosoftCustomerAgreement") == []
    assert teller.world.direct_signed(customer) is False


@story("direct-signed")
def test_direct_signed(teller: Teller, key: str):
    customer = teller.told[key]["customerId"]
    assert teller.world.agreements(customer, "*") == []
    assert teller.world.direct_signed(customer) is True


@story("three-years")
def test_three_years(teller: Teller, key: str):
    yearly = teller.subscription(key, "Werk drei Jahre")
    assert (yearly["termDuration"], yearly["billingCycle"]) == ("P3Y", "annual")
    assert yearly["commitmentEndDate"] == "2028-05-05T00:00:00Z"
    assert teller.lines(key, "Werk drei Jahre") == []
    (line,) = teller.lines(key, "Zentrale drei Jahre")
    assert (line["BillingFrequency"], dates(line)) == ("Triennial", ("2026-10-13", "2029-10-12"))


@story("perpetual-software")
def test_perpetual_software(teller: Teller, key: str):
    (line,) = [
        each for each in teller.lines(key) if each["TermAndBillingCycle"] == "One-time purchase"
    ]
    assert (line["Quantity"], line["SubscriptionId"]) == (4, "")
    assert line["Subtotal"] == 4 * line["UnitPrice"]


@story("tax-registration")
def test_tax_registration(teller: Teller, key: str):
    profile = teller.customer(key)["companyProfile"]
    assert profile["organizationRegistrationNumber"] == "DE100000008"
    assert profile["address"]["country"] == "DE"
    assert {line["TaxTotal"] for line in teller.lines(key)} == {0}


@story("education")
def test_education(teller: Teller, key: str):
    statuses = [
        each["vettingStatus"]
        for each in teller.world.qualifications(teller.told[key]["customerId"])
    ]
    assert statuses == ["Approved", "AwaitingDocuments"]
    (line,) = teller.lines(key, "Lehrkräfte")
    sheet = teller.world.price_sheet("DE", "updatedlicensebased", "history", "202609")
    (price,) = [
        Decimal(row["UnitPrice"])
        for row in sheet or []
        if (row["ProductId"], row["Segment"]) == (line["ProductId"], "Education")
        and (row["TermDuration"], row["BillingPlan"]) == ("P1Y", "Monthly")
    ]
    assert Decimal(line["UnitPrice"]) == price / 12


@story("foreign-price-list")
def test_foreign_price_list(teller: Teller, key: str):
    (line,) = teller.lines(key, "Surgery seats")
    assert (line["PricingCurrency"], line["Currency"]) == ("GBP", "EUR")
    assert line["PCToBCExchangeRate"] == Decimal("1.150765808")
    assert line["PCToBCExchangeRateDate"] == "2026-10-31T00:00:00Z"


@story("under-review")
def test_under_review(teller: Teller, key: str):
    status = teller.world.validation_status(teller.told[key]["customerId"])
    assert (status["type"], status["status"]) == ("account", "UnderReview")


def _october() -> tuple[date, date]:
    return date(2026, 10, 1), date(2026, 10, 31)
