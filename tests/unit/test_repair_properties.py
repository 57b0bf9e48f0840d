"""Whatever was known late and whatever was priced wrongly: the documents end in what is right."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.charge import Charge, ChargeType
from domain.money import Money
from domain.period import Period
from domain.subscription import SubscriptionEvent
from invoice.assemble import assemble
from invoice.document import Invoice, tax_on
from tests.builders import a_charge, a_contract, a_customer, a_tax, issued, rated
from tests.strategies import PRODUCT_PRICES, Story, stories

MONTHS = 8
CAUSES = {"price", "quantity", "product", "withdrawn", "restored", "tax"}
FEW = settings(max_examples=30)  # each is some twenty documents

Prices = Mapping[str, Decimal]


@dataclass(frozen=True)
class Knowledge:
    """What was known on the day of one run: the events, the price list and the rate of tax."""

    on: date
    events: tuple[SubscriptionEvent, ...]
    prices: Prices
    percent: Decimal


@st.composite
def learnt(draw: st.DrawFn, story: Story, right: Prices) -> list[Knowledge]:
    """Runs on random days; each knows more events and other prices; the last knows the truth."""
    window = story.window(MONTHS)
    first = story.events[0]
    heard = {
        event: event.effective + timedelta(days=draw(st.integers(0, 120)))
        for event in story.events[1:]
    }
    days = draw(st.lists(st.integers(0, window.days - 1), max_size=5, unique=True))
    runs = [
        Knowledge(
            on=day,
            events=tuple(draw(st.permutations([e for e in heard if heard[e] <= day] + [first]))),
            prices=draw(PRODUCT_PRICES | st.just(right)),
            percent=draw(st.sampled_from([Decimal(0), Decimal("7.7"), Decimal(19)])),
        )
        for day in (window.start + timedelta(days=n) for n in sorted(days))
    ]
    return [
        *runs,
        Knowledge(
            on=window.last_day,
            events=tuple(draw(st.permutations(story.events))),
            prices=right,
            percent=Decimal(19),
        ),
    ]


def proposed(known: Knowledge, story: Story) -> list[Charge]:
    """All charges that should exist up to the end of the run's month, by what is known."""
    month = Period.month(f"{known.on:%Y-%m}")
    charges, findings = rated(
        *known.events,
        window=Period(story.window().start, month.end),
        price=lambda asked: known.prices[asked.sku],
    )
    assert findings == []
    return charges


def run(known: Knowledge, story: Story, documents: Sequence[Invoice]) -> Invoice | None:
    return assemble(
        customer=a_customer(),
        contract=a_contract(starts=story.window().start),
        period=Period.month(f"{known.on:%Y-%m}"),
        proposed=proposed(known, story),
        documents=documents,
        tax=a_tax(known.percent, right_from=story.start),
    )


def run_all(runs: Iterable[Knowledge], story: Story) -> list[Invoice]:
    """Run, approve, and run again: the second time nothing is missing."""
    documents: list[Invoice] = []
    for n, known in enumerate(runs):
        draft = run(known, story, documents)
        if draft is not None:
            documents.append(issued(draft, f"N-{n}"))
        assert run(known, story, documents) is None
    return documents


def by_charge(documents: Iterable[Invoice]) -> dict[tuple[str, Decimal], tuple[Decimal, Decimal]]:
    """What all documents say of each charge at each rate: net and tax; nothing where nothing."""
    net: dict[tuple[str, Decimal], Decimal] = defaultdict(Decimal)
    tax: dict[tuple[str, Decimal], Decimal] = defaultdict(Decimal)
    for document in documents:
        for line in document.lines:
            place = line.charge.answers or line.key, line.tax_percent
            net[place] += line.amount.amount
            tax[place] += line.tax.amount
    return {place: (net[place], tax[place]) for place in net if net[place] or tax[place]}


@FEW
@given(stories(), PRODUCT_PRICES, st.data())
def test_all_documents_say_what_one_correct_document_would_have_said(story, prices, data):
    runs = data.draw(learnt(story, prices))
    documents = run_all(runs, story)
    one = run(runs[-1], story, [])
    assert by_charge(documents) == by_charge([one] if one else [])


@FEW
@given(stories(), PRODUCT_PRICES, st.data())
def test_after_every_document_no_more_is_given_back_than_was_asked_for(story, prices, data):
    asked: dict[tuple[str, Period], Decimal] = defaultdict(Decimal)
    for document in run_all(data.draw(learnt(story, prices)), story):
        for line in document.lines:
            asked[line.charge.sku, line.charge.full] += line.amount.amount
        assert all(amount >= 0 for amount in asked.values())


@FEW
@given(stories(), PRODUCT_PRICES, st.data())
def test_every_adjustment_names_what_it_answers_and_why(story, prices, data):
    documents = run_all(data.draw(learnt(story, prices)), story)
    lines = [line for document in documents for line in document.lines]
    assert len({line.key for line in lines}) == len(lines)
    known: dict[str, str] = {}
    for document in documents:
        for line in document.lines:
            charge = line.charge
            assert charge.why
            assert charge.reasons
            if charge.type is not ChargeType.ADJUSTMENT:
                assert not charge.answers
                known[charge.key] = document.key
                continue
            inputs = charge.reasons[0].inputs
            assert inputs["document"] == known[charge.answers] == known[inputs["answers"]]
            assert inputs["difference"] == str(charge.amount.amount)
            assert set(inputs["cause"].split()) <= CAUSES
        assert document.total == document.subtotal + document.tax
        assert Fraction(document.total.amount) == sum(
            Fraction(line.amount.amount) + Fraction(line.tax.amount) for line in document.lines
        )


@FEW
@given(stories(), PRODUCT_PRICES, st.data())
def test_the_order_in_which_news_arrive_changes_nothing_in_the_end(story, prices, data):
    one, other = (run_all(data.draw(learnt(story, prices)), story) for _ in range(2))
    assert by_charge(one) == by_charge(other)


@given(st.lists(st.decimals("0", "50", places=2), min_size=1, max_size=6))
def test_the_tax_of_a_charge_is_rounded_once_however_often_it_is_corrected(amounts):
    documents: list[Invoice] = []
    for n, amount in enumerate(amounts):
        draft = assemble(
            customer=a_customer(),
            contract=a_contract(),
            period=Period.month("2026-10"),
            proposed=[a_charge(str(amount))],
            documents=documents,
            tax=a_tax("8.1"),
        )
        if draft is not None:
            documents.append(issued(draft, f"N-{n}"))
    asked = sum((document.tax.amount for document in documents), Decimal(0))
    assert asked == tax_on(Money(amounts[-1], "USD"), Decimal("8.1")).amount
