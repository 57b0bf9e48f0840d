"""Who sells, who buys, the evidence and the day; and what comes out.

The numbers are made here: eight digits and the check digit that the country's rule asks for, or
those that python-stdnum shows in its own documentation.
"""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.vat import valid_vat
from domain.contract import TaxTreatment
from domain.money import Money
from domain.problems import Finding, Severity
from rules.tax import TaxDecision
from rules.tax_rates import read_rates, shipped_rates
from rules.tax_supply import REVERSE_CHARGE, decide_supply
from tests.builders import day

DE, FR, ES, IE = "DE136695976", "FR61954506077", "ESA28017895", "IE6388047V"
EL, XI, GB, AT = "EL094259216", "XI980780684", "GB980780684", "ATU13585627"
CH, NO = "CHE-107.787.577 IVA", "NO 995 525 828 MVA"


def supply(
    seller, buyer, *, vat=None, on="2026-03-01", exempt=None, regions=("", ""), **arguments
) -> TaxDecision | Finding:
    return decide_supply(
        **{
            "seller_country": seller,
            "buyer_country": buyer,
            "seller_region": regions[0],
            "buyer_region": regions[1],
            "buyer_vat_id": vat,
            "exempt_until": exempt and day(exempt),
            "on": day(on),
            "check_vat": valid_vat,
            **arguments,
        }
    )


def percent(*args, **kwargs):
    decision = supply(*args, **kwargs)
    assert isinstance(decision, TaxDecision), decision
    return str(decision.percent)


def held(*args, **kwargs):
    finding = supply(*args, **kwargs)
    assert isinstance(finding, Finding), finding
    assert finding.severity is Severity.HOLD
    assert finding.sentence.endswith(".")
    assert finding.hint
    return finding.check.removeprefix("tax.")


# What each country charges at home in March 2026, looked up by hand.
AT_HOME = [
    tuple(pair.split(":"))
    for pair in """
AT:20 BE:21 BG:20 CY:19 CZ:21 DE:19 DK:25 EE:24 ES:21 FI:25.5 FR:20 GR:24 HR:25 HU:27
IE:23 IT:22 LT:21 LU:17 LV:21 MT:18 NL:21 PL:23 PT:23 RO:21 SE:25 SI:22 SK:23
GB:20 CH:8.1 LI:8.1 NO:25 IS:24 AU:10 NZ:15 SG:9 JP:10 ZA:15
""".split()
]


@pytest.mark.parametrize(("country", "rate"), AT_HOME)
def test_at_home_the_rate_of_the_country_is_charged(country, rate):
    assert percent(country, country) == rate
    decision = supply(country, country)
    assert (decision.treatment, decision.note) == (TaxTreatment.STANDARD, "")
    assert decision.reasons[0].rule == "tax.domestic"
    assert decision.reasons[0].inputs["percent"] == rate


@pytest.mark.parametrize(
    ("country", "first_day", "before", "after"),
    [
        ("DE", "2020-07-01", "19", "16"),
        ("DE", "2021-01-01", "16", "19"),
        ("IE", "2020-09-01", "23", "21"),
        ("IE", "2021-03-01", "21", "23"),
        ("LU", "2023-01-01", "17", "16"),
        ("LU", "2024-01-01", "16", "17"),
        ("EE", "2024-01-01", "20", "22"),
        ("EE", "2025-07-01", "22", "24"),
        ("FI", "2024-09-01", "24", "25.5"),
        ("SK", "2025-01-01", "20", "23"),
        ("RO", "2016-01-01", "24", "20"),
        ("RO", "2017-01-01", "20", "19"),
        ("RO", "2025-08-01", "19", "21"),
        ("GR", "2016-06-01", "23", "24"),
        ("CH", "2018-01-01", "8", "7.7"),
        ("CH", "2024-01-01", "7.7", "8.1"),
        ("LI", "2024-01-01", "7.7", "8.1"),
        ("SG", "2023-01-01", "7", "8"),
        ("SG", "2024-01-01", "8", "9"),
        ("JP", "2019-10-01", "8", "10"),
        ("ZA", "2018-04-01", "14", "15"),
    ],
)
def test_a_rate_changes_on_its_day_and_not_a_day_before(country, first_day, before, after):
    eve = str(day(first_day) - timedelta(days=1))
    assert percent(country, country, on=eve) == before
    assert percent(country, country, on=first_day) == after


