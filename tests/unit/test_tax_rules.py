"""What is true of every decision by rules, whoever sells to whom with whatever evidence."""

import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.vat import valid_vat
from domain.contract import TaxProfile
from domain.customer import Address
from domain.period import Period
from domain.problems import Finding, Severity
from domain.tax import (
    FORM_ONLY,
    ExemptionCertificate,
    NumberProof,
    NumberState,
    Seller,
    TaxCategory,
    TaxDecider,
    TaxDecision,
    TaxNumberCheck,
    TaxPolicy,
    TaxRate,
    TaxRegistration,
    TaxTreatment,
    printed_number,
    vat_country,
)
from rules.tax import Known, decide, warnings
from rules.tax_places import territory_of
from rules.tax_rates import in_force, read_taxes, with_own
from tests.builders import a_tax_profile, day

NUMBERS = {
    "DE": "DE136695976",
    "FR": "FR61954506077",
    "ES": "ESA28017895",
    "GR": "EL094259216",
    "GB": "GB980780684",
    "CH": "CHE-107.787.577 IVA",
    "NO": "NO 995 525 828 MVA",
    "AU": "83 914 571 673",
    "CA": "12302 6635 RC 0001",
}
PLACES = [*NUMBERS, "US", "LI", "SG", "BR", "XI", "MC", "EL", "ZZ", ""]
REGIONS = ["", "QC", "ON", "BC", "TX", "NY", "OR", "CA", "CO", "CN", "Quebec", "zz"]
DAYS = st.dates(date(2019, 1, 1), date(2027, 12, 31))
MORNING = datetime(2026, 10, 31, 6, tzinfo=UTC)


def a_seller(country="DE", region=""):
    return Seller(key="seller/s", name="Contoso", address=Address(country=country, region=region))


def a_registration(country="DE", region="", number="", valid=Period(date.min, date.max)):  # noqa: B008
    return TaxRegistration(
        key=f"registration/{country}/{region}/{valid.start}",
        seller_key="seller/s",
        country=country,
        region=region,
        number=number or NUMBERS.get(country, "1"),
        valid=valid,
    )


def by_rules(country, **fields):
    return a_tax_profile(
        **{
            "treatment": TaxTreatment.BY_RULES,
            "rate_percent": Decimal(0),
            "country": country,
            "business": True,
            **fields,
        }
    )


def answered(number, days=1, state=NumberState.VALID, source="VIES"):
    return TaxNumberCheck(
        number=printed_number(number),
        country="",
        state=state,
        checked_at=MORNING - timedelta(days=days),
        source=source,
    )


def known(**fields):
    return Known(
        **{
            "seller": a_seller(),
            "registrations": (a_registration(),),
            "check_number": valid_vat,
            "today": MORNING.date(),
            **fields,
        }
    )


ON = MORNING.date()

periods = st.tuples(DAYS, DAYS).map(lambda two: Period(min(two), max(two)))
sellers = st.none() | st.builds(a_seller, st.sampled_from(PLACES), st.sampled_from(REGIONS))
registrations = st.builds(
    a_registration, st.sampled_from(PLACES), st.sampled_from(REGIONS), st.just(""), periods
)
certificates = st.builds(
    ExemptionCertificate,
    key=st.sampled_from(["certificate/1", "certificate/2"]),
    customer_id=st.just("c1"),
    country=st.sampled_from(PLACES),
    region=st.sampled_from(REGIONS),
    number=st.sampled_from(["", "EX-1", "EX-2"]),
    reason=st.sampled_from(["", "resale"]),
    valid=periods,
)
checks = st.builds(
    answered,
    st.sampled_from(sorted(NUMBERS.values())),
    st.integers(0, 40),
    st.sampled_from(NumberState),
    st.sampled_from(["VIES", FORM_ONLY]),
)
rates = st.builds(
    TaxRate,
    country=st.sampled_from(PLACES),
    region=st.sampled_from(REGIONS),
    locality=st.sampled_from(["", "Houston"]),
    tax=st.sampled_from(["VAT", "GST", "sales tax", ""]),
    starts=DAYS,
    percent=st.none() | st.sampled_from([Decimal(-1), Decimal(0), Decimal("7.5"), Decimal(101)]),
    regional=st.booleans(),
    source=st.just("ours"),
)
profiles = st.builds(
    by_rules,
    st.sampled_from(PLACES),
    region=st.sampled_from(REGIONS),
    locality=st.sampled_from(["", "Houston", "Springfield"]),
    business=st.booleans(),
    tax_number=st.sampled_from(["", "nonsense", *NUMBERS.values()]),
)
facts = st.builds(
    Known,
    seller=sellers,
    registrations=st.lists(registrations, max_size=4).map(tuple),
    certificates=st.lists(certificates, max_size=2).map(tuple),
    number_checks=st.lists(checks, max_size=3).map(tuple),
    rates=st.lists(rates, max_size=2).map(tuple),
    policy=st.builds(TaxPolicy, number_proof=st.sampled_from(NumberProof)),
    check_number=st.sampled_from([valid_vat, None]),
    today=st.just(ON),
)


