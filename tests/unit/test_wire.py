"""The wire models: tolerant of form, strict about identity, dates and amounts."""

import json
import random
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.customer import Address, Customer
from domain.period import BillingCycle, Period, TermDuration
from domain.problems import Finding, Severity
from domain.subscription import (
    CostInvoice,
    CostKind,
    CostLine,
    EventSource,
    EventType,
    NextTerm,
    Subscription,
    SubscriptionEvent,
    SubscriptionKind,
)
from partner_center.billing import cost_lines_of, invoices_of
from partner_center.customers import CustomerWire, RelationshipWire
from partner_center.subscriptions import SubscriptionWire, events_of
from partner_center.wire import read

C = "7f0c8a52-1111-4a55-9b0e-2a6a7d10c001"
S = "0b6f2d7e-aaaa-4c11-8d21-5f0c3b9e1001"


def a_subscription(**changes):
    return {
        "id": S,
        "offerId": "CFQ7TTC0AAAA:0001:CFQ7TTC0BBBB",
        "offerName": "Microsoft 365 Business Standard",
        "productType": {"id": "OnlineServicesNCE", "displayName": "OnlineServicesNCE"},
        "quantity": 25,
        "unitType": "Licenses",
        "creationDate": "2026-02-15T09:14:22.1200000Z",
        "effectiveStartDate": "2026-02-15T00:00:00Z",
        "commitmentEndDate": "2027-02-14T00:00:00Z",
        "status": "active",
        "autoRenewEnabled": True,
        "billingType": "license",
        "billingCycle": "monthly",
        "termDuration": "P1Y",
        "partnerId": "",
        "orderId": "5a0000c0ffee",
    } | changes


def a_line(**changes):
    return {
        "CustomerId": C,
        "CustomerName": "Fabrikam Toys",
        "InvoiceNumber": "G1",
        "MpnId": "4391507",
        "Tier2MpnId": "0",
        "OrderId": "5a0000c0ffee",
        "OrderDate": "2026-03-03T14:05:00Z",
        "ProductId": "CFQ7TTC0AAAA",
        "SkuId": "0001",
        "SkuName": "Microsoft 365 Business Standard",
        "ChargeType": "addQuantity",
        "UnitPrice": Decimal("12.5"),
        "Quantity": 30,
        "BillableQuantity": 30,
        "Subtotal": Decimal("217.50"),
        "TaxTotal": Decimal("0.0"),
        "Currency": "USD",
        "SubscriptionId": S,
        "SubscriptionStartDate": "2026-02-15T00:00:00Z",
        "SubscriptionEndDate": "2027-02-14T00:00:00Z",
        "ChargeStartDate": "2026-03-28T00:00:00Z",
        "ChargeEndDate": "2026-04-14T00:00:00Z",
        "TermAndBillingCycle": "One-Year commitment for monthly/yearly billing",
        "BillingFrequency": "Monthly",
        "EffectiveUnitPrice": Decimal("7.258065"),
        "PCToBCExchangeRate": Decimal("1.0"),
    } | changes


def subscription(payload):
    return read(
        SubscriptionWire,
        payload,
        lambda wire: wire.to_domain(C),
        check="subscription",
        record="subscription x",
        customer_id=C,
    )


def line(payload, invoice="G1"):
    (found,) = cost_lines_of([payload], invoice)
    return found


def without(payload, *names):
    return {key: value for key, value in payload.items() if key not in names}


# --- what arrives -------------------------------------------------------------------------------


def test_a_subscription_arrives_whole():
    assert subscription(a_subscription()) == Subscription(
        id=S,
        customer_id=C,
        product_id="CFQ7TTC0AAAA",
        sku_id="0001",
        name="Microsoft 365 Business Standard",
        kind=SubscriptionKind.LICENCE,
        status="active",
        quantity=25,
        created=datetime(2026, 2, 15, 9, 14, 22, 120000, tzinfo=UTC),
        start=date(2026, 2, 15),
        term_end=date(2027, 2, 15),
        term=TermDuration.YEAR,
        billing_cycle=BillingCycle.MONTHLY,
        auto_renew=True,
        order_id="5a0000c0ffee",
        product_type="OnlineServicesNCE",
    )