@pytest.mark.parametrize(
    ("seller", "buyer", "number"),
    [
        ("DE", "FR", FR),
        ("DE", "FR", "fr 61 954 506 077"),
        ("FR", "DE", DE),
        ("NL", "ES", ES),
        ("DE", "IE", IE),
        ("DE", "AT", AT),
        ("DE", "GR", EL),
        ("DE", "EL", EL),
        ("DE", "GR", "GR094259216"),
        ("DE", "MC", FR),
    ],
)
def test_within_the_eu_a_number_makes_it_a_reverse_charge(seller, buyer, number):
    decision = supply(seller, buyer, vat=number)
    assert (decision.percent, decision.treatment) == (0, TaxTreatment.REVERSE_CHARGE)
    assert decision.note == REVERSE_CHARGE
    assert decision.reasons[0].inputs["number_checked"] == "form and check digits"


def test_an_irish_number_may_hold_a_plus():
    right = [f"IE 8+79739{letter}" for letter in "ABCDEFGHIJKLMNOPQRSTUVW"]
    passed = [n for n in right if isinstance(supply("DE", "IE", vat=n), TaxDecision)]
    # The letter is a sum modulo 23 of the digits: one of 23 is right.
    assert len(passed) == 1
    assert supply("DE", "IE", vat=passed[0]).buyer_tax_id == passed[0].replace(" ", "")


def test_within_the_eu_a_number_that_nobody_could_check_is_no_evidence():
    assert held("DE", "FR", vat=FR, check_vat=lambda _country, _number: None) == "no_vat_number"


def test_the_greek_number_is_printed_with_its_prefix():
    assert supply("DE", "GR", vat="GR 094259216").buyer_tax_id == EL


@pytest.mark.parametrize("number", [None, "", "  "])
def test_without_a_number_a_customer_in_the_eu_is_held_and_told_what_a_consumer_pays(number):
    assert held("DE", "FR", vat=number) == "no_vat_number"
    assert "20 % VAT" in supply("DE", "FR", vat=number).hint
    assert held("GB", "FR", vat=number) == "no_vat_number"
    assert held("US", "FR", vat=number) == "no_vat_number"


@pytest.mark.parametrize(
    ("buyer", "number", "check"),
    [
        ("DE", "DE136695977", "vat_invalid"),  # check digit
        ("DE", "DE13669597", "vat_invalid"),  # too short
        ("DE", "136695976", "vat_invalid"),  # no prefix
        ("DE", "DE", "vat_invalid"),
        ("DE", "-", "vat_invalid"),
        ("DE", "DE²36695976", "vat_invalid"),
        ("DE", FR, "vat_country"),
        ("DE", GB, "vat_country"),
        ("DE", "EU372022452", "vat_country"),  # One Stop Shop number: no country
        ("IE", XI, "vat_country"),
        ("GR", DE, "vat_country"),
        ("GB", DE, "vat_country"),
        ("GB", "GB980780685", "vat_invalid"),
        ("CH", "CHE-107.787.578 IVA", "vat_invalid"),
        ("NO", "NO 995 525 829 MVA", "vat_invalid"),
        ("US", DE, "vat_country"),
        ("US", XI, "vat_country"),
        ("US", CH, "vat_country"),
    ],
)
@pytest.mark.parametrize("seller", ["AT", "GB"])
def test_a_wrong_number_is_held_whoever_sells(seller, buyer, number, check):
    assert held(seller, buyer, vat=number) == check


def test_a_wrong_number_is_held_at_home_too_and_a_right_one_changes_nothing():
    assert held("DE", "DE", vat="DE136695977") == "vat_invalid"
    assert held("DE", "DE", vat=FR) == "vat_country"
    assert percent("DE", "DE", vat=DE) == "19"


