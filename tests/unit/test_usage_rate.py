"""Usage is rated in SQL to the last digit: the same bytes as a plain loop of Decimals makes."""

import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import plain_loop
from domain.contract import MarkupMethod, MarkupRule
from domain.period import Period
from domain.problems import Finding, InputError
from rules.metering import Metered, meter_amount
from rules.pricing import PriceBook, Priced
from usage.rate import Expected, rate
from usage.rule_table import RuleTable

LINE = {
    "CustomerId": "c1",
    "SubscriptionId": "plan-1",
    "ProductId": "DZH318Z0BPS6",
    "MeterCategory": "Storage",
    "MeterId": "m1",
    "UsageDate": "2026-10-03T00:00:00Z",
    "Quantity": "1",
    "BillingPreTaxTotal": "1.00",
    "BillingCurrency": "USD",
    "Tags": '{"env":"prod"}',
}
NUMBERS = ("Quantity", "BillingPreTaxTotal")


def a_line(*, cut=",", colon=":", quoted=False, **fields):
    """A line as JSON text; numbers are written raw, so that each keeps its digits."""
    made = {
        name: value if name in NUMBERS and not quoted else json.dumps(value, ensure_ascii=False)
        for name, value in (LINE | fields).items()
        if value is not None
    }
    return "{" + cut.join(f'"{name}"{colon}{value}' for name, value in made.items()) + "}"


def a_rule(
    key="d", percent="10", *, customer="", family="", since="2026-01-01", until=None, **more
):
    return MarkupRule(
        key=key,
        method=MarkupMethod.PERCENT,
        value=Decimal(percent),
        valid=Period(date.fromisoformat(since), date.fromisoformat(until) if until else date.max),
        customer_id=customer,
        meter_category=family,
        **more,
    )


def as_json(rule):
    """A rule as the reference reads it."""
    return {
        "id": rule.key,
        "customer": rule.customer_id or None,
        "family": rule.meter_category or None,
        "percent": str(rule.value),
        "from": str(rule.valid.start),
        "to": None if rule.valid.end == date.max else str(rule.valid.end),
    }


def write(folder, *files, end="\n"):
    paths = []
    for number, lines in enumerate(files):
        path = folder / f"part-{number}.json.gz"
        path.write_bytes(gzip.compress("".join(f"{line}{end}" for line in lines).encode()))
        paths.append(path)
    return paths


@pytest.fixture
def run(tmp_path):
    def run(*files, rules=None, **more):
        out = tmp_path / "out.tsv"
        rated = rate(
            write(tmp_path, *files), rules or [a_rule()], scratch=tmp_path / "s", out=out, **more
        )
        return rated, out.read_text() if out.exists() else None

    return run


def rows(text):
    return [line.split("\t") for line in text.splitlines()]


# --- digits ----------------------------------------------------------------------------------------


DIGITS = {
    "883406386745030.3": "883406386745030.300000000000000000",
    "0.12345678901234567": "0.123456789012345670",
    "0.123456789012345678": "0.123456789012345678",
    "-0.30": "-0.300000000000000000",
    "1e-7": "0.000000100000000000",
    "1.5E3": "1500.000000000000000000",
    "100e-20": "0.000000000000000001",
    "0.100000000000000000000000": "0.100000000000000000",
    "0": "0.000000000000000000",
    "-0.0": "0.000000000000000000",
    "12345678901234567890": "12345678901234567890.000000000000000000",
}


@pytest.mark.parametrize("quoted", [False, True])
@pytest.mark.parametrize(("cut", "colon"), [(",", ":"), (", ", ": "), (" ,", " :"), (",\t", ":")])
def test_every_digit_is_kept_however_the_line_is_written(run, cut, colon, quoted):
    style = {"cut": cut, "colon": colon, "quoted": quoted}
    lines = [a_line(MeterId=written, Quantity=written, **style) for written in DIGITS]
    rated, text = run(lines, [a_line(Quantity="0", **style)])
    assert {row[5]: row[9] for row in rows(text)} == DIGITS | {"m1": f"0.{'0' * 18}"}
    assert (rated.source_lines, rated.held_lines) == (len(DIGITS) + 1, 0)