@settings(max_examples=600, deadline=None)
@given(profiles, DAYS, facts)
def test_what_is_decided_has_its_reasons_and_what_is_not_holds_with_a_hint(profile, on, told):
    found = decide(profile, "c1", on, told)
    if isinstance(found, Finding):
        assert (found.severity, found.customer_id) == (Severity.HOLD, "c1")
        assert found.check.startswith("tax.")
        assert found.sentence.endswith(".")
        assert found.hint
        return
    assert found.reasons
    # Never zero without a reason, never a reason to be zero with tax.
    assert (found.category is TaxCategory.STANDARD) == bool(found.percent)
    assert found.percent or found.note
    assert all(0 < part.percent <= 100 for part in found.parts)
    # Never a tax without a registration for it on that day.
    for part in found.parts:
        country, _, region = part.jurisdiction.partition(" ")[0].partition("-")
        own = [
            one
            for one in told.registrations
            if on in one.valid
            and territory_of(vat_country(one.country)) == territory_of(country)
            and bool(one.region) == bool(region)
        ]
        assert own, part
    # A reverse charge only with two numbers.
    if found.category is TaxCategory.REVERSE_CHARGE:
        assert found.seller_tax_id
        assert found.buyer_tax_id
        assert valid_vat(vat_country(profile.country), found.buyer_tax_id) is not False
    # A relief only by a certificate of that day.
    if found.category is TaxCategory.EXEMPT:
        assert any(on in one.valid and one.number for one in told.certificates)
    for warning in warnings(profile, "c1", found, told):
        assert warning.severity is Severity.WARN


@settings(max_examples=300, deadline=None)
@given(profiles, DAYS, facts, st.randoms())
def test_the_order_in_which_rows_are_read_changes_nothing(profile, on, told, random):
    def shuffled(rows):
        # Rows of one key are one row.
        unique = {getattr(row, "key", id(row)): row for row in rows}
        mixed = list(unique.values())
        random.shuffle(mixed)
        return tuple(mixed)

    def unique(rows):
        return tuple({getattr(row, "key", id(row)): row for row in rows}.values())

    names = ("registrations", "certificates", "number_checks")
    same = Known(**{**as_dict(told), **{name: unique(getattr(told, name)) for name in names}})
    mixed = Known(**{**as_dict(told), **{name: shuffled(getattr(told, name)) for name in names}})
    one, other = decide(profile, "c1", on, same), decide(profile, "c1", on, mixed)
    assert type(one) is type(other)
    if isinstance(one, TaxDecision):
        assert (one.category, one.parts) == (other.category, other.parts)
    else:
        assert one.check == other.check


def as_dict(told):
    return {name: getattr(told, name) for name in Known.__slots__}


@given(profiles, DAYS, facts)
def test_no_number_is_printed_that_its_check_refuses(profile, on, told):
    refusing = Known(**{**as_dict(told), "check_number": lambda _country, _number: False})
    found = decide(profile, "c1", on, refusing)
    assert isinstance(found, Finding) or not found.buyer_tax_id


def test_a_number_of_a_country_without_a_known_check_is_said_to_be_unchecked():
    found = decide(by_rules("SG", tax_number="M2-1234567-8"), "c1", ON, known())
    assert found.buyer_tax_id == "M2-1234567-8"
    assert found.reasons[0].inputs["number_checked"] == "no"


