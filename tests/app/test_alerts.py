"""What the demo's partner is told about usage that Microsoft has not billed yet."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

from app.settings import Settings
from app.wiring import opened
from domain.usage_alert import AlertState
from sync.messages import StartRun
from tests.app.conftest import command


def told(answer):
    return {(one["customer"], one["azure_subscription"]): one for one in answer.data}


def test_the_story_that_began_last_month_and_the_one_of_this_month_are_told(demo):
    answer = command("alerts", "--json", state=demo.state)
    assert answer.code == 0
    found = told(answer)
    assert set(found) == {
        ("Wide World Importers", "Wide World Importers stores"),
        ("Northwind Traders", "Northwind Traders development"),
    }
    surge = found["Wide World Importers", "Wide World Importers stores"]
    assert (surge["first_day"], surge["last_day"]) == ("2026-10-21", "2026-11-07")
    load_test = found["Northwind Traders", "Northwind Traders development"]
    assert (load_test["first_day"], load_test["last_day"]) == ("2026-11-03", "2026-11-05")
    for one in found.values():
        assert one["meter_category"] == "Virtual Machines"
        assert Decimal(one["amount"]) >= 2 * Decimal(one["usual"])
        assert f"{one['factor']} times the usual" in one["sentence"]


def test_people_read_who_what_and_what_to_do(demo):
    answer = command("alerts", state=demo.state)
    words = " ".join(answer.out.split())
    assert "Northwind Traders development" in words
    assert "because of Virtual Machines" in words
    assert "cost analysis" in words


def test_of_one_customer_only_its_own(demo):
    (northwind,) = [key for key, name in demo.names.items() if name == "Northwind Traders"]
    answer = command("alerts", "--json", "--customer", northwind, state=demo.state)
    assert [one["customer"] for one in answer.data] == ["Northwind Traders"]
    (fabrikam,) = [key for key, name in demo.names.items() if name == "Fabrikam Toys"]
    nothing = command("alerts", "--customer", fabrikam, state=demo.state)
    assert nothing.out.startswith("No usage alerts.")


def test_the_next_days_close_what_is_over_and_repeat_nothing(copy):
    with opened(Settings.from_env({"CSP_STATE_DIR": str(copy)})) as worker:
        emulator = worker.systems.emulator
        assert emulator is not None
        before = {one.key for one in worker.store.usage_alerts()}
        states = []
        for _ in range(2):
            emulator.clock.advance(timedelta(days=1))
            worker.request(StartRun(kind="sync", day=worker.today()))
            worker.drain()
            since = worker.today() - timedelta(days=35)
            found = {one.key: one for one in worker.store.usage_alerts(since)}
            states.append(sorted(one.state for one in found.values() if one.kind.value == "spike"))
            assert before <= set(found)
            assert len([one for one in found.values() if one.kind.value == "spike"]) == 2
        assert states == [
            [AlertState.CLOSED, AlertState.OPEN],
            [AlertState.CLOSED, AlertState.OPEN],
        ]
        load_test = next(one for one in found.values() if one.first == date(2026, 11, 3))
        assert load_test.state is AlertState.CLOSED
        budgets = [one for one in found.values() if one.budget_key]
        assert {one.currency for one in budgets} == {"USD"}
        assert all("budget" in one.sentence or "at this pace" in one.sentence for one in budgets)
        assert budgets
