"""Where a customer is, through a month: held until it is corrected or released, then billed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.customer import Account, Address
from domain.problems import Severity
from sync import gate, releases
from sync.findings import current
from tests.builders import CUSTOMER, SOMEWHERE, a_customer, an_account
from tests.usecases.office import BILL, NORTHWIND, SYNC, an_office, totals, work

LINZ = Address(line1="Beispielgasse 3", city="Linz", postal_code="4020", country="AT")
NORTHWIND_ALONE = {"Northwind Traders draft": "65.45"}
BOTH = {"Fabrikam Toys draft": "142.80", **NORTHWIND_ALONE}


@pytest.fixture
def office(tmp_path):
    made = an_office(tmp_path)
    # Each has an account of its own.
    (contract,) = [c for c in made.store.contracts() if c.customer_id == CUSTOMER]
    made.store.save([replace(contract, account_id="account-fabrikam")])
    return made


def in_dynamics(office, **fields):
    """A person edits the account of Fabrikam."""
    edited = an_account(id="account-fabrikam", **fields)
    office.store.table(Account)["account-fabrikam"] = edited


def at_microsoft(office, address):
    office.partner_center.people[0] = a_customer(address=address)


def found(office):
    return [(one.check, one.customer_id) for one in current(office.ports) if one.holds]


def test_who_is_where_the_tax_profile_says_is_billed(office):
    at_microsoft(office, SOMEWHERE)
    work(office, SYNC, BILL)
    assert totals(office) == BOTH
    assert found(office) == []


def test_an_account_elsewhere_is_held_alone_and_billed_once_it_is_corrected(office):
    in_dynamics(office, address=LINZ)
    work(office, SYNC, BILL)
    assert totals(office) == NORTHWIND_ALONE
    assert found(office) == [("address.region_differs", CUSTOMER)]
    assert office.written(lambda: gate.check_customer(office.ports, CUSTOMER)) == []

    in_dynamics(office, address=SOMEWHERE)
    work(office, BILL)
    assert totals(office) == BOTH
    assert found(office) == []


@pytest.mark.parametrize(
    ("address", "check"),
    [
        (Address(), "address.none"),
        (replace(SOMEWHERE, line1=""), "address.incomplete"),
        (replace(SOMEWHERE, country="Teutonia"), "address.unmapped"),
        (replace(SOMEWHERE, postal_code="27498"), "address.region_differs"),
    ],
)
def test_the_gate_of_the_day_holds_before_a_bill_and_lifts_when_it_is_mended(
    office, address, check
):
    in_dynamics(office, address=address)
    work(office, SYNC)
    assert found(office) == [(check, CUSTOMER)]
    in_dynamics(office, address=SOMEWHERE)
    gate.check_customer(office.ports, CUSTOMER)
    assert found(office) == []


def test_a_parent_abroad_is_released_with_a_reason_until_something_else_is_said(office):
    at_microsoft(office, LINZ)
    work(office, SYNC, BILL)
    assert totals(office) == NORTHWIND_ALONE
    (hold,) = current(office.ports)
    assert hold.check == "address.microsoft_differs"
    releases.release(office.ports, hold.id, reason="billed to the parent", by="Anna Finance")
    work(office, BILL)
    assert totals(office) == BOTH

    at_microsoft(office, replace(LINZ, country="CH"))
    work(office, replace_day(SYNC))
    assert found(office) == [("address.microsoft_differs", CUSTOMER)]


def replace_day(message):
    return message.model_copy(update={"day": message.day.replace(day=message.day.day + 1)})


def test_a_partner_may_only_be_warned(tmp_path):
    office = an_office(tmp_path)
    office.policy = {"address.none": Severity.WARN}
    office.store.table(Account)["account-1"] = an_account(address=Address())
    work(office, SYNC, BILL)
    assert totals(office) == BOTH
    assert {one.check for one in current(office.ports)} == {"address.none"}
    assert {one.customer_id for one in current(office.ports)} == {CUSTOMER, NORTHWIND}


def test_a_contract_without_a_currency_is_held(office):
    (contract,) = [c for c in office.store.contracts() if c.customer_id == CUSTOMER]
    office.store.save([replace(contract, currency="Euro")])
    work(office, SYNC)
    assert found(office) == [("currency.incomplete", CUSTOMER)]
    office.store.save([contract])
    work(office, BILL)
    assert totals(office) == BOTH
