"""Large saves: what a table holds is followed by its changes, whoever made them."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataverse import client, mirror, rows
from dataverse.microsoft_tables import CUSTOMER, SUBSCRIPTION
from dataverse.rows import Rows
from dataverse.schema import external_key
from domain.customer import Address
from domain.subscription import Subscription, SubscriptionKind
from invoice.file import Saved
from tests.clients.dataverse_environment import NOW, a_customer, new_environment


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """Every save of twenty is a large one, and a page holds seven rows."""
    monkeypatch.setattr(rows, "SLICE", 20)
    monkeypatch.setattr(rows, "PIECE", 6)
    monkeypatch.setattr(rows, "MANY", 5)
    for module in (client, mirror):
        monkeypatch.setattr(module, "PAGE_SIZE", 7)


@pytest.fixture
def environment():
    return new_environment()


def customers(count=50, **values):
    return [a_customer(n, **values) for n in range(count)]


def path_of(store, number):
    return store.client.row_path("csp_customer", external_key(f"customer/c{number}"))


def names(environment):
    query = client.Query(table="csp_customer", select=("csp_tenantid", "csp_name"))
    return {row["csp_tenantid"]: row["csp_name"] for row in environment.client().read(query)}


def test_a_large_save_asks_for_changes_and_writes_only_what_differs(environment):
    store = Rows(environment.client(), lambda: NOW, chunk=10)
    assert store.save_all(CUSTOMER, customers()) == Saved(created=50)
    environment.forget_requests()
    assert store.save_all(CUSTOMER, customers()) == Saved(unchanged=50)
    assert environment.writes() == []
    # One look at the changes: our own came back while we wrote, but for the last few.
    assert len(environment.requests()) <= 2

    some = [replace(one, name="Neu") if one.id in ("c3", "c44") else one for one in customers()]
    environment.forget_requests()
    assert store.save_all(CUSTOMER, some) == Saved(updated=2, unchanged=48)
    assert len(environment.writes()) == 1
    assert names(environment)["c3"] == "Neu"


def test_a_new_process_reads_the_table_once(environment):
    Rows(environment.client(), lambda: NOW).save_all(CUSTOMER, customers())
    environment.forget_requests()
    assert Rows(environment.client(), lambda: NOW).save_all(CUSTOMER, customers()) == Saved(
        unchanged=50
    )
    pages = [line for line in environment.requests() if "csp_customers" in line]
    assert len(pages) == -(-50 // 7)


def test_a_row_that_a_person_deleted_is_written_again(environment):
    store = Rows(environment.client(), lambda: NOW)
    store.save_all(CUSTOMER, customers())
    store.client.call("DELETE", path_of(store, 7))
    assert store.save_all(CUSTOMER, customers()) == Saved(created=1, unchanged=49)
    # Also one whose id was never seen, because it went before its creation came back.
    store.client.call("DELETE", path_of(store, 7))
    assert store.save_all(CUSTOMER, customers()) == Saved(created=1, unchanged=49)


def test_what_another_process_wrote_is_seen(environment):
    store = Rows(environment.client(), lambda: NOW)
    store.save_all(CUSTOMER, customers())
    other = Rows(environment.client(), lambda: NOW)
    other.save([a_customer(9, name="Anders")])
    assert store.save_all(CUSTOMER, customers()) == Saved(updated=1, unchanged=49)
    assert names(environment)["c9"] == "Contoso 9"


def test_a_correction_by_a_person_stands_until_the_source_changes(environment):
    store = Rows(environment.client(), lambda: NOW)
    store.save_all(CUSTOMER, customers())
    store.client.call(
        "PATCH", path_of(store, 5), body={"csp_city": "Bern"}, headers={"If-Match": "*"}
    )
    assert store.save_all(CUSTOMER, customers()) == Saved(unchanged=50)


def test_a_row_whose_key_was_taken_away_or_changed_is_written_again(environment):
    store = Rows(environment.client(), lambda: NOW)
    store.save_all(CUSTOMER, customers())
    keys = [external_key(f"customer/c{n}") for n in (4, 5)]
    ids = [
        row["csp_customerid"]
        for row in store.client.read_keyed("csp_customer", ("csp_customerid",), keys)
    ]
    for row_id, key in zip(ids, (None, "something.else"), strict=True):
        path = store.client.id_path("csp_customer", row_id)
        store.client.call("PATCH", path, body={"csp_externalkey": key}, headers={"If-Match": "*"})
    assert store.save_all(CUSTOMER, customers()) == Saved(created=2, unchanged=48)


def test_while_all_is_read_anew_nobody_sees_a_part(environment, monkeypatch):
    mirrored = mirror.Mirror(environment.client(), CUSTOMER)
    Rows(environment.client(), lambda: NOW).save_all(CUSTOMER, customers(40))
    mirrored.look()
    keys = [external_key(f"customer/c{n}") for n in range(40)]
    assert len(mirrored.hashes(keys)) == 40
    mirrored._link = ""
    seen = []
    take = mirror.Mirror._take

    def watched(self, page, *, first):
        take(self, page, first=first)
        seen.append(len(self.hashes(keys)))

    monkeypatch.setattr(mirror.Mirror, "_take", watched)
    mirrored.look()
    assert len(seen) > 1
    assert set(seen) == {40}


def test_an_expired_link_looks_at_all_anew(environment):
    store = Rows(environment.client(), lambda: NOW)
    store.save_all(CUSTOMER, customers())
    store.client.call("DELETE", path_of(store, 7))
    environment.emulator.clock.advance(timedelta(days=8))
    assert store.save_all(CUSTOMER, customers()) == Saved(created=1, unchanged=49)


def test_of_two_records_with_one_key_the_last_counts(environment):
    store = Rows(environment.client(), lambda: NOW, chunk=3)
    twice = [*customers(), *customers(30, name="Später")]
    store.save_all(CUSTOMER, twice)
    found = names(environment)
    assert {found[f"c{n}"] for n in range(30)} == {"Später"}
    assert found["c31"] == "Contoso 31"
    back = [*customers(name="Anders"), *twice]
    store.save_all(CUSTOMER, back)
    assert names(environment) == found


def subscription(number):
    return Subscription(
        id=f"s{number}",
        customer_id=f"c{number}",
        product_id="P",
        sku_id="0001",
        name="Product",
        kind=SubscriptionKind.LICENCE,
        status="active",
        quantity=1,
        created=NOW,
        start=NOW.date(),
        term_end=None,
        term=None,
        billing_cycle=None,
        auto_renew=True,
    )


def test_links_of_many_rows_ask_for_their_table_once(environment):
    store = Rows(environment.client(), lambda: NOW)
    store.save_all(CUSTOMER, customers())
    again = Rows(environment.client(), lambda: NOW)
    environment.forget_requests()
    again.save_all(SUBSCRIPTION, [subscription(n) for n in range(60)])
    asked = [line for line in environment.requests() if "csp_customers" in line]
    # Eight pages of the table; of the ten customers that are not there those are asked for by key.
    assert len(asked) <= 8 + 10
    query = client.Query(table="csp_subscription", select=("csp_tenantid", "_csp_customerid_value"))
    linked = {
        row["csp_tenantid"]: row["_csp_customerid_value"] is not None
        for row in environment.client().read(query)
    }
    assert linked == {f"c{n}": n < 50 for n in range(60)}


def test_refused_in_one_piece_and_taken_in_a_later_one(environment):
    client_ = environment.client()
    path = "EntityDefinitions(LogicalName='csp_customer')/Attributes(LogicalName='csp_city')"
    cast = f"{path}/Microsoft.Dynamics.CRM.StringAttributeMetadata"
    client_.call("PUT", cast, body={**client_.call("GET", cast).json(), "MaxLength": 10})
    long = Address(country="DE", region="", city="x" * 11, line1="", line2="", postal_code="")
    bad = [replace(one, address=long) for one in customers(2)]
    store = environment.store(chunk=4)
    good = customers(30)
    saved = store._rows.save_all(CUSTOMER, [*bad, *good[10:], *good[:10]])
    assert (saved.created, saved.updated) == (30, 0)
    assert store.findings() == ()
    for _ in range(2):
        store._rows.save_all(CUSTOMER, [*customers(30, name="Neu"), *bad])
        assert {one.record for one in store.findings()} == {
            f"csp_customer {external_key(f'customer/c{n}')}" for n in range(2)
        }


steps = st.lists(
    st.one_of(
        st.tuples(st.just("save"), st.integers(20, 45), st.sampled_from(["A", "B"])),
        st.tuples(st.just("delete"), st.integers(0, 44), st.none()),
        st.tuples(st.just("other"), st.integers(0, 44), st.sampled_from(["A", "B"])),
        st.tuples(st.just("forget"), st.none(), st.none()),
    ),
    max_size=12,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps)
def test_whatever_happened_a_save_leaves_what_it_was_given(shared, doings):
    store = Rows(shared.client(), lambda: NOW, chunk=5)
    for what, number, name in [*doings, ("save", 45, "Z")]:
        if what == "save":
            store.save_all(CUSTOMER, customers(number, name=name))
            found = names(shared)
            assert {found[f"c{n}"] for n in range(number)} == {name}
        elif what == "delete":
            keys = [external_key(f"customer/c{number}")]
            if store.client.read_keyed("csp_customer", ("csp_name",), keys):
                store.client.call("DELETE", path_of(store, number))
        elif what == "other":
            Rows(shared.client(), lambda: NOW).save([a_customer(number, name=name)])
        else:
            store = Rows(shared.client(), lambda: NOW, chunk=5)


@pytest.fixture(scope="module")
def shared():
    return new_environment()
