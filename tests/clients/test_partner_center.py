"""The client against the emulated Partner Center: what arrives, and what does not go wrong."""

from collections import Counter
from contextlib import closing
from datetime import timedelta
from decimal import Decimal

import pytest

from domain.problems import Finding, NotAuthorised, NotFound, ServiceError, Severity, Throttled
from domain.subscription import CostKind, CostLine, EventType, SubscriptionKind
from emulator import Emulator, serve
from tests.clients.embedded import partner_of

MONTH_INVOICE = "G000912345"


@pytest.fixture(scope="module")
def emulator():
    with closing(Emulator()) as one:
        yield one


@pytest.fixture
def partner(emulator, tmp_path):
    emulator.control.reset()
    return partner_of(emulator, tmp_path)


@pytest.fixture
def client(partner):
    return partner.client()


def asked(emulator, system, part=""):
    return [r for r in emulator.control.requests() if r["system"] == system and part in r["path"]]


def test_every_customer_arrives_once_whatever_the_page_size(emulator, partner):
    wanted = [row["id"] for row in emulator.world.customers()]
    for size in (1, 7, 500):
        found = list(partner.client(page_size=size).customers())
        assert [customer.id for customer in found] == wanted
    assert not any(customer.details_known for customer in found)
    assert len(asked(emulator, "partner_center", "/v1/customers")) > len(wanted)


def test_a_customer_by_id_has_its_details(emulator, client):
    wanted = emulator.world.customers()[0]
    customer = client.customer(wanted["id"])

    assert customer.details_known
    assert customer.address.country == wanted["companyProfile"]["address"]["country"]
    assert customer.email == wanted["companyProfile"]["email"]


GONE = ("customer.unreachable", Severity.HOLD)


@pytest.mark.parametrize(("status", "code"), [(404, "60003"), (403, "20002"), (403, 2032)])
def test_a_lost_customer_is_held_not_a_failure(emulator, client, status, code):
    customer_id = emulator.world.customers()[0]["id"]
    body = {"code": code, "description": "No relationship", "data": [], "source": "PartnerFD"}
    emulator.control.fail_next("partner_center", path="/v1/customers/", status=status, body=body)

    found = client.customer(customer_id)

    assert isinstance(found, Finding)
    told = ("access.denied", Severity.WARN) if code == 2032 else GONE
    assert (found.check, found.severity) == told
    assert found.customer_id == customer_id
    assert f"code {code}" in found.sentence


def test_missing_privileges_are_ours_and_stop_the_run(emulator, client):
    body = {"code": 900308, "description": "Insufficient privileges", "source": "PartnerFD"}
    emulator.control.fail_next("partner_center", path="/v1/customers/", status=403, body=body)

    with pytest.raises(NotAuthorised) as caught:
        client.customer(emulator.world.customers()[0]["id"])
    assert caught.value.code == "900308"
    assert caught.value.request_id


def test_all_agreements_arrive_with_the_directly_signed_one(emulator, client):
    customers = [row["id"] for row in emulator.world.customers()]
    direct = [one for one in customers if emulator.world.direct_signed(one)]
    for customer_id in customers:
        found = list(client.agreements(customer_id))
        kinds = Counter(row["type"] for row in emulator.world.agreements(customer_id, "*"))
        kinds["MicrosoftCustomerAgreement"] += customer_id in direct
        assert Counter(one.type for one in found) == +kinds
        assert [one.signed_directly for one in found].count(True) == (customer_id in direct)
    assert direct


def test_an_app_alone_is_refused_where_a_user_is_needed(partner):
    client = partner.client(user=partner.app)
    with pytest.raises(NotAuthorised) as caught:
        list(client.agreements("any"))
    assert caught.value.code == "900329"


def test_only_what_needs_the_user_signs_in_as_one(emulator, partner, client):
    customer_id = next(client.customers()).id
    list(client.invoices())
    assert len(list(partner.store.load())) == 2
    before = [token.reveal() for token in partner.store.load()]
    assert len(asked(emulator, "login", "token")) == 1

    list(client.agreements(customer_id))
    assert [token.reveal() for token in partner.store.load()] != before


def test_subscriptions_end_on_the_day_after_their_last(emulator, client):
    for row in emulator.world.customers():
        raw = {one["id"]: one for one in emulator.world.subscriptions(row["id"])}
        found = list(client.subscriptions(row["id"]))
        assert {one.id for one in found} == set(raw)
        for one in found:
            last = raw[one.id]["commitmentEndDate"][:10]
            if last.startswith("9999"):
                assert (one.term_end, one.kind) == (None, SubscriptionKind.USAGE)
            else:
                assert (one.term_end - timedelta(days=1)).isoformat() == last
            assert one.quantity == raw[one.id]["quantity"]
            assert one.sku == ":".join(raw[one.id]["offerId"].split(":")[:2])


