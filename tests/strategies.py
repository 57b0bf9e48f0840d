"""Random facts for property tests: amounts, weights, and histories that could have happened."""

from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal

from hypothesis import settings
from hypothesis import strategies as st

from domain.period import BillingCycle, Period, TermDuration, add_months
from domain.subscription import EventType, SubscriptionEvent
from tests.builders import an_event, purchase

# The same examples on every machine, and no clock: a slow one must not fail.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

CURRENCIES = st.sampled_from(["USD", "EUR", "JPY", "KWD"])
PRICES = st.decimals("0", "5000", places=4, allow_nan=False)
DAYS = st.dates(date(2025, 1, 1), date(2028, 12, 31))
PRODUCTS = ["red:1", "green:1", "blue:1"]
PRODUCT_PRICES = st.fixed_dictionaries(dict.fromkeys(PRODUCTS, PRICES))

WEIGHTS = st.lists(st.fractions(0, 1000, max_denominator=997), min_size=1, max_size=12)


def amounts(places: int = 2) -> st.SearchStrategy[Decimal]:
    """Amounts of up to 36 digits, either sign."""
    return st.integers(-(10**36), 10**36).map(lambda units: Decimal(f"{units}E-{places}"))


_TERMS = [
    (BillingCycle.MONTHLY, TermDuration.MONTH),
    (BillingCycle.MONTHLY, TermDuration.YEAR),
    (BillingCycle.MONTHLY, TermDuration.THREE_YEARS),
    (BillingCycle.ANNUAL, TermDuration.YEAR),
    (BillingCycle.TRIENNIAL, TermDuration.THREE_YEARS),
    (BillingCycle.QUARTERLY, TermDuration.YEAR),
]


@dataclass(frozen=True)
class Story:
    """What happened to one subscription in its first months, in order."""

    events: tuple[SubscriptionEvent, ...]

    @property
    def start(self) -> date:
        return self.events[0].effective

    def window(self, months: int = 8) -> Period:
        """The calendar months from the purchase on."""
        first = self.start.replace(day=1)
        return Period(first, add_months(first, months))


@st.composite
def stories(draw: st.DrawFn, *, ends: bool = True) -> Story:
    """Seats up and down, several a day, conversions in the running term, perhaps a cancellation."""
    start = draw(DAYS)
    cycle, term = draw(st.sampled_from(_TERMS))
    first = purchase(
        str(start),
        draw(st.integers(0, 300)),
        sku=draw(st.sampled_from(PRODUCTS)),
        billing_cycle=cycle,
        term=term,
    )
    events = [first]
    for sequence in range(draw(st.integers(0, 6))):
        day = str(start + timedelta(days=draw(st.integers(0, 200))))
        if draw(st.integers(0, 4)):
            kind = EventType.SET_QUANTITY
            fields = {"quantity": draw(st.integers(0, 300))}
        else:
            kind = EventType.CONVERT
            fields = {
                "sku": draw(st.sampled_from(PRODUCTS)),
                "quantity": draw(st.none() | st.integers(0, 300)),
            }
        events.append(an_event(day, kind, sequence=sequence, **fields))
    if ends and draw(st.booleans()):
        over = max(event.effective for event in events) + timedelta(days=draw(st.integers(0, 40)))
        events.append(an_event(str(over), EventType.CANCEL))
    return Story(events=tuple(events))


@st.composite
def with_delays(draw: st.DrawFn, story: Story) -> list[tuple[SubscriptionEvent, int]]:
    """Each event with the number of months after it happened in which we hear of it."""
    return [
        (replace(event), 0 if event.type is EventType.PURCHASE else draw(st.integers(0, 3)))
        for event in story.events
    ]
