"""What a rule makes of usage: tiers, packages, bounds, commitments, and what cannot be meant."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.contract import MarkupMethod, Package, Step, TierBasis, TierMode, Tiers
from domain.money import Money
from domain.problems import Finding, Severity
from rules.metering import Metered, bounded, commitment, fault_of, marked_up, meter_amount
from tests.builders import a_rule, period

GRADUATED, VOLUME = TierMode.GRADUATED, TierMode.VOLUME
QUANTITY, COST = TierBasis.QUANTITY, TierBasis.COST


def step(up_to=None, **prices):
    read = {name: None if text is None else Decimal(text) for name, text in prices.items()}
    return Step(up_to=None if up_to is None else Decimal(up_to), **read)


def tiers(*steps, mode=GRADUATED, basis=QUANTITY, **fields):
    return a_rule(
        None,
        key="tiers",
        method=MarkupMethod.TIERS,
        tiers=Tiers(mode=mode, basis=basis, steps=steps),
        **fields,
    )


def package(size="1000", price="5", free="0", **fields):
    made = Package(size=Decimal(size), price=Decimal(price), free=Decimal(free))
    return a_rule(None, key="pack", method=MarkupMethod.PACKAGE, package=made, **fields)


def used(quantity, **fields):
    return Metered.of(name="Storage", quantity=Decimal(quantity), **fields)


def asked(rule, what, currency="USD"):
    answer = meter_amount(rule, what, currency)
    assert not isinstance(answer, Finding), answer.sentence
    return answer


LADDER = (step("10", unit_price="1"), step("30", unit_price="0.8"), step(unit_price="0.5"))


# --- the basis -------------------------------------------------------------------------------------


def test_the_basis_is_the_cost_where_given_and_quantity_times_price_where_not():
    assert used("24", unit_price=Decimal("0.192"), cost=Decimal("4.61")).basis == Fraction("4.61")
    assert used("24", unit_price=Decimal("0.192")).basis == Fraction("4.608")
    assert used("24").basis is None


def test_the_earned_credit_lowers_the_basis():
    """100 less 15 percent is 85; 20 percent on it make 102."""
    metered = used("1", cost=100, earned_credit_percent=Decimal(15))
    assert metered.basis == 85
    assert asked(a_rule("20"), metered).exact == 102


def test_a_sum_of_parts_knows_its_cost_only_when_all_parts_do():
    parts = [used("2", cost=Decimal(3)), used("5", cost=Decimal(4))]
    whole = Metered.total(parts, name="Storage")
    assert (whole.quantity, whole.basis, whole.lines) == (7, 7, 2)
    assert Metered.total([*parts, used("1")], name="Storage").basis is None
    assert Metered.total([], name="Storage").basis == 0


# --- percent and margin ----------------------------------------------------------------------------


def test_a_percentage_is_asked_of_the_cost_and_the_sentence_does_not_show_it():
    """24 × 0.192 = 4.608; 15 percent on it make 5.2992; one of 24 is 0.2208."""
    answer = asked(a_rule("15"), used("24.0", unit_price=Decimal("0.192")))
    assert answer.exact == Fraction("5.2992")
    assert answer.sentence == "Storage: 24 × 0.2208 = 5.30 USD"
    assert dict(answer.reasons[0].inputs) == {
        "rule": "rule/all",
        "method": "percent",
        "value": "15",
        "quantity": "24",
        "cost": "4.608",
        "lines": "1",
    }


def test_what_no_product_shows_is_said_in_all():
    answer = asked(a_rule("0"), used("0", cost=Decimal("7.50")))
    assert answer.sentence == "Storage: 7.50 USD in all"


def test_a_correction_of_microsoft_is_marked_up_like_what_it_corrects():
    answer = asked(a_rule("10"), used("-5", cost=Decimal(-10)))
    assert (answer.exact, str(answer.amount)) == (-11, "-11.00 USD")


def test_a_margin_is_part_of_the_price():
    """80 / (1 - 0.2) = 100."""
    rule = a_rule("20", method=MarkupMethod.MARGIN)
    assert asked(rule, used("1", cost=80)).exact == 100


@pytest.mark.parametrize(
    ("currency", "amount"), [("USD", "0.34 USD"), ("JPY", "0 JPY"), ("KWD", "0.337 KWD")]
)
def test_the_amount_is_rounded_once_in_its_currency(currency, amount):
    assert str(asked(a_rule("0"), used("1", cost=Decimal("0.3365")), currency).amount) == amount


# --- tiers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "graduated", "volume"),
    [
        ("0", "0", "0"),
        ("10", "10", "10"),  # up_to is inclusive
        ("10.5", "10.4", "8.4"),  # 10 × 1 + 0.5 × 0.8; 10.5 × 0.8
        ("30", "26", "24"),  # 10 + 20 × 0.8; 30 × 0.8
        ("50", "36", "25"),  # 26 + 20 × 0.5; 50 × 0.5
    ],
)
def test_graduated_prices_each_part_and_volume_prices_all(quantity, graduated, volume):
    assert asked(tiers(*LADDER), used(quantity)).exact == Fraction(graduated)
    assert asked(tiers(*LADDER, mode=VOLUME), used(quantity)).exact == Fraction(volume)


def test_each_step_is_a_term_of_the_sentence_and_a_reason():
    answer = asked(tiers(*LADDER), used("50"))
    assert answer.sentence == "Storage: 10 × 1 + 20 × 0.8 + 20 × 0.5 = 36.00 USD"
    assert [dict(reason.inputs) for reason in answer.reasons][1] == {
        "rule": "tiers",
        "mode": "graduated",
        "basis": "quantity",
        "step": "2 of 3",
        "part": "20",
        "unit_price": "0.8",
        "per": "1",
        "price": "16",
    }


def test_a_flat_price_is_asked_once_for_each_step_that_is_reached():
    steps = (step("10", unit_price="1", flat="5"), step(unit_price="2", flat="7"))
    assert asked(tiers(*steps), used("10")).exact == 15
    assert asked(tiers(*steps), used("11")).exact == 24  # 10 + 5 + 2 + 7
    assert asked(tiers(*steps, mode=VOLUME), used("11")).exact == 29  # 22 + 7
    assert asked(tiers(*steps), used("0")).exact == 0
    only_flat = asked(tiers(step(flat="9")), used("3"))
    assert only_flat.sentence == "Storage: 9 = 9.00 USD"


def test_a_price_per_many_is_pro_rata():
    """1 500 at 2 per 1 000 is 3, no package of 1 000 being rounded up."""
    answer = asked(tiers(step(unit_price="2", per="1000")), used("1500"))
    assert answer.exact == 3
    assert answer.sentence == "Storage: 1500 × 2 / 1000 = 3.00 USD"


def test_steps_of_money_mark_up_the_part_of_the_cost_in_them():
    """1 000 at 20 percent = 1 200, the other 500 at 10 percent = 550."""
    steps = (step("1000", percent="20"), step(percent="10"))
    graduated = asked(tiers(*steps, basis=COST), used("3", cost=1500))
    assert graduated.exact == 1750
    assert asked(tiers(*steps, basis=COST, mode=VOLUME), used("3", cost=1500)).exact == 1650
    assert "1500" not in graduated.sentence  # the cost is the partner's own
    assert "1000" not in graduated.sentence


def test_a_percentage_of_steps_of_units_takes_its_part_of_the_cost():
    """40 units cost 100: 10 of them 25, marked up by 20 percent 30; 30 of them 75, by 10: 82.50."""
    steps = (step("10", percent="20"), step(percent="10"))
    assert asked(tiers(*steps), used("40", cost=100)).exact == Fraction("112.5")
    assert asked(tiers(*steps, mode=VOLUME), used("40", cost=100)).exact == 110


def test_prices_of_one_step_add_up():
    """4 × 2 + 3 flat + 10 marked up by 50 percent = 26."""
    mixed = step(unit_price="2", flat="3", percent="50")
    assert asked(tiers(mixed), used("4", cost=10)).exact == 26


def test_a_step_without_percentage_does_not_pass_the_cost_on():
    assert asked(tiers(step(unit_price="2")), used("4", cost=1000)).exact == 8


@pytest.mark.parametrize(
    ("rule", "what", "fault"),
    [
        (tiers(*LADDER), used("-1"), "a quantity of -1 lies below the first step"),
        (tiers(step(percent="5"), basis=COST), used("1", cost=-3), "a cost of -3 lies below"),
        (
            tiers(step("10", unit_price="1")),
            used("10.01"),
            "a quantity of 10.01 lies beyond the last step, which ends at 10",
        ),
        (tiers(step(percent="5"), basis=COST), used("1"), "its cost is not known"),
        (tiers(step(percent="5")), used("1"), "its cost is not known"),
        (tiers(*LADDER), used("0", cost=3), "it cost something, and no quantity was used"),
        (package(), used("-1"), "a quantity of -1 makes no package"),
        (a_rule("5"), used("1"), "its cost is not known"),
        (a_rule("5", method=MarkupMethod.FIXED), used("1", cost=1), "usage is priced by percent"),
        (a_rule("5", method=MarkupMethod.UPLIFT), used("1", cost=1), "usage is priced by percent"),
        (a_rule("5", method=MarkupMethod.ERP_MINUS), used("1", cost=1), "usage is priced by"),
    ],
)
def test_what_a_rule_cannot_price_is_a_finding(rule, what, fault):
    answer = meter_amount(rule, replace(what, customer_id="c1"), "USD")
    assert isinstance(answer, Finding)
    assert (answer.check, answer.severity) == ("price.no_basis", Severity.HOLD)
    assert (answer.customer_id, answer.record) == ("c1", "meter Storage")
    assert fault in answer.sentence


# --- packages --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "price"),
    [("0", 0), ("100", 0), ("100.01", 5), ("1100", 5), ("1100.5", 10), ("2101", 15)],
)
def test_a_package_that_was_begun_is_asked_for_whole(quantity, price):
    assert asked(package(free="100"), used(quantity)).exact == price


def test_a_package_can_be_counted():
    answer = asked(package(free="100"), used("1500"))
    assert answer.sentence == "Storage: 1500 less 100 free, 2 packages of 1000 × 5 = 10.00 USD"
    assert answer.reasons[0].inputs["packages"] == "2"
    one = asked(package(), used("1"))
    assert one.sentence == "Storage: 1, 1 package of 1000 × 5 = 5.00 USD"


# --- floor and cap ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "exact", "why"),
    [
        ({"floor": Decimal("1.20")}, "12", "Storage: 10 × 1.2 = 12.00 USD"),
        ({"cap": Decimal("1.05")}, "10.5", "Storage: 10 × 1.05 = 10.50 USD"),
        ({"floor": Decimal(1), "cap": Decimal(2)}, "11", "Storage: 10 × 1.1 = 11.00 USD"),
    ],
)
def test_a_unit_price_lies_between_floor_and_cap(bounds, exact, why):
    """Ten units for 10, marked up to 1.10 each."""
    answer = asked(a_rule("10", **bounds), used("10", cost=10))
    assert (answer.exact, answer.sentence) == (Fraction(exact), why)
    held = [r.rule for r in answer.reasons if r.rule in {"price.floor", "price.cap"}]
    assert len(held) == (0 if len(bounds) == 2 else 1)


def test_a_correction_is_bounded_like_what_it_corrects():
    rule = a_rule("10", cap=Decimal("1.05"))
    assert asked(rule, used("-10", cost=-10)).exact == Fraction("-10.5")


# --- minimum and maximum ---------------------------------------------------------------------------

NOVEMBER = period("2026-11-01", "2026-12-01")


def committed(charged, valid=NOVEMBER, full=NOVEMBER, currency="USD", **terms):
    rule = a_rule(**{name: Decimal(text) for name, text in terms.items()})
    return commitment(rule, Money(Decimal(charged), currency), valid=valid, full=full)


def test_a_minimum_is_made_up_and_a_maximum_is_cut():
    missing = committed("80.00", minimum="100", maximum="200")
    assert str(missing.amount) == "20.00 USD"
    assert missing.sentence == (
        "Agreed minimum for 2026-11-01 to 2026-11-30: 100 USD = 100.00 USD, "
        "less 80.00 charged = 20.00 USD"
    )
    assert str(committed("230.00", minimum="100", maximum="200").amount) == "-30.00 USD"
    for enough in ("100.00", "150.00", "200.00"):
        assert committed(enough, minimum="100", maximum="200") is None
    assert committed("1.00") is None


def test_a_minimum_is_prorated_by_the_days_on_which_it_was_agreed():
    """14 of 30 days of 100 are 46.67."""
    part = committed("6.67", period("2026-11-17", "2026-12-01"), minimum="100")
    assert str(part.amount) == "40.00 USD"
    assert part.sentence == (
        "Agreed minimum for 2026-11-17 to 2026-11-30: 100 USD × 14/30 days = 46.67 USD, "
        "less 6.67 charged = 40.00 USD"
    )
    assert part.reasons[0].rule == "price.minimum"
    assert part.reasons[0].inputs["due"] == "46.67"


# --- what cannot be meant --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (a_rule(None), "it has no value"),
        (a_rule("-100.01"), "no price is more than 100 percent below cost"),
        (a_rule("100", method=MarkupMethod.MARGIN), "no price leaves a margin of 100 percent"),
        (
            a_rule("101", method=MarkupMethod.ERP_MINUS),
            "no price is more than 100 percent below the retail price",
        ),
        (a_rule("-1", method=MarkupMethod.FIXED), "no price is below zero"),
        (
            a_rule("1", method=MarkupMethod.TIERS, tiers=tiers(*LADDER).tiers),
            "a rule by tiers has no value of its own",
        ),
        (a_rule(None, method=MarkupMethod.TIERS), "tiers and the method tiers belong together"),
        (a_rule("5", tiers=tiers(*LADDER).tiers), "tiers and the method tiers belong together"),
        (
            a_rule(None, method=MarkupMethod.PACKAGE),
            "a package and the method package belong together",
        ),
        (
            a_rule("5", package=package().package),
            "a package and the method package belong together",
        ),
        (tiers(), "it has no steps"),
        (tiers(step("10"), step("10")), "its steps do not rise"),
        (tiers(step("0"), step()), "its steps do not rise"),
        (tiers(step(), step("10")), "only the last step may be open"),
        (tiers(step(per="0")), "a price cannot be per 0"),
        (tiers(step(unit_price="-1")), "no step has a price below zero"),
        (tiers(step(flat="-1")), "no step has a price below zero"),
        (tiers(step(percent="-101")), "no step has a price below zero"),
        (package(size="0"), "a package cannot hold 0"),
        (package(price="-1"), "neither price nor free units of a package are below zero"),
        (package(free="-1"), "neither price nor free units of a package are below zero"),
        (a_rule("5", floor=Decimal(2), cap=Decimal(1)), "its floor is above its cap"),
        (a_rule("5", minimum=Decimal(2), maximum=Decimal(1)), "its minimum is above its maximum"),
        (a_rule("5", minimum=Decimal(-1)), "its minimum is below zero"),
        (a_rule("5", cap=Decimal(-1)), "its cap is below zero"),
    ],
)
def test_an_impossible_rule_is_a_finding_that_names_it(rule, fault):
    assert fault_of(rule) == fault
    answer = meter_amount(rule, used("1", cost=1), "USD")
    assert isinstance(answer, Finding)
    assert (answer.check, answer.record) == ("price.rule", f"markup rule {rule.key}")
    assert answer.sentence == f"Rule {rule.key} cannot be meant as it stands: {fault}."


@pytest.mark.parametrize(
    "rule",
    [
        a_rule("-100"),
        a_rule("99.99", method=MarkupMethod.MARGIN),
        a_rule("-3", method=MarkupMethod.UPLIFT),
        a_rule("5", floor=Decimal(1), cap=Decimal(1), minimum=Decimal(0), maximum=Decimal(0)),
        tiers(step("10"), step("10.01", percent="-100"), step()),
        package(price="0"),
    ],
)
def test_what_is_only_unusual_is_no_fault(rule):
    assert not fault_of(rule)


def test_tiers_price_no_single_unit():
    with pytest.raises(ValueError, match="no single unit"):
        marked_up(tiers(*LADDER), Fraction(1))


# --- properties ------------------------------------------------------------------------------------

amounts = st.fractions(0, 5000, max_denominator=1000)
prices = st.decimals(0, 50, places=3)


@st.composite
def ladders(draw, *, flats=False, percents=False):
    """Steps that rise, the last one open."""
    ends = sorted(draw(st.sets(st.decimals("0.1", "4000", places=1), max_size=4)))
    return tuple(
        Step(
            up_to=end,
            unit_price=draw(prices),
            flat=draw(prices) if flats else Decimal(0),
            percent=draw(st.decimals(-100, 100, places=1)) if percents else None,
            per=draw(st.sampled_from([Decimal(1), Decimal(7), Decimal("0.1"), Decimal(1000)])),
        )
        for end in [*ends, None]
    )


@given(ladders(flats=True), amounts, amounts)
def test_more_use_never_costs_less_by_graduated_steps(steps, one, other):
    low, high = sorted([one, other])
    rule = tiers(*steps)
    below, above = (asked(rule, Metered(name="m", quantity=q, basis=None)) for q in (low, high))
    assert below.exact <= above.exact


@given(ladders(), amounts, st.fractions("0.000001", "0.001"))
def test_graduated_steps_without_flat_prices_make_no_jump(steps, quantity, little):
    """What a little more costs is at most that little at the dearest price."""
    rule = tiers(*steps)
    one, two = (
        asked(rule, Metered(name="m", quantity=q, basis=None)).exact
        for q in (quantity, quantity + little)
    )
    dearest = max(Fraction(s.unit_price) / Fraction(s.per) for s in steps)
    assert 0 <= two - one <= little * dearest


@given(ladders(flats=True, percents=True), amounts, amounts, st.sampled_from(TierBasis))
def test_graduated_is_volume_where_there_is_one_step(steps, quantity, cost, basis):
    metered = Metered(name="m", quantity=quantity, basis=cost if quantity else Fraction(0))
    answers = [
        meter_amount(tiers(steps[-1], mode=mode, basis=basis), metered, "USD") for mode in TierMode
    ]
    assert answers[0].exact == answers[1].exact


@given(ladders(flats=True, percents=True), amounts, amounts, st.sampled_from(TierMode))
def test_the_parts_of_the_reasons_sum_to_the_whole(steps, quantity, cost, mode):
    rule = tiers(*steps, mode=mode)
    metered = Metered(name="m", quantity=quantity, basis=cost if quantity else Fraction(0))
    answer = asked(rule, metered)
    reached = [r for r in answer.reasons if r.rule == "price.tier"]
    told = sum((Fraction(r.inputs["price"]) for r in reached), Fraction(0))
    parts = sum((Fraction(r.inputs["part"]) for r in reached), Fraction(0))
    assert abs(told - answer.exact) <= Fraction(len(reached), 10**10)
    assert abs(parts - quantity) <= Fraction(len(reached), 10**10)
    assert answer.amount == Money.rounded(answer.exact, "USD")


@given(st.lists(amounts, min_size=2, max_size=6), prices)
def test_a_percentage_of_a_sum_is_the_sum_of_its_percentages(costs, percent):
    rule = a_rule(str(percent))
    parts = [Metered(name="m", quantity=Fraction(1), basis=cost) for cost in costs]
    whole = asked(rule, Metered.total(parts, name="m")).exact
    assert whole == sum(asked(rule, part).exact for part in parts)


@given(amounts, prices, st.fractions("0.001", "500"), amounts)
def test_packages_hold_what_was_used_and_no_whole_one_is_too_many(quantity, price, size, free):
    made = Package(
        size=Decimal(size.numerator) / Decimal(1 + size.denominator),
        price=price,
        free=Decimal(free.numerator) / Decimal(8),
    )
    rule = replace(package(), package=made)
    answer = asked(rule, Metered(name="m", quantity=quantity, basis=None))
    packages = int(answer.reasons[0].inputs["packages"])
    beyond = max(Fraction(0), quantity - Fraction(made.free))
    assert (packages - 1) * Fraction(made.size) < beyond or packages == 0
    assert packages * Fraction(made.size) >= beyond
    assert answer.exact == packages * Fraction(price)


@given(prices, prices, amounts, st.fractions(-100, 100, max_denominator=100), prices)
def test_the_unit_price_lies_between_its_bounds(one, other, cost, quantity, percent):
    low, high = sorted([one, other])
    rule = a_rule(str(percent), floor=low, cap=high)
    assert low <= bounded(rule, cost)[0] <= high
    if quantity:
        basis = cost * quantity
        exact = asked(rule, Metered(name="m", quantity=quantity, basis=basis)).exact
        assert low <= exact / quantity <= high


@given(
    st.decimals(0, 10**6, places=3),
    st.decimals(0, 10**6, places=3),
    st.integers(-(10**8), 10**8),
    st.integers(1, 30),
    st.sampled_from(["USD", "JPY", "KWD"]),
)
def test_with_its_true_up_a_month_comes_to_exactly_what_was_agreed(one, other, units, days, coin):
    low, high = sorted([one, other])
    full = NOVEMBER
    valid = full.split_at(full.end.replace(year=2026, month=11, day=days))[1]
    share = Fraction(valid.days, 30)
    charged = Money.rounded(Fraction(units, 100), coin)
    rule = a_rule(minimum=low, maximum=high)
    made = commitment(rule, charged, valid=valid, full=full)
    least, most = (Money.rounded(Fraction(bound) * share, coin) for bound in (low, high))
    if made is None:
        assert least.amount <= charged.amount <= most.amount
    else:
        assert charged + made.amount == (least if made.amount.amount > 0 else most)


@given(ladders(), st.sampled_from(TierMode))
def test_a_step_belongs_to_its_own_end(steps, mode):
    """At each end volume asks the price of the step that ends there."""
    for one, _ in pairwise(steps):
        rule = tiers(*steps, mode=mode)
        answer = asked(rule, Metered(name="m", quantity=Fraction(one.up_to), basis=None))
        place = steps.index(one) + 1
        assert answer.reasons[-1].inputs["step"] == f"{place} of {len(steps)}"