def test_a_new_commerce_term_includes_its_last_day_and_a_legacy_term_does_not():
    legacy = without(a_subscription(offerId="2828BE95-46BA-4F91-B2FD-0BEF192ECF60"), "productType")
    by_offer = without(a_subscription(), "productType")

    assert subscription(a_subscription()).term_end == date(2027, 2, 15)
    assert subscription(by_offer).term_end == date(2027, 2, 15)
    assert subscription(legacy).term_end == date(2027, 2, 14)


def test_what_is_scheduled_for_the_next_term_is_read_and_its_end_becomes_exclusive():
    wish = {
        "product": {
            "productId": "CFQ7TTC0CCCC",
            "skuId": "0002",
            "availabilityId": "X",
            "billingCycle": "Annual",
            "termDuration": "P3Y",
            "promotionId": None,
        },
        "quantity": "20",
        "customTermEndDate": "2027-06-30T00:00:00Z",
        "aNewField": 1,
    }
    assert subscription(a_subscription(scheduledNextTermInstructions=wish)).next_term == NextTerm(
        sku="CFQ7TTC0CCCC:0002",
        quantity=20,
        term=TermDuration.THREE_YEARS,
        billing_cycle=BillingCycle.ANNUAL,
        term_end=date(2027, 7, 1),
    )
    only_seats = a_subscription(scheduledNextTermInstructions={"quantity": 20})
    assert subscription(only_seats).next_term == NextTerm(quantity=20)


def test_nothing_is_scheduled_where_the_subscription_does_not_renew():
    assert subscription(a_subscription(scheduledNextTermInstructions=None)).next_term is None
    off = a_subscription(scheduledNextTermInstructions={"quantity": 20}, autoRenewEnabled=False)
    assert subscription(off).next_term is None
    bad = subscription(a_subscription(scheduledNextTermInstructions={"quantity": -1}))
    assert "the quantity of the next term is -1" in bad.sentence


def test_a_migrated_subscription_names_the_one_that_it_replaced():
    found = subscription(a_subscription(migratedFromSubscriptionId=S.upper()))
    assert found.migrated_from == S


def test_an_azure_plan_has_no_term():
    plan = a_subscription(
        billingType="usage",
        unitType="Usage-based",
        productType={"id": "Azure"},
        commitmentEndDate="9999-12-31T00:00:00Z",
        termDuration="",
    )
    found = subscription(plan)
    assert (found.kind, found.term_end, found.term) == (SubscriptionKind.USAGE, None, None)


def test_a_line_arrives_whole():
    found = line(a_line())
    assert found == CostLine(
        key=found.key,
        invoice_id="G1",
        customer_id=C,
        customer_name="Fabrikam Toys",
        subscription_id=S,
        product_id="CFQ7TTC0AAAA",
        sku_id="0001",
        name="Microsoft 365 Business Standard",
        kind=CostKind.LICENCE,
        charge_type="addQuantity",
        charged=Period(date(2026, 3, 28), date(2026, 4, 15)),
        ordered_on=date(2026, 3, 3),
        quantity=Decimal(30),
        billable_quantity=Decimal(30),
        unit_price=Decimal("12.5"),
        effective_unit_price=Decimal("7.258065"),
        subtotal=Decimal("217.50"),
        tax=Decimal(0),
        currency="USD",
        term_and_billing_cycle="One-Year commitment for monthly/yearly billing",
        billing_frequency="Monthly",
        subscription_start=date(2026, 2, 15),
        subscription_end=date(2027, 2, 15),
        partner_id="4391507",
    )


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, CostKind.LICENCE),
        ({"TermAndBillingCycle": "Azure plan"}, CostKind.USAGE),
        ({"TermAndBillingCycle": "", "MeterDescription": "Data Stored"}, CostKind.USAGE),
        ({"TermAndBillingCycle": "1 Year", "ReservationOrderId": "r1"}, CostKind.RESERVATION),
        ({"ReservationOrderId": "r1"}, CostKind.LICENCE),
        (
            {"TermAndBillingCycle": "1 Year", "SkuName": "Compute Savings Plan - Global"},
            CostKind.SAVINGS_PLAN,
        ),
        (
            {
                "TermAndBillingCycle": "3 Years",
                "ProductName": "savings plan",
                "ReservationOrderId": "r1",
            },
            CostKind.SAVINGS_PLAN,
        ),
        ({"ChargeType": "CustomerCredit", "TermAndBillingCycle": "Azure plan"}, CostKind.CREDIT),
        ({"TermAndBillingCycle": "1 Year Subscription"}, CostKind.LICENCE),
        ({"TermAndBillingCycle": "One-time purchase"}, CostKind.ONE_TIME),
        ({"TermAndBillingCycle": "", "BillingFrequency": "OneTime"}, CostKind.ONE_TIME),
        ({"TermAndBillingCycle": "", "BillingFrequency": ""}, CostKind.LICENCE),
        (
            {"TermAndBillingCycle": "", "BillingFrequency": "NA", "SubscriptionId": ""},
            CostKind.ONE_TIME,
        ),
    ],
)
def test_the_kind_of_a_line(changes, kind):
    assert line(a_line(**changes)).kind is kind


