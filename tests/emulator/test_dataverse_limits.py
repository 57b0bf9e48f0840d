"""Service protection, failures on demand, and file columns."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta
from itertools import islice
from threading import Barrier, Event, Thread

import pytest

from tests.emulator.dataverse_harness import Dataverse, with_tables


@pytest.fixture
def dv():
    return with_tables().copy()


def first_completed(futures, count):
    return list(islice(as_completed(futures, timeout=10), count))


def test_the_request_limit_slides_with_the_clock(dv):
    dv.app.limits.reset()
    dv.settings.throttling = True
    dv.settings.request_limit = 3
    for left in (2, 1, 0):
        answer = dv.get("WhoAmI")
        assert answer.status == 200
        assert answer.headers["x-ms-ratelimit-burst-remaining-xrm-requests"] == str(left)
        dv.clock.advance(timedelta(seconds=100))
    assert dv.get("WhoAmI").status == 200
    refused = dv.get("WhoAmI")
    assert (refused.status, refused.code) == (429, "0x80072322")
    assert refused.headers["retry-after"] == "100"
    assert refused.message.startswith("Number of requests exceeded the limit of 6000")
    assert dv.get("WhoAmI").headers["retry-after"] == "101"
    dv.clock.advance(timedelta(seconds=100))
    assert dv.get("WhoAmI").status == 200


def test_the_execution_limit_counts_rows(dv):
    dv.app.limits.reset()
    dv.settings.throttling = True
    dv.settings.execution_limit_ms = 1000
    assert dv.bulk("CreateMultiple", [{"nce_name": "A"}] * 500).status == 200
    refused = dv.get("WhoAmI")
    assert (refused.status, refused.code) == (429, "0x80072321")
    assert refused.headers["retry-after"] == "300"
    dv.clock.advance(timedelta(seconds=300))
    assert dv.get("WhoAmI").status == 200


def test_the_concurrency_limit_counts_requests_at_work(dv):
    dv.settings.throttling = True
    dv.settings.concurrency_limit = 2
    inside, leave = [Event(), Event()], Event()

    def hold(event):
        with dv.app.limits.admitted("any", cost_ms=1):
            event.set()
            leave.wait(10)

    threads = [Thread(target=hold, args=(event,)) for event in inside]
    for thread, event in zip(threads, inside, strict=True):
        thread.start()
        assert event.wait(10)
    refused = dv.get("WhoAmI")
    assert (refused.status, refused.code) == (429, "0x80072326")
    assert int(refused.headers["retry-after"]) >= 1
    leave.set()
    for thread in threads:
        thread.join()
    assert dv.get("WhoAmI").status == 200


def test_users_have_their_own_windows():
    ids = ["0a0a0a0a-0000-4000-8000-000000000001", "0a0a0a0a-0000-4000-8000-000000000002"]
    dv = Dataverse(check_token=lambda token, audience: {"appid": token})
    dv.settings.throttling = True
    dv.settings.request_limit = 1
    for user in ids:
        header = {"Authorization": f"Bearer {user}"}
        assert dv.send("GET", "WhoAmI", headers=header).status == 200
        assert dv.send("GET", "WhoAmI", headers=header).status == 429


def test_requests_that_wait_for_their_turn_are_at_work(dv):
    """Everything runs under one lock; who waits for it is concurrent all the same."""
    dv.settings.throttling = True
    dv.settings.concurrency_limit = 3
    started = Barrier(7)

    def ask(_):
        started.wait(10)
        return dv.get("WhoAmI").status

    with ThreadPoolExecutor(6) as pool, dv.app.store.lock:
        answers = [pool.submit(ask, number) for number in range(6)]
        started.wait(10)
        refused = [answer.result(10) for answer in first_completed(answers, 3)]
    assert refused == [429] * 3
    assert sorted(answer.result() for answer in answers) == [200] * 3 + [429] * 3
    assert dv.get("WhoAmI").status == 200


def test_every_row_takes_its_time_when_told():
    waits = []
    dv = Dataverse(sleep=waits.append)
    dv.make_tables()
    dv.settings.latency_ms, dv.settings.row_latency_ms = 80, 0.5
    assert dv.bulk("CreateMultiple", [{"nce_name": "A"}] * 200).status == 200
    assert dv.get("WhoAmI").status == 200
    assert waits == [pytest.approx(0.18), pytest.approx(0.08)]


def test_waiting_requests_do_not_wait_for_each_other():
    everyone = Barrier(4)
    dv = Dataverse(sleep=lambda _: everyone.wait(10))
    dv.settings.latency_ms = 1
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: dv.get("WhoAmI").status, range(4))) == {200}


def test_operations_of_a_batch_cost_execution_time(dv):
    dv.app.limits.reset()
    dv.settings.throttling = True
    dv.settings.request_cost_ms, dv.settings.row_cost_ms = 20, 2
    one = "--b\r\nContent-Type: application/http\r\n\r\nGET {} HTTP/1.1\r\n\r\n\r\n"
    body = (one.format("/api/data/v9.2/WhoAmI") * 10 + "--b--").encode()
    headers = {"Content-Type": "multipart/mixed; boundary=b"}
    answer = dv.send("POST", "$batch", body, headers=headers)
    assert answer.status == 200
    assert answer.headers["x-ms-ratelimit-time-remaining-xrm-requests"] == "1,199.96"
    assert answer.headers["x-ms-ratelimit-burst-remaining-xrm-requests"] == "5999"


@pytest.mark.parametrize("path", ["WhoAmI", "nce_subscriptions", "nowhere"])
def test_every_answer_recommends_a_parallelism(dv, path):
    dv.settings.dop_hint = 6
    assert dv.get(path).headers["x-ms-dop-hint"] == "6"
    dv.settings.throttling, dv.settings.request_limit = True, 0
    refused = dv.get(path)
    assert (refused.status, refused.headers["x-ms-dop-hint"]) == (429, "6")


def test_limits_are_off_at_first(dv):
    dv.settings.request_limit = 1
    assert [dv.get("WhoAmI").status for _ in range(3)] == [200, 200, 200]


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("requests", 429, "0x80072322"),
        ("time", 429, "0x80072321"),
        ("concurrency", 429, "0x80072326"),
        ("deadlock", 500, "0x80044150"),
        ("sql_timeout", 500, "0x80044151"),
        ("unavailable", 503, ""),
        ("unexpected", 500, "0x80040216"),
    ],
)
def test_failures_on_demand_do_no_work(dv, kind, status, code):
    dv.settings.fail_next(kind, count=2, path="Multiple")
    assert dv.get("WhoAmI").status == 200
    for _ in range(2):
        answer = dv.bulk("CreateMultiple", [{"nce_name": "A"}])
        assert (answer.status, answer.code) == (status, code)
        assert ("retry-after" in answer.headers) is (status == 429)
    assert dv.values("nce_subscriptions") == []
    assert dv.bulk("CreateMultiple", [{"nce_name": "A"}]).status == 200


def test_failures_meet_the_requests_they_are_meant_for(dv):
    dv.settings.fail_next("deadlock", path="CreateMultiple")
    dv.settings.fail_next("unavailable", path="WhoAmI")
    assert dv.get("WhoAmI").status == 503
    assert dv.bulk("CreateMultiple", [{"nce_name": "A"}]).code == "0x80044150"
    assert dv.get("WhoAmI").status == 200


def test_a_failure_after_the_commit_hides_work_that_was_done(dv):
    dv.settings.fail_next("after_commit")
    assert dv.post("nce_subscriptions", {"nce_name": "A"}).status == 503
    assert len(dv.values("nce_subscriptions")) == 1


# File columns


@pytest.fixture
def pdf(dv):
    row = dv.post("nce_subscriptions", {"nce_name": "A"}).new_id
    return f"nce_subscriptions({row})/nce_pdf"


def upload(dv, path, content, **headers):
    base = {"Content-Type": "application/octet-stream", "x-ms-file-name": "INV-1.pdf"}
    return dv.send("PATCH", path, content, headers=base | headers)


def test_a_file_goes_up_and_comes_down_unchanged(dv, pdf):
    content = bytes(range(256)) * 100
    assert upload(dv, pdf, content).status == 204
    down = dv.get(f"{pdf}/$value")
    assert (down.status, down.raw) == (200, content)
    assert down.headers["x-ms-file-name"] == "INV-1.pdf"
    assert down.headers["x-ms-file-size"] == "25600"
    row = dv.get(pdf.split("/", maxsplit=1)[0]).json
    assert len(row["nce_pdf"]) == 36
    assert row["nce_pdf_name"] == "INV-1.pdf"
    ranged = dv.send("GET", f"{pdf}/$value", headers={"Range": "bytes=10-19"})
    assert (ranged.status, ranged.raw) == (206, content[10:20])
    assert ranged.headers["content-range"] == "bytes 10-19/25600"
    assert upload(dv, pdf, b"new").status == 204
    assert dv.get(f"{pdf}/$value").raw == b"new"
    assert dv.delete(pdf).status == 204
    empty = dv.get(f"{pdf}/$value")
    assert (empty.status, empty.code) == (404, "0x80040217")
    assert dv.get(pdf.split("/", maxsplit=1)[0]).json["nce_pdf"] is None


def test_without_value_a_file_comes_down_as_text(dv, pdf):
    content = bytes(range(256))
    upload(dv, pdf, content)
    whole = dv.get(pdf)
    assert base64.b64decode(whole.json["value"]) == content
    assert whole.headers["content-disposition"] == 'inline; filename="INV-1.pdf"'
    part = dv.send("GET", pdf, headers={"Range": "bytes=10-19"})
    assert (part.status, part.headers["x-ms-chunk-size"]) == (206, "4194304")
    assert base64.b64decode(part.json["value"]) == content[10:20]


def test_a_file_goes_up_in_blocks(dv, pdf):
    started = upload(dv, pdf, b"", **{"x-ms-transfer-mode": "chunked"})
    assert started.status == 200
    assert started.headers["x-ms-chunk-size"] == "4194304"
    place = started.headers["location"]
    content = b"0123456789" * 3
    found = []
    for first in (0, 10, 20):
        piece = content[first : first + 10]
        span = {"Content-Range": f"bytes {first}-{first + 9}/30"}
        found.append(dv.send("PATCH", place, piece, headers=span).status)
    assert found == [206, 206, 204]
    assert dv.get(f"{pdf}/$value").raw == content
    assert dv.send("PATCH", place, b"x", headers={"Content-Range": "bytes 0-0/1"}).status == 400


def test_a_block_out_of_turn_is_refused(dv, pdf):
    place = upload(dv, pdf, b"", **{"x-ms-transfer-mode": "chunked"}).headers["location"]
    late = dv.send("PATCH", place, b"x" * 10, headers={"Content-Range": "bytes 10-19/30"})
    assert (late.status, late.code) == (400, "0x80040203")
    assert dv.send("PATCH", place, b"x").status == 400


def test_files_have_a_size_and_need_a_name(dv, pdf):
    big = upload(dv, pdf, b"x" * (10240 * 1024 + 1))
    assert (big.status, big.code) == (400, "0x80044a02")
    nameless = dv.send("PATCH", pdf, b"x", headers={"Content-Type": "application/pdf"})
    assert nameless.status == 400
    named = dv.send("PATCH", f"{pdf}?x-ms-file-name=Rechnung%20M%C3%A4rz.pdf", b"x")
    assert named.status == 204
    assert dv.get(pdf.split("/", maxsplit=1)[0]).json["nce_pdf_name"] == "Rechnung März.pdf"


def test_files_go_with_their_row(dv, pdf):
    upload(dv, pdf, b"content")
    assert dv.app.store.one("SELECT COUNT(*) FROM _file") == (1,)
    dv.delete(pdf.split("/", maxsplit=1)[0])
    assert dv.app.store.one("SELECT COUNT(*) FROM _file") == (0,)