@pytest.mark.parametrize(
    ("cost", "exact", "charge"),
    [
        ("0.10", "0.112500000000000000000000", "0.11"),
        ("0.12", "0.135000000000000000000000", "0.14"),
        ("-0.12", "-0.135000000000000000000000", "-0.14"),
        ("0.000000000000000001", "0.000000000000000001125000", "0.00"),
        ("-0.001", "-0.001125000000000000000000", "0.00"),
    ],
)
def test_a_charge_is_exact_and_rounded_once_half_up(run, cost, exact, charge):
    _, text = run([a_line(BillingPreTaxTotal=cost)], rules=[a_rule(percent="12.5")])
    assert [row[11:] for row in rows(text)] == [[exact, charge]]


def test_the_drift_of_rounding_is_a_total_of_its_own(run):
    lines = [a_line(BillingPreTaxTotal="0.004", MeterId=f"m{n}") for n in range(1000)]
    (total,) = run(lines)[0].totals
    assert (total.charge_exact, total.charge) == (Decimal("4.4"), Decimal("0.00"))
    assert total.rounding == Decimal("-4.4")


def test_the_drift_of_large_amounts_keeps_its_last_digit(run):
    cost = "99999999999.000000000000000001"
    (total,) = run([a_line(BillingPreTaxTotal=cost)], rules=[a_rule(percent="0.0001")])[0].totals
    assert total.charge_exact == Decimal("100000099998.999999000000000001000001")
    assert total.rounding == Decimal("0.000000999999999998999999")


# --- the plain loop --------------------------------------------------------------------------------

_DIGITS = st.builds(
    lambda sign, whole, fraction, power: f"{sign}{whole}{fraction}{power}",
    st.sampled_from(["", "", "-"]),
    st.integers(0, 10**6).map(str),
    st.sampled_from(["", ".5", ".05", ".005", ".125", ".123456789"]),
    st.sampled_from(["", "", "", "e-3", "E2", "e+0"]),
)
_LINES = st.builds(
    lambda quoted, fields: (quoted, fields),
    st.booleans(),
    st.fixed_dictionaries(
        {
            "CustomerId": st.sampled_from(["c1", "c2", "c3"]),
            "MeterCategory": st.sampled_from(
                ["Storage", 'Größe, mit "Zitat"', 'a,"b', "x\\y", "e,"]
            ),
            "MeterId": st.sampled_from(["m1", "m2"]),
            "BillingCurrency": st.sampled_from(["USD", "EUR"]),
            "UsageDate": st.dates(date(2026, 9, 20), date(2026, 11, 10)).map(
                lambda d: f"{d}T00:00:00Z"
            ),
            "Quantity": _DIGITS,
            "BillingPreTaxTotal": _DIGITS,
        }
    ),
)
_RULES = [
    a_rule("default", "12.5"),
    a_rule("storage", "7", family="Storage", until="2026-10-15"),
    a_rule("storage-later", "-3.0001", family="Storage", since="2026-10-15"),
    a_rule("c1", "0", customer="c1", since="2026-10-03"),
    a_rule("c1-storage", "99", customer="c1", family="Storage", since="2026-11-01"),
]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.lists(_LINES, min_size=1, max_size=12), min_size=1, max_size=3),
    st.sampled_from([(",", ":"), (", ", ": ")]),
    st.booleans(),
)
def test_the_bytes_are_those_of_a_plain_loop(files, style, annotate):
    cut, colon = style
    texts = [
        [a_line(quoted=quoted, cut=cut, colon=colon, **fields) for quoted, fields in lines]
        for lines in files
    ]
    with TemporaryDirectory() as name:
        folder = Path(name)
        paths = write(folder, *texts)
        out = folder / "out.tsv"
        annotated = folder / "annotated" if annotate else None
        rated = rate(paths, _RULES, scratch=folder / "s", out=out, annotated=annotated, threads=2)
        expected, sums = plain_loop.rate(paths, [as_json(rule) for rule in _RULES])
        assert out.read_bytes() == expected
        assert rated.source_lines == sum(entry[0] for entry in sums.values())


