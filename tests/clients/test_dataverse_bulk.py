"""Bulk writes: the bad row alone is refused, sizes adapt, several at once, nothing is lost or doubled."""

import threading
from collections import Counter
from contextlib import contextmanager
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataverse.bulk import HOPELESS, BulkWriter, Message
from dataverse.client import DataverseClient
from domain.problems import NotAuthorised, ServiceError, TimedOut, Unavailable
from tests.clients.dataverse_environment import new_environment
from transport.session import Patience

TABLE = "csp_markuprule"


@pytest.fixture(scope="module")
def environment():
    return new_environment()


@pytest.fixture(autouse=True)
def _calm(environment):
    environment.forget_requests()
    environment.waits.clear()
    yield
    environment.emulator.change_dataverse(deny=())


def rows(name, count, **columns):
    return {f"{name}.{n}": {"csp_sku": name, **columns} for n in range(count)}


def stored(environment, name):
    client = environment.client()
    found = client.read_keyed(TABLE, ("csp_externalkey",), [f"{name}.{n}" for n in range(500)])
    return Counter(row["csp_externalkey"] for row in found)


def writer(environment, *, width=8, **options):
    """A writer whose requests run at once, as they do over a network."""
    http = environment.http(patience=Patience(tries=6), pace=environment.pace(width))
    return BulkWriter(DataverseClient(http), **options)


# One bad row ---------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(bad=st.sets(st.integers(0, 39), max_size=6), chunk=st.integers(1, 45))
def test_bad_rows_are_found_whatever_the_chunk_and_the_rest_is_written(environment, bad, chunk):
    name = f"chunk.{chunk}.{'.'.join(map(str, sorted(bad)))}"
    given_rows = {
        f"{name}.{n}": {"csp_sku": "s", "csp_kind": "x" * (41 if n in bad else 1)}
        for n in range(40)
    }
    refused = environment.write(TABLE, given_rows, chunk=chunk)
    assert {one.key for one in refused} == {f"{name}.{n}" for n in bad}
    assert {one.code for one in refused} <= {"0x80044331"}
    assert all("csp_kind" in one.sentence for one in refused)
    assert stored(environment, name) == Counter(f"{name}.{n}" for n in range(40) if n not in bad)


def test_a_fault_of_all_rows_is_no_fault_of_one(environment):
    given_rows = rows("hopeless", 500, csp_nothing="x")
    with pytest.raises(ServiceError) as raised:
        environment.write(TABLE, given_rows)
    assert "provision --plan" in raised.value.hint
    assert len(environment.requests()) <= 1 + 2 * 200  # the first request, halved to its end
    assert len(environment.write(TABLE, dict(list(given_rows.items())[:5]))) == 5


def test_many_requests_at_once_find_out_once_that_it_is_not_the_rows(environment):
    with pytest.raises(ServiceError):
        writer(environment, chunk=40).write(TABLE, rows("at-once", 800, csp_nothing="x").items())
    assert len(environment.writes()) <= 2 * 40 + 12


def test_many_bad_rows_before_the_good_ones_cost_no_good_one(environment):
    bad = rows("before", HOPELESS + 5, csp_kind="x" * 41)
    good = {f"after.{n}": {"csp_sku": "s"} for n in range(160)}
    refused = environment.write(TABLE, {**bad, **good})
    assert {one.key for one in refused} == bad.keys()
    assert len(stored(environment, "after")) == 160


def test_a_row_that_somebody_else_made_this_moment_is_updated(environment):
    environment.write(TABLE, {"taken.0": {"csp_sku": "theirs"}})
    taken = {"error": {"code": "0x80060892", "message": "Entity Key violated."}}
    environment.fail(path=".*UpsertMultiple", kind="respond", status=412, body=taken)
    assert environment.write(TABLE, {"taken.0": {"csp_sku": "ours"}}) == []
    (row,) = environment.client().read_keyed(TABLE, ("csp_sku",), ("taken.0",))
    assert row["csp_sku"] == "ours"