@pytest.mark.parametrize(
    ("written", "words", "percent"),
    [
        (
            '["15.0% Partner earned credit for services managed"]',
            ("15.0% Partner earned credit for services managed",),
            Decimal("15.0"),
        ),
        (
            '["Tiered price", "15% partner earned credit"]',
            ("Tiered price", "15% partner earned credit"),
            Decimal(15),
        ),
        ('["100.0% Azure credit applied"]', ("100.0% Azure credit applied",), Decimal(0)),
        ("[]", (), None),
        ("", (), None),
        (None, (), None),
        ('["100.0% Tier 1 Discount"]', ("100.0% Tier 1 Discount",), Decimal(0)),
        ('["Price for given term", "one"]', ("Price for given term", "one"), None),
        ('"one"', ("one",), None),
        (
            "no JSON: 15% Partner earned credit",
            ("no JSON: 15% Partner earned credit",),
            Decimal(15),
        ),
    ],
)
def test_price_adjustments_are_a_list_written_as_text(written, words, percent):
    read = line(a_line(PriceAdjustmentDescription=written))
    assert (read.adjustments, read.earned_percent) == (words, percent)


@pytest.mark.parametrize(
    ("publisher", "marketplace"),
    [("Microsoft", False), ("Microsoft Corporation", False), ("", False), ("Northwind", True)],
)
def test_what_another_publisher_sells_is_of_the_marketplace(publisher, marketplace):
    assert line(a_line(PublisherName=publisher)).is_marketplace is marketplace


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("New", "new"),
        ("Purchase", "new"),
        ("CYCLECHARGE", "cycleCharge"),
        ("Refund", "cancelImmediate"),
        ("Cancel", "cancelImmediate"),
        ("removequantity", "removeQuantity"),
        ("Prorate fees when cancel", "Prorate fees when cancel"),
        ("somethingNew", "somethingNew"),
    ],
)
def test_charge_types_are_harmonised(written, meant):
    assert line(a_line(ChargeType=written)).charge_type == meant


@pytest.mark.parametrize("written", ["0", "-1", 0, -1, "", None])
def test_no_reseller_is_written_in_many_ways(written):
    assert line(a_line(Tier2MpnId=written)).reseller_id == ""
    assert line(without(a_line(ResellerMpnId="4649221"), "Tier2MpnId")).reseller_id == "4649221"