# --- proof of numbers ------------------------------------------------------------------------------


def to_france(**fields):
    return decide(by_rules("FR", tax_number=NUMBERS["FR"]), "c1", ON, known(**fields))


def test_the_evidence_of_a_number_is_kept_with_the_decision():
    decision = to_france(number_checks=(answered(NUMBERS["FR"], 3),))
    assert decision.category is TaxCategory.REVERSE_CHARGE
    assert (decision.seller_tax_id, decision.buyer_tax_id) == (NUMBERS["DE"], NUMBERS["FR"])
    told = decision.reasons[0].inputs
    assert (told["number_checked"], told["number_answered_on"]) == ("VIES", "2026-10-28")


@pytest.mark.parametrize(
    ("proof", "held"), [(NumberProof.REGISTER, True), (NumberProof.FORM, False)]
)
def test_whether_form_and_check_digits_suffice_is_the_partners_policy(proof, held):
    offline = answered(NUMBERS["FR"], 0, source=FORM_ONLY)
    found = to_france(number_checks=(offline,), policy=TaxPolicy(number_proof=proof))
    assert isinstance(found, Finding) is held
    if held:
        assert found.check == "tax.number_unchecked"
    else:
        assert found.reasons[0].inputs["number_checked"] == FORM_ONLY


@pytest.mark.parametrize("days", [9, 10, 11])
def test_how_long_an_answer_counts_is_the_partners_policy(days):
    check = answered(NUMBERS["FR"], days)
    found = to_france(number_checks=(check,), policy=TaxPolicy(number_days=10))
    assert isinstance(found, Finding) is (days > 10)


def test_without_any_check_of_form_a_number_in_the_eu_shows_nothing():
    found = to_france(check_number=None, policy=TaxPolicy(number_proof=NumberProof.FORM))
    assert found.check == "tax.number_unchecked"


# --- registrations, sellers, deciders --------------------------------------------------------------


def test_a_registration_without_a_number_charges_no_tax():
    nameless = TaxRegistration(
        key="r", seller_key="seller/s", country="DE", valid=Period(date.min, date.max)
    )
    found = decide(by_rules("DE"), "c1", ON, known(registrations=(nameless,)))
    assert found.check == "tax.no_registration"


def test_of_two_registrations_in_force_the_later_is_printed():
    old = a_registration(number="DE000000020")
    new = a_registration(valid=Period(day("2026-01-01"), date.max))
    found = decide(by_rules("DE"), "c1", ON, known(registrations=(new, old)))
    assert found.seller_tax_id == NUMBERS["DE"]


def test_each_tax_of_a_place_is_charged_by_its_own_number():
    quebec = known(
        seller=a_seller("CA", "ON"),
        registrations=(a_registration("CA"), a_registration("CA", "Quebec", "12 TQ 1")),
    )
    found = decide(by_rules("CA", region="QC"), "c1", ON, quebec)
    assert [(part.name, part.jurisdiction, str(part.percent)) for part in found.parts] == [
        ("GST", "CA", "5"),
        ("QST", "CA-QC", "9.975"),
    ]
    assert found.seller_tax_id == f"{NUMBERS['CA']}, 12 TQ 1"


def test_a_row_that_could_not_be_read_holds_who_is_taxed_by_rules_and_nobody_else():
    fault = Finding(
        check="tax.unreadable_row",
        severity=Severity.HOLD,
        customer_id="c1",
        record="tax rate 1",
        sentence="It cannot be read.",
        hint="correct it",
    )
    told = known(faults=(fault,))
    assert decide(by_rules("DE"), "c1", ON, told) is fault
    assert isinstance(decide(a_tax_profile(), "c1", ON, told), TaxDecision)


def test_the_accounting_system_decides_whatever_the_profile_says():
    for profile in (None, by_rules("ZZ"), a_tax_profile()):
        found = decide(profile, "c1", ON, known(decider=TaxDecider.ACCOUNTING, seller=None))
        assert (found.percent, found.decided_by) == (0, TaxDecider.ACCOUNTING)