def test_a_creation_whose_answer_was_lost_is_not_repeated(environment):
    environment.fail(path=".*CreateMultiple", kind="drop_after")
    with pytest.raises(Unavailable):
        BulkWriter(environment.client()).write(
            TABLE, rows("lost", 5).items(), message=Message.CREATE
        )
    assert len(environment.writes()) == 1


def test_an_undefined_choice_is_a_fault_of_its_row(environment):
    given_rows = {**rows("choice", 9), "choice.9": {"csp_method": 5}}
    (refused,) = environment.write(TABLE, given_rows)
    assert (refused.key, refused.code) == ("choice.9", "0x8004431a")
    assert "csp_method" in refused.sentence
    assert len(stored(environment, "choice")) == 9


def test_a_key_that_is_not_active_yet_is_no_fault_of_a_row():
    environment = new_environment(provisioned=False)
    environment.emulator.change_dataverse(key_activation_seconds=3600)
    with pytest.raises(ServiceError, match="gave up waiting for the key"):
        environment.provisioner(patience=0.0).apply()
    environment.forget_requests()
    with pytest.raises(ServiceError) as raised:
        environment.write(TABLE, rows("early", 50))
    assert raised.value.status == 400
    assert "provision --apply" in raised.value.hint
    assert len(environment.writes()) == 1

    environment.emulator.clock.advance(timedelta(hours=2))
    environment.provisioner().apply()
    assert environment.write(TABLE, rows("early", 50)) == []


def test_a_missing_right_is_said_at_once(environment):
    environment.emulator.change_dataverse(deny=[("Create", TABLE)])
    with pytest.raises(NotAuthorised) as raised:
        environment.write(TABLE, rows("denied", 50))
    assert raised.value.code == "0x80040220"
    assert len(environment.writes()) == 1


def test_a_bulk_that_never_stops_colliding_is_an_error(environment):
    environment.emulator.change_dataverse(
        fail_next={"kind": "deadlock", "count": 99, "path": "UpsertMultiple"}
    )
    try:
        with pytest.raises(ServiceError) as raised:
            environment.write("csp_customer", {"a": {}, "b": {}})
    finally:
        environment.emulator.dataverse.settings.faults.clear()
    assert raised.value.code == "0x80044150"


# The other messages --------------------------------------------------------------------------------


def test_created_rows_must_be_new(environment):
    new = BulkWriter(environment.client())
    assert new.write(TABLE, rows("new", 3).items(), message=Message.CREATE) == []
    refused = new.write(TABLE, rows("new", 4).items(), message=Message.CREATE)
    assert [one.code for one in refused] == ["0x80060892"] * 3
    assert stored(environment, "new") == Counter(f"new.{n}" for n in range(4))


def test_updated_rows_must_be_there(environment):
    environment.write(TABLE, rows("old", 2))
    found = environment.client().read_keyed(TABLE, ("csp_markupruleid",), ("old.0", "old.1"))
    ids = [row["csp_markupruleid"] for row in found]
    gone = "00000000-0000-4000-8000-000000000000"
    refused = BulkWriter(environment.client()).write(
        TABLE, [(row_id, {"csp_sku": "newer"}) for row_id in [*ids, gone]], message=Message.UPDATE
    )
    assert [(one.key, one.code) for one in refused] == [(gone, "0x80040217")]
    again = environment.client().read_keyed(TABLE, ("csp_sku",), ("old.0", "old.1"))
    assert [row["csp_sku"] for row in again] == ["newer", "newer"]


# Sizes ---------------------------------------------------------------------------------------------


