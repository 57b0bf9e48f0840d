"""The renewals that the demo tells: from Partner Center, Microsoft's sheets and our contracts."""

import json
from fractions import Fraction

from domain.money import round_half_up


def ahead(demo):
    return json.loads((demo.out / "summary.json").read_text(encoding="utf-8"))["renewals"]


def test_the_forecast_is_in_the_summary_and_on_the_page(demo):
    found = ahead(demo)
    page = (demo.out / "health.html").read_text(encoding="utf-8")
    assert [one["on"] for one in found] == sorted(one["on"] for one in found)
    assert found[0]["on"] >= "2026-11-09"
    told = [one for one in found if not one["routine"]]
    assert told
    for one in told:
        assert one["customer"] in page
        assert one["on"] in page
    assert all(one["change_by"] == f"{one['on']}T00:00:00+00:00" for one in found)


def test_seats_that_renew_in_january_cost_what_the_list_of_october_says(demo):
    """E3 was 362.88 a year and is 393.12: 34.776 and 37.674 a month with 15 %."""
    (clinic,) = [one for one in ahead(demo) if one["name"].endswith("Clinic E3")]
    assert (clinic["unit_price"], clinic["unit_price_then"]) == ("34.776", "37.674")
    more = 18 * 12 * (Fraction("37.674") - Fraction("34.776"))
    assert clinic["difference"] == f"{round_half_up(more, 2)}"
    assert (clinic["on"], clinic["return_by"]) == ("2027-01-08", "2027-01-15T00:00:00+00:00")


def test_what_is_in_extended_service_goes_on_month_by_month(demo):
    (showroom,) = [one for one in ahead(demo) if one["name"].endswith("Showroom")]
    assert (showroom["at_end"], showroom["difference"]) == ("extends", "0.00")
    assert showroom["sentence"].startswith(
        "Renewal is off: 9 seats of Microsoft 365 Business Basic"
    )
    assert showroom["return_by"] is None
