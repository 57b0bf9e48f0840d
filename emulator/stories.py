"""What is awkward in the partner's month, and where: read by tests and shown by the control plane."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """One awkward thing in a scenario: where it is (names, for ids come from the seed) and what."""

    key: str
    customer: str
    subscriptions: tuple[str, ...]
    what: str


def _story(key: str, customer: str, subscriptions: str, what: str) -> Story:
    names = tuple(name.strip() for name in subscriptions.split(",") if name.strip())
    return Story(key=key, customer=customer, subscriptions=names, what=what)


STORIES: dict[str, Story] = {
    story.key: story
    for story in (
        _story(
            "seat-changes",
            "Fabrikam Toys",
            "Office seats",
            "Seats are added and removed mid-cycle on 5, 9, 20 (twice), 26 and 28 October (twice).",
        ),
        _story(
            "add-on",
            "Fabrikam Toys",
            "Phones",
            "An add-on that hangs on the office seats by parentSubscriptionId.",
        ),
        _story(
            "several-relationships",
            "Fabrikam Toys",
            "",
            "Two GDAP relationships are active at once; the later end counts per role.",
        ),
        _story(
            "cancelled-in-window",
            "Adventure Works Cycles",
            "Visio pilot, Bought by mistake",
            "One subscription is cancelled on the fourth day, another on the day it was bought.",
        ),
        _story(
            "refused-after-window",
            "Proseware Legal",
            "Partner mailboxes",
            "A cancellation and a seat reduction are refused after the window; nothing is billed.",
        ),
        _story(
            "renewed-at-new-price",
            "Wide World Importers",
            "Head office E3, Branch E3",
            "One term renews on 14 October at the new list price, the other keeps its old price.",
        ),
        _story(
            "scheduled-renewal",
            "Wide World Importers",
            "Analysts",
            "The renewal of 22 October takes the quantity down from 12 to 8, as scheduled.",
        ),
        _story(
            "promotion-ends",
            "Contoso Dental Group",
            "Practice seats",
            "Fifteen percent off until 18 October; the cycle that starts then is at full price.",
        ),
        _story(
            "co-terminated",
            "Tailspin Travel",
            "Seasonal desk, Aligned E5",
            "Two terms end on dates of the customer's choice: a last stub cycle, a short first year.",
        ),
        _story(
            "trial-converts",
            "Fourth Coffee",
            "Premium trial",
            "A free trial of 25 seats becomes 18 paid seats on 14 October, with a term of its own.",
        ),
        _story(
            "month-end-anchor",
            "Margies Month-End Travel",
            "Since 31 January, Monthly since 31 August",
            "Cycles anchored on the 31st clamp in short months and spring back.",
        ),
        _story(
            "suspended",
            "Lamna Healthcare",
            "Clinic E3",
            "Suspended on 28 September and billed all the same.",
        ),
        _story(
            "expired",
            "Lamna Healthcare",
            "Evaluation",
            "A month without renewal ended on 2 October: no line after that.",
        ),
        _story(
            "extended-service-term",
            "Adventure Works Cycles",
            "Showroom",
            "Auto-renew was off: extended service month by month since 27 September, 3 % dearer.",
        ),
        _story(
            "azure-credit",
            "Woodgrove Bank",
            "",
            "A service level credit of 150.00 on the Azure plan, as a customerCredit line.",
        ),
        _story(
            "azure-without-pec",
            "Humongous Insurance",
            "",
            "In one Azure subscription the partner has no access and earns no credit.",
        ),
        _story(
            "usage-spike",
            "Wide World Importers",
            "",
            "From 21 October one group of virtual machines consumes eight times the usual.",
        ),
        _story(
            "load-test",
            "Northwind Traders",
            "",
            "A load test runs forty virtual machines from 3 to 5 November; it is not billed yet.",
        ),
        _story(
            "azure-sponsored",
            "Coho Winery SAS",
            "",
            "One Azure subscription is paid by a credit: consumption at price nil.",
        ),
        _story(
            "unknown-product-type",
            "Coho Winery SAS",
            "Agent messages",
            "A product type that no client knows yet, and a property besides the published ones.",
        ),
        _story(
            "reservation",
            "Northwind Traders",
            "",
            "Two reserved instances bought on 6 October: one line with a ReservationOrderId.",
        ),
        _story(
            "full-upgrade",
            "Trey Research",
            "Research E3",
            "E3 becomes E5 in place on 19 October: a pair of convert lines with one ReferenceId.",
        ),
        _story(
            "unmapped",
            "Umbra Unmapped",
            "Umbra seats",
            "An ordinary customer, named so that it can be left without a billing contract.",
        ),
        _story(
            "partner-of-record-drift",
            "Driftwood Marine",
            "Marina seats",
            "Lines and subscription name partner ids that are not the expected ones.",
        ),
        _story(
            "indirect-reseller",
            "Lamna Healthcare",
            "",
            "Sold through an indirect reseller, whose id stands as Tier2MpnId.",
        ),
        _story(
            "reseller-not-signed",
            "Contoso Dental Group",
            "",
            "Sold through an indirect reseller that has not signed the partner agreement.",
        ),
        _story(
            "annual-upfront",
            "Alpine Ski House GmbH",
            "Saison",
            "A year paid upfront, bought on 7 October: one line of 365 days.",
        ),
        _story(
            "gdap-expiring",
            "Expiring Access GmbH",
            "",
            "The only relationship ends within thirty days.",
        ),
        _story(
            "gdap-expired",
            "Access Lapsed SARL",
            "",
            "The only relationship has expired; the customer's address is no longer readable.",
        ),
        _story(
            "gdap-without-assignment",
            "Grachten Groep BV",
            "",
            "The relationship is active, but no security group holds a role in it.",
        ),
        _story(
            "old-agreement-only",
            "Vinos Antiguos SL",
            "",
            "Only the old Microsoft Cloud Agreement: purchases would be refused.",
        ),
        _story(
            "direct-signed",
            "Direct Harbour Ltd",
            "",
            "The customer agreement was signed with Microsoft directly; none is on record here.",
        ),
        _story(
            "three-years",
            "Bayerische Maschinenbau AG",
            "Werk drei Jahre, Zentrale drei Jahre",
            "Three-year terms, one billed yearly and one at once on 13 October.",
        ),
        _story(
            "perpetual-software",
            "Bayerische Maschinenbau AG",
            "",
            "Four perpetual licences on 15 October: a one-time line without a subscription.",
        ),
        _story(
            "tax-registration",
            "Bayerische Maschinenbau AG",
            "",
            "A German customer with a VAT registration number.",
        ),
        _story(
            "education",
            "Rheinische Kunstschule",
            "Lehrkräfte",
            "Education prices; a second qualification has a vetting status that is not published.",
        ),
        _story(
            "foreign-price-list",
            "Thames Valley Dental Ltd",
            "Surgery seats",
            "Priced in pounds, billed in euro at the month's exchange rate.",
        ),
        _story(
            "under-review",
            "Grachten Groep BV",
            "",
            "Microsoft still vets the tenant: new orders would be refused.",
        ),
    )
}