@pytest.mark.parametrize(
    ("seller", "buyer", "number"),
    [
        ("DE", "US", None),
        ("DE", "GB", GB),
        ("DE", "GB", XI),  # its prefix is for goods; the service is supplied in the UK
        ("DE", "XI", XI),
        ("DE", "CH", CH),
        ("DE", "NO", NO),
        ("DE", "BR", None),
        ("GB", "US", None),
        ("GB", "CH", None),
        ("CH", "GB", GB),
        ("AU", "NZ", None),
        ("NZ", "AU", "51 824 753 556"),
        ("US", "CA", None),
        ("CA", "US", None),
    ],
)
def test_to_a_business_elsewhere_no_tax_is_charged_and_the_note_says_so(seller, buyer, number):
    decision = supply(seller, buyer, vat=number)
    assert (decision.percent, decision.treatment) == (0, TaxTreatment.OUT_OF_SCOPE)
    assert decision.note.startswith("No ")
    assert f" of {seller}: " in decision.note
    assert REVERSE_CHARGE not in decision.note


def test_from_outside_of_the_eu_the_customer_in_it_accounts_for_the_vat():
    decision = supply("GB", "DE", vat=DE)
    assert (decision.percent, decision.treatment) == (0, TaxTreatment.OUT_OF_SCOPE)
    assert decision.note.endswith(REVERSE_CHARGE)


def test_a_number_of_a_country_without_a_known_check_is_printed_and_said_to_be_unchecked():
    decision = supply("DE", "SG", vat="M2-1234567-8")
    assert decision.buyer_tax_id == "M2-1234567-8"
    assert decision.reasons[0].inputs["number_checked"] == "no"


def test_a_number_elsewhere_may_begin_with_the_letters_of_a_country_by_chance():
    assert supply("ES", "MX", vat="DEL901231AB1").buyer_tax_id == "DEL901231AB1"


def test_the_united_kingdom_left_on_the_first_of_january_2021():
    assert supply("DE", "GB", vat=GB, on="2020-12-31").treatment is TaxTreatment.REVERSE_CHARGE
    assert held("DE", "GB", on="2020-12-31") == "no_vat_number"
    assert supply("DE", "GB", vat=GB, on="2021-01-01").treatment is TaxTreatment.OUT_OF_SCOPE
    assert supply("DE", "GB", on="2021-01-01").percent == 0


CANADA = [
    tuple(pair.split(":"))
    for pair in """
AB:5 NT:5 NU:5 YT:5 ON:13 NB:15 NL:15 PE:15 NS:14 QC:14.975 BC:12 SK:11 MB:12
""".split()
]


@pytest.mark.parametrize(("province", "rate"), CANADA)
def test_in_canada_the_customers_province_decides(province, rate):
    assert percent("CA", "CA", regions=("ON", province)) == rate
    assert percent("CA", "CA", regions=("", f"ca-{province}".lower())) == rate


def test_changes_in_a_province():
    assert percent("CA", "CA", regions=("", "Nova Scotia"), on="2025-03-31") == "15"
    assert percent("CA", "CA", regions=("", "Nova Scotia"), on="2025-04-01") == "14"
    assert held("CA", "CA", regions=("", "MB"), on="2025-12-31") == "own_rules"
    assert percent("CA", "CA", regions=("", "MB"), on="2026-01-01") == "12"


@pytest.mark.parametrize("region", ["", "  ", "Narnia", "TX"])
def test_where_a_region_decides_a_missing_or_unknown_one_is_held(region):
    assert held("CA", "CA", regions=("ON", region)) == "unmapped_region"
    assert held("US", "US", regions=("OR", region)) == "unmapped_region"


@pytest.mark.parametrize("state", ["OR", "us-mt", "New Hampshire", "Delaware"])
def test_states_without_a_sales_tax(state):
    decision = supply("US", "US", regions=("WA", state))
    assert (decision.percent, decision.treatment) == (0, TaxTreatment.OUT_OF_SCOPE)
    assert decision.note.endswith("has no sales tax.")