def test_invoices_with_their_amendments_and_what_is_not_billed():
    head = {
        "id": "G2",
        "invoiceDate": "2026-04-07T18:20:11.1234567Z",
        "billingPeriodStartDate": "2026-03-01T00:00:00Z",
        "billingPeriodEndDate": "2026-03-31T23:59:59Z",
        "totalCharges": Decimal("2076.63"),
        "currencyCode": "USD",
        "documentType": "invoice",
        "invoiceType": "OneTime",
    }
    note = head | {"id": "G3", "documentType": "adjustment_note", "amendsOf": "G2"}
    bare = without(head, "billingPeriodStartDate", "billingPeriodEndDate") | {"id": "G4"}
    void = head | {"id": "G5", "documentType": "void_note"}
    legacy = head | {"id": "D6", "invoiceType": "Recurring"}

    found = list(invoices_of([head | {"amendments": [note]}, bare, void, legacy, {"id": "G7"}]))

    march = Period(date(2026, 3, 1), date(2026, 4, 1))
    heads = [one for one in found if isinstance(one, CostInvoice)]
    assert [(one.id, one.billed) for one in heads] == [("G2", march), ("G3", march), ("G4", march)]
    assert heads[0].total == Decimal("2076.63")
    told = [one for one in found if isinstance(one, Finding)]
    assert [one.record for one in told] == ["invoice g7", "invoice G5", "invoice D6"]
    assert "was voided" in told[1].sentence
    assert "legacy" in told[2].sentence


def a_head(name, **fields):
    return {
        "id": name,
        "invoiceDate": "2026-11-08T00:00:00Z",
        "totalCharges": Decimal(150),
        "currencyCode": "USD",
        "documentType": "invoice",
        "invoiceType": "OneTime",
        **fields,
    }


@pytest.mark.parametrize("place", ["amendment", "amendment that names nothing", "list", "both"])
def test_an_invoice_that_a_void_note_amends_has_nothing_left_to_bill(place):
    void = a_head("V1", documentType="void_note", invoiceDate="2026-11-20T00:00:00Z")
    if place != "amendment that names nothing":
        void["amendsOf"] = "I1"
    listed = [void] if place in {"list", "both"} else []
    amended = [] if place == "list" else [void]
    found = list(invoices_of([*listed, a_head("I1", amendments=amended), a_head("I2")]))
    heads = {one.id: one for one in found if isinstance(one, CostInvoice)}
    assert (heads["I1"].total, heads["I1"].voided_on) == (0, date(2026, 11, 20))
    assert (heads["I2"].total, heads["I2"].voided_on) == (150, None)
    assert [one.record for one in found if isinstance(one, Finding)] == ["invoice V1"]


def test_a_relationship_before_its_customer():
    payload = {
        "id": "A-B",
        "displayName": "x",
        "customer": None,
        "activatedDateTime": "",
        "endDateTime": None,
        "status": "created",
        "autoExtendDuration": "PT0S",
        "accessDetails": {"unifiedRoles": [{"roleDefinitionId": "R1"}]},
    }
    found = RelationshipWire.model_validate(payload).to_domain()
    assert (found.customer_id, found.activated_on, found.ends_on) == ("", None, None)
    assert (found.roles, found.auto_extends) == (("r1",), False)
    extended = RelationshipWire.model_validate(payload | {"autoExtendDuration": "P180D"})
    assert extended.to_domain().auto_extends


# --- audit records ------------------------------------------------------------------------------


def a_record(operation, new, old=None, **changes):
    return {
        "id": "r1",
        "customerId": C.upper(),
        "operationType": operation,
        "operationStatus": "succeeded",
        "operationDate": "2026-03-10T12:00:00Z",
        "resourceNewValue": json.dumps(new),
        "resourceOldValue": None if old is None else json.dumps(old),
    } | changes


def pascal(payload):
    return {key[:1].upper() + key[1:]: value for key, value in payload.items()}


