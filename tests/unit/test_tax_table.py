"""The table of rates: what a person may write into it, and how a place's row is found."""

import pytest

from rules.tax_rates import Taxes, in_force, read_taxes, with_own
from tests.builders import day

COLUMNS = "country,region,from,percent,tax,source,note"


@pytest.mark.parametrize("percent", ["0", "0.5", "100"])
def test_a_rate_is_anything_from_nothing_to_the_whole(percent):
    (rate,) = read_taxes([COLUMNS, f"US,TX|Texas,2024-01-01,{percent},sales tax,us,why"])
    assert str(rate.percent) == percent
    assert (rate.country, rate.regions, rate.starts) == ("US", ("TX", "Texas"), day("2024-01-01"))
    assert (rate.tax, rate.source, rate.note) == ("sales tax", "us", "why")


def test_one_place_has_one_rate_from_a_day_under_any_of_its_names():
    first = "US,TX|Texas,2024-01-01,6,sales tax,us,"
    with pytest.raises(ValueError, match=r"^line 3 of the table of tax rates repeats a place and"):
        read_taxes([COLUMNS, first, "US,texas,2024-01-01,7,sales tax,us,"])
    with pytest.raises(ValueError, match=r"^line 3 .* repeats a place and day$"):
        read_taxes([COLUMNS, "US,,2024-01-01,1,tax,us,", "US,,2024-01-01,2,tax,us,"])
    more = [
        "US,TX,2025-01-01,7,sales tax,us,",
        "US,,2024-01-01,1,tax,us,",
        "CA,TX,2024-01-01,1,x,us,",
    ]
    assert len(read_taxes([COLUMNS, first, *more])) == 4


def test_a_table_that_is_not_one_says_what_it_should_be():
    with pytest.raises(ValueError, match=f"^the columns of a table of tax rates are {COLUMNS}$"):
        read_taxes(["country,percent"])
    with pytest.raises(ValueError, match=r"^line 2 of the table of tax rates is not a rate$"):
        read_taxes([COLUMNS, "US,,2024-01-01,6,tax,us"])
    open_quote = [COLUMNS, 'US,,2024-01-01,6,tax,us,"said', "CA,,2024-01-01,6,tax,us,"]
    with pytest.raises(ValueError):
        read_taxes(open_quote)


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
    rows = [COLUMNS, "DE,y,2020-01-01,1,VAT,us,", "#", line]
    with pytest.raises(ValueError, match="line 4"):
        read_taxes(rows)


def test_a_table_without_a_line_has_no_columns():
    with pytest.raises(ValueError, match="columns"):
        read_taxes([])


def test_a_region_is_found_by_any_of_its_names_and_a_country_by_its_own_row():
    table = Taxes(
        read_taxes(
            [
                COLUMNS,
                "US,TX|Texas,2024-01-01,6,tax,us,",
                "US,TX|Texas,2025-01-01,7,tax,us,",
                "US,,2024-01-01,1,tax,us,",
            ]
        )
    )

    def found(region, on="2024-12-31", country="US"):
        return [str(r.percent) for r in in_force(table.of_place(country, region), day(on))]

    assert [found(name) for name in ("us-tx", "TEXAS", " tx ")] == [["6"]] * 3
    assert found("TX", "2025-01-01") == ["7"]
    assert found("OR") == found("") == ["1"]
    assert found("TX", "2023-12-31") == found("", country="CA") == []
    assert (table.has("US"), table.has("CA")) == (True, False)


def test_every_rate_that_ships_names_its_source_and_counts_from_its_day():
    table = with_own(())
    sources = {"TEDB", "published", "change", "known", "law", "guide", "none"}
    assert {rate.source for rate in table.rates} == sources
    for rate in table.rates:
        for region in rate.regions or ("",):
            assert rate in in_force(table.of_place(rate.country, region), rate.starts)
        assert rate.percent is None or rate.percent > 0 or rate.note
