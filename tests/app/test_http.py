"""What the HTTP functions answer, on the partner's month as it stands after the demo."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest
from jsonschema import Draft4Validator

from app import wiring
from app.callers import Caller, Forbidden, Unauthenticated
from app.connector import definition
from app.http_models import RunAsked
from app.settings import Settings
from app.wiring import opened
from domain.problems import Conflict, Severity, Unavailable
from domain.run import RunStatus, UnitStatus
from invoice.document import DocumentStatus
from sync.messages import StartRun, TakeRelease
from tests.app.http_office import ask, data, waiting

MONTH = "2026-10"
MARIA = "Maria Finance"


@pytest.fixture(scope="module")
def office(demo, tmp_path_factory):
    """A worker on a copy of the demo, for tests that leave its rows as they are."""
    import shutil

    state = shutil.copytree(demo.state, tmp_path_factory.mktemp("http") / "state")
    with opened(Settings.from_env({"CSP_STATE_DIR": str(state)})) as made:
        yield made


@pytest.fixture
def worker(office, monkeypatch):
    monkeypatch.setattr(wiring, "worker", lambda: office)
    waiting(office)
    return office


@pytest.fixture
def own(copy, monkeypatch):
    """A worker whose rows may be changed."""
    with opened(Settings.from_env({"CSP_STATE_DIR": str(copy)})) as made:
        monkeypatch.setattr(wiring, "worker", lambda: made)
        yield made


def fits(response, operation):
    """Check a real answer against what the connector says of it."""
    document = definition()
    (told,) = [
        one
        for path in document["paths"].values()
        for one in path.values()
        if one["operationId"] == operation
    ]
    schema = told["responses"][str(response.status_code)]["schema"]
    content = {"definitions": document["definitions"], **_with_nulls(schema)}
    content["definitions"] = {k: _with_nulls(v) for k, v in document["definitions"].items()}
    faults = [f.message for f in Draft4Validator(content).iter_errors(data(response))]
    assert faults == []
    return data(response)


def _with_nulls(schema):
    """Read `x-nullable` as JSON Schema has it, and allow nothing that is not described."""
    if isinstance(schema, list):
        return [_with_nulls(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    read = {name: _with_nulls(one) for name, one in schema.items()}
    if read.get("type") == "object" and isinstance(read.get("properties"), dict):
        read.setdefault("additionalProperties", False)
    if read.pop("x-nullable", None) is True:
        return {"anyOf": [read, {"type": "null"}]}
    return read


# Runs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "run_id", "sent"),
    [
        ({"kind": "sync"}, "sync.2026-11-09", {"kind": "sync", "day": "2026-11-09"}),
        ({"kind": "sync", "day": "2026-11-08"}, "sync.2026-11-08", {"day": "2026-11-08"}),
        ({"kind": "bill", "period": MONTH}, "bill.2026-10", {"kind": "bill", "period": MONTH}),
        (
            {"kind": "bill", "period": MONTH, "customer_id": "c1", "by": MARIA},
            "bill.2026-10.c1",
            {"customer_id": "c1", "by": MARIA},
        ),
        ({"kind": "health"}, "health.2026-W46", {"kind": "health", "day": "2026-11-09"}),
        # What a flow sends for fields that nobody filled in.
        ({"kind": "sync", "day": "", "customer_id": None}, "sync.2026-11-09", {"kind": "sync"}),
    ],
)
def test_a_run_that_is_asked_for_is_accepted_and_only_a_message_is_left(worker, body, run_id, sent):
    worker.systems.emulator.control.clear_log()
    response = ask("start", body)
    assert response.status_code == 202
    assert fits(response, "StartRun") == {
        "run_id": run_id,
        "status": "accepted",
        "asked_at": f"{worker.ports.now():%Y-%m-%dT%H:%M:%SZ}",
    }
    assert response.headers["Location"] == f"/api/runs/{run_id}"
    assert int(response.headers["Retry-After"]) > 0
    assert worker.systems.emulator.control.requests() == []
    ((queue, message),) = waiting(worker)
    assert queue == "start"
    assert sent.items() <= message.items()
    assert StartRun.model_validate(message).run_key == run_id.replace(".", "/")


def test_a_run_is_read_by_the_address_that_was_told(worker):
    run = fits(ask("read", run_id="bill.2026-10"), "GetRun")
    assert (run["run_id"], run["kind"], run["window"]) == ("bill.2026-10", "bill", MONTH)
    assert run["status"] in {"done", "done_with_holds"}
    total = run["totals"][0]
    assert total["residual"] == "0.00"
    missing = ask("read", run_id="bill.2031-01")
    assert missing.status_code == 404
    assert fits(missing, "GetRun")["error"] == "there is no such run"


def test_runs_are_listed_page_by_page_newest_first(worker):
    every = fits(ask("list_runs"), "ListRuns")
    assert every["next"] is None
    assert len(every["runs"]) == len(worker.store.runs()) >= 3
    read, after = [], {}
    while True:
        page = fits(ask("list_runs", query={"top": "1", **after}), "ListRuns")
        read += page["runs"]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert read == every["runs"]
    bills = fits(ask("list_runs", query={"kind": "bill", "code": "the host's key"}), "ListRuns")
    assert {run["kind"] for run in bills["runs"]} == {"bill"}
    assert fits(ask("list_runs", query={"kind": "prices"}), "ListRuns")["runs"] == []


def test_a_run_says_who_asked_for_it(own):
    ask("approve", {"period": MONTH, "by": MARIA})
    own.drain()
    assert fits(ask("read", run_id="approve.2026-10"), "GetRun")["asked_by"] == ""  # nothing to do
    own.store.save([replace(own.run("approve/2026-10"), status=RunStatus.FAILED)])
    ask("approve", {"period": MONTH, "by": MARIA})
    own.drain()
    assert fits(ask("read", run_id="approve.2026-10"), "GetRun")["asked_by"] == MARIA


def test_an_end_of_before_is_told_apart_from_the_one_that_was_asked_for(own):
    def ended():
        run = fits(ask("read", run_id="bill.2026-10"), "GetRun")
        return run["finished_at"] is not None and run["finished_at"] >= accepted["asked_at"]

    own.systems.emulator.clock.advance(timedelta(minutes=1))
    accepted = data(ask("start", {"kind": "bill", "period": MONTH, "by": MARIA}))
    assert not ended()
    own.drain()
    assert ended()


# The same request twice ----------------------------------------------------------------------------


def test_the_same_key_with_the_same_request_is_one_request(own):
    key = {"Idempotency-Key": "flow-run-08585"}
    first = ask("start", {"kind": "bill", "period": MONTH}, headers=key)
    again = ask("start", {"period": MONTH, "kind": "bill"}, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.get_body() == again.get_body()
    assert first.headers["Location"] == again.headers["Location"]
    assert len(waiting(own)) == 1


def test_the_same_key_with_another_request_is_refused(own):
    key = {"Idempotency-Key": "flow-run-08585"}
    ask("start", {"kind": "bill", "period": MONTH}, headers=key)
    for other in ({"kind": "bill", "period": "2026-09"}, {"kind": "sync"}):
        response = ask("start", other, headers=key)
        assert response.status_code == 422
        assert "stands for another request" in fits(response, "StartRun")["error"]
    assert len(waiting(own)) == 1


def test_a_key_counts_for_one_address_so_a_flow_may_give_one_to_each_of_its_actions(own):
    key = {"Idempotency-Key": "flow-run-08585"}
    one = held(own)
    release = {"reason": "signed", "by": MARIA, "version": one.version}
    ask("start", {"kind": "bill", "period": MONTH}, headers=key)
    assert ask("approve", {"period": MONTH, "by": MARIA}, headers=key).status_code == 202
    assert ask("release", release, finding_id=one.id, headers=key).status_code == 202
    assert len(waiting(own)) == 3


def test_a_request_that_was_refused_leaves_its_key_free(own):
    key = {"Idempotency-Key": "flow-run-08585"}
    one = held(own)
    body = {"reason": "signed", "by": MARIA, "version": "0" * 16}
    assert ask("release", body, finding_id=one.id, headers=key).status_code == 409
    mended = {**body, "version": one.version}
    assert ask("release", mended, finding_id=one.id, headers=key).status_code == 202
    assert ask("start", {"kind": "bill"}, headers=key).status_code == 400
    assert ask("start", {"kind": "bill", "period": MONTH}, headers=key).status_code == 202
    assert len(waiting(own)) == 2


def test_a_repeated_request_without_a_day_is_for_the_day_of_the_first(own):
    key = {"Idempotency-Key": "k"}
    assert data(ask("start", {"kind": "sync"}, headers=key))["run_id"] == "sync.2026-11-09"
    own.systems.emulator.clock.advance(timedelta(days=1))
    assert data(ask("start", {"kind": "sync"}, headers=key))["run_id"] == "sync.2026-11-09"
    assert data(ask("start", {"kind": "sync"}))["run_id"] == "sync.2026-11-10"


def test_what_was_not_sent_is_sent_by_the_repetition(own, monkeypatch):
    key = {"Idempotency-Key": "k"}

    def down(*_, **__):
        raise Unavailable("no queue", service="Queue Storage", status=503)

    with monkeypatch.context() as broken:
        broken.setattr(type(own.ports.queue), "send", down)
        assert ask("start", {"kind": "sync"}, headers=key).status_code == 503
    assert waiting(own) == []
    assert ask("start", {"kind": "sync"}, headers=key).status_code == 202
    assert len(waiting(own)) == 1


def test_of_two_instances_with_one_key_both_answer_the_same(own, monkeypatch):
    """Both read that there is no row; one writes it, the other meets it."""
    key, put, store = {"Idempotency-Key": "k"}, type(own.store).put_unit, own.store
    rows = []

    def raced(self, unit, version):
        if version is None and not rows:
            rows.append(unit)
            put(self, unit, None)  # the other instance
            raise Conflict("there is one", service="Dataverse")
        return put(self, unit, version)

    monkeypatch.setattr(type(store), "put_unit", raced)
    assert ask("start", {"kind": "sync"}, headers=key).status_code == 202
    assert store.unit(rows[0].key)[0].status is UnitStatus.SETTLED
    rows[:] = [None]
    assert ask("start", {"kind": "bill", "period": MONTH}, headers=key).status_code == 422


def test_a_key_is_not_shared_by_callers(own, monkeypatch):
    from app import http_door

    key = {"Idempotency-Key": "k"}
    for name in ("Maria", "Piet"):
        caller = Caller(name=name, object_id=name, roles=frozenset({"Runs.Start"}))
        monkeypatch.setattr(http_door, "caller_of", lambda *_, caller=caller: caller)
        assert ask("start", {"kind": "sync", "by": name}, headers=key).status_code == 202
    assert [message["by"] for _, message in waiting(own)] == ["Maria", "Piet"]


# Who calls -----------------------------------------------------------------------------------------

NEEDS = {
    "start": "Runs.Start",
    "list_runs": "Runs.Read",
    "read": "Runs.Read",
    "approve": "Invoices.Approve",
    "list_findings": "Runs.Read",
    "read_finding": "Runs.Read",
    "release": "Holds.Release",
    "read_invoice": "Runs.Read",
    "read_pdf": "Runs.Read",
    "explain": "Runs.Read",
    "health": "Runs.Read",
    "ready": "Runs.Read",
}


@pytest.mark.parametrize("name", NEEDS)
def test_every_function_asks_for_its_role_before_it_reads_anything(worker, monkeypatch, name):
    from app import http_door

    asked = []

    def nobody(_, needs, __):
        asked.append(needs)
        raise Unauthenticated("no token", given=False)

    monkeypatch.setattr(http_door, "caller_of", nobody)
    response = ask(name, b"\xff" * 9000, query={"top": "many"}, run_id="?", number="?", line="0")
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert asked == [NEEDS[name]]

    def without_role(_, needs, __):
        raise Forbidden(needs)

    monkeypatch.setattr(http_door, "caller_of", without_role)
    response = ask(name)
    assert response.status_code == 403
    assert NEEDS[name] in data(response)["error"]
    assert waiting(worker) == []


def test_who_may_start_runs_may_not_approve_by_starting_one(worker, monkeypatch):
    from app import http_door

    starter = Caller(name="Piet", object_id="p", roles=frozenset({"Runs.Start"}))
    monkeypatch.setattr(http_door, "caller_of", lambda *_: starter)
    response = ask("start", {"kind": "approve", "period": MONTH})
    assert response.status_code == 403
    assert "Invoices.Approve" in fits(response, "StartRun")["error"]
    assert waiting(worker) == []


def test_an_approval_names_who_approves_whichever_way_it_is_asked_for(worker):
    for name, body in (("start", {"kind": "approve"}), ("approve", {})):
        refused = ask(name, {**body, "period": MONTH})
        assert refused.status_code == 400
        assert data(refused)["error"] == "body: it is not said who decides"
    assert waiting(worker) == []
    assert ask("start", {"kind": "approve", "period": MONTH, "by": MARIA}).status_code == 202


def test_who_signed_in_is_named_and_whom_they_name_beside(worker, monkeypatch):
    from app import http_door

    piet = Caller(name="piet@example.com", object_id="p", roles=frozenset())
    monkeypatch.setattr(http_door, "caller_of", lambda *_: piet)
    ask("start", {"kind": "sync"})
    ask("start", {"kind": "sync", "by": "piet@example.com"})
    ask("start", {"kind": "sync", "by": MARIA})
    told = [message["by"] for _, message in waiting(worker)]
    assert told == ["piet@example.com"] * 2 + ["Maria Finance (told by piet@example.com)"]


def test_whoever_asks_may_hear_that_the_functions_run(monkeypatch):
    def broken():
        raise AssertionError("alive builds no worker")

    monkeypatch.setattr(wiring, "worker", broken)
    response = ask("alive")
    assert (response.status_code, data(response)) == (200, {"status": "alive"})


def test_a_worker_that_cannot_be_built_says_so_to_the_log_alone(monkeypatch, caplog):
    from domain.problems import ConfigurationError

    def broken():
        raise ConfigurationError("mode cloud needs CSP_TENANT_ID", hint="set it")

    monkeypatch.setattr(wiring, "worker", broken)
    response = ask("start", {"kind": "sync"})
    assert (response.status_code, data(response)["error"]) == (503, "the worker is not ready")
    assert "CSP_TENANT_ID" not in response.get_body().decode()
    assert "mode cloud needs CSP_TENANT_ID. set it" in caplog.text


# Findings ------------------------------------------------------------------------------------------


def held(worker):
    """A finding that holds somebody and that a person may release."""
    from rules.checks import why_final
    from sync.findings import current

    return next(one for one in current(worker.ports) if one.holds and not why_final(one))


def test_findings_are_listed_page_by_page_with_the_customer_s_name(worker):
    every = fits(ask("list_findings", query={"top": "200"}), "ListFindings")["findings"]
    assert sorted(f["finding"] for f in every) == sorted(f.id for f in worker.store.findings())
    from rules.checks import why_final

    final = {one.id for one in worker.store.findings() if not one.holds or why_final(one)}
    assert {one["finding"] for one in every if not one["can_release"]} == final
    assert {True, False} == {one["can_release"] for one in every if one["holds"]}
    names = {one.id: one.name for one in worker.store.customers()}
    assert all(one["customer"] == names.get(one["customer_id"], "") for one in every)
    read, after = [], {}
    while True:
        page = fits(ask("list_findings", query={"top": "2", **after}), "ListFindings")
        read += page["findings"]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert read == every


def test_findings_are_chosen_by_what_they_do(worker):
    from sync.findings import current

    found = current(worker.ports)
    for state, expected in (
        ("holding", {one.id for one in found if one.holds}),
        ("warning", {one.id for one in found if one.severity is Severity.WARN}),
        ("released", set()),
    ):
        listed = fits(ask("list_findings", query={"state": state, "top": "200"}), "ListFindings")
        assert {one["finding"] for one in listed["findings"]} == expected
    one = held(worker)
    listed = data(ask("list_findings", query={"customer_id": one.customer_id}))["findings"]
    assert {each["customer_id"] for each in listed} == {one.customer_id}


def test_a_hold_is_released_by_a_message_and_the_finding_tells(own):
    one = held(own)
    seen = fits(ask("read_finding", finding_id=one.id), "GetFinding")["version"]
    body = {"reason": "agreed by phone", "by": MARIA, "until": "2026-12-31", "version": seen}
    response = ask("release", body, finding_id=one.id)
    assert response.status_code == 202
    assert fits(response, "ReleaseHold") == {"finding": one.id, "status": "accepted"}
    assert response.headers["Location"] == f"/api/findings/{one.id}"
    assert fits(ask("read_finding", finding_id=one.id), "GetFinding")["holds"] is True
    own.drain()
    told = fits(ask("read_finding", finding_id=one.id), "GetFinding")
    assert (told["holds"], told["state"]) == (False, "released")
    assert told["release"] == {
        "by": MARIA,
        "on": "2026-11-09",
        "until": "2026-12-31",
        "reason": "agreed by phone",
    }
    ask("release", {"withdraw": True, "by": MARIA}, finding_id=one.id)
    own.drain()
    told = fits(ask("read_finding", finding_id=one.id), "GetFinding")
    assert (told["holds"], told["release"]) == (True, None)
    assert f"{MARIA} withdrew it" in told["note"]
    # A message that comes twice, or late, changes nothing.
    late = TakeRelease(finding=one.id, by=MARIA, withdraw=True, asked_at=own.ports.now())
    own.handle("start", late.model_dump_json())
    assert fits(ask("read_finding", finding_id=one.id), "GetFinding") == told


def test_what_cannot_be_released_is_refused_at_once_or_says_so_on_the_finding(own):
    from rules.checks import why_final
    from sync.findings import current

    final = next(one for one in current(own.ports) if one.holds and why_final(one))
    body = {"reason": "it is fine", "by": MARIA, "version": final.version}
    response = ask("release", body, finding_id=final.id)
    assert response.status_code == 409
    assert why_final(final) in fits(response, "ReleaseHold")["error"]
    assert ask("release", body, finding_id="agreement.missing-000000").status_code == 404
    one = held(own)
    refused = ask("release", {"withdraw": True, "by": MARIA}, finding_id=one.id)
    assert (refused.status_code, data(refused)["error"]) == (409, f"{one.id} is not released")
    # Between the answer and the work its last day may be over.
    last_day = {"version": one.version, "until": "2026-11-08"}
    ask("release", {**body, **last_day}, finding_id=one.id)
    own.drain()
    told = fits(ask("read_finding", finding_id=one.id), "GetFinding")
    assert told["holds"] is True
    assert told["note"].startswith("Not released on 2026-11-09: ")
    assert "its last day, 2026-11-08, is over" in told["note"]


def test_a_release_of_what_is_gone_meanwhile_changes_nothing(own):
    one = held(own)
    own.store.put_finding(one.closed(date(2026, 11, 9)))
    late = TakeRelease(finding=one.id, by=MARIA, reason="late", asked_at=own.ports.now())
    message = late.model_dump_json()
    own.handle("start", message)
    own.give_up("start", message)
    assert ask("read_finding", finding_id=one.id).status_code == 404


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"by": MARIA}, "a release needs a reason"),
        ({"reason": "  ", "by": MARIA}, "a release needs a reason"),
        ({"reason": "agreed", "by": MARIA}, "a release needs the version that the finding was"),
        ({"reason": "agreed", "by": MARIA, "version": "1"}, "version: String should match pattern"),
        ({"reason": "agreed", "version": "0" * 16}, "it is not said who decides"),
        ({"withdraw": True, "version": "0" * 16, "by": MARIA}, "no last day and no version"),
        ({"withdraw": True, "reason": "x", "by": MARIA}, "has no reason, no last day"),
        ({"reason": "x" * 1001, "by": MARIA}, "reason: String should have at most 1000 characters"),
        ({"reason": "x", "by": "Maria\r\nX-Admin: 1"}, "by: String should match pattern"),
        ({"reason": "x", "by": MARIA, "until": "tomorrow"}, "until: Input should be a valid date"),
        ({"reason": "x", "by": MARIA, "amount": 1}, "amount: Extra inputs are not permitted"),
    ],
)
def test_a_release_that_is_not_whole_is_refused_with_a_sentence(worker, body, sentence):
    response = ask("release", body, finding_id=held(worker).id)
    assert response.status_code == 400
    assert sentence in fits(response, "ReleaseHold")["error"]
    assert waiting(worker) == []


def test_a_finding_that_says_something_else_than_was_read_is_not_released(own):
    """A release counts for what the person saw: at the door, and when the message is worked."""
    one = held(own)
    body = {"reason": "one line, agreed", "by": MARIA, "version": one.version}
    worse = replace(one, sentence=f"{one.sentence} And 400 more lines, 250,000.00 EUR.")
    own.store.put_finding(worse)
    refused = ask("release", body, finding_id=one.id)
    assert refused.status_code == 409
    assert fits(refused, "ReleaseHold") == {
        "error": f"{one.id} has changed since it was seen",
        "hint": "read it anew, and decide again",
    }
    own.store.put_finding(one)
    assert ask("release", body, finding_id=one.id).status_code == 202
    own.store.put_finding(worse)
    own.drain()
    told = fits(ask("read_finding", finding_id=one.id), "GetFinding")
    assert told["holds"] is True
    assert told["note"] == (f"Not released on 2026-11-09: {one.id} has changed since it was seen.")
    assert ask("release", {**body, "version": told["version"]}, finding_id=one.id)
    own.drain()
    assert data(ask("read_finding", finding_id=one.id))["holds"] is False


def test_a_release_that_is_repeated_with_its_key_undoes_no_withdrawal(own):
    one, key = held(own), {"Idempotency-Key": "flow-run-1"}
    body = {"reason": "signed", "by": MARIA, "version": one.version}
    first = ask("release", body, finding_id=one.id, headers=key)
    own.drain()
    own.systems.emulator.clock.advance(timedelta(seconds=20))
    ask(
        "release",
        {"withdraw": True, "by": "Eve"},
        finding_id=one.id,
        headers=key | {"Idempotency-Key": "2"},
    )
    own.drain()
    own.systems.emulator.clock.advance(timedelta(seconds=20))
    again = ask("release", body, finding_id=one.id, headers=key)
    assert (again.status_code, again.get_body()) == (202, first.get_body())
    assert waiting(own) == []
    assert data(ask("read_finding", finding_id=one.id))["holds"] is True
    other = ask("release", {**body, "reason": "other"}, finding_id=one.id, headers=key)
    assert other.status_code == 422
    assert "stands for another request" in fits(other, "ReleaseHold")["error"]


# Approvals -----------------------------------------------------------------------------------------


def a_draft(worker):
    """A document of the demo as it was before it was approved, of a month of its own."""
    from domain.period import Period

    document = next(one for one in worker.store.documents(period=MONTH) if one.number)
    customer = document.customer_id
    key = f"invoice/{customer}/2026-09/{document.currency}/1"
    lines = tuple(
        replace(
            line,
            key=f"{line.key}/draft",
            invoice_key=key,
            charge=replace(line.charge, key=f"{line.charge.key}/draft"),
        )
        for line in document.lines
    )
    draft = replace(
        document,
        key=key,
        number="",
        status=DocumentStatus.DRAFT,
        period=Period.month("2026-09"),
        lines=lines,
        issued_on=None,
        due_on=None,
        fingerprint="",
    )
    worker.store.save_document(draft)
    return draft


def as_seen(name):
    """An approval of a document as it is read now."""
    seen = fits(ask("read_invoice", number=name), "GetInvoice")["fingerprint"]
    return {"invoice": name, "fingerprint": seen, "by": MARIA}


def dearer(draft):
    """A draft that asks for a thousand times as much."""
    lines = (
        replace(
            line,
            charge=replace(
                line.charge,
                amount=replace(line.charge.amount, amount=line.charge.amount.amount * 1000),
                exact=line.charge.exact * 1000,
            ),
        )
        for line in draft.lines
    )
    return replace(draft, lines=tuple(lines))


def test_a_draft_that_was_drafted_anew_since_it_was_read_is_not_issued(own):
    draft = a_draft(own)
    name = draft.key.replace("/", ".")
    seen = as_seen(name)
    own.store.save_document(dearer(draft))
    refused = ask("approve", seen)
    assert refused.status_code == 409
    assert fits(refused, "ApproveInvoices")["error"] == f"{name} has changed since it was seen"
    seen = as_seen(name)
    run_id = data(ask("approve", seen))["run_id"]
    own.store.save_document(draft)
    own.drain()
    run = fits(ask("read", run_id=run_id), "GetRun")
    assert (run["counts"], run["problem"]) == (
        {"issued": 0},
        (
            f"The draft of {draft.customer_name} is not issued: it has changed since it was seen. "
            "Read it anew, and approve it as it is."
        ),
    )
    assert own.store.document(draft.key).status is DocumentStatus.DRAFT
    ask("approve", as_seen(name))
    own.drain()
    assert own.store.document(draft.key).total == draft.total
    assert own.store.document(draft.key).number == "INV-202609-0001"


def test_one_draft_is_approved_by_its_key_and_no_other(own):
    draft = a_draft(own)
    name = draft.key.replace("/", ".")
    response = ask("approve", as_seen(name))
    assert response.status_code == 202
    run_id = fits(response, "ApproveInvoices")["run_id"]
    assert run_id == f"approve.{name.removeprefix('invoice.')}"
    own.drain()
    run = fits(ask("read", run_id=run_id), "GetRun")
    assert (run["status"], run["counts"], run["asked_by"]) == ("done", {"issued": 1}, MARIA)
    issued = fits(ask("read_invoice", number="INV-202609-0001"), "GetInvoice")
    assert (issued["key"], issued["issued_on"]) == (draft.key, "2026-11-09")
    again = ask("approve", as_seen("INV-202609-0001"))
    assert again.status_code == 409
    assert "INV-202609-0001 is issued and no draft" in fits(again, "ApproveInvoices")["error"]


def test_a_repeated_approval_of_a_draft_is_answered_as_the_first(own):
    name = a_draft(own).key.replace("/", ".")
    key = {"Idempotency-Key": "once"}
    body = as_seen(name)
    first = ask("approve", body, headers=key)
    own.drain()
    again = ask("approve", body, headers=key)
    assert (again.status_code, again.get_body()) == (202, first.get_body())
    assert waiting(own) == []


def test_a_draft_of_a_customer_on_hold_stays_one_and_the_run_says_why(own):
    draft = a_draft(own)
    hold = replace(held(own), customer_id=draft.customer_id, record="subscription of the test")
    own.store.save([hold])
    name = draft.key.replace("/", ".")
    run_id = data(ask("approve", as_seen(name)))["run_id"]
    own.drain()
    run = fits(ask("read", run_id=run_id), "GetRun")
    assert run["counts"] == {"issued": 0}
    assert run["problem"] == (
        f"The draft of {draft.customer_name} is not issued: findings hold it (docs/holds.md)."
    )
    assert own.store.document(draft.key).status is DocumentStatus.DRAFT


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({"by": MARIA}, 400, "give a period, or the key of one draft"),
        ({"period": MONTH}, 400, "it is not said who decides"),
        ({"period": MONTH, "invoice": "x", "by": MARIA}, 400, "give either an invoice"),
        ({"invoice": "../x", "by": MARIA}, 400, "invoice: String should match pattern"),
        ({"invoice": "x", "by": MARIA}, 400, "an invoice needs the fingerprint"),
        ({"period": MONTH, "fingerprint": "0" * 64, "by": MARIA}, 400, "nothing else has one"),
        (
            {"invoice": "INV-209912-0001", "fingerprint": "0" * 64, "by": MARIA},
            404,
            "there is no such document",
        ),
    ],
)
def test_an_approval_that_cannot_be_is_refused(worker, body, status, sentence):
    response = ask("approve", body)
    assert response.status_code == status
    assert sentence in fits(response, "ApproveInvoices")["error"]
    assert waiting(worker) == []


# Documents -----------------------------------------------------------------------------------------


def test_every_document_of_the_month_is_told_as_the_connector_says(worker, demo):
    for document in demo.documents:
        name = document.number or document.key.replace("/", ".")
        told = fits(ask("read_invoice", number=name), "GetInvoice")
        assert told["total"] == str(document.total.amount)
        assert len(told["lines"]) == len(document.lines)


def test_each_kind_of_line_is_explained_down_to_microsoft_s_lines(worker, demo):
    one_of_each = {
        line.charge.type: (document, line)
        for document in demo.documents
        if document.number
        for line in document.lines
    }
    assert len(one_of_each) > 3
    explained = [
        fits(ask("explain", number=d.number, line=str(line.position)), "ExplainLine")
        for d, line in one_of_each.values()
    ]
    assert {line.charge.why for _, line in one_of_each.values()} == {e["why"] for e in explained}
    assert any(one["sources"] for one in explained)


def test_a_line_that_is_not_there_is_not_found(worker, demo):
    number = next(document.number for document in demo.documents if document.number)
    for line in ("0", "999", "-1", "1e1", "٣"):
        assert ask("explain", number=number, line=line).status_code == 404


def test_the_pdf_is_that_of_the_document(worker, demo):
    from invoice.pdf import to_pdf

    document = next(document for document in demo.documents if document.number)
    response = ask("read_pdf", number=document.number)
    assert (response.status_code, response.mimetype) == (200, "application/pdf")
    assert response.headers["Content-Disposition"] == (
        f'attachment; filename="{document.number}.pdf"'
    )
    assert response.get_body() == to_pdf(document)
    assert ask("read_pdf", number="INV-209912-0001").status_code == 404


def test_a_document_that_a_person_broke_is_told_as_such(worker, monkeypatch):
    from domain.problems import InputError

    def broken(*_):
        raise InputError("csp_invoice INV-1: csp_currency is empty", hint="enter it again")

    monkeypatch.setattr(type(worker.store), "document", broken)
    for name, operation in (
        ("read_invoice", "GetInvoice"),
        ("read_pdf", "GetInvoicePdf"),
        ("explain", "ExplainLine"),
    ):
        response = ask(name, number="INV-1", line="1")
        assert response.status_code == 409
        told = fits(response, operation)
        assert told["error"] == (
            "the document cannot be read: csp_invoice INV-1: csp_currency is empty"
        )
        assert told["hint"] == "enter it again"


@pytest.mark.parametrize(("asked", "told"), [(None, "30"), (12.2, "13"), (0, "0")])
def test_a_system_that_is_down_says_when_to_ask_again(worker, monkeypatch, asked, told):
    def down(*_):
        raise Unavailable("busy", service="Dataverse", status=503, retry_after=asked)

    monkeypatch.setattr(type(worker.store), "run", down)
    response = ask("read", run_id="bill.2026-10")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == told
    assert fits(response, "GetRun")["error"] == "Dataverse 503: busy"


def test_a_failing_system_is_not_waited_for_longer_than_a_flow_waits(own):
    """Embedded, waiting passes on the emulators' clock."""
    clock, control = own.systems.emulator.clock, own.systems.emulator.control
    before = clock.now()
    control.fail_next("dataverse", status=503, count=100)
    response = ask("read", run_id="bill.2026-10")
    assert response.status_code == 503
    assert clock.now() - before <= timedelta(seconds=20)


