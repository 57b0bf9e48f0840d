"""Usage alerts and budgets as rows: what people do with them counts, equal rows are not written."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest

from dataverse.schema import external_key
from dataverse.usage_tables import USAGE_ALERT
from domain.problems import Severity
from domain.subscription import UsageSummary
from domain.usage_alert import (
    AlertKind,
    AlertSeverity,
    AlertState,
    UsageAlert,
    UsageBudget,
)
from invoice.file import Saved
from tests.clients.dataverse_environment import a_customer, new_environment
from usage.budgets import fault_of


@pytest.fixture
def environment():
    return new_environment()


@pytest.fixture
def store(environment):
    return environment.store()


def an_alert(**fields):
    return UsageAlert(
        **{
            "key": "alert/spike/c1/azure-1/USD/2026-11-05",
            "kind": AlertKind.SPIKE,
            "severity": AlertSeverity.MEDIUM,
            "state": AlertState.OPEN,
            "customer_id": "c1",
            "entitlement_id": "azure-1",
            "entitlement_name": "Contoso prod",
            "meter_category": "Storage",
            "currency": "USD",
            "first": date(2026, 11, 5),
            "last": date(2026, 11, 7),
            "amount": Decimal("1200.00"),
            "usual": Decimal("300.00"),
            "factor": Decimal("4.0"),
            "sentence": "Contoso prod: 4.0 times the usual.",
            "hint": "look at Storage",
            **fields,
        }
    )


def a_budget(**fields):
    return UsageBudget(
        **{
            "key": "budget/c1",
            "customer_id": "c1",
            "amount": Decimal("1000.00"),
            "currency": "USD",
            **fields,
        }
    )


def test_alerts_and_budgets_come_back_as_they_were_saved(store):
    told = an_alert(kind=AlertKind.BUDGET, budget_key="budget/c1", threshold=Decimal(80))
    store.save([a_customer(), told, a_budget()])
    assert store.usage_alerts() == [told]
    assert store.usage_budgets() == [a_budget()]


def test_an_equal_alert_is_not_written_again(store):
    store.save([a_customer(), an_alert()])
    assert store.save([an_alert()]) == Saved(unchanged=1)


def test_an_alert_that_dataverse_refuses_holds_nobody(store):
    store.save([a_customer(), an_alert(currency="XTS")])
    (finding,) = store.findings()
    assert (finding.check, finding.severity) == ("store.refused", Severity.WARN)


def test_closed_alerts_are_read_for_some_time(store):
    store.save([a_customer(), an_alert(state=AlertState.CLOSED)])
    assert store.usage_alerts() == []
    assert store.usage_alerts(date(2026, 11, 8)) == []
    assert store.usage_alerts(date(2026, 11, 7)) == [an_alert(state=AlertState.CLOSED)]


def test_what_a_person_acknowledges_is_read(environment, store):
    store.save([a_customer(), an_alert()])
    acknowledged = USAGE_ALERT.column("csp_state").option("acknowledged")
    environment.write("csp_usagealert", {external_key(an_alert().key): {"csp_state": acknowledged}})
    (found,) = store.usage_alerts()
    assert found.state is AlertState.ACKNOWLEDGED
    grown = replace(found, last=date(2026, 11, 8))
    assert store.save([grown]) == Saved(updated=1)
    assert store.usage_alerts() == [grown]


def test_a_budget_that_a_person_adds_counts_and_a_half_one_is_told(environment, store):
    environment.write(
        "csp_usagebudget",
        {
            "by-hand": {"csp_tenantid": "c1", "csp_amount": 500, "csp_currency": "USD"},
            "half": {"csp_tenantid": "c1", "csp_currency": "USD"},
        },
    )
    found = {fault_of(one) is None: one for one in store.usage_budgets()}
    assert (found[True].customer_id, found[True].amount) == ("c1", 500)
    assert found[False].amount is None


def test_the_history_of_customers_is_read_by_currency_and_day(store):
    def a_summary(**fields):
        return UsageSummary(
            **{
                "customer_id": "c1",
                "plan_id": "plan-1",
                "entitlement_id": "azure-1",
                "entitlement_name": "Contoso prod",
                "meter_category": "Storage",
                "day": date(2026, 10, 5),
                "currency": "USD",
                "lines": 2,
                "quantity": Decimal("1.5"),
                "cost": Decimal("0.123456789012345678"),
                **fields,
            }
        )

    wanted = a_summary()
    others = [
        a_summary(day=date(2026, 10, 4)),
        a_summary(currency="EUR"),
        a_summary(customer_id="c2", entitlement_id="azure-2"),
    ]
    store.save([a_customer(), wanted, *others])
    assert list(store.usage_summaries("USD", date(2026, 10, 5), ["c1"])) == [wanted]
    assert list(store.usage_summaries("USD", date(2026, 10, 5), [])) == []