def events(*records, since=date(2026, 3, 1), until=date(2026, 4, 1)):
    return list(events_of(records, since, until))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"quantity": 5}, {"quantity": 8}, [(EventType.SET_QUANTITY, 8)]),
        ({"status": "active"}, {"status": "suspended"}, [(EventType.SUSPEND, None)]),
        ({"status": "suspended"}, {"status": "active"}, [(EventType.RESUME, None)]),
        ({"status": "active"}, {"status": "deleted"}, [(EventType.CANCEL, None)]),
        ({"autoRenewEnabled": True}, {"autoRenewEnabled": False}, []),
        (
            {"quantity": 5, "status": "active"},
            {"quantity": 4, "status": "suspended"},
            [(EventType.SET_QUANTITY, 4), (EventType.SUSPEND, None)],
        ),
        ({}, {"offerId": "CFQ7TTC0CCCC:0002:X"}, [(EventType.CONVERT, 25)]),
        (None, {"quantity": 7}, [(EventType.SET_QUANTITY, 7)]),
        (None, {"status": "deleted"}, [(EventType.SET_QUANTITY, 25), (EventType.CANCEL, None)]),
    ],
)
def test_an_update_tells_what_changed(old, new, expected):
    before = None if old is None else pascal(a_subscription(**old))
    record = a_record("update_subscription", pascal(a_subscription(**new)), before)
    found = events(record)
    assert [(event.type, event.quantity) for event in found] == expected
    assert all(event.customer_id == C and event.source is EventSource.AUDIT for event in found)


def test_an_upgrade_in_place_goes_on_in_the_running_term_and_a_trial_starts_its_own():
    other = {"offerId": "CFQ7TTC0CCCC:0002:X"}
    (kept,) = events(a_record("upgrade_subscription", a_subscription(**other), a_subscription()))
    own = a_subscription(effectiveStartDate="2026-03-10T00:00:00Z", **other)
    (started,) = events(a_record("convert_trial_subscription", own, a_subscription()))
    assert (kept.type, kept.sku, kept.term_end) == (EventType.CONVERT, "CFQ7TTC0CCCC:0002", None)
    assert (started.type, started.term_end) == (EventType.CONVERT, date(2027, 2, 15))


def test_the_source_of_a_partial_upgrade_keeps_its_product_and_the_rest_of_its_seats():
    (event,) = events(
        a_record("upgrade_subscription", a_subscription(quantity=6), a_subscription(quantity=10))
    )
    assert (event.type, event.quantity, event.sku) == (EventType.CONVERT, 6, "")


def test_an_order_buys_for_each_line_that_makes_a_subscription():
    order = {
        "Id": "O1",
        "BillingCycle": "Monthly",
        "LineItems": [
            {
                "OfferId": "CFQ7TTC0AAAA:0001:X",
                "SubscriptionId": S.upper(),
                "Quantity": 5,
                "TermDuration": "P1Y",
                "CustomTermEndDate": "2026-12-31T00:00:00Z",
            },
            {"OfferId": "DG7GMGF0EB32:0001:Y", "Quantity": 1},
            {
                "OfferId": "A:1:Z",
                "SubscriptionId": "s2",
                "Quantity": 9,
                "TransactionType": "AddQuantity",
            },
        ],
    }
    bought, added = events(a_record("create_order", order))
    assert bought == SubscriptionEvent(
        subscription_id=S,
        customer_id=C,
        effective=date(2026, 3, 10),
        type=EventType.PURCHASE,
        quantity=5,
        sku="CFQ7TTC0AAAA:0001",
        term=TermDuration.YEAR,
        billing_cycle=BillingCycle.MONTHLY,
        term_end=date(2027, 1, 1),
        source=EventSource.AUDIT,
    )
    assert (added.type, added.quantity) == (EventType.SET_QUANTITY, 9)


def test_failed_and_unrelated_operations_tell_nothing_and_broken_ones_are_found():
    update = a_record("update_subscription", a_subscription(quantity=9), a_subscription())
    broken = update | {"id": "r2", "resourceNewValue": "{not json"}
    found = events(
        update | {"operationStatus": "failed"},
        a_record("add_customer", {"anything": 1}),
        broken,
        update,
    )
    finding, event = found
    assert (finding.record, finding.customer_id) == ("audit record r2", C)
    assert "not JSON" in finding.sentence
    assert event.quantity == 9