def test_the_audit_log_becomes_events_without_the_refused_changes(emulator, client):
    today = emulator.clock.today()
    since, until = today - timedelta(days=89), today + timedelta(days=1)
    found = list(client.subscription_events(since, until))
    records = emulator.world.audit_records(since, until)

    refused = [row for row in records if row["operationStatus"] == "failed"]
    assert refused
    counts = Counter(event.type for event in found)
    bought = [row for row in records if row["operationType"] == "create_order"]
    assert counts[EventType.PURCHASE] == len(bought)
    assert counts[EventType.CONVERT] > 0
    assert counts[EventType.CANCEL] > 0
    assert [event.effective for event in found] == sorted(event.effective for event in found)
    assert len({event.key for event in found}) == len(found)

    half = today - timedelta(days=40)
    parts = [*client.subscription_events(since, half), *client.subscription_events(half, until)]
    assert parts == found


def test_the_changes_of_one_customer_are_those_of_it_among_all(emulator, partner):
    today = emulator.clock.today()
    window = today - timedelta(days=89), today + timedelta(days=1)
    kept = {}
    client = partner.client(on_payload=kept.__setitem__)
    every = list(client.subscription_events(*window))
    some = Counter(event.customer_id for event in every).most_common(3)
    assert len(some) == 3
    for customer_id, count in some:
        found = list(client.subscription_events(*window, customer_id))
        assert found == [event for event in every if event.customer_id == customer_id]
        assert len(found) == count
        assert f"customers/{customer_id}/auditrecords/0001.json" in kept
    assert "auditrecords/0001.json" in kept  # what was read of all is not overwritten


def test_a_filter_that_is_not_understood_brings_nobody_else_in(emulator, partner, monkeypatch):
    today = emulator.clock.today()
    window = today - timedelta(days=89), today + timedelta(days=1)
    client = partner.client()
    every = list(client.subscription_events(*window))
    ask = client._object

    def unfiltered(operation, url, params=None, *rest):
        kept = {name: value for name, value in (params or {}).items() if name != "filter"}
        return ask(operation, url, kept, *rest)

    monkeypatch.setattr(client, "_object", unfiltered)
    customer_id = every[0].customer_id
    found = list(client.subscription_events(*window, customer_id))
    assert found == [event for event in every if event.customer_id == customer_id]


def test_whose_a_relationship_is_graph_tells(emulator, partner):
    directory = partner.directory()
    for one in emulator.world.gdap_relationships()[:3]:
        assert directory.customer_of(one["id"]) == one["customer"]["tenantId"]
    assert directory.customer_of("2c6a0001-1111-4b22-8c33-9d44aa550001-none") == ""
    emulator.control.fail_next("graph", status=403)
    with pytest.raises(NotAuthorised):
        directory.customer_of(emulator.world.gdap_relationships()[0]["id"])


def test_too_long_a_look_back_is_refused_by_the_service(emulator, client):
    today = emulator.clock.today()
    with pytest.raises(ServiceError) as caught:
        list(client.subscription_events(today - timedelta(days=91), today))
    assert (caught.value.status, caught.value.code) == (400, "3000")


def cost_lines(client, invoice_id):
    return client.cost_lines(client.export("reconciliation", invoice_id))


def test_the_lines_of_an_invoice_sum_to_its_total(client):
    heads = list(client.invoices())
    assert heads == sorted(heads, key=lambda head: (head.issued_on, head.id), reverse=True)
    for head in heads[:4]:
        lines = list(cost_lines(client, head.id))
        assert all(isinstance(line, CostLine) for line in lines)
        assert sum((line.subtotal for line in lines), Decimal(0)) == head.total
        assert {line.currency for line in lines} == {head.currency}
        assert len({line.key for line in lines}) == len(lines)


def test_each_kind_of_line_is_told_apart(client):
    lines = list(cost_lines(client, MONTH_INVOICE))
    kinds = Counter(line.kind for line in lines)
    assert set(kinds) >= {CostKind.LICENCE, CostKind.USAGE, CostKind.RESERVATION, CostKind.CREDIT}
    assert all(line.charge_type[0].islower() for line in lines)
    assert all("/" not in line.reseller_id and line.reseller_id != "0" for line in lines)