def test_a_tax_engine_decides_or_the_customer_is_held():
    answer = TaxDecision(category=TaxCategory.ZERO, note="so", decided_by=TaxDecider.ENGINE)
    ask = {"decider": TaxDecider.ENGINE}
    assert decide(by_rules("DE"), "c1", ON, known(**ask, answer=answer)) is answer
    assert decide(by_rules("DE"), "c1", ON, known(**ask)).check == "tax.no_engine"
    assert decide(by_rules("DE"), "c1", ON, known(**ask, seller=None)).check == "tax.no_seller"
    assert decide(None, "c1", ON, known(**ask, answer=answer)).check == "tax.no_profile"


def test_an_engine_rests_no_reverse_charge_on_a_number_that_a_register_refutes():
    def decided(number, state):
        answer = TaxDecision(
            category=TaxCategory.REVERSE_CHARGE,
            note="RC",
            seller_tax_id=NUMBERS["DE"],
            buyer_tax_id=number,
            decided_by=TaxDecider.ENGINE,
        )
        checks = (answered(NUMBERS["FR"], state=state),)
        told = known(decider=TaxDecider.ENGINE, answer=answer, number_checks=checks)
        return decide(by_rules("FR"), "c1", ON, told)

    assert decided("FR 61 954 506 077", NumberState.INVALID).check == "tax.number_refuted"
    assert decided(NUMBERS["FR"], NumberState.VALID).category is TaxCategory.REVERSE_CHARGE
    # Nothing is known of another number: the engine answers for it.
    assert decided(NUMBERS["ES"], NumberState.INVALID).category is TaxCategory.REVERSE_CHARGE


# --- a treatment that a person stated ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("country", "number", "check"),
    [
        ("FR", NUMBERS["FR"], None),
        ("FR", "FR61954506078", "tax.vat_invalid"),
        ("FR", NUMBERS["ES"], "tax.vat_country"),
        ("GB", NUMBERS["GB"], None),
        ("SG", "M2-1234567-8", None),  # no check is known
    ],
)
def test_a_stated_reverse_charge_needs_a_number_that_is_one(country, number, check):
    stated = TaxTreatment.REVERSE_CHARGE
    profile = a_tax_profile(country=country, treatment=stated, evidence=number, wording="RC")
    found = decide(profile, "c1", ON, known())
    assert (found.check if isinstance(found, Finding) else None) == check
    if check is None:
        assert (found.category, found.seller_tax_id) == (
            TaxCategory.REVERSE_CHARGE,
            NUMBERS["DE"],
        )


def test_a_stated_certificate_is_told_of_a_month_before_its_end():
    def told(left):
        profile = a_tax_profile(
            treatment=TaxTreatment.EXEMPT, evidence="EX-1", valid_until=ON + timedelta(days=left)
        )
        return warnings(profile, "c1", decide(profile, "c1", ON, known()), known())

    assert [one.check for one in told(30)] == ["tax.certificate_ending"]
    assert told(31) == []
    assert told(30)[0].sentence == (
        "The tax evidence EX-1 ends on 2026-11-30; later bills are held without a new one."
    )


def test_each_of_two_certificates_in_use_is_told_of():
    def paper(name, region, left):
        return ExemptionCertificate(
            key=f"certificate/{name}",
            customer_id="c1",
            country="CA",
            region=region,
            number=name,
            valid=Period(date.min, ON + timedelta(days=left + 1)),
            verified_by="Ann",
        )

    told = known(
        seller=a_seller("CA", "BC"),
        registrations=(a_registration("CA"), a_registration("CA", "BC", "PST-1")),
        certificates=(paper("A", "BC", 25), paper("B", "", 20)),
    )
    profile = by_rules("CA", region="BC")
    decision = decide(profile, "c1", ON, told)
    assert decision.category is TaxCategory.EXEMPT
    ending = [one.record for one in warnings(profile, "c1", decision, told)]
    used = decision.reasons[0].inputs["certificate"].split(", ")
    assert ending == [f"exemption certificate {name}" for name in sorted(used)]
    assert len(ending) == 2


