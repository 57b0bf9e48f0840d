"""The world's resources: shapes of the samples, totals, time, refusals, determinism."""

from __future__ import annotations

import json
import time
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_FLOOR, Decimal
from pathlib import Path

import jsonschema
import pytest

from emulator.authoring import Content
from emulator.catalogue import AZURE_COLUMNS, SHEET_COLUMNS
from emulator.clock import Clock
from emulator.world import NOW, CommerceError, World, build_world

SHARED = Path(__file__).resolve().parents[1] / "published"
CENT = Decimal("0.01")
USD, EUR = "G000912345", "G000912346"


@pytest.fixture(scope="module")
def month() -> World:
    return build_world(seed=1, scenario="partner-month")


@pytest.fixture
def small() -> World:
    return build_world(seed=1, scenario="small")


def sample(path: str) -> dict:
    return json.loads((SHARED / "samples" / path).read_text(encoding="utf-8"))


def keys(value: object, prefix: str = "") -> set[str]:
    """All names in a document, as dotted paths; lists count for their elements."""
    if isinstance(value, dict):
        own = {prefix + name for name in value}
        return own.union(*(keys(item, f"{prefix}{name}.") for name, item in value.items()))
    if isinstance(value, list):
        return set().union(*(keys(item, prefix) for item in value))
    return set()


def by_name(world: World, company: str) -> dict:
    return next(
        each for each in world.customers() if each["companyProfile"]["companyName"] == company
    )


def seats(world: World, company: str, name: str) -> dict:
    customer = by_name(world, company)
    return next(
        each for each in world.subscriptions(customer["id"]) if each["friendlyName"] == name
    )


# -- shapes ---------------------------------------------------------------------------------------


def test_customers_have_the_fields_of_the_sample(month: World):
    published = keys(sample("customers/create-a-customer.d2111.response-201.2.json"))
    # A password is shown only to who creates the tenant.
    published = {name for name in published if not name.startswith("userCredentials")}
    assert published <= keys(by_name(month, "Fabrikam Toys"))


def test_subscriptions_have_the_fields_of_the_samples(month: World):
    ours = keys(seats(month, "Fabrikam Toys", "Office seats"))
    for name in ("3", "2"):
        path = f"subscriptions/get-a-subscription-by-id.d2111.response-200.{name}.json"
        published = keys(sample(path))
        if "offerName" in published and "links.product" in published:
            assert published <= ours
    software = sample("subscriptions/get-all-of-a-customer-s-subscriptions.d2111.response.2.json")
    cores = seats(month, "Bayerische Maschinenbau AG", "SQL Kerne")
    assert keys(software["items"][0]) <= keys(cores)


def test_an_add_on_names_its_parent(month: World):
    published = sample("subscriptions/get-a-subscription-by-id.d2111.response-200.2.json")
    addon = seats(month, "Fabrikam Toys", "Phones")
    assert {"parentSubscriptionId", "links.parentSubscription"} <= keys(published) & keys(addon)
    assert addon["parentSubscriptionId"] == seats(month, "Fabrikam Toys", "Office seats")["id"]


def test_agreements_have_the_fields_of_the_sample(month: World):
    published = sample("agreements/get-confirmation-of-customer-consent.d2111.response-200.1.json")
    mine = month.agreements(by_name(month, "Fabrikam Toys")["id"], "*")
    assert keys(published["items"]) <= keys(mine)


def test_audit_records_have_the_fields_of_the_sample(month: World):
    path = "audit/get-a-record-of-partner-center-activity-by-user.d2111.response-200.1.json"
    published = sample(path)["items"][0]
    records = month.audit_records(date(2026, 10, 1), date(2026, 10, 31))
    created = next(each for each in records if each["operationType"] == "create_order")
    assert keys(published) <= keys(created)
    order = json.loads(created["resourceNewValue"])
    assert {"Id", "ReferenceCustomerId", "BillingCycle", "LineItems", "CreationDate", "Links"} <= (
        set(order)
    )
    assert {"OfferId", "SubscriptionId", "FriendlyName", "Quantity"} <= set(order["LineItems"][0])


def test_invoices_have_the_fields_of_the_sample(month: World):
    published = keys(sample("invoices/get-invoice-by-id.d2111.response-200.1.json"))
    # No tax receipt stands beside an invoice without tax.
    published = {name for name in published if not name.startswith("taxReceipts")}
    assert published <= keys(month.invoices()[0])