def test_line_keys_do_not_depend_on_the_parts(emulator, client):
    whole = {line.key: line for line in cost_lines(client, MONTH_INVOICE)}
    emulator.control.change(export_lines_per_blob=13)
    emulator.reissue(MONTH_INVOICE)
    parts = {line.key: line for line in cost_lines(client, MONTH_INVOICE)}
    assert parts == whole


def test_payloads_are_kept_before_they_are_read(partner):
    kept = {}
    client = partner.client(on_payload=kept.__setitem__, page_size=20)
    customer_id = next(client.customers()).id
    list(client.subscriptions(customer_id))
    list(client.sheet_prices("us", "software"))

    assert "customers/0001.json" in kept
    assert f"customers/{customer_id}/subscriptions/0001.json" in kept
    assert kept["prices/US-software"][:2] == b"PK"
    assert kept["customers/0001.json"].startswith(b"{")


def test_each_call_has_a_request_id_and_shares_the_correlation(emulator, partner):
    client = partner.client(correlation="pull/2026-11-09")
    customer_id = next(client.customers()).id
    client.customer(customer_id)
    calls = asked(emulator, "partner_center")

    assert len({call["headers"]["Ms-Requestid"] for call in calls}) == len(calls) == 4
    assert len({call["headers"]["Ms-Correlationid"] for call in calls}) == 1
    assert {call["headers"]["X-Locale"] for call in calls} == {"en-US"}


def test_throttling_by_the_gateway_is_waited_out(emulator, partner, client):
    emulator.control.fail_next("partner_center", status=429, headers={"Retry-After": "57"})
    assert list(client.customers())
    assert partner.waits == [57.0]


def test_throttling_beyond_patience_is_told(emulator, client):
    emulator.control.fail_next("partner_center", status=429, headers={"Retry-After": "900"})
    with pytest.raises(Throttled) as caught:
        list(client.customers())
    assert caught.value.retry_after == 900.0


def test_a_broken_connection_is_tried_again(emulator, client):
    emulator.control.fail_next("partner_center", kind="drop_after")
    assert len(list(client.customers())) == len(emulator.world.customers())


def test_a_token_that_expired_under_way_is_renewed(emulator, partner, client):
    pages = partner.client(page_size=10).customers()
    first = [next(pages) for _ in range(10)]
    emulator.clock.advance(timedelta(hours=2))
    assert len(first) + len(list(pages)) == len(emulator.world.customers())


@pytest.mark.parametrize("form", ["zip", "csv", "csv_bom"])
def test_a_price_sheet_reads_the_same_in_every_form(emulator, client, form):
    emulator.control.change(price_sheet_form=form)
    prices = list(client.sheet_prices("US", "updatedlicensebased"))

    rows = emulator.world.price_sheet("US", "updatedlicensebased", "current", None)
    assert [str(price.unit_price) for price in prices] == [row["UnitPrice"] for row in rows]
    assert {price.market for price in prices} == {"US"}


def test_an_unknown_price_view_is_not_found(client):
    with pytest.raises(NotFound):
        list(client.sheet_prices("US", "licensebasedeos"))


def test_prices_are_refused_to_an_app_alone(partner):
    with pytest.raises(NotAuthorised):
        list(partner.client(user=partner.app).sheet_prices("US", "software"))


def test_relationships_arrive_with_their_active_assignments(emulator, partner):
    found = {one.id: one for one in partner.directory().relationships()}
    rows = {row["id"]: row for row in emulator.world.gdap_relationships()}

    assert set(found) == set(rows)
    for key, row in rows.items():
        active = [
            one for one in emulator.world.access_assignments(key) if one["status"] == "active"
        ]
        counted = len(active) if row["status"] in ("active", "expiring") else 0
        assert found[key].active_assignments == counted
        assert found[key].customer_id == ((row["customer"] or {}).get("tenantId") or "")
    assert {one.status for one in found.values()} > {"active", "expired", "created"}


def test_the_same_answers_over_sockets(emulator, tmp_path):
    emulator.control.reset()
    embedded = partner_of(emulator, tmp_path)
    customers = list(embedded.client().customers())
    lines = list(cost_lines(embedded.client(), MONTH_INVOICE))
    relationships = list(embedded.directory().relationships())
    emulator.control.reset()
    with serve(emulator):
        loopback = partner_of(emulator, tmp_path, login_url=emulator.base_urls["login"])
        try:
            assert list(loopback.client().customers()) == customers
            assert list(cost_lines(loopback.client(), MONTH_INVOICE)) == lines
            assert list(loopback.directory().relationships()) == relationships
            assert list(loopback.client().agreements(customers[0].id))
        finally:
            loopback.session.close()
