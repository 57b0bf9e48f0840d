"""Rows: every record survives its row, whatever its digits; keys never meet; options never move."""

import types
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataverse.mapping import FORMATTED, from_row, to_row
from dataverse.microsoft_tables import COST_LINE, CUSTOMER, SUBSCRIPTION
from dataverse.schema import FIRST_OPTION, Kind, external_key
from dataverse.tables import (
    BILLING_CONTRACT,
    FINDING,
    INVOICE,
    INVOICE_LINE,
    MARKUP_RULE,
    PRICE_LIST_ITEM,
    TABLE_OF,
    TABLES,
    TAX_PROFILE,
    UNIT_OF_WORK,
)
from dataverse.usage_tables import USAGE_ALERT
from domain.contract import (
    Alignment,
    BillingContract,
    MarkupMethod,
    MarkupRule,
    Package,
    Proration,
    Step,
    TaxTreatment,
    TierMode,
    Tiers,
    Timing,
)
from domain.customer import Customer
from domain.money import Money
from domain.period import Frequency, Period
from domain.problems import Finding, FindingState, InputError, Severity
from domain.run import RequestStatus, RunStatus, UnitStatus
from domain.subscription import CostKind, CostLine, SubscriptionKind
from domain.tax import TaxDecider
from domain.usage_alert import AlertKind, AlertSeverity, AlertState
from invoice.document import DocumentKind, DocumentStatus, InvoiceLine

words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)
days = st.dates(date(1753, 1, 1), date(9999, 12, 30))
decimals = st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=12
) | st.integers(-(10**6), 10**6).map(lambda cents: Decimal(cents) / 100)


