"""The model of scale: straight lines from two sizes, and a page that says what it prints."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import scale_model, scaleout
from bench.scale_model import Assumed, Cost, Limits, Reckoned

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_has_the_tables_that_the_model_prints():
    page = (ROOT / "docs" / "scale.md").read_text()
    found = re.search(
        r"<!-- python -m bench\.scaleout --model -->\n(.*?)<!-- end -->", page, re.DOTALL
    )
    assert found
    assert found[1].strip() == scale_model.tables(scale_model.saved()).strip(), (
        "put what `python -m bench.scaleout --model` prints into docs/scale.md"
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((10.0, 40.0), (0.0, 3.0)),
        ((14.0, 44.0), (4.0, 3.0)),
        ((7.0, 7.0), (7.0, 0.0)),
        ((9.0, 7.0), (9.0, 0.0)),  # noise, nothing that more customers save
    ],
)
def test_two_sizes_give_what_a_run_costs_and_what_each_customer_adds(values, expected):
    found = scale_model.line((10 / 3, 40 / 3), values)
    assert found == pytest.approx(expected)


def costs(each):
    """Measured costs of a partner in which each customer takes so many requests."""

    def one(customers):
        counted = {"partner_center": 2.0 * customers, "dataverse": each * customers}
        counted |= {"dataverse items": 3 * each * customers}
        cost = Cost(cpu=0.1 * customers, memory=1e8, units=customers, requests=counted)
        return {name: getattr(cost, name) for name in Cost.__dataclass_fields__}

    return {
        "customers": [10, 20],
        "phases": {name: [one(10), one(20)] for name in scale_model.PHASES},
        "rows": [{"all": 30, "units": 10}, {"all": 60, "units": 20}],
        "memory": {"sizes": [10, 20], "usage": [10**6, 2 * 10**6], "close": [10**6, 10**6 + 10]},
    }


def reckoned(each):
    return scale_model.phases(costs(each))["sync"]


def test_minutes_follow_the_limits_of_the_other_systems():
    found = scale_model.minutes(reckoned(12.0), 1000, Assumed(), Limits())
    assert found["Partner Center"] == pytest.approx(2000 / 500)
    assert found["Dataverse"] == pytest.approx(12_000 / 6000 * 5)
    # 2 x 0.3 s + 12 x 0.08 s + 0.1 s of processor, six at once
    assert found["one instance"] == pytest.approx(1.66 / 6 * 1000 / 60)
    assert found["40 instances"] == pytest.approx(found["one instance"] / 40)


def test_a_unit_that_only_computes_is_bound_by_the_processor_of_an_instance():
    small, large = (Cost(cpu=2.0 * n, requests={}) for n in (10, 20))
    phase = Reckoned((10, 20), small, large)
    found = scale_model.minutes(phase, 600, replace(Assumed(), at_once=6), Limits())
    assert found["one instance"] == pytest.approx(2.0 * 600 / 60)


def test_the_limit_that_the_fewest_customers_meet_stands_first():
    rows = scale_model.of_limits(costs(12.0), Assumed(), Limits()).splitlines()[2:]
    met = [int(row.split("|")[-2].strip().replace(",", "")) for row in rows]
    assert met == sorted(met)
    tight = replace(Limits(), partner_center_a_minute=0.001)
    assert (
        scale_model.of_limits(costs(12.0), Assumed(), tight)
        .splitlines()[2]
        .startswith("| Partner Center")
    )


def test_what_one_function_does_is_helped_by_no_other_instance():
    """Three units, however many customers there are."""
    small, large = (Cost(cpu=0.5 * n, units=3, requests={"dataverse": 10.0 * n}) for n in (10, 20))
    phase = Reckoned((10, 20), small, large)
    assert scale_model.in_one_function(phase)
    assert not scale_model.in_one_function(reckoned(12.0))
    # 10 x 0.08 s + 0.5 s of processor for each, one after the other
    assert scale_model.alone_seconds(phase, 600, Assumed()) == pytest.approx(1.3 * 600)


def test_memory_is_a_limit_of_what_looks_at_all_customers():
    table = scale_model.of_limits(costs(12.0), Assumed(), Limits())
    (row,) = [one for one in table.splitlines() if "memory" in one and "usage" in one]
    # 0.1 MB a customer in the 3.75 GB that an instance leaves
    assert row.endswith("| 0.03 | 0.27 | 2.67 | 37,500 |")


def test_an_instance_has_the_memory_that_production_is_given():
    given = re.search(r"memoryMegabytes = (\d+)", (ROOT / "infra/prod.bicepparam").read_text())
    assert Assumed().memory_gigabytes * 1024 == int(given[1])


def test_an_instance_that_waits_goes_on_counting():
    rows = scale_model.of_a_month(costs(12.0), Assumed(), Limits()).splitlines()
    helping, all_up = (
        [float(cell.replace(",", "")) for cell in row.split("|")[2:-1]]
        for row in rows
        if "GB-seconds" in row
    )
    assert all(one < most for one, most in zip(helping, all_up, strict=True))


def test_money_is_reckoned_by_prices_that_are_given_and_no_others():
    table = scale_model.money(costs(12.0), {"million_executions": 1.0})
    # 61 runs of one unit a customer
    assert table.splitlines()[2].endswith("| 0.06 | 0.61 | 6.10 |")
    assert len(table.splitlines()) == 3
    with pytest.raises(ValueError, match="no such price: beer"):
        scale_model.money(costs(12.0), {"beer": 4.0})


def test_the_measurement_that_is_kept_has_every_phase_at_both_sizes():
    kept = json.loads(scale_model.COSTS.read_text())
    assert set(kept["phases"]) == set(scale_model.PHASES)
    for both in kept["phases"].values():
        for customers, one in zip(kept["customers"], both, strict=True):
            assert one["cpu"] > 0
            assert one["requests"]["dataverse"] > 0
            assert one["units"] >= (customers if both is kept["phases"]["sync"] else 0)


def test_the_command_prints_the_model_without_measuring(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["scaleout", "--model", "--price", "archive_gb=2"])
    scaleout.main()
    tables, _, money = capsys.readouterr().out.partition("\n**Money**\n\n")
    assert tables == scale_model.tables(scale_model.saved())
    assert money == scale_model.money(scale_model.saved(), {"archive_gb": 2.0})