# --- rules -----------------------------------------------------------------------------------------

_ANY = st.builds(
    a_rule,
    key=st.uuids().map(str),
    percent=st.sampled_from(["0", "5", "12.5", "-10"]),
    customer=st.sampled_from(["", "c1", "c2"]),
    family=st.sampled_from(["", "Storage", "Bandwidth"]),
    since=st.sampled_from(["2026-09-01", "2026-10-01", "2026-10-10"]),
    until=st.sampled_from([None, "2026-10-10", "2026-10-20"]),
    sku=st.sampled_from(["", "P1:0001", "P2:0001"]),
    currency=st.sampled_from(["", "USD", "EUR"]),
    kind=st.sampled_from(["", "usage", "licence"]),
).filter(lambda rule: rule.valid.days > 0)
_USED = st.fixed_dictionaries(
    {
        "CustomerId": st.sampled_from(["c1", "C1", "c2", "c3"]),
        "ProductId": st.sampled_from(["P1", "P2"]),
        "SkuId": st.just("0001"),
        "MeterCategory": st.sampled_from(["Storage", "Bandwidth", "Backup"]),
        "BillingCurrency": st.sampled_from(["USD", "EUR"]),
        "UsageDate": st.sampled_from(["2026-10-01", "2026-10-09", "2026-10-10", "2026-10-25"]),
        "BillingPreTaxTotal": st.sampled_from(["1.23", "0.04", "-2", "0.005"]),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(_ANY, max_size=8), st.lists(_USED, min_size=1, max_size=6))
def test_sql_and_python_choose_the_same_rule_and_make_the_same_amount(rules, lines):
    book = PriceBook((), rules)
    for line in lines:
        with TemporaryDirectory() as name:
            folder = Path(name)
            rated = rate(
                write(folder, [a_line(**line)]), rules, scratch=folder / "s", out=folder / "out.tsv"
            )
            found = book.rule(
                Priced(
                    customer_id=line["CustomerId"].lower(),
                    record="",
                    kind="usage",
                    sku=f"{line['ProductId']}:{line['SkuId']}",
                    on=date.fromisoformat(line["UsageDate"]),
                    currency=line["BillingCurrency"],
                    meter_category=line["MeterCategory"],
                )
            )
            if isinstance(found, Finding):
                assert [finding.check for finding in rated.findings] == [found.check]
                assert rated.held_lines == 1
                continue
            cost = Decimal(line["BillingPreTaxTotal"])
            used = Metered.of(name="", quantity=1, cost=cost)
            made = meter_amount(found, used, line["BillingCurrency"])
            ((*_, key, _lines, _quantity, _cost, exact, charge),) = rows(
                (folder / "out.tsv").read_text()
            )
            assert (key, Decimal(charge)) == (found.key, made.amount.amount)
            assert Decimal(exact) == made.exact


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"method": MarkupMethod.MARGIN, "value": Decimal(20)}, "margin is priced from"),
        ({"minimum": Decimal(20)}, "bounds are kept in a contract's month"),
        ({"value": Decimal(-101)}, "cannot be used here"),
    ],
)
def test_a_rule_that_lines_cannot_be_priced_by_is_refused(rule, fault):
    from dataclasses import replace

    with pytest.raises(InputError, match=fault):
        RuleTable.of([replace(a_rule("r1"), **rule)])


# --- what is held ----------------------------------------------------------------------------------