def records(hint):
    """Any value of an annotated type: from the plain to what no column holds in full."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint == tuple[InvoiceLine, ...]:
        return st.just(())  # lines are rows of their own
    if origin in (Union, types.UnionType):
        return st.none() | records(next(part for part in arguments if part is not type(None)))
    if origin is tuple:
        return st.lists(records(arguments[0]), max_size=3).map(tuple)
    if origin is not None:
        return st.dictionaries(words, records(arguments[1]), max_size=3)
    if hint is Period:
        return st.tuples(days, days).map(lambda pair: Period(min(pair), max(pair)))
    if hint is Money:
        amounts = st.integers(-(10**12), 10**12).map(lambda cents: Decimal(cents) / 100)
        return amounts.map(lambda amount: Money(amount, "EUR"))
    if hint is InvoiceLine:
        return invoice_lines()
    if is_dataclass(hint):
        hints = get_type_hints(hint)
        values = {field.name: records(hints[field.name]) for field in fields(hint)}
        if "key" in values:
            values["key"] = words.map("key/".__add__)  # an identity is never empty
        return st.builds(hint, **values)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    return {
        str: words | st.text("xy", min_size=90, max_size=700),
        int: st.integers(-(2**40), 2**40),
        bool: st.booleans(),
        date: days | st.just(date.max),
        datetime: st.datetimes(datetime(1900, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        Decimal: decimals,
        Fraction: st.fractions(),
    }[hint]


@st.composite
def invoice_lines(draw):
    hints = get_type_hints(InvoiceLine)
    charge = draw(records(hints["charge"]))
    values = {name: draw(records(hint)) for name, hint in hints.items() if name != "charge"}
    return InvoiceLine(**{**values, "charge": charge, "key": charge.key})


def as_read(table, record):
    """A row as the Web API shows it again: links as ids, money with four decimals."""
    out = to_row(table, record)
    row = dict(out.columns)
    for column in table.columns:
        if column.kind in (Kind.MONEY, Kind.NUMBER) and row.get(column.name) is not None:
            places = 4 if column.kind is Kind.MONEY else 10
            row[column.name] = Decimal(f"{row[column.name]:.{places}f}")
    for lookup, target in out.links:
        row[lookup.value_property] = target
        if lookup.name_field:
            row[lookup.value_property + FORMATTED] = "Contoso GmbH"
    return row


def _with_known_links(record):
    """What the row leaves to its links: an account has a name only where there is an account."""
    if isinstance(record, BillingContract):
        name = "Contoso GmbH" if record.account_id else ""
        return replace(record, account_id=record.account_id.lower(), account_name=name)
    return record


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_record_survives_its_row(table, data):
    record = _with_known_links(data.draw(records(table.record)))
    given = {"lines": ()} if table is INVOICE else {}
    found = from_row(table, as_read(table, record), **given)
    assert found == record


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_the_digest_is_of_the_content_alone(table, data):
    record = data.draw(records(table.record))
    assert to_row(table, record).digest() == to_row(table, record).digest()


parts = st.text("abAB01._- /:ü", max_size=12)


@given(st.lists(st.lists(parts, max_size=6).map("/".join), unique=True, max_size=30))
def test_different_keys_stay_different_without_regard_to_case(keys):
    found = [external_key(key).lower() for key in keys]
    assert len(set(found)) == len(keys)


@given(st.text(max_size=300))
def test_a_key_is_one_that_dataverse_takes_in_a_url(key):
    found = external_key(key)
    assert len(found) <= 100
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-")


def test_a_key_stays_readable():
    assert external_key("unit/2026-10") == "unit.2026-10"
    assert external_key("invoice/c1/2026-10/USD/1").startswith("invoice.c1.2026-10.usd.1..")
    assert external_key("a/USD") != external_key("a/usd")


def test_every_value_of_our_own_words_is_an_option():
    declared = {
        (INVOICE, "csp_kind"): DocumentKind,
        (INVOICE, "csp_status"): DocumentStatus,
        (FINDING, "csp_severity"): Severity,
        (FINDING, "csp_state"): FindingState,
        (UNIT_OF_WORK, "csp_status"): UnitStatus,
        (TABLE_OF_RUN, "csp_status"): RequestStatus,
        (MARKUP_RULE, "csp_method"): MarkupMethod,
        (TAX_PROFILE, "csp_treatment"): TaxTreatment,
        (BILLING_CONTRACT, "csp_frequency"): Frequency,
        (BILLING_CONTRACT, "csp_timing"): Timing,
        (BILLING_CONTRACT, "csp_alignment"): Alignment,
        (BILLING_CONTRACT, "csp_proration"): Proration,
        (COST_LINE, "csp_kind"): CostKind,
        (SUBSCRIPTION, "csp_kind"): SubscriptionKind,
        (BILLING_CONTRACT, "csp_taxdecider"): TaxDecider,
        (USAGE_ALERT, "csp_kind"): AlertKind,
        (USAGE_ALERT, "csp_severity"): AlertSeverity,
        (USAGE_ALERT, "csp_state"): AlertState,
    }
    for (table, name), enum in declared.items():
        assert set(table.column(name).options) == {member.value for member in enum}
    assert INVOICE.column("csp_status").option("paid") == FIRST_OPTION + 4


TABLE_OF_RUN = next(table for table in TABLES if table.name == "csp_billingrun")


def test_every_field_of_every_record_has_a_place():
    """A field added to a record and forgotten here would be lost without a word."""
    for table in TABLES:
        placed = {path.split(".")[0] for column in table.columns for path in column.paths}
        placed |= {lookup.field for lookup in table.lookups}
        placed |= {lookup.name_field for lookup in table.lookups}
        missing = {field.name for field in fields(table.record)} - placed - {"key"}
        assert missing == ({"lines"} if table is INVOICE else set()), table.name
    assert TABLE_OF[Customer] is CUSTOMER


def test_names_do_not_collide_with_the_platform():
    for table in TABLES:
        names = [column.name for column in table.columns]
        names += [lookup.name for lookup in table.lookups]
        assert len(set(names)) == len(names), table.name
        assert table.primary_id not in names, table.name
        assert len([column for column in table.columns if column.primary]) == 1


def test_digits_that_a_column_cannot_hold_are_kept_beside_it():
    line = next(iter_cost_lines(unit_price=Decimal("1.123456789012345")))
    row = to_row(COST_LINE, line).columns
    assert row["csp_unitprice"] == Decimal("1.1234567890")
    assert row["csp_overflow"] == '{"csp_unitprice":"1.123456789012345"}'


def test_a_correction_in_dynamics_wins_over_the_digits_behind_it():
    line = next(iter_cost_lines(unit_price=Decimal("1.123456789012345")))
    row = dict(to_row(COST_LINE, line).columns)
    row["csp_unitprice"] = Decimal("2.5000000000")
    assert from_row(COST_LINE, row).unit_price == Decimal("2.5")


def iter_cost_lines(**values):
    yield CostLine(
        **{
            "key": "cost/G1/1",
            "invoice_id": "G1",
            "customer_id": "c",
            "customer_name": "Contoso",
            "subscription_id": "s",
            "product_id": "p",
            "sku_id": "0001",
            "name": "Seats",
            "kind": CostKind.LICENCE,
            "charge_type": "new",
            "charged": None,
            "ordered_on": None,
            "quantity": Decimal(1),
            "billable_quantity": Decimal(1),
            "unit_price": Decimal(1),
            "effective_unit_price": Decimal(1),
            "subtotal": Decimal("12.30"),
            "tax": Decimal(0),
            "currency": "EUR",
            **values,
        }
    )


def test_amounts_come_back_in_the_decimals_of_their_currency():
    read = from_row(COST_LINE, as_read(COST_LINE, next(iter_cost_lines())))
    assert str(read.subtotal) == "12.30"
    yen = next(iter_cost_lines(subtotal=Decimal(1250), currency="JPY"))
    assert str(from_row(COST_LINE, as_read(COST_LINE, yen)).subtotal) == "1250"


def test_an_open_end_is_an_empty_day():
    rule = MarkupRule(
        key="rule/1",
        method=MarkupMethod.PERCENT,
        value=Decimal(5),
        valid=Period(date.min, date.max),
    )
    row = to_row(MARKUP_RULE, rule).columns
    assert (row["csp_validfrom"], row["csp_validuntil"], row["csp_overflow"]) == (None, None, None)
    assert from_row(MARKUP_RULE, row) == rule


def test_tiers_and_packages_typed_by_hand_keep_their_digits():
    row = {
        "csp_key": "rule/1",
        "csp_method": FIRST_OPTION + 5,
        "csp_tiers": '{"mode": "graduated", "steps": [{"up_to": "10", "unit_price": 0.1}, {}]}',
        "csp_package": '{"size": "1000", "price": "2.50"}',
    }
    rule = from_row(MARKUP_RULE, row)
    assert rule.tiers == Tiers(
        mode=TierMode.GRADUATED,
        steps=(Step(up_to=Decimal(10), unit_price=Decimal("0.1")), Step()),
    )
    assert rule.package == Package(size=Decimal(1000), price=Decimal("2.50"))
    assert rule.value is None


@pytest.mark.parametrize("typed", ["{", '{"steps": []}', '{"mode": "graduated", "step": []}'])
def test_tiers_that_cannot_be_read_name_their_row(typed):
    row = {"csp_key": "rule/1", "csp_method": FIRST_OPTION + 5, "csp_tiers": typed}
    with pytest.raises(InputError, match="csp_markuprule rule/1: csp_tiers is"):
        from_row(MARKUP_RULE, row)


def test_a_contract_of_before_is_billed_by_the_month():
    """Columns that were added later are empty in the rows of before."""
    row = {"csp_key": "contract/c", "csp_currency": "EUR", "csp_starts": "2026-01-01"}
    contract = from_row(BILLING_CONTRACT, row)
    assert (contract.frequency, contract.anchor_day) == (Frequency.MONTH, 1)
    assert (contract.alignment, contract.proration) == (Alignment.CHARGE_CYCLE, Proration.DAYS)


def test_a_row_made_by_hand_gets_its_identity_from_its_primary_key():
    row = {
        "csp_pricelistitemid": "00000000-0000-0000-0000-000000000001",
        "csp_sku": "CFQ7TTC0LH18:0001",
        "csp_billingcycle": "monthly",
        "csp_currency": "EUR",
        "csp_unitprice": 12,
    }
    item = from_row(PRICE_LIST_ITEM, row)
    assert item.key == "csp_pricelistitem/00000000-0000-0000-0000-000000000001"
    assert item.valid == Period(date.min, date.max)


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("csp_starts", None, "csp_starts is empty"),
        ("csp_starts", "soon", "csp_starts is 'soon', which cannot be read"),
        ("csp_anchorday", "first", "csp_anchorday is 'first', which cannot be read"),
    ],
)
def test_a_row_that_is_no_record_says_where(column, value, sentence):
    contract = BillingContract(
        key="contract/c",
        customer_id="c",
        account_id="",
        account_name="",
        currency="EUR",
        starts=date(2026, 1, 1),
    )
    row = {**to_row(BILLING_CONTRACT, contract).columns, column: value}
    with pytest.raises(InputError) as raised:
        from_row(BILLING_CONTRACT, row)
    assert str(raised.value) == f"csp_billingcontract contract/c: {sentence}"


def test_an_option_that_is_not_ours_is_refused():
    with pytest.raises(InputError, match="5 is not an option of csp_method"):
        from_row(MARKUP_RULE, {"csp_key": "rule/1", "csp_method": 5, "csp_value": 1})


def test_a_finding_seen_again_is_the_same_row():
    finding = Finding(
        check="agreement.missing",
        severity=Severity.HOLD,
        customer_id="c",
        record="customer c",
        sentence="No agreement.",
        hint="Attest it.",
        seen=date(2026, 10, 1),
    )
    later = replace(finding, seen=date(2026, 10, 2))
    assert to_row(FINDING, finding).digest() == to_row(FINDING, later).digest()
    assert to_row(FINDING, finding).once == {"csp_firstseen": "2026-10-01"}


def test_a_line_belongs_to_its_document():
    assert INVOICE_LINE.identity == ("invoice_key", "key")


def test_a_request_ends_as_its_run_does():
    assert {one.value for one in RunStatus} < {one.value for one in RequestStatus}