def test_orders_have_the_fields_of_the_sample(month: World):
    path = (
        "orders/get-a-list-of-orders-by-customer-and-billing-cycle-type.d2111.response-200.1.json"
    )
    orders = month.orders(by_name(month, "Northwind Traders")["id"])
    assert keys(sample(path)["items"]) <= keys(orders)
    assert [each["creationDate"] for each in orders] == sorted(
        each["creationDate"] for each in orders
    )


def test_relationships_and_assignments_obey_the_graph_schema(month: World):
    schema = json.loads(
        (SHARED / "contracts/graph-partner-subset.schema.json").read_text(encoding="utf-8")
    )
    relationships = month.gdap_relationships()
    for kind, resources in (
        ("delegatedAdminRelationship", relationships),
        (
            "delegatedAdminAccessAssignment",
            [
                assignment
                for each in relationships
                for assignment in month.access_assignments(each["id"])
            ],
        ),
    ):
        part = {"$ref": f"#/$defs/microsoft.graph.{kind}", "$defs": schema["$defs"]}
        checker = jsonschema.Draft202012Validator(part)
        for resource in resources:
            checker.validate(resource)
    path = "graph-gdap/tenantrelationship-list-delegatedadminrelationships.response-200.1.json"
    assert keys(sample(path)["value"]) <= keys(relationships)
    path = "graph-gdap/delegatedadminrelationship-list-accessassignments.response-200.1.json"
    assert keys(sample(path)["value"]) <= keys(month.access_assignments(relationships[0]["id"]))


def test_reconciliation_lines_have_the_published_columns(month: World):
    header = (SHARED / "samples/recon-csv/nce-invoice-reconciliation.csv").read_text("utf-8")
    columns = set(header.splitlines()[0].split(","))
    # The export names three of them a little differently.
    columns -= {"ResellerMpnId", "ReferenceID", "PromotionID"}
    columns |= {"Tier2MpnId", "ReferenceId", "PromotionId"}
    lines = month.reconciliation_lines(USD)
    assert lines
    assert all(columns <= set(line) for line in lines)


def test_usage_lines_have_the_published_columns(month: World):
    header = (SHARED / "samples/recon-csv/daily-rated-usage-header-only.csv").read_text("utf-8")
    lines = month.usage_lines(USD)
    assert lines is not None
    assert set(header.strip().split(",")) <= set(next(iter(lines)))


# -- money ----------------------------------------------------------------------------------------


def test_every_invoice_is_the_sum_of_its_lines(month: World):
    invoices = month.invoices()
    assert [each["id"] for each in invoices[:2]] == [EUR, USD]
    assert len(invoices) == 60
    for invoice in invoices:
        lines = month.reconciliation_lines(invoice["id"])
        assert lines
        assert sum(Decimal(line["Total"]) for line in lines) == invoice["totalCharges"]
        assert {line["Currency"] for line in lines} == {invoice["currencyCode"]}
        assert {line["InvoiceNumber"] for line in lines} == {invoice["id"]}


@pytest.mark.parametrize("invoice", [USD, EUR])
def test_every_line_can_be_recomputed_from_what_it_shows(month: World, invoice: str):
    for line in month.reconciliation_lines(invoice) or []:
        price, rate = line["EffectiveUnitPrice"], line["PCToBCExchangeRate"]
        units = Decimal(line["BillableQuantity"])
        if line["TermAndBillingCycle"] == "Azure plan":
            expected = (price * units).quantize(CENT, ROUND_DOWN) * rate
            expected = expected.quantize(CENT, ROUND_DOWN)
        else:
            expected = (price * rate).quantize(CENT, ROUND_DOWN) * units
        assert line["Subtotal"] == expected
        assert line["Total"] == line["Subtotal"] + line["TaxTotal"]


@pytest.mark.parametrize("invoice", [USD, EUR])
def test_daily_usage_explains_the_monthly_lines(month: World, invoice: str):
    consumed: dict[tuple, Decimal] = {}
    for line in month.usage_lines(invoice) or []:
        exact = line["EffectiveUnitPrice"] * line["Quantity"] * line["PCToBCExchangeRate"]
        assert line["BillingPreTaxTotal"] == exact.quantize(CENT, ROUND_FLOOR)
        assert line["PricingPreTaxTotal"] == line["EffectiveUnitPrice"] * line["Quantity"]
        if line["PartnerEarnedCreditPercentage"] == 0 and line["CreditPercentage"] == 0:
            assert line["EffectiveUnitPrice"] == line["UnitPrice"]
        reason = (line["PartnerEarnedCreditPercentage"], line["CreditPercentage"])
        key = (line["SubscriptionId"], line["ProductId"], line["SkuId"], reason)
        consumed[key] = consumed.get(key, Decimal(0)) + line["Quantity"]
    monthly = {}
    for line in month.reconciliation_lines(invoice) or []:
        if line["TermAndBillingCycle"] == "Azure plan":
            said = line["PriceAdjustmentDescription"]
            reason = (15, 0) if "15.0%" in said else (0, 100) if "100.0%" in said else (0, 0)
            key = (line["SubscriptionId"], line["ProductId"], line["SkuId"], reason)
            assert key not in monthly, "one line per plan, meter and kind of credit"
            monthly[key] = line["BillableQuantity"]
    assert monthly == consumed