def test_lines_that_no_rule_covers_are_held_with_their_cost(run):
    rated, text = run(
        [a_line(), a_line(CustomerId="c2", BillingPreTaxTotal="5.5")], rules=[a_rule(customer="c1")]
    )
    (total,) = rated.totals
    assert (total.lines_in, total.lines, rated.held_lines) == (2, 1, 1)
    assert (total.cost_in, total.cost, total.cost_held) == (
        Decimal("6.5"),
        Decimal(1),
        Decimal("5.5"),
    )
    assert [row[1] for row in rows(text)] == ["c1"]
    held = "1 line of c2 that cost 5.5 USD is held."
    assert [(f.check, f.customer_id, f.sentence) for f in rated.findings] == [
        (
            "price.missing",
            "c2",
            f"No markup rule covers usage of Storage from 2026-10-03: {held}",
        )
    ]


def test_two_rules_at_one_level_hold_only_the_days_on_which_both_are_in_force(run):
    rules = [a_rule("a", until="2026-10-10"), a_rule("b", since="2026-10-05")]
    lines = [a_line(UsageDate=f"2026-10-{day:02}T00:00:00Z") for day in range(1, 15)]
    rated, text = run(lines, rules=rules)
    assert {row[7]: row[8] for row in rows(text)} == {"a": "4", "b": "5"}
    assert rated.held_lines == 5
    assert [finding.check for finding in rated.findings] == ["price.tie"]


def test_a_more_specific_tie_is_not_settled_by_a_general_rule(run):
    rules = [a_rule("a", customer="c1"), a_rule("b", customer="c1"), a_rule("default")]
    rated, text = run([a_line(), a_line(CustomerId="c2")], rules=rules)
    assert [(row[1], row[7]) for row in rows(text)] == [("c2", "default")]
    assert rated.held_lines == 1


FAULTY = [
    (a_line(Quantity="null"), "has no Quantity that is a number"),
    (a_line(Quantity='"abc"'), "has no Quantity that is a number"),
    (a_line(Quantity="true"), "has no Quantity that is a number"),
    (a_line(Quantity='""'), "has no Quantity that is a number"),
    (a_line(Quantity='" 1"'), "has no Quantity that is a number"),
    (a_line(Quantity='"1,5"'), "has no Quantity that is a number"),
    (a_line(Quantity=None), "has no Quantity that is a number"),
    (a_line(BillingPreTaxTotal="[1]"), "has no BillingPreTaxTotal that is a number"),
    (a_line(Quantity="0.1234567890123456789"), "has a number with more than 18 decimals"),
    (
        a_line(Quantity="0.000000000000000000000000000001"),
        "has a number with more than 18 decimals",
    ),
    (a_line(Quantity="1.23e-18"), "has a number with more than 18 decimals"),
    (a_line(Quantity="123456789012345678901"), "has no Quantity that is a number below 10"),
    (a_line(UsageDate=7), "has no UsageDate that is a date"),
    (a_line(UsageDate="3 October"), "has no UsageDate that is a date"),
    (a_line(UsageDate="2026-02-30T00:00:00Z"), "has no UsageDate that is a date"),
    (a_line(CustomerId=""), "has no CustomerId"),
    (a_line(CustomerId=None), "has no CustomerId"),
    (a_line()[:-20], "is no JSON object"),
    ("not json", "is no JSON object"),
    ("[1]", "is no JSON object"),
    (a_line()[:-1] + ',"Quantity":2}', "gives a name twice"),
]


@pytest.mark.parametrize(("line", "fault"), FAULTY)
@pytest.mark.parametrize("place", ["first", "later"])
def test_a_line_that_cannot_be_read_is_held_and_told_and_the_others_go_on(run, line, fault, place):
    lines = [line, a_line(), a_line()] if place == "first" else [a_line(), a_line(), line]
    rated, text = run(lines)
    assert (rated.source_lines, rated.held_lines, rated.unreadable_lines) == (3, 1, 1)
    assert [row[8] for row in rows(text)] == ["2"]
    (finding,) = rated.findings
    number = 1 if place == "first" else 3
    assert f"from line {number} of part-0.json.gz on: it {fault}" in finding.sentence


def test_a_key_that_would_break_the_text_is_held(run):
    rated, text = run([a_line(MeterId="a\tb", BillingPreTaxTotal="3"), a_line()])
    assert [row[5] for row in rows(text)] == ["m1"]
    assert rated.unreadable_lines == 1
    assert "line 1 of part-0.json.gz on: it has a control character" in rated.findings[0].sentence