def test_a_certificate_that_ended_need_not_be_destroyed_to_charge_tax():
    old = ExemptionCertificate(
        key="certificate/1",
        customer_id="c1",
        country="DE",
        number="EX-1",
        valid=Period(date.min, day("2026-01-01")),
    )
    held = decide(by_rules("DE"), "c1", ON, known(certificates=(old,)))
    assert held.check == "tax.lapsed"
    assert "deactivate the old one (the row stays as evidence)" in held.hint
    # A deactivated row is not read: tests/clients/test_dataverse_tax.py.
    assert decide(by_rules("DE"), "c1", ON, known()).percent == 19


# --- the partner's own rates -------------------------------------------------------------------------


def a_rate(**fields):
    return TaxRate(
        **{
            "country": "CA",
            "region": "QC",
            "tax": "qst",
            "starts": day("2026-06-01"),
            "percent": Decimal(10),
            "source": "ours",
            **fields,
        }
    )


def charged(rate, on="2026-10-31", place=("CA", "QC")):
    rows = in_force(with_own([rate]).of_place(*place), day(on))
    return {row.tax.casefold(): str(row.percent) for row in rows}


def test_a_row_of_ours_counts_from_its_day_beside_the_shipped_ones():
    assert charged(a_rate(), "2026-05-31") == {"gst": "5", "qst": "9.975"}
    assert charged(a_rate(), "2026-06-01") == {"gst": "5", "qst": "10"}
    # It is the region's own tax still, though the row does not say so.
    (own,) = [row for row in with_own([a_rate()]).rates if row.source == "ours"]
    assert own.regional


def test_a_row_of_ours_goes_before_the_shipped_one_of_its_day_under_any_name_of_the_place():
    same = a_rate(region="Québec", starts=day("2013-01-01"))
    assert charged(same) == {"gst": "5", "qst": "10"}


def test_a_row_of_ours_decides_what_the_table_leaves_open_and_nothing_else():
    colorado = a_rate(country="US", region="CO", tax="sales and use tax", percent=Decimal("2.9"))
    assert charged(colorado, place=("US", "CO")) == {"sales and use tax": "2.9"}
    assert charged(colorado, place=("US", "AZ")) == {"sales tax": "None"}


@pytest.mark.parametrize(
    ("country", "region", "city", "postal_code"),
    [
        ("ES", "Islas Canarias", "Las Palmas", "35001"),
        ("ES", "", "Las Palmas", "35001"),
        ("IT", "SO", "Livigno", "23041"),
        ("DE", "BY", "", "78266"),
        ("DE", "BW", "Busingen", ""),
        ("PT", "Região Autónoma da Madeira", "Funchal", "9000-018"),
        ("FI", "", "Mariehamn", "22100"),
        ("FR", "La Reunion", "Saint-Denis", "97400"),
    ],
)
def test_a_place_with_rules_of_its_own_is_known_by_name_town_and_postal_code(
    country, region, city, postal_code
):
    there = Address(country=country, city=city, postal_code=postal_code)
    registered = (a_registration(country),)

    def bill(**fields):
        told = known(seller=a_seller(country), registrations=registered, **fields)
        return decide(by_rules(country, region=region), "c1", ON, told)

    assert bill(buyer_address=there).check == "tax.own_rules"
    mainland = replace(there, city="", postal_code="")
    by_name = region not in {"", "SO", "BY", "BW"}
    assert isinstance(bill(buyer_address=mainland), Finding) is by_name
    # The seller's own place, too.
    told = known(seller=replace(a_seller(country), address=there), registrations=registered)
    held = decide(by_rules(country), "c1", ON, told)
    assert isinstance(held, Finding)


def test_a_seller_in_a_place_of_its_own_is_told_of_the_sellers_place():
    told = known(seller=a_seller("GB", "Jersey"), registrations=(a_registration("GB"),))
    held = decide(by_rules("GB"), "c1", ON, told)
    assert held.check == "tax.own_rules"
    assert held.sentence.startswith("The selling company's JE has tax rules of its own")
    assert "give the selling company the country JE" in held.hint


