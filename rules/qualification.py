"""Which price segment a customer may buy at, and whether what it has is sold at another.

Microsoft sells the same product at several prices: commercial, education, charity, government. The
customer's right to one is a qualification that Microsoft vets, and that can be denied or lapse after
the purchase; what then stands on the bill is at a price to which the customer has no right.
"""

from __future__ import annotations

from domain.customer import Customer, Qualification
from domain.problems import Finding, Severity
from domain.subscription import Subscription, SubscriptionKind
from rules.facts import StandingFacts

COMMERCIAL = "Commercial"
_SEGMENTS = {
    "education": "Education",
    "nonprofit": "Charity",
    "governmentcommunitycloud": "Government",
    "stateownedentity": COMMERCIAL,
}
"""Price segment by qualification, as the price sheets write it. A state-owned entity has no prices of
its own: it is vetted for other reasons."""
_QUALIFIES = {"Education": "education", "Charity": "nonprofit", "Government": "government"}


def segment_of(customer: Customer) -> str:
    """Return the price segment to which a customer's approved qualification entitles it."""
    for one in customer.qualifications:
        segment = entitled(one)
        if segment != COMMERCIAL and approved(one):
            return segment
    return COMMERCIAL


def entitled(qualification: Qualification) -> str:
    """Return the price segment of a qualification, whatever its vetting; commercial of an unknown."""
    return _SEGMENTS.get(qualification.name.lower().replace("_", ""), COMMERCIAL)


def approved(qualification: Qualification) -> bool:
    """Say whether Microsoft approved it; every other state, known or not, does not count."""
    return qualification.status.lower() == "approved"


def qualification(facts: StandingFacts) -> list[Finding]:
    """What is sold at a special price needs the approved qualification for it.

    The segment of a subscription comes from Microsoft's catalogue. Where that does not say, and the
    customer claims a special price, it is told: it cannot be shown that price and right agree.
    """
    customer = facts.customer
    running = [one for one in facts.subscriptions if _seats(one)]
    found = []
    for segment in sorted({_written(one.segment) for one in running if one.segment}):
        claims = [one for one in customer.qualifications if entitled(one) == segment]
        if segment == COMMERCIAL or any(map(approved, claims)):
            continue
        # With ids and seats: a release counts for these, and not for what is bought after it.
        names = sorted(
            f"{one.name} ({one.id[:8]}, {one.quantity} seat{'s' if one.quantity != 1 else ''})"
            for one in running
            if _written(one.segment) == segment
        )
        wanted = _QUALIFIES.get(segment, segment.lower())
        state = "; ".join(_state(one) for one in claims) or "the customer has none"
        found.append(
            facts.tell(
                "qualification.missing",
                f"segment {segment}",
                f"{', '.join(names)}: sold at the price of segment {segment}, which needs an "
                f"approved {wanted} qualification ({state}).",
                "complete the qualification in Partner Center, or move the customer to commercial "
                "products at the renewal",
            )
        )
    special = sorted({one.name for one in customer.qualifications if entitled(one) != COMMERCIAL})
    unknown = sorted({one.name for one in running if not one.segment})
    if special and unknown:
        found.append(
            facts.tell(
                "qualification.unknown",
                "price segments",
                f"The customer has the qualification {', '.join(special)}, and Microsoft does not "
                f"say at which segment's price it has {', '.join(unknown)}.",
                "compare the product's segment in Partner Center with the qualification",
                Severity.WARN,
            )
        )
    return found


def _seats(subscription: Subscription) -> bool:
    """Usage and what was bought once have one price for everybody, or are not running."""
    return subscription.kind is SubscriptionKind.LICENCE and subscription.alive


def _written(segment: str) -> str:
    """Write a segment as the price sheets do: the catalogue has words of its own."""
    return "Charity" if segment.lower() == "nonprofit" else segment.capitalize()


def _state(one: Qualification) -> str:
    why = f": {one.reason}" if one.reason else ""
    return f"{one.name} is {one.status or 'without a state'}{why}"