@pytest.mark.parametrize(
    ("country", "region"),
    [
        ("ES", "CN"),
        ("ES", "ES-TF"),
        ("ES", "Las Palmas"),
        ("ES", "ceuta"),
        ("PT", "Madeira"),
        ("PT", "20"),
        ("FR", "974"),
        ("RE", ""),
        ("FI", "01"),
        ("AX", ""),
    ],
)
@pytest.mark.parametrize("side", ["seller", "buyer", "both"])
def test_islands_and_enclaves_with_rules_of_their_own_are_held(country, region, side):
    seller = ("DE", "") if side == "buyer" else (country, region)
    buyer = ("DE", "") if side == "seller" else (country, region)
    assert held(seller[0], buyer[0], regions=(seller[1], buyer[1])) == "own_rules"


def test_other_regions_of_a_country_with_one_rate_change_nothing():
    assert percent("ES", "ES", regions=("", "Madrid")) == "21"
    assert percent("DE", "DE", regions=("BY", "NW")) == "19"
    assert percent("FR", "MC") == "20"
    assert percent("GB", "IM") == "20"
    assert percent("XI", "UK") == "20"


@pytest.mark.parametrize("code", ["", "ZZ", "EU", "DEU", "Germany"])
def test_what_is_not_a_country_is_held(code):
    assert held("DE", code) == "unmapped_country"
    assert held(code, "DE", vat=DE) == "unmapped_country"


def test_a_seller_whose_tax_is_not_in_the_table_is_held():
    assert held("BR", "BR") == "unmapped_country"
    assert held("BR", "DE", vat=DE) == "unmapped_country"


def test_codes_are_read_in_any_case():
    assert percent(" de ", "De") == "19"


@pytest.mark.parametrize(
    ("seller", "buyer"), [("DE", "DE"), ("DE", "FR"), ("GB", "GB"), ("US", "US"), ("DE", "US")]
)
def test_an_exemption_holds_until_its_day_and_is_lapsed_from_it_on(seller, buyer):
    decision = supply(seller, buyer, exempt="2026-07-01", on="2026-06-30", certificate="EX-1")
    assert (decision.percent, decision.treatment) == (0, TaxTreatment.EXEMPT)
    assert decision.note == "Exempt from tax: certificate EX-1 valid until 2026-06-30."
    assert decision.reasons[0].inputs["certificate"] == "EX-1"
    assert held(seller, buyer, exempt="2026-07-01", on="2026-07-01") == "lapsed"
    assert held(seller, buyer, exempt="2026-07-01", on="2026-07-02") == "lapsed"


def test_an_exemption_excuses_no_wrong_number_and_no_unknown_country():
    assert held("DE", "FR", exempt="2027-01-01", vat=DE) == "vat_country"
    assert held("DE", "ZZ", exempt="2027-01-01") == "unmapped_country"


def test_an_exemption_without_the_number_of_its_certificate_says_its_last_day():
    note = supply("DE", "DE", exempt="2026-07-01").note
    assert note == "Exempt from tax: certificate valid until 2026-06-30."


def test_before_the_rules_and_before_the_rows_of_a_place_nothing_is_known():
    assert held("DE", "DE", on="2014-12-31") == "no_rate"
    assert percent("DE", "DE", on="2015-01-01") == "19"
    assert held("CA", "CA", regions=("", "PE"), on="2016-09-30") == "no_rate"
    assert "before 2019-07-01" in supply("CA", "CA", regions=("", "MB"), on="2019-06-30").sentence
    assert "before 2016-10-01" in supply("CA", "CA", regions=("", "PE"), on="2016-09-30").sentence


def test_one_fault_is_one_finding_whatever_the_day():
    first = supply("DE", "FR", on="2026-03-01", customer_id="c1")
    later = supply("DE", "FR", on="2026-04-01", customer_id="c1")
    assert first.key == later.key == "finding/tax.no_vat_number/c1/supply DE to FR"