def test_a_row_of_ours_says_the_rate_of_islands_whoever_calls_them_what():
    row = a_rate(country="ES", region="Canary Islands", tax="IGIC", percent=Decimal(7))
    told = known(
        seller=a_seller("ES"),
        registrations=(a_registration("ES"),),
        rates=(row,),
        buyer_address=Address(country="ES", postal_code="35001"),
    )
    for region in ("", "GC", "Islas Canarias"):
        assert decide(by_rules("ES", region=region), "c1", ON, told).percent == 7


def test_what_a_row_of_ours_leaves_open_it_takes_from_its_tax_or_its_region():
    def own(**fields):
        row = a_rate(country="US", region="Texas", tax="sales tax", **fields)
        (found,) = with_own([row]).own
        return found.taxed_part, found.regional, found.local_taxes

    assert own() == (80, True, True)
    assert own(locality="Marfa") == (80, True, False)
    assert own(taxable_percent=Decimal(100)) == (100, True, True)


def test_names_of_one_place_are_one_place_in_whatever_order_rows_come():
    rows = [
        a_rate(country="US", region="TX", tax="sales tax", locality=names, percent=Decimal(n))
        for n, names in enumerate(["Marfa", "City of Marfa|Presidio", "presidio", "Alpine"])
    ]
    rows = [replace(row, starts=day(f"2026-0{n + 1}-01")) for n, row in enumerate(rows)]
    for order in (rows, rows[::-1]):
        found = in_force(with_own(order).own, ON)
        assert {row.percent for row in found} == {2, 3}


def test_a_decision_with_thousands_of_own_rows_takes_no_longer_for_each():
    def steps(count):
        rows = [
            a_rate(country="US", region="TX", tax="sales tax", locality=f"Town {n} of {count}")
            for n in range(count)
        ]
        told = known(
            seller=a_seller("US", "TX"), registrations=(a_registration("US", "TX"),), rates=rows
        )
        taken = 0

        def count_calls(_frame, event, _argument):
            nonlocal taken
            taken += event == "call"

        sys.setprofile(count_calls)
        try:
            found = decide(by_rules("US", region="TX", locality="Town 1 of 9"), "c1", ON, told)
        finally:
            sys.setprofile(None)
        assert found.check == "tax.no_locality"
        return taken

    assert steps(1600) < 5 * steps(400)


def test_a_rate_of_nothing_without_a_note_is_explained_all_the_same():
    free = a_rate(country="US", region="CO", tax="sales tax", percent=Decimal(0))
    told = known(
        seller=a_seller("US", "WA"), registrations=(a_registration("US", "CO"),), rates=(free,)
    )
    found = decide(by_rules("US", region="CO"), "c1", ON, told)
    assert (found.category, found.note) == (
        TaxCategory.OUT_OF_SCOPE,
        "No sales tax: its rate in US-CO is 0.",
    )


def test_the_states_of_the_usa_are_all_in_the_tables_once():
    table = with_own([])
    states = {rate.regions[0] for rate in table.rates if rate.country == "US"}
    assert len(states) == 51  # with the District of Columbia
    for rate in table.rates:
        if rate.country == "US":
            assert rate.percent or rate.note
            assert rate.regional or rate.percent == 0


def test_a_table_may_say_more_of_a_tax():
    head = "country,region,from,percent,tax,source,note,locality,taxable,regional,local"
    line = "US,TX,2026-01-01,2,sales tax,ours,,Marfa|Presidio,80,yes,"
    (rate,) = read_taxes([head, line])
    assert (rate.localities, rate.taxable_percent) == (("Marfa", "Presidio"), 80)
    assert (rate.regional, rate.local_taxes) == (True, False)
    for wrong in (line.replace("yes", "maybe"), line.replace("80", "101"), f"{line},more"):
        with pytest.raises(ValueError, match="line 2 of the table of tax rates is not a rate"):
            read_taxes([head, wrong])
    with pytest.raises(ValueError, match="the columns"):
        read_taxes([head.replace("taxable", "taxed"), line])


def test_a_profile_says_by_itself_only_what_somebody_entered():
    profile = TaxProfile(key="tax/x", country="DE", treatment=TaxTreatment.BY_RULES)
    assert (profile.business, profile.tax_number, profile.region) == (False, "", "")