def test_a_draft_is_drawn_as_the_customer_would_get_it(own):
    draft = a_draft(own)
    name = draft.key.replace("/", ".")
    response = ask("read_pdf", number=name)
    assert response.get_body().startswith(b"%PDF-")
    assert response.headers["Content-Disposition"] == f'attachment; filename="{name}.pdf"'
    told = fits(ask("read_invoice", number=name), "GetInvoice")
    assert (told["number"], told["status"], told["issued_on"]) == ("", "draft", None)


# Health --------------------------------------------------------------------------------------------


def test_the_latest_report_is_given_as_data_or_as_a_page(own):
    missing = ask("health")
    assert (missing.status_code, data(missing)["error"]) == (404, "there is no report yet")
    for day, customers in (("2026-11-02", 3), ("2026-11-09", 4)):
        own.ports.archive.put(f"reports/{day}/summary.json", b'{"customers": %d}' % customers)
        own.ports.archive.put(f"reports/{day}/health.html", b"<h1>%d</h1>" % customers)
    assert data(ask("health")) == {"customers": 4}
    page = ask("health", query={"format": "html"})
    assert (page.mimetype, page.get_body()) == ("text/html", b"<h1>4</h1>")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "sandbox" in page.headers["Content-Security-Policy"]


def test_ready_names_each_system_and_never_what_it_said(worker, monkeypatch):
    from app.readiness import Readiness

    good = ask("ready")
    assert good.status_code == 200
    told = {one["name"]: one for one in data(good)["dependencies"]}
    assert {"Partner Center", "Microsoft Graph", "Dataverse", "Archive", "Queues"} <= set(told)
    assert all(one["ready"] for one in told.values())

    def down():
        raise Unavailable("refused the key hunter2", service="Dataverse", status=503)

    monkeypatch.setattr(worker, "readiness", Readiness({"Dataverse": down}))
    bad = ask("ready")
    assert bad.status_code == 503
    (one,) = data(bad)["dependencies"]
    assert (one["name"], one["ready"], one["problem"]) == ("Dataverse", False, "Unavailable 503")
    assert "hunter2" not in bad.get_body().decode()


def test_the_kinds_of_runs_are_those_of_the_messages():
    assert RunAsked.model_fields["kind"].annotation == StartRun.model_fields["kind"].annotation
