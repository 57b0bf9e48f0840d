"""Tax numbers in the emulated environment: whose profile counts, what is kept of an answer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from dataverse.client import Query
from dataverse.tables import BILLING_CONTRACT, TAX_PROFILE
from domain.tax import NumberState, TaxNumberCheck, TaxTreatment
from invoice.file import Saved
from tests.builders import a_contract, a_tax_profile
from tests.clients.dataverse_environment import NOW, a_customer, new_environment


@pytest.fixture(scope="module")
def environment():
    return new_environment()


@pytest.fixture
def store(environment):
    return environment.store()


def profile(number, **fields):
    return a_tax_profile(
        **{
            "key": "tax/c1",
            "country": "AT",
            "treatment": TaxTreatment.BY_RULES,
            "tax_number": number,
            **fields,
        }
    )


ANSWER = TaxNumberCheck(
    number="ATU00000024",
    country="AT",
    state=NumberState.VALID,
    checked_at=NOW,
    source="VIES",
    reference="WAPIAAAA",
    name="Alpine Ski House GmbH",
    address="Beispielgasse 3\n6020 Innsbruck",
)


def test_an_answer_is_kept_whole_and_written_once(store):
    assert store.save([ANSWER]) == Saved(created=1)
    assert store.save([ANSWER]) == Saved(unchanged=1)
    failed = replace(ANSWER, failed_at=NOW + timedelta(days=25), problem="MS_UNAVAILABLE: down")
    assert store.save([failed]) == Saved(updated=1)
    assert store.number_checks() == [failed]
    store.save([ANSWER])
    assert store.number_checks() == [ANSWER]


def test_a_customers_file_has_what_is_known_of_its_number(store):
    customer = a_customer(1)
    store.save([customer, profile("AT U00000024"), a_contract(tax_profile_key="tax/c1"), ANSWER])
    other = replace(ANSWER, number="ATU13585627", state=NumberState.INVALID)
    store.save([other])
    assert store.customer_file("c1").number_checks == (ANSWER,)
    store.save([profile("ATU13585627")])
    assert store.customer_file("c1").number_checks == (other,)
    store.save([profile("")])
    assert store.customer_file("c1").number_checks == ()
    store.save([profile("ATU99999999")])
    assert store.customer_file("c1").number_checks == ()


def test_contracts_come_with_the_profile_that_they_name_or_a_person_linked(environment, store):
    named = a_contract(tax_profile_key="tax/c1")
    bare = a_contract(key="contract/c2", customer_id="c2", tax_profile_key="")
    store.save([a_customer(1), a_customer(2), profile("ATU00000024"), named, bare])
    assert [(one.key, two.key) for one, two in store.taxed_contracts()] == [(named.key, "tax/c1")]
    client = environment.client()
    (row,) = client.read(
        Query(table=TAX_PROFILE.name, select=(TAX_PROFILE.primary_id,), where="csp_key eq 'tax/c1'")
    )
    path = client.id_path(TAX_PROFILE.name, row[TAX_PROFILE.primary_id])
    bind = {"csp_TaxProfileId@odata.bind": f"/{path}"}
    client.write(BILLING_CONTRACT.name, "contract.c2", bind, version="*")
    found = {one.key: two.key for one, two in store.taxed_contracts()}
    assert found == {named.key: "tax/c1", bare.key: "tax/c1"}