def test_lines_belong_to_the_month_of_their_event(month: World):
    for line in month.reconciliation_lines(USD) or []:
        assert line["OrderDate"].startswith("2026-10-")


def test_no_decimal_would_print_an_exponent(month: World):
    for line in [*(month.usage_lines(EUR) or []), *(month.reconciliation_lines(EUR) or [])]:
        for name, value in line.items():
            if isinstance(value, Decimal):
                assert "E" not in str(value), name
                assert str(value) != "-0"


# -- time -----------------------------------------------------------------------------------------


def test_the_month_is_quick_to_build_and_to_use():
    begun = time.perf_counter()
    world = build_world(seed=3, scenario="partner-month")
    built = time.perf_counter()
    lines = [*(world.usage_lines(USD) or []), *(world.usage_lines(EUR) or [])]
    used = time.perf_counter()
    assert 18_000 < len(lines) < 23_000
    # The budgets are 1 s and 1.5 s on an idle machine; busy ones are given twice that.
    assert built - begun < 2
    assert used - built < 3


def test_invoices_appear_on_their_days(month: World):
    world = build_world(seed=1, scenario="partner-month", clock=Clock(NOW))
    world.clock.set(datetime(2026, 11, 7, 12, tzinfo=UTC))
    assert world.reconciliation_lines(USD) is None
    assert len(world.unbilled_reconciliation_lines("USD", "last")) == len(
        month.reconciliation_lines(USD) or []
    )
    world.clock.set(datetime(2026, 11, 8, 12, tzinfo=UTC))
    assert world.invoices()[0]["id"] == USD
    assert world.unbilled_reconciliation_lines("USD", "last") == []
    assert list(world.unbilled_usage_lines("EUR", "last"))
    world.clock.set(NOW)
    assert world.invoices() == month.invoices()


def test_unbilled_grows_with_the_clock_and_has_no_number(small: World):
    early = small.unbilled_reconciliation_lines("USD", "current")
    assert {line["InvoiceNumber"] for line in early} == {""}
    days = {line["UsageDate"] for line in small.unbilled_usage_lines("USD", "current")}
    assert max(days) == "2026-11-08T00:00:00Z"
    small.clock.advance(timedelta(days=12))
    assert len(small.unbilled_reconciliation_lines("USD", "current")) > len(early)
    assert small.unbilled_reconciliation_lines("CHF", "current") == []


def test_subscriptions_follow_the_clock(month: World):
    world = build_world(seed=1, scenario="partner-month")
    world.clock.set(datetime(2026, 10, 13, 23, 59, 59, tzinfo=UTC))
    before = seats(world, "Wide World Importers", "Head office E3")
    assert before["commitmentEndDate"] == "2026-10-13T00:00:00Z"
    assert before["cancellationAllowedUntilDate"] is None
    world.clock.advance(timedelta(seconds=1))
    after = seats(world, "Wide World Importers", "Head office E3")
    assert after["effectiveStartDate"] == "2026-10-14T00:00:00Z"
    assert after["commitmentEndDate"] == "2027-10-13T00:00:00Z"
    assert after["cancellationAllowedUntilDate"] == "2026-10-21T00:00:00Z"
    assert after["refundableQuantity"]["totalQuantity"] == 40


def test_a_relationship_ages_from_active_to_expiring_to_expired(month: World):
    world = build_world(seed=1, scenario="partner-month")
    seen = []
    for day in (datetime(2026, 10, 20, tzinfo=UTC), NOW, datetime(2026, 11, 28, tzinfo=UTC)):
        world.clock.set(day)
        named = {each["displayName"]: each for each in world.gdap_relationships()}
        seen.append(named["Expiring Access 2024"]["status"])
    assert seen == ["active", "expiring", "expired"]
    tags = {
        each["@odata.etag"]
        for each in month.gdap_relationships() + world.gdap_relationships()
        if each["displayName"] == "Expiring Access 2024"
    }
    assert len(tags) == 2