def test_changes_of_one_day_are_numbered_in_the_order_of_the_clock():
    def record(clock, before, after):
        return a_record(
            "update_subscription",
            a_subscription(quantity=after),
            a_subscription(quantity=before),
            operationDate=f"2026-03-10T{clock}Z",
        )

    late, early = record("18:00:00", 8, 5), record("09:00:00", 5, 8)
    found = events(late, early)
    assert [(event.quantity, event.sequence) for event in found] == [(8, 0), (5, 1)]
    assert events(late, early, until=date(2026, 3, 10)) == []


# --- tolerance, as properties -------------------------------------------------------------------

words = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=12)
amounts = st.decimals(-(10**9), 10**9, places=6, allow_nan=False)
OPTIONAL = (
    "offerName friendlyName productType unitType commitmentEndDate status autoRenewEnabled isTrial "
    "billingType billingCycle termDuration promotionId partnerId orderId publisherName "
    "effectiveStartDate offerId scheduledNextTermInstructions migratedFromSubscriptionId"
).split()


@given(status=words, cycle=words, term=words, unit=words, extra=st.dictionaries(words, words))
def test_unknown_words_and_extra_fields_are_accepted(status, cycle, term, unit, extra):
    known = {key.lower() for key in a_subscription()}
    more = {key: value for key, value in extra.items() if key.lower() not in known}
    wire_names = {name.lower() for name in SubscriptionWire.model_fields}
    more = {
        k: v for k, v in more.items() if k.lower() not in {n.replace("_", "") for n in wire_names}
    }
    payload = a_subscription(status=status, billingCycle=cycle, termDuration=term, unitType=unit)
    found = subscription(payload | more)
    assert isinstance(found, Subscription)
    assert found.status == status.lower()


@given(st.sets(st.sampled_from(OPTIONAL)), st.sampled_from(["absent", None, "", "  "]))
def test_anything_optional_may_be_missing_null_or_empty(names, instead):
    payload = without(a_subscription(), *names)
    if instead != "absent":
        payload |= dict.fromkeys(names, instead)
    assert isinstance(subscription(payload), Subscription)


@given(price=amounts, subtotal=amounts, quantity=st.integers(-(10**6), 10**6))
def test_numbers_may_be_text_and_keep_every_digit(price, subtotal, quantity):
    numbers = {"UnitPrice": price, "Subtotal": subtotal, "Quantity": quantity}
    as_numbers = line(a_line(**numbers))
    as_text = line(a_line(**{key: str(value) for key, value in numbers.items()}))
    assert as_numbers == as_text
    assert (as_text.unit_price, as_text.subtotal, as_text.quantity) == (price, subtotal, quantity)
    assert str(as_text.subtotal) == str(subtotal)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_line_keys_do_not_depend_on_order_of_lines_or_fields(quantities, chance: random.Random):
    rows = [a_line(Quantity=quantity) for quantity in quantities]
    shuffled = [dict(chance.sample(list(row.items()), len(row))) for row in rows]
    chance.shuffle(shuffled)

    found = list(cost_lines_of(rows, "G1"))
    again = list(cost_lines_of(shuffled, "G1"))
    assert len({one.key for one in found}) == len(rows)
    assert {one.key: one for one in found} == {one.key: one for one in again}


def test_line_keys_ignore_how_a_number_or_a_name_is_written():
    one = line(a_line(Subtotal=Decimal("217.50"), CustomerName="A"))
    other = line(a_line(Subtotal="217.5", CustomerName="B", ChargeType="AddQuantity"))
    assert one.key == other.key
    assert one.key != line(a_line(Subtotal="217.51")).key


@given(
    st.sampled_from(["quantity", "creationDate", "effectiveStartDate", "commitmentEndDate", "id"]),
    st.sampled_from([0.5, True, "2026-02-30", "tomorrow", "12,5", "NaN", "1e999999", {}, [], "-"]),
)
def test_nonsense_in_identity_dates_and_numbers_is_found_and_named(name, nonsense):
    if name == "id" and isinstance(nonsense, str | list):
        nonsense = {}
    found = subscription(a_subscription(**{name: nonsense}))
    if name == "id" and nonsense is True:
        return
    assert isinstance(found, Finding)
    assert (found.check, found.severity) == ("wire.subscription", Severity.HOLD)
    assert name in found.sentence


