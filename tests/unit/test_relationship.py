"""What holds of every customer, whatever its relationships are, and what a lost role costs."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from domain.customer import AccessAssignment
from domain.money import Money
from domain.subscription import CostKind
from rules.earned_credit import newest_credit
from rules.facts import Demands, StandingFacts
from rules.relationship import delegated_admin
from tests.builders import a_customer, a_line, a_pass_on, a_relationship, checks, day, period

TODAY = day("2026-11-09")
ROLES = ("r1", "r2", "r3")


def facts(relationships, required=(), history=()):
    return StandingFacts(
        customer=a_customer(),
        agreements=(),
        relationships=relationships,
        subscriptions=(),
        contract=None,
        history=history,
        today=TODAY,
        demands=Demands(required_roles=tuple(required)),
    )


assignments = st.builds(
    AccessAssignment,
    group_id=st.just("g"),
    status=st.sampled_from(["active", "pending", "deleted"]),
    roles=st.lists(st.sampled_from(ROLES), unique=True).map(tuple),
)


@st.composite
def relationships(draw, name=""):
    held = draw(st.lists(assignments, max_size=3))
    return a_relationship(
        id=name or draw(st.sampled_from("abcdef")),
        status=draw(st.sampled_from(["active", "expiring", "expired", "terminated", "gone"])),
        assignments=tuple(held),
        active_assignments=sum(one.gives_access for one in held),
        ends_on=draw(
            st.one_of(
                st.none(),
                st.integers(-20, 400).map(lambda days: TODAY + timedelta(days=days)),
            )
        ),
        auto_extends=draw(st.booleans()),
    )


def lasting():
    group = AccessAssignment(group_id="g", status="active", roles=ROLES)
    return a_relationship(id="z", assignments=(group,), ends_on=day("2028-11-09"))


several = st.lists(relationships(), max_size=4, unique_by=lambda one: one.id)
required = st.lists(st.sampled_from(ROLES), unique=True)


@given(several, required)
def test_one_relationship_that_lasts_and_gives_every_role_settles_it(others, roles):
    found = delegated_admin(facts([*others, lasting()], roles))
    # What another one's groups hold beyond it is not known, nor when that one ends.
    unknown = {f"delegated admin relationship {one.id}" for one in others if one.ends_on is None}
    assert {one.record for one in found} <= unknown
    assert set(checks(found)) <= {"gdap.end_unknown"}


@given(several, required)
def test_the_order_of_relationships_changes_nothing_that_holds(others, roles):
    forwards = delegated_admin(facts(others, roles))
    backwards = delegated_admin(facts(others[::-1], roles))
    assert sorted(checks(forwards)) == sorted(checks(backwards))


@given(several, required)
def test_something_holds_exactly_where_a_required_role_is_not_held_now(others, roles):
    held = {
        role
        for one in others
        if one.status in {"active", "expiring"}
        and (
            one.ends_on is None
            or one.ends_on > TODAY
            or (one.ends_on == TODAY and one.auto_extends and one.status == "active")
        )
        for each in one.assignments
        if each.gives_access
        for role in each.roles or ("?",)
    }
    found = delegated_admin(facts(others, roles))
    assert any(one.holds for one in found) == (not held or not set(roles) <= held)


@given(several, required, st.integers(0, 400))
def test_a_day_that_passes_never_brings_access(others, roles, days):
    def holds(today: date) -> bool:
        known = facts(others, roles)
        later = StandingFacts(
            **{name: getattr(known, name) for name in StandingFacts.__slots__} | {"today": today}
        )
        return any(one.holds for one in delegated_admin(later))

    if holds(TODAY):
        assert holds(TODAY + timedelta(days=days))


# --- what a lost role costs -----------------------------------------------------------------------------


def usage(month, percent, subtotal="85.00", **fields):
    first = day(f"{month}-01")
    end = (first + timedelta(days=32)).replace(day=1)
    said = f"{percent}% Partner earned credit for services managed"
    return a_pass_on(
        CostKind.USAGE,
        subtotal,
        **{
            "charged": period(str(first), str(end)),
            "adjustments": (said,) if percent else ("Price for given billing period",),
            **fields,
        },
    )


def test_a_day_of_credit_is_the_months_over_its_days():
    found = newest_credit([usage("2026-10", "15.0"), usage("2026-10", "15.0", "170.00")])
    assert (found.month, found.per_day) == ("2026-10", (Money(Decimal("1.45"), "USD"),))  # 45 / 31


def test_the_newest_month_counts_in_which_any_was_earned():
    lines = [
        usage("2026-09", "15.0", "850.00"),
        usage("2026-10", "15.0"),
        usage("2026-11", ""),  # the role is lost: all of it is billed at the full price
    ]
    assert newest_credit(lines).month == "2026-10"


def told_without_access(*history):
    ended = a_relationship(status="terminated", ends_on=day("2026-10-15"))
    (finding,) = delegated_admin(facts([ended], history=history))
    return finding


def test_the_amount_stands_beside_the_sentence_so_that_a_release_stands_each_month():
    october = told_without_access(usage("2026-10", "15.0"))
    dearer = told_without_access(usage("2026-10", "15.0", "170.00"))
    assert october.lost_per_day != dearer.lost_per_day
    assert october.sentence == dearer.sentence


def test_credit_that_is_earned_after_the_end_is_not_lost():
    assert told_without_access(usage("2026-10", "15.0")).lost_per_day
    assert told_without_access(usage("2026-11", "15.0")).lost_per_day == ()


def test_a_pending_group_is_waited_for():
    pending = AccessAssignment(group_id="g", status="pending", roles=ROLES)
    (waits,) = delegated_admin(
        facts([a_relationship(active_assignments=0, assignments=(pending,))])
    )
    (nobody,) = delegated_admin(facts([a_relationship(active_assignments=0)]))
    assert waits.check == nobody.check == "gdap.no_assignment"
    assert waits.hint.startswith("wait until Microsoft has activated")
    assert nobody.hint.startswith("assign a security group")


def test_currencies_are_not_added():
    found = newest_credit([usage("2026-10", "15.0"), usage("2026-10", "15.0", currency="EUR")])
    assert [str(one.currency) for one in found.per_day] == ["EUR", "USD"]


def test_without_usage_without_credit_and_where_it_is_not_known_nothing_is_claimed():
    assert newest_credit([]) is None
    assert newest_credit([a_line()]) is None
    assert newest_credit([usage("2026-10", "")]) is None
    assert newest_credit([usage("2026-10", "", adjustments=("Odd partner earned credit",))]) is None