def test_an_attribute_that_only_later_lines_have_is_read(run):
    _, text = run([a_line(MeterId=None), a_line(), a_line(MeterId=None)])
    assert sorted((row[5], row[8]) for row in rows(text)) == [("", "2"), ("m1", "1")]


def test_a_value_that_ends_in_a_comma_is_no_cut(run):
    rated, text = run([a_line(), a_line(MeterId="a,"), a_line(MeterId="b")])
    assert sorted(row[5] for row in rows(text)) == ["a,", "b", "m1"]
    assert rated.held_lines == 0


def test_attributes_may_come_in_another_order_in_each_line(run):
    turned = "{" + ",".join(reversed(a_line(Tags="")[1:-1].split(","))) + "}"
    rated, text = run([a_line(), turned])
    assert [row[8] for row in rows(text)] == ["2"]
    assert rated.findings == ()


def test_attributes_that_the_basic_set_leaves_out_are_empty(run):
    line = a_line(MeterId=None, MeterCategory=None)
    rated, text = run([line, line])
    assert [row[4:6] for row in rows(text)] == [["", ""]]
    assert rated.findings == ()


def test_blank_lines_and_windows_line_ends_are_no_lines(run):
    rated, text = run([a_line(), "", a_line() + "\r", "  "])
    assert [row[8] for row in rows(text)] == ["2"]
    assert (rated.source_lines, rated.held_lines) == (2, 0)


# --- what is not reconcilable ----------------------------------------------------------------------


def test_an_empty_folder_is_not_clean(tmp_path):
    rated = rate([], [a_rule()], scratch=tmp_path)
    assert (rated.reconcilable, rated.sha256) == (False, "")
    assert "an empty input is not a clean one" in rated.findings[0].sentence


def test_files_without_lines_are_not_clean(run):
    rated, text = run([], [])
    assert (rated.reconcilable, text) == (False, None)


@pytest.mark.parametrize("keep", [-1, -8, 40])
def test_a_file_that_was_cut_off_stops_it_all(tmp_path, keep):
    paths = write(tmp_path, [a_line()] * 50, [a_line()] * 50)
    paths[1].write_bytes(paths[1].read_bytes()[:keep])
    out = tmp_path / "out.tsv"
    out.write_text("the last good one")
    rated = rate(paths, [a_rule()], scratch=tmp_path / "s", out=out)
    assert not rated.reconcilable
    assert "part-1.json.gz is damaged or cut off" in rated.findings[0].sentence
    assert out.read_text() == "the last good one"


def test_what_is_no_gzip_is_told(tmp_path):
    (tmp_path / "a.json.gz").write_text("{}")
    rated = rate([tmp_path / "a.json.gz"], [a_rule()], scratch=tmp_path / "s")
    assert "a.json.gz is damaged or cut off" in rated.findings[0].sentence


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (Expected(lines=3), "Lines: the manifest says 3, the files hold 2"),
        (Expected(parts=2), "Files: the manifest says 2, the files hold 1"),
        (Expected(quantity={"USD": Decimal(3)}), "The sum of Quantity USD: the manifest says 3"),
        (
            Expected(cost={"": Decimal("2.01")}),
            "The sum of BillingPreTaxTotal: the manifest says 2.01",
        ),
        (
            Expected(cost={"EUR": Decimal(2)}),
            "The sum of BillingPreTaxTotal EUR: the manifest says 2",
        ),
    ],
)
def test_what_is_not_what_the_manifest_says_is_not_reconcilable(run, expected, said):
    rated, text = run([a_line(), a_line()], expected=expected)
    assert (rated.reconcilable, text) == (False, None)
    assert said in rated.findings[0].sentence
    assert "not reconcilable" in rated.findings[0].sentence


