"""One month of a partner with 25 customers, written so that everything awkward happens in it.

The stories are fixed; round them the seed fills in ordinary subscriptions bought over thirty months
and the daily consumption of Azure resources. ``stories.STORIES`` says what is awkward where.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from emulator.authoring import Author, Content, Customer, Place, at
from emulator.catalogue import PRODUCTS
from emulator.history import NextTerm
from emulator.stories import STORIES
from emulator.tenants import Qualification, Reseller

_FIRST_PURCHASE = at("2024-05-06")
_ORDINARY = (
    ("business-basic", "P1Y", "monthly"),
    ("business-basic", "P1M", "monthly"),
    ("business-standard", "P1Y", "monthly"),
    ("business-standard", "P1Y", "monthly"),
    ("business-premium", "P1Y", "monthly"),
    ("business-premium", "P1Y", "annual"),
    ("e3", "P1Y", "monthly"),
    ("e5", "P1Y", "monthly"),
    ("exchange-1", "P1Y", "monthly"),
    ("exchange-1", "P1M", "monthly"),
    ("teams-phone", "P1Y", "monthly"),
    ("visio-2", "P1Y", "monthly"),
    ("power-bi-pro", "P1Y", "monthly"),
    ("power-bi-pro", "P1M", "monthly"),
    ("litware-backup", "P1M", "monthly"),
)


# fmt: off
_PLACES = {
    "Redmond": Place(country="US", region="WA", city="Redmond", postal_code="98052", street="1 Sample Way"),
    "Austin": Place(country="US", region="TX", city="Austin", postal_code="78701", street="200 Example Street"),
    "Boston": Place(country="US", region="MA", city="Boston", postal_code="02108", street="30 Specimen Court"),
    "Denver": Place(country="US", region="CO", city="Denver", postal_code="80202", street="4 Placeholder Road"),
    "Innsbruck": Place(country="AT", region="Tirol", city="Innsbruck", postal_code="6020", street="Beispielgasse 3"),
    "München": Place(country="DE", region="BY", city="München", postal_code="80331", street="Musterweg 12"),
    "Köln": Place(country="DE", region="NW", city="Köln", postal_code="50667", street="Musterplatz 1"),
    "Lyon": Place(country="FR", region="ARA", city="Lyon", postal_code="69001", street="5 rue de l'Exemple"),
    "Utrecht": Place(country="NL", region="UT", city="Utrecht", postal_code="3511 AA", street="Voorbeeldgracht 8"),
    "Sevilla": Place(country="ES", region="AN", city="Sevilla", postal_code="41001", street="Calle Muestra 7"),
    "Cork": Place(country="IE", region="CO", city="Cork", postal_code="T12 AB12", street="9 Sample Quay"),
    "Reading": Place(country="GB", region="BRK", city="Reading", postal_code="RG1 1AA", street="6 Specimen Lane"),
}
# fmt: on


def partner_month(seed: int) -> Content:
    """The default scenario."""
    author = Author(seed)
    # An indirect reseller that signed the partner agreement, and one that did not.
    signed = Reseller(
        tenant_id=author.identify("reseller/First Up Consultants"),
        name="First Up Consultants",
        mpn_id="4847383",
        signed=True,
    )
    unsigned = Reseller(
        tenant_id=author.identify("reseller/ReleCloud Resale"),
        name="ReleCloud Resale",
        mpn_id="4847433",
        signed=False,
    )
    author.content.resellers.extend((signed, unsigned))
    _american(author, signed, unsigned)
    _european(author)
    _relationships(author)
    for account in author.content.accounts:
        _ordinary_seats(author, author.customers[account.tenant.company])
    author.content.stories.extend(STORIES.values())
    return author.content


def _american(author: Author, signed: Reseller, unsigned: Reseller) -> None:
    """Customers on the invoice in US dollars."""
    fabrikam = author.customer("Fabrikam Toys", _PLACES["Redmond"], ("Ana", "Lopez"))
    # Seats added and removed mid-cycle, twice on one day, and out again on the same day.
    office = fabrikam.seats("Office seats", "business-standard", 25, at("2026-02-15"))
    office(at("2026-10-05", "09:10:00"), quantity=30)
    office(at("2026-10-09", "14:00:00"), quantity=28)
    office(at("2026-10-20", "08:00:00"), quantity=33)
    office(at("2026-10-20", "16:30:00"), quantity=35)
    office(at("2026-10-26", "11:45:00"), quantity=31)
    office(at("2026-10-28", "10:00:00"), quantity=34)
    office(at("2026-10-28", "15:20:00"), quantity=31)

    fabrikam.seats("Phones", "teams-phone", 25, at("2026-02-15", "09:40:00"), parent=office)

    northwind = author.customer("Northwind Traders", _PLACES["Austin"], ("Noor", "Haddad"))
    # A load test in November, not billed yet: forty virtual machines for three days.
    northwind.azure(
        at("2025-11-03"),
        ("production", "development"),
        deployments=34,
        load_test=("2026-11-03", "2026-11-06", 4000),
    )
    # A reservation: one line, ReservationOrderId.
    northwind.buys_once("reserved-d4s", 2, at("2026-10-06", "13:05:40"), term="P1Y")

    adventure = author.customer("Adventure Works Cycles", _PLACES["Denver"], ("Cole", "Byrne"))
    # Cancelled inside the window, and on the very day of purchase.
    pilot = adventure.seats("Visio pilot", "visio-2", 10, at("2026-10-12"))
    pilot(at("2026-10-16", "10:30:00"), status="deleted")
    mistake = adventure.seats("Bought by mistake", "power-bi-pro", 15, at("2026-10-21"))
    mistake(at("2026-10-21", "15:00:00"), status="deleted")

    # Neither renewed nor ended: extended service since 27 September, at a premium.
    adventure.seats(
        "Showroom", "business-basic", 9, at("2025-09-27"), auto_renew=False, extends=True
    )

    proseware = author.customer("Proseware Legal", _PLACES["Boston"], ("Ines", "Dahl"))
    # Attempts after the window: refused, audited as failed, not billed.
    mailboxes = proseware.seats("Partner mailboxes", "exchange-1", 20, at("2026-10-02"))
    mailboxes.refused(at("2026-10-15", "08:00:00"), status="deleted")
    mailboxes.refused(at("2026-10-15", "08:05:00"), quantity=12)

    importers = author.customer("Wide World Importers", _PLACES["Austin"], ("Sam", "Okoro"))
    # A renewal at the new price in October; a running term keeps the old one.
    importers.seats("Head office E3", "e3", 40, at("2025-10-14"))
    importers.seats("Branch E3", "e3", 15, at("2026-06-14"))
    # A renewal with fewer seats, as scheduled.
    analysts = importers.seats("Analysts", "power-bi-pro", 12, at("2025-10-22"))
    fewer = NextTerm(product=PRODUCTS["power-bi-pro"], term="P1Y", plan="monthly", quantity=8)
    analysts(at("2026-09-30", "16:00:00"), next_term=fewer)

    # Virtual machines that suddenly run eightfold.
    importers.azure(at("2026-04-20"), ("stores",), deployments=14, surge=("2026-10-21", 8))

    dental = author.customer(
        "Contoso Dental Group", _PLACES["Boston"], ("Maya", "Stone"), reseller=unsigned
    )
    # A promotion that ends with the cycle of 18 October.
    dental.seats(
        "Practice seats",
        "business-premium",
        22,
        at("2026-04-18"),
        promotion=("15", "2026-10-18"),
    )

    tailspin = author.customer("Tailspin Travel", _PLACES["Denver"], ("Theo", "Marsh"))
    # Co-termination: a last stub cycle in October, and a first year cut short.
    tailspin.seats(
        "Seasonal desk", "business-standard", 14, at("2026-07-20"), custom_end="2026-10-31"
    )
    tailspin.seats("Aligned E5", "e5", 6, at("2026-10-10"), plan="annual", custom_end="2027-06-30")

    coffee = author.customer("Fourth Coffee", _PLACES["Redmond"], ("Rosa", "Keller"))
    # A trial that converts in October.
    trial = coffee.seats(
        "Premium trial", "business-premium-trial", 25, at("2026-09-20"), term="P1M"
    )
    trial(
        at("2026-10-14", "12:00:00"),
        convert_to=PRODUCTS["business-premium"],
        convert_term=("P1Y", "monthly"),
        quantity=18,
    )

    margies = author.customer("Margies Month-End Travel", _PLACES["Austin"], ("Lou", "Perry"))
    # Anchored on the 31st.
    margies.seats("Since 31 January", "business-basic", 16, at("2026-01-31"))
    margies.seats("Monthly since 31 August", "exchange-1", 5, at("2026-08-31"), term="P1M")

    lamna = author.customer(
        "Lamna Healthcare", _PLACES["Boston"], ("Ruth", "Adeyemi"), reseller=signed
    )
    # Suspended and still billed; and one that simply ended.
    clinic = lamna.seats("Clinic E3", "e3", 18, at("2026-01-08"))
    clinic(at("2026-09-28", "17:00:00"), status="suspended")
    lamna.seats("Evaluation", "power-bi-pro", 3, at("2026-09-03"), term="P1M", auto_renew=False)

    woodgrove = author.customer("Woodgrove Bank", _PLACES["Boston"], ("Ivy", "Chandra"))
    plan = woodgrove.azure(at("2025-06-17"), ("core", "risk", "sandbox"), deployments=46)
    # A credit, negative, with its reason.
    woodgrove.credited(
        "azure-plan",
        plan.subscription_id,
        "150.00",
        "Credit Reason: SLA Azure Virtual Machines",
        when=at("2026-10-23", "09:00:00"),
        period=("2026-09-01", "2026-10-01"),
    )

    umbra = author.customer("Umbra Unmapped", _PLACES["Denver"], ("Otis", "Gray"))
    umbra.seats("Umbra seats", "business-standard", 7, at("2026-08-04"))

    driftwood = author.customer(
        "Driftwood Marine", _PLACES["Redmond"], ("Finn", "Larsen"), recon_mpn_id="6034453"
    )
    # Partner-of-record drift: neither our own id nor one of our resellers'.
    driftwood.seats("Marina seats", "business-premium", 11, at("2026-03-23"), partner_id="7654321")

    trey = author.customer("Trey Research", _PLACES["Denver"], ("Gita", "Rao"))
    # A full upgrade in place.
    research = trey.seats("Research E3", "e3", 24, at("2026-03-11"))
    research(at("2026-10-19", "10:10:00"), convert_to=PRODUCTS["e5"])
    trey.azure(at("2026-02-02"), ("lab",), deployments=26)

    humongous = author.customer("Humongous Insurance", _PLACES["Austin"], ("Vera", "Holt"))
    # Credit of 15 percent in one Azure subscription, none in the other.
    humongous.azure(at("2025-09-09"), ("claims", "legacy"), deployments=40, unmanaged=("legacy",))


def _european(author: Author) -> None:
    """Customers on the invoice in euro."""
    alpine = author.customer(
        "Alpine Ski House GmbH",
        _PLACES["Innsbruck"],
        ("Lena", "Moser"),
        registration_number="ATU00000024",
        vat_number="ATU00000024",
    )
    # Annual, billed upfront, starting in October.
    alpine.seats("Saison", "business-basic", 40, at("2026-10-07"), plan="annual")
    alpine.azure(at("2026-01-20"), ("lifte", "shop"), deployments=38)

    author.customer(
        "Expiring Access GmbH", _PLACES["Köln"], ("Jan", "Vogt"), vat_number="DE100000016"
    )
    author.customer(
        "Access Lapsed SARL", _PLACES["Lyon"], ("Élise", "Morel"), vat_number="FR00000000190"
    )
    author.customer(
        "Grachten Groep BV",
        _PLACES["Utrecht"],
        ("Daan", "Visser"),
        validation="UnderReview",
        vat_number="NL000000012B01",
    )
    # No customer agreement; and one signed with Microsoft directly.
    author.customer(
        "Vinos Antiguos SL",
        _PLACES["Sevilla"],
        ("Inma", "Reyes"),
        agreed=None,
        vat_number="ESB00000018",
    )
    author.customer(
        "Direct Harbour Ltd",
        _PLACES["Cork"],
        ("Niamh", "Walsh"),
        agreed=None,
        agreements=(),
        direct_signed=True,
        vat_number="IE1000001MH",
    )

    bayerische = author.customer(
        "Bayerische Maschinenbau AG",
        _PLACES["München"],
        ("Ulla", "Brandt"),
        registration_number="DE100000008",
        vat_number="DE100000008",
    )
    # Three-year terms, a software subscription, a perpetual licence.
    bayerische.seats("Werk drei Jahre", "e3", 60, at("2025-05-06"), term="P3Y", plan="annual")
    bayerische.seats(
        "Zentrale drei Jahre", "e5", 10, at("2026-10-13"), term="P3Y", plan="triennial"
    )
    bayerische.seats("SQL Kerne", "sql-standard", 8, at("2025-10-29"), plan="annual")
    bayerische.buys_once("windows-server-perpetual", 4, at("2026-10-15", "07:30:00"))
    bayerische.azure(at("2025-12-01"), ("werk",), deployments=36)

    school = author.customer(
        "Rheinische Kunstschule",
        _PLACES["Köln"],
        ("Paul", "Nolde"),
        segment="Education",
        qualifications=(
            Qualification(name="Education", vetting="Approved"),
            # A vetting status that is not in the published list: enumerations are open.
            Qualification(
                name="Nonprofit",
                vetting="AwaitingDocuments",
                created=at("2026-10-20").date(),
            ),
        ),
    )
    school.seats("Lehrkräfte", "e3", 55, at("2026-09-07"))

    coho = author.customer(
        "Coho Winery SAS", _PLACES["Lyon"], ("Marc", "Delon"), vat_number="FR00000000287"
    )
    coho.seats("Agent messages", "agent-pack", 3, at("2026-10-08"))
    coho.azure(at("2026-03-02"), ("cave", "essai"), deployments=36, sponsored=("essai",))

    thames = author.customer("Thames Valley Dental Ltd", _PLACES["Reading"], ("Amir", "Shah"))
    # Priced in pounds, billed in euro.
    thames.seats("Surgery seats", "business-premium", 13, at("2026-10-05"))


def _relationships(author: Author) -> None:
    special = {"Expiring Access GmbH", "Access Lapsed SARL", "Grachten Groep BV"}
    for account in author.content.accounts:
        tenant = account.tenant
        if tenant.company not in special:
            author.relationship(
                f"{tenant.company} services",
                tenant,
                created="2025-12-01",
                activated="2025-12-03",
                assigned=("active", "active"),
                extends=True,
            )
    tenants = {account.tenant.company: account.tenant for account in author.content.accounts}
    # Ends on 27 November 2026: expiring now, expired when the clock moves on.
    author.relationship(
        "Expiring Access 2024",
        tenants["Expiring Access GmbH"],
        created="2024-11-26",
        activated="2024-11-27",
    )
    author.relationship(
        "Access Lapsed 2025",
        tenants["Access Lapsed SARL"],
        created="2025-09-30",
        activated="2025-10-01",
        days=365,
    )
    # Active, and yet it opens no door: one group is pending, one was taken away.
    author.relationship(
        "Grachten beheer",
        tenants["Grachten Groep BV"],
        created="2026-04-01",
        activated="2026-04-02",
        assigned=("pending", "deleted"),
    )
    author.relationship(
        "Fabrikam project 2026",
        tenants["Fabrikam Toys"],
        created="2026-06-01",
        activated="2026-06-02",
        days=180,
    )
    # Between two states at this very moment: on the way up, and on the way down.
    for status in ("approved", "activating"):
        author.relationship(
            f"Northwind successor {status}",
            tenants["Northwind Traders"],
            created="2026-11-06",
            assigned=(),
            fixed_status=status,
        )
    for status in ("terminationRequested", "terminating"):
        author.relationship(
            f"Northwind predecessor {status}",
            tenants["Northwind Traders"],
            created="2025-02-01",
            activated="2025-02-02",
            assigned=("deleting",),
            fixed_status=status,
        )
    # Sent to no one in particular yet; sent and not answered; ended by the customer.
    author.relationship(
        "Unaddressed invitation",
        None,
        created="2026-11-02",
        assigned=(),
        fixed_status="created",
    )
    author.relationship(
        "Umbra second relationship",
        tenants["Umbra Unmapped"],
        created="2026-10-30",
        assigned=(),
        fixed_status="approvalPending",
    )
    author.relationship(
        "Trey pilot",
        tenants["Trey Research"],
        created="2025-02-01",
        activated="2025-02-02",
        days=90,
        assigned=("deleted",),
        fixed_status="terminated",
    )
    author.relationship(
        "Lamna by provider",
        tenants["Lamna Healthcare"],
        created="2026-02-10",
        activated="2026-02-11",
        through_provider=author.identify("reseller/First Up Consultants"),
    )
    # Relationships outlive customers: this tenant buys nothing from the partner.
    author.relationship(
        "Former customer",
        author.tenant("Relecloud GmbH", _PLACES["Köln"], ("Nils", "Sommer")),
        created="2025-08-01",
        activated="2025-08-02",
    )


def _ordinary_seats(author: Author, customer: Customer) -> None:
    """Subscriptions without a story, bought over thirty months, seats added now and then."""
    draw = author.random(f"ordinary/{customer.tenant.company}")
    for number in range(draw.choice((4, 5, 5, 6))):
        product, term, plan = draw.choice(_ORDINARY)
        since = _FIRST_PURCHASE + timedelta(
            days=draw.randrange(0, 860), minutes=draw.randrange(0, 600)
        )
        quantity = draw.choice((1, 2, 3, 5, 8, 12, 15, 20, 25, 30, 45, 60))
        title = PRODUCTS[product].title
        seats = customer.seats(
            f"{title} #{number + 1}", product, quantity, since, term=term, plan=plan
        )
        when = since
        for _ in range(draw.choice((0, 0, 1, 2))):
            when += timedelta(days=draw.randrange(12, 260), minutes=draw.randrange(0, 300))
            if when < _latest():
                quantity += draw.choice((1, 1, 2, 5))
                seats(when, quantity=quantity)


def _latest() -> datetime:
    return at("2026-11-08", "18:00:00")