class Limited:
    """A look-alike that takes only so many rows in one request, and says so in its own way."""

    def __init__(self, app, most, status, code):
        self.app, self.most, self.status, self.code = app, most, status, code
        self.seen = []

    def __call__(self, environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        count = body.count(b'"@odata.id"')
        if "UpsertMultiple" in environ["PATH_INFO"]:
            self.seen.append(count)
            if count > self.most:
                start_response(f"{self.status} x", [("Content-Type", "application/json")])
                return [b'{"error": {"code": "%s", "message": "too much"}}' % self.code]
        environ["wsgi.input"] = __import__("io").BytesIO(body)
        return self.app(environ, start_response)


@contextmanager
def limited(environment, most, status, code=b""):
    base = environment.emulator.base_urls["dataverse"] + "/"
    adapter = environment.session.get_adapter(base)
    app, adapter._app = adapter._app, Limited(adapter._app, most, status, code)
    try:
        yield adapter._app
    finally:
        adapter._app = app


@pytest.mark.parametrize(
    ("status", "code"), [(413, b""), (504, b""), (400, b"0x80044151"), (500, b"0x80040216")]
)
def test_too_much_at_once_is_halved_and_later_requests_stay_small(environment, status, code):
    name = f"large.{status}.{code.decode()}"
    with limited(environment, 30, status, code) as service:
        assert environment.write(TABLE, rows(name, 250), chunk=200) == []
    assert service.seen[:4] == [200, 100, 50, 25]
    assert max(service.seen[4:]) <= 100
    assert stored(environment, name) == Counter(f"{name}.{n}" for n in range(250))
    assert environment.waits == []


def test_sizes_grow_back_when_it_goes_well_again(environment):
    bulk = BulkWriter(environment.client(), chunk=40)
    with limited(environment, 10, 413) as service:
        bulk.write(TABLE, rows("back", 40).items())
        service.most = 1000
        service.seen.clear()
        bulk.write(TABLE, rows("back", 300).items())
    assert service.seen[0] == 10
    assert service.seen[-2] == 40


def test_one_row_that_is_too_slow_by_itself_is_an_error(environment):
    with limited(environment, 0, 504), pytest.raises(TimedOut):
        environment.write(TABLE, rows("slow", 2))


# At once -------------------------------------------------------------------------------------------


def test_requests_run_at_once_and_all_is_written(environment):
    bulk = writer(environment, chunk=10)
    done, lock = [], threading.Lock()

    def written(keys):
        with lock:
            done.extend(keys)

    assert bulk.write(TABLE, rows("many", 333).items(), written=written) == []
    assert Counter(done) == stored(environment, "many") == Counter(f"many.{n}" for n in range(333))


def test_memory_is_bounded_because_rows_are_taken_as_they_are_sent(environment):
    bulk = writer(environment, width=4, chunk=10)
    taken, done, ahead = [0], [0], []
    lock = threading.Lock()

    def source():
        for n in range(400):
            taken[0] += 1
            ahead.append(taken[0] - done[0])
            yield f"stream.{n}", {"csp_sku": "s"}

    def written(keys):
        with lock:
            done[0] += len(keys)

    bulk.write(TABLE, source(), written=written)
    # x-ms-dop-hint of the look-alike is 8: so many in flight, one that waits, one being made.
    assert max(ahead) <= 10 * (8 + 3)


def test_a_row_that_comes_twice_waits_for_its_first(environment):
    bulk = writer(environment, chunk=1)
    source = [("twice.0", {"csp_sku": "first"}), None, ("twice.0", {"csp_sku": "second"})]
    assert bulk.write(TABLE, source) == []
    found = environment.client().read_keyed(TABLE, ("csp_sku",), ("twice.0",))
    assert [row["csp_sku"] for row in found] == ["second"]


def test_one_failure_ends_all_and_is_raised(environment):
    bulk = writer(environment, chunk=1)
    with limited(environment, 0, 501), pytest.raises(Unavailable):
        bulk.write(TABLE, rows("broken", 200).items())
    assert bulk.write(TABLE, rows("broken", 200).items()) == []


def test_after_a_429_nobody_knocks_until_its_time_and_then_one_goes_first(environment):
    bulk = writer(environment, chunk=5)
    bulk.write(TABLE, rows("warm", 5).items())
    environment.fail(path=".*UpsertMultiple", status=429, headers={"Retry-After": "9"})
    assert bulk.write(TABLE, rows("storm", 200).items()) == []
    assert environment.waits.count(9.0) == 1
    assert stored(environment, "storm") == Counter(f"storm.{n}" for n in range(200))