def test_what_is_as_the_manifest_says_is_rated(run):
    money = {"USD": Decimal("2.00")}
    expected = Expected(parts=1, lines=2, quantity={"": Decimal(2)}, cost=money)
    rated, text = run([a_line(), a_line()], expected=expected)
    assert rated.reconcilable
    assert text


# --- annotated lines -------------------------------------------------------------------------------


def test_every_source_line_is_kept_with_its_rule_and_exact_charge(run, tmp_path):
    import duckdb

    annotated = tmp_path / "annotated"
    lines = [a_line(BillingPreTaxTotal="0.1"), a_line(Quantity="null"), a_line(CustomerId="c2")]
    run(lines, [a_line()], rules=[a_rule("r", "12.5", customer="c1")], annotated=annotated)
    found = duckdb.sql(
        'SELECT parse_filename(filename), number, "CustomerId", rule, charge, fault'
        " FROM read_parquet($files, filename = true) ORDER BY ALL",
        params={"files": f"{annotated}/*.parquet"},
    ).fetchall()
    assert found == [
        ("part-0.json.gz.parquet", 1, "c1", "r", Decimal("0.1125"), None),
        ("part-0.json.gz.parquet", 2, "c1", None, None, "has no Quantity that is a number"),
        ("part-0.json.gz.parquet", 3, "c2", None, None, None),
        ("part-1.json.gz.parquet", 1, "c1", "r", Decimal("1.125"), None),
    ]


def test_nothing_is_left_in_the_scratch_folder(run, tmp_path):
    run([a_line()], annotated=tmp_path / "annotated")
    assert [one for one in (tmp_path / "s").rglob("*") if one.name != "csp-billing-rate"] == []


# --- lines that are alike at first sight -----------------------------------------------------------

TWO = [a_rule("d", "10"), a_rule("storage", "50", family="Storage")]


def charges(text):
    return {row[7]: row[12] for row in rows(text)}


@pytest.mark.parametrize("turn", [1, -1])
def test_an_attribute_that_stands_in_the_place_of_another_is_read(run, turn):
    """Whoever leaves out what is null writes lines of one length with other names."""
    other = a_line(MeterCategory=None, BillingPreTaxTotal="1000").replace("MeterId", "MeterType")
    storage = a_line(MeterId=None, BillingPreTaxTotal="1000")
    _, text = run([other, storage][::turn], rules=TWO)
    assert charges(text) == {"d": "1100.00", "storage": "1500.00"}


@pytest.mark.parametrize("space", [" ", "\t", "  "])
@pytest.mark.parametrize("place", [0, 1])
def test_space_behind_a_value_is_no_part_of_it(run, space, place):
    spaced = a_line().replace('"c1"', f'"c1"{space}').replace(':"USD"', f':"USD"{space}')
    spaced = spaced.replace('"Quantity":1', f'"Quantity":1{space}')
    lines = [a_line(MeterId="m2"), a_line()]
    lines[place] = spaced
    rated, text = run(lines, rules=[*TWO, a_rule("own", "20", customer="c1", family="Storage")])
    assert {(row[0], row[1], row[7]) for row in rows(text)} == {("USD", "c1", "own")}
    assert rated.held_lines == 0


@pytest.mark.parametrize("nothing", ['""', '"" ', "null", "null ", '""\t'])
def test_a_customer_that_is_nothing_is_held(run, nothing):
    rated, text = run([a_line(), a_line().replace('"c1"', nothing)])
    assert (rated.held_lines, [row[1] for row in rows(text)]) == (1, ["c1"])


def test_a_value_that_is_a_comma_moves_no_other(run):
    odd = a_line(MeterId=",").replace(',"Tags":"{\\"env\\":\\"prod\\"}"', "")
    rated, text = run([a_line(), odd])
    assert sorted(row[5] for row in rows(text)) == [",", "m1"]
    assert rated.held_lines == 0


@pytest.mark.parametrize("broken", ['"St\\q"', "nope", '"\\ud800x"', '"open'])
def test_a_text_that_is_no_json_is_held_and_stops_nothing(run, broken):
    rated, text = run([a_line(), a_line().replace('"Storage"', broken)])
    assert (rated.held_lines, [row[8] for row in rows(text)]) == (1, ["1"])