@pytest.mark.parametrize("missing", ["id", "quantity", "creationDate"])
def test_a_missing_identity_is_found(missing):
    found = subscription(without(a_subscription(), missing))
    assert found.sentence.endswith(f"cannot be read: the field {missing} is missing.")


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (a_subscription(quantity=-1), "the quantity is -1"),
        (a_subscription(quantity="2.5"), "holds '2.5', which is not a whole number"),
        (a_subscription(quantity=1.0), "holds '1.0', which is not an exact number"),
        (a_subscription(commitmentEndDate="2026-01-01"), "the term ends on 2026-01-01, before"),
        (a_subscription(commitmentEndDate="2026-02-30"), "which is not a date of the calendar"),
        ([], "it is not an object"),
        (None, "it is not an object"),
    ],
)
def test_a_finding_says_field_and_value(payload, said):
    assert said in subscription(payload).sentence


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"Subtotal": "12,50"}, "subtotal holds '12,50', which is not a number"),
        ({"Subtotal": None}, "subtotal is missing"),
        ({"Subtotal": 1.5}, "not an exact number"),
        ({"Currency": ""}, "currency is missing"),
        ({"ChargeStartDate": "2026-13-01"}, "chargeStartDate holds '2026-13-01'"),
        ({"ChargeEndDate": "2026-03-01"}, "the charge ends on 2026-03-01, before it starts"),
        ({"InvoiceNumber": "G9"}, "it belongs to invoice G9, not G1"),
        ({"Quantity": None, "BillableQuantity": None}, "it has no quantity"),
    ],
)
def test_one_bad_line_is_found_and_the_others_go_on(changes, said):
    found = list(cost_lines_of([a_line(Quantity=1), a_line(**changes), a_line(Quantity=2)], "G1"))

    assert [type(one) for one in found] == [CostLine, Finding, CostLine]
    assert said in found[1].sentence
    assert (found[1].customer_id, found[1].severity) == (C, Severity.HOLD)


def test_a_line_of_nobody_warns():
    found = line(without(a_line(), "CustomerId"))
    assert (found.customer_id, found.severity) == ("", Severity.WARN)


def test_dates_stay_on_the_day_that_is_written():
    found = line(a_line(OrderDate="2026-03-03T23:30:00-08:00", ChargeStartDate="4/1/2026"))
    assert found.ordered_on == date(2026, 3, 3)
    assert found.charged.start == date(2026, 4, 1)
    blank = line(a_line(OrderDate="0001-01-01T00:00:00", SubscriptionEndDate="9999-12-31T00:00:00"))
    assert (blank.ordered_on, blank.subscription_end) == (None, None)


def test_a_customer_of_any_case_and_with_gaps():
    found = read(
        CustomerWire,
        {"Id": C.upper(), "CompanyProfile": None, "relationshipToPartner": "brand_new"},
        CustomerWire.to_domain,
        check="customer",
        record="customer",
    )
    assert found == Customer(
        id=C, name="", domain="", relationship="brand_new", details_known=False
    )


def a_whole_customer(company):
    billing = {"defaultAddress": {"country": "at", "city": "Wien", "state": None, "region": "9"}}
    return read(
        CustomerWire,
        {"id": C, "companyProfile": company, "billingProfile": billing},
        CustomerWire.to_domain,
        check="customer",
        record="customer",
    )


def test_the_tenants_own_address_and_the_one_for_billing_are_kept_apart():
    where = {"country": "DE", "region": "Bayern", "state": "BY", "city": "München"}
    found = a_whole_customer({"address": where})
    assert found.address == Address(country="DE", region="BY", city="München")
    assert found.billing_address == Address(country="AT", region="9", city="Wien")
    assert found.market == "DE"


def test_a_hidden_address_is_not_replaced_by_the_one_for_billing():
    found = a_whole_customer({"companyName": "Access Lapsed SARL"})
    assert found.address == Address()
    assert (found.billing_address.country, found.market) == ("AT", "AT")