def test_audit_reaches_ninety_days_back(month: World):
    records = month.audit_records(date(2026, 1, 1), date(2026, 12, 31))
    dates = [each["operationDate"] for each in records]
    assert dates == sorted(dates)
    assert dates[0] >= "2026-08-11"
    assert dates[-1] <= "2026-11-09T06:00:00Z"


# -- refusals and patches -------------------------------------------------------------------------


def patch(world: World, company: str, name: str, **fields: object) -> dict:
    resource = seats(world, company, name)
    return world.patch_subscription(
        by_name(world, company)["id"], resource["id"], resource | fields
    )


def test_patch_adds_seats_and_the_lines_follow(small: World):
    changed = patch(small, "Fabrikam Toys", "Office seats", quantity=33)
    assert changed["quantity"] == 33
    assert changed["refundableQuantity"]["details"][-1] == {
        "quantity": 3,
        "allowedUntilDateTime": "2026-11-16T06:00:00Z",
    }
    pair = [
        line
        for line in small.unbilled_reconciliation_lines("USD", "current")
        if line["ChargeType"] == "addQuantity"
    ]
    assert [line["Quantity"] for line in pair] == [30, 33]
    record = small.audit_records(date(2026, 11, 9), date(2026, 11, 9))[-1]
    assert record["operationType"] == "update_subscription"
    assert json.loads(record["resourceOldValue"])["Quantity"] == 30
    assert json.loads(record["resourceNewValue"])["Quantity"] == 33


def test_patch_resets_what_the_body_leaves_out(small: World):
    customer, resource = by_name(small, "Fabrikam Toys"), None
    schedule = {
        "product": {
            "productId": "CFQ7TTC0EB02",
            "skuId": "0001",
            "billingCycle": "annual",
            "termDuration": "P1Y",
        },
        "quantity": 20,
        "customTermEndDate": None,
    }
    resource = patch(small, "Fabrikam Toys", "Office seats", scheduledNextTermInstructions=schedule)
    assert resource["scheduledNextTermInstructions"]["quantity"] == 20
    del resource["scheduledNextTermInstructions"], resource["autoRenewEnabled"]
    after = small.patch_subscription(customer["id"], resource["id"], resource)
    assert after["scheduledNextTermInstructions"] is None
    assert after["autoRenewEnabled"] is False


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"quantity": 5}, "800090"),
        ({"quantity": 0}, "2002"),
        ({"quantity": "many"}, "3000"),
        ({"status": "deleted"}, "900117"),
        ({"status": "expired"}, "800096"),
        ({"billingCycle": "annual"}, "2054"),
        ({"nextChargeInstructions": {"quantity": 1, "product": {}}}, "3000"),
        ({"termDuration": "P3Y"}, "800097"),
        ({"partnerId": "not a number"}, "2071"),
        ({"autoRenewEnabled": False, "scheduledNextTermInstructions": {"quantity": 1}}, "3000"),
    ],
)
def test_refused_patches(small: World, fields: dict, code: str):
    before = seats(small, "Fabrikam Toys", "Office seats")
    with pytest.raises(CommerceError) as refused:
        patch(small, "Fabrikam Toys", "Office seats", **fields)
    assert (refused.value.http, refused.value.code) == (400, code)
    assert seats(small, "Fabrikam Toys", "Office seats") == before


def test_unknown_subscription_and_stale_etag(month: World):
    bayer = by_name(month, "Bayerische Maschinenbau AG")["id"]
    with pytest.raises(CommerceError, match="404 20003"):
        month.patch_subscription(bayer, "nowhere", {})
    cores = seats(month, "Bayerische Maschinenbau AG", "SQL Kerne")
    stale = cores | {"attributes": {"etag": "old", "objectType": "Subscription"}}
    with pytest.raises(CommerceError, match="2055"):
        month.patch_subscription(bayer, cores["id"], stale)


# -- prices ---------------------------------------------------------------------------------------