# --- names of files --------------------------------------------------------------------------------


@pytest.mark.parametrize("annotate", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        ("p*.json.gz", "pX.json.gz"),
        ("p[X].json.gz", "pX.json.gz"),
        ("p?.json.gz", "pX.json.gz"),
        ("p\\q.json.gz", "a.json.gz"),
        ("c8=99.json.gz", "it's.json.gz"),
        ("a b.json.gz", "{}.json.gz"),
    ],
)
def test_a_part_may_have_any_name(tmp_path, names, annotate):
    paths = []
    for name, path in zip(names, write(tmp_path, [a_line()], [a_line()] * 2), strict=True):
        paths.append(path.rename(tmp_path / name))
    rated = rate(
        sorted(paths),
        [a_rule()],
        scratch=tmp_path / "s",
        annotated=tmp_path / "lines" if annotate else None,
    )
    assert (rated.source_lines, rated.totals[0].charge) == (3, Decimal("3.30"))
    if annotate:
        assert {one.name for one in (tmp_path / "lines").iterdir()} == {
            f"{name}.parquet" for name in names
        }


@pytest.mark.parametrize("folder", ["month=1999-01-01", "lines=7", "cost=5", "BillingCurrency=EUR"])
def test_the_name_of_the_scratch_folder_means_nothing(tmp_path, folder):
    rated = rate(write(tmp_path, [a_line()]), [a_rule()], scratch=tmp_path / folder)
    (total,) = rated.totals
    assert (total.currency, total.lines, total.cost) == ("USD", 1, Decimal(1))


def test_a_scratch_folder_that_would_be_a_pattern_is_refused(tmp_path):
    with pytest.raises(InputError, match="one of"):
        rate(write(tmp_path, [a_line()]), [a_rule()], scratch=tmp_path / "[1]*")


def test_a_part_without_any_byte_is_not_clean(tmp_path):
    paths = [*write(tmp_path, [a_line()]), tmp_path / "b.json.gz"]
    paths[1].touch()
    rated = rate(paths, [a_rule()], scratch=tmp_path / "s")
    assert (rated.reconcilable, rated.totals) == (False, ())
    assert "b.json.gz is empty" in rated.findings[0].sentence


@pytest.mark.parametrize("what", ["Quantity", "BillingPreTaxTotal"])
def test_sums_beyond_all_digits_of_a_part_are_told(tmp_path, what):
    paths = write(tmp_path, [a_line(**{what: "99999999999999999999"})] * 2)
    rated = rate(paths, [a_rule()], scratch=tmp_path / "s")
    assert not rated.reconcilable
    assert "more than 38 digits" in rated.findings[0].sentence


@pytest.mark.parametrize(("what", "size"), [("Quantity", 20), ("BillingPreTaxTotal", 15)])
def test_sums_beyond_all_digits_of_the_whole_are_told(tmp_path, what, size):
    line = a_line(**{what: "9" * size})
    with pytest.raises(InputError, match="more digits than can be kept"):
        rate(write(tmp_path, [line], [line]), [a_rule()], scratch=tmp_path / "s")


# --- what stands where the result goes -------------------------------------------------------------


def test_a_folder_with_anything_else_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "books.xlsx").write_text("kept")
    with pytest.raises(InputError, match=r"books\.xlsx"):
        rate(
            write(tmp_path, [a_line()]),
            [a_rule()],
            scratch=tmp_path / "s",
            annotated=tmp_path / "mine",
        )
    assert (tmp_path / "mine" / "books.xlsx").read_text() == "kept"


def test_annotated_lines_replace_those_of_the_last_time(tmp_path):
    paths = write(tmp_path, [a_line()], [a_line()])
    for some in (paths, paths[:1]):
        rate(some, [a_rule()], scratch=tmp_path / "s", annotated=tmp_path / "lines")
    assert [one.name for one in (tmp_path / "lines").iterdir()] == ["part-0.json.gz.parquet"]