def test_the_tax_of_a_line_by_pocket_calculator():
    # 25.06, 25.61 and 25.63 at 15 %: 3.759, 3.8415 and 3.8445.
    rate = Fraction(supply("NZ", "NZ").percent)
    lines = [Fraction(amount) for amount in ("25.06", "25.61", "25.63")]
    taxes = [Money.rounded(line * rate / 100, "NZD").amount for line in lines]
    assert [str(tax) for tax in taxes] == ["3.76", "3.84", "3.84"]
    assert str(sum(taxes)) == "11.44"


def test_a_partner_may_bring_its_own_table():
    table = read_rates(
        [
            "# ours",
            "country,region,from,percent,tax,source,note",
            "",
            "US,TX,2024-01-01,6.6,sales tax,us,",
        ]
    )
    assert percent("US", "US", regions=("", "TX"), rates=table) == "6.6"
    assert held("DE", "DE", rates=table) == "unmapped_country"


@pytest.mark.parametrize(
    "line",
    [
        "DE,,2021-01-01",  # short
        "DE,,2021-01-01,19,VAT,us,a note, with a comma",
        "DE,,2021-13-01,19,VAT,us,",
        "DE,,2021-01-01,19 %,VAT,us,",
        "DE,,2021-01-01,NaN,VAT,us,",
        "DE,,2021-01-01,-1,VAT,us,",
        "DE,,2021-01-01,101,VAT,us,",
        "DE,X|Y,2020-01-01,19,VAT,us,",  # repeats
    ],
)
def test_a_table_that_is_not_one_names_its_line(line):
    rows = ["country,region,from,percent,tax,source,note", "DE,y,2020-01-01,1,VAT,us,", "#", line]
    with pytest.raises(ValueError, match="line 4"):
        read_rates(rows)


def test_a_table_names_its_columns():
    with pytest.raises(ValueError, match="columns"):
        read_rates([])


def test_every_rate_that_ships_names_its_source_and_each_place_has_one_rate_in_force():
    table = shipped_rates()
    assert {rate.source for rate in table.rates} == {"TEDB", "published", "change", "known", "law"}
    for rate in table.rates:
        for region in rate.regions or ("",):
            assert table.find(rate.country, region, rate.starts) is rate
        assert rate.percent is None or rate.percent > 0 or rate.note


COUNTRIES = st.sampled_from("DE FR GR GB CH NO US CA AU BR ES MC XI".split())
NUMBERS = st.sampled_from([None, DE, FR, EL, XI, GB, CH, NO]) | st.text(max_size=15)
REGIONS = st.sampled_from(["", "ON", "OR", "CN", "x"])
DAYS = st.dates(date(2014, 1, 1), date(2030, 1, 1))


@given(st.tuples(COUNTRIES, COUNTRIES), REGIONS, NUMBERS, st.none() | DAYS, DAYS)
def test_it_is_decided_with_reasons_or_held_with_a_hint(pair, region, number, exempt, on):
    seller, buyer = pair
    result = decide_supply(
        seller_country=seller,
        buyer_country=buyer,
        buyer_region=region,
        buyer_vat_id=number,
        exempt_until=exempt,
        on=on,
        check_vat=valid_vat,
    )
    if isinstance(result, Finding):
        assert result.severity is Severity.HOLD
        assert result.hint
        return
    assert isinstance(result.percent, Decimal)
    assert result.reasons
    assert (result.percent > 0) == (result.treatment is TaxTreatment.STANDARD)
    assert result.percent > 0 or result.note  # what is not charged is explained
    assert exempt is None or on < exempt
    if result.treatment is TaxTreatment.REVERSE_CHARGE:
        assert result.buyer_tax_id


@given(COUNTRIES, COUNTRIES, NUMBERS, DAYS)
def test_no_number_passes_that_the_check_does_not_pass(seller, buyer, number, on):
    assume(number)
    result = decide_supply(
        seller_country=seller,
        buyer_country=buyer,
        buyer_vat_id=number,
        exempt_until=None,
        on=on,
        check_vat=lambda _country, _number: False,
    )
    assert isinstance(result, Finding) or not result.buyer_tax_id