def test_price_sheets_have_the_published_columns_and_change_in_october(month: World):
    rows = month.price_sheet("US", "updatedlicensebased", "current", None)
    assert rows is not None
    assert tuple(rows[0]) == SHEET_COLUMNS
    header = (SHARED / "samples/price-sheets/azure-consumption-price-sheet.csv").read_text("utf-8")
    assert tuple(header.splitlines()[0].replace('"', "").split(",")) == AZURE_COLUMNS
    meters = month.price_sheet("DE", "azure_consumption", "current", None)
    assert meters is not None
    assert {row["Currency"] for row in meters} == {"USD"}
    old = month.price_sheet("US", "updatedlicensebased", "history", "202609")
    assert old is not None
    e3 = [
        (row["UnitPrice"], row["EffectiveStartDate"], row["EffectiveEndDate"])
        for sheet in (old, rows)
        for row in sheet
        if row["ProductId"] == "CFQ7TTC0EB04"
        and (row["TermDuration"], row["BillingPlan"]) == ("P1Y", "Monthly")
        and row["Segment"] == "Commercial"
    ]
    assert e3 == [
        ("362.88", "1/1/2024 12:00:00 AM", "10/1/2026 12:00:00 AM"),
        ("393.12", "10/1/2026 12:00:00 AM", "11/30/9999 11:59:59 PM"),
    ]
    for view in ("software", "marketplace", "azure_reservations"):
        assert month.price_sheet("DE", view, "current", None)


def test_missing_price_sheets(month: World):
    assert month.price_sheet("US", "updatedlicensebased", "future", None) is None
    assert month.price_sheet("XX", "updatedlicensebased", "current", None) is None
    assert month.price_sheet("US", "offers", "current", None) is None
    assert month.price_sheet("US", "software", "history", "202713") is None
    assert month.price_sheet("US", "software", "history", "202712") is None
    early = build_world(seed=1, scenario="empty", clock=Clock(datetime(2026, 9, 9, tzinfo=UTC)))
    assert early.price_sheet("US", "updatedlicensebased", "future", None)


def test_every_seat_line_joins_the_price_sheet(month: World):
    views = (
        "updatedlicensebased",
        "licensebasedest",
        "software",
        "marketplace",
        "azure_reservations",
    )
    sheets = {
        (row["ProductId"], row["SkuId"], row["Market"], row["Currency"])
        for market in ("US", "DE", "FR", "AT", "NL", "IE", "ES", "GB")
        for view in views
        for row in month.price_sheet(market, view, "current", None) or []
    }
    for invoice in (USD, EUR):
        for line in month.reconciliation_lines(invoice) or []:
            if line["TermAndBillingCycle"] not in {"Azure plan", ""}:
                assert (
                    line["ProductId"],
                    line["SkuId"],
                    line["CustomerCountry"],
                    line["PricingCurrency"],
                ) in sheets


def test_exchange_rates_of_a_month(month: World):
    rows = month.fx_rates("202610")
    assert rows is not None
    assert {"CurrencyCode": "EUR", "USDPerUnit": "1.1687", "Month": "202610"} in rows
    assert month.fx_rates("202612") is None
    assert month.fx_rates("october") is None


# -- scenarios ------------------------------------------------------------------------------------


def everything(world: World) -> str:
    """The whole world as text."""
    customers = world.customers()
    parts: list[object] = [
        customers,
        [world.subscriptions(each["id"]) for each in customers],
        [world.orders(each["id"]) for each in customers],
        world.audit_records(date(2026, 8, 1), date(2026, 11, 9)),
        world.gdap_relationships(),
        world.invoices(),
        world.reconciliation_lines(USD),
        list(world.usage_lines(EUR) or []),
    ]
    return json.dumps(parts, default=str)


def test_two_builds_agree_and_another_seed_differs(month: World):
    again = everything(build_world(seed=1, scenario="partner-month"))
    assert again == everything(month)
    assert again != everything(build_world(seed=2, scenario="partner-month"))


def test_the_empty_world_answers_everything():
    world = build_world(seed=1, scenario="empty")
    assert everything(world) == "[[], [], [], [], [], [], null, []]"
    assert world.customer("x") is None
    assert world.subscription("x", "y") is None
    assert world.qualifications("x") == world.indirect_resellers("x") == []
    assert world.agreements("x", "*") == world.azure_entitlements("x", "y") == []
    assert world.direct_signed("x") is False
    assert world.validation_status("x")["status"] == "Unknown"
    assert world.unbilled_reconciliation_lines("USD", "current") == []
    assert world.reseller_agreement_signed(mpn_id=world.partner.mpn_id, tenant_id=None) is True


def test_the_small_world_is_small(small: World):
    subscriptions = [each for one in small.customers() for each in small.subscriptions(one["id"])]
    assert (len(small.customers()), len(subscriptions)) == (3, 6)
    assert 30 < len(list(small.usage_lines(USD) or [])) < 400


def test_an_unknown_scenario_names_the_known_ones():
    with pytest.raises(ValueError, match="known: empty, partner-month, small"):
        build_world(seed=1, scenario="nothing")


def test_a_world_stands_on_any_content():
    world = World(seed=1, scenario="none", clock=Clock(NOW), content=Content())
    assert world.invoices() == []
