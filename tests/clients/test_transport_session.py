import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from http.client import RemoteDisconnected

import pytest
import requests
from werkzeug.wrappers import Request, Response

from domain.problems import (
    Conflict,
    NotAuthorised,
    NotFound,
    ServiceError,
    Throttled,
    TimedOut,
    Unavailable,
)
from transport.mounts import mount_rehosted, mount_wsgi, new_session
from transport.pace import Allowance, Pace
from transport.refusals import read_error
from transport.session import AccessToken, Http, Patience, hurried

BASE = "https://api.example.test"


class Script:
    """Answers from a list, one per request; an exception in it is a broken connection."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def __call__(self, environ, start_response):
        request = Request(environ)
        request.get_data()
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(environ, start_response)


class CountedTokens:
    def __init__(self):
        self.asked = []

    def get_token(self, *scopes, refused=""):
        self.asked.append((scopes, refused))
        return AccessToken(f"token-{len(self.asked)}", 0)


@pytest.fixture
def waits():
    return []


@pytest.fixture
def http_for(waits):
    def build(*answers, **options):
        script = Script(*answers)
        session = new_session()
        mount_wsgi(session, {BASE: script})
        http = Http(
            BASE,
            service="test",
            session=session,
            sleep=waits.append,
            jitter=lambda: 0.0,
            now=lambda: datetime(2026, 4, 1, tzinfo=UTC),
            **options,
        )
        return http, script

    return build


def ok(body=b'{"a": 1}', **headers):
    return Response(body, 200, headers={k.replace("_", "-"): v for k, v in headers.items()})


def failing(status, body=b"", **headers):
    return Response(body, status, headers={k.replace("_", "-"): v for k, v in headers.items()})


def test_numbers_arrive_and_leave_with_every_digit(http_for):
    http, script = http_for(ok(b'{"amount": 1234567890123456.1234567890, "n": 5}'))

    answer = http.request(
        "PUT", "/x", json={"amount": Decimal("1.10"), "t": "a\u00e9", "l": [1, None]}
    )

    assert answer.json() == {"amount": Decimal("1234567890123456.1234567890"), "n": 5}
    assert script.requests[0].get_data() == b'{"amount": 1.10, "t": "a\\u00e9", "l": [1, null]}'
    assert script.requests[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("body", [b"<html>sign in</html>", b"", b'{"a": NaN}', b"\xff\xfe\xfd"])
def test_an_answer_that_is_not_json_is_an_error_of_the_service(http_for, body):
    http, _ = http_for(ok(body, x_ms_request_id="r1"))
    answer = http.request("GET", "/x")
    with pytest.raises(ServiceError, match="not JSON") as raised:
        answer.json()
    problem = raised.value
    assert (problem.service, problem.status, problem.request_id) == ("test", 200, "r1")
    assert problem.hint == "check that no proxy answers in place of test"


def test_a_float_does_not_go_on_the_wire(http_for):
    http, _ = http_for(ok())
    with pytest.raises(TypeError, match="use Decimal"):
        http.request("PUT", "/x", json={"amount": 1.1})


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"Retry_After": "7"}, b"", [7.0]),
        (
            {
                "Retry_After": "Wed, 01 Apr 2026 00:00:30 GMT",
                "Date": "Wed, 01 Apr 2026 00:00:10 GMT",
            },
            b"",
            [20.0],
        ),
        (
            {},
            b'{"statusCode": 429, "message": "Rate limit is exceeded. Try again in 57 seconds."}',
            [57.0],
        ),
        ({}, b"", [1.0]),
    ],
)
def test_a_throttled_read_waits_as_told(http_for, waits, headers, body, expected):
    http, script = http_for(failing(429, body, **headers), ok())

    assert http.request("GET", "/x").status == 200
    assert waits == expected
    assert len(script.requests) == 2


def test_waiting_doubles_without_advice_and_ends_with_the_tries(http_for, waits):
    http, script = http_for(failing(503, b"<html>sorry</html>"), patience=Patience(tries=4))

    with pytest.raises(Unavailable) as caught:
        http.request("GET", "/x")

    assert waits == [1.0, 2.0, 4.0]
    assert len(script.requests) == 4
    assert str(caught.value) == "test 503: Service Unavailable"


def test_a_wait_longer_than_our_patience_is_the_callers_to_wait(http_for, waits):
    http, _ = http_for(failing(429, Retry_After="3600"))

    with pytest.raises(Throttled) as caught:
        http.request("GET", "/x")

    assert waits == []
    assert caught.value.retry_after == 3600.0
    assert caught.value.hint == "test is busy or down; run this again later"


def test_who_is_waited_for_has_less_patience_inside_and_all_of_it_after(http_for, waits):
    http, script = http_for(failing(503))
    with hurried(20), pytest.raises(Unavailable):
        http.request("GET", "/x")
    assert sum(waits) <= 20
    hurried_tries = len(script.requests)
    waits.clear()
    with pytest.raises(Unavailable):
        http.request("GET", "/x")
    assert sum(waits) > 20
    assert (hurried_tries, len(script.requests)) == (3, 3 + 6)
    http, _ = http_for(failing(429, Retry_After="30"))
    waits.clear()
    silences = []
    http._session.request = lambda *_, timeout, **__: silences.append(timeout) or 1 / 0
    for seconds in (20, math.inf):
        with hurried(seconds), pytest.raises(ZeroDivisionError):
            http.request("GET", "/x")
    assert silences == [20, None]
    http, _ = http_for(failing(429, Retry_After="30"))
    with hurried(20), pytest.raises(Throttled):
        http.request("GET", "/x")
    assert waits == []


@pytest.mark.parametrize(
    ("method", "headers", "keyed", "calls"),
    [
        ("POST", {}, False, 1),
        ("POST", {}, True, 2),
        ("PATCH", {}, False, 1),
        ("PATCH", {"If-Match": '"1"'}, False, 2),
        ("PATCH", {}, True, 2),
        ("PUT", {}, False, 2),
        ("DELETE", {}, False, 2),
    ],
)
def test_only_harmless_calls_are_repeated(http_for, method, headers, keyed, calls):
    http, script = http_for(ConnectionResetError("cut"), ok())

    if calls == 2:
        assert http.request(method, "/x", headers=headers, keyed=keyed).status == 200
    else:
        with pytest.raises(Unavailable, match=r"no answer from api\.example\.test"):
            http.request(method, "/x", headers=headers, keyed=keyed)
    assert len(script.requests) == calls


def test_a_call_that_was_turned_away_at_the_door_is_repeated_whatever_it_does(http_for, waits):
    http, script = http_for(failing(429, Retry_After="7"), ok())

    assert http.request("POST", "/x").status == 200
    assert (waits, len(script.requests)) == ([7.0], 2)


def test_a_post_that_may_have_acted_is_never_repeated(http_for, waits):
    http, script = http_for(failing(503, Retry_After="7"), ok())

    with pytest.raises(Unavailable):
        http.request("POST", "/x")
    assert (waits, len(script.requests)) == ([], 1)


def test_who_loses_a_race_is_told_to_go_on(http_for):
    http, _ = http_for(failing(412))

    with pytest.raises(Conflict) as caught:
        http.request("PATCH", "/x", headers={"If-Match": '"1"'})
    assert caught.value.hint == "somebody else changed the same record; run this again"


def test_a_cut_connection_is_told_in_words(http_for):
    http, _ = http_for(RemoteDisconnected("Remote end closed connection without response"))

    with pytest.raises(Unavailable, match=r"the connection was cut before an answer came$"):
        http.request("POST", "/x")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, ServiceError),
        (401, NotAuthorised),
        (403, NotAuthorised),
        (404, NotFound),
        (409, Conflict),
        (412, Conflict),
        (501, Unavailable),
    ],
)
def test_each_refusal_is_its_own_error_and_is_not_repeated(http_for, status, error, waits):
    body = b'{"code": 2055, "description": "Etag is no longer valid", "source": "PartnerFD"}'
    http, script = http_for(failing(status, body, MS_RequestId="r1,r1"))

    with pytest.raises(error) as caught:
        http.request("GET", "/x")

    assert type(caught.value) is error
    assert (caught.value.code, caught.value.request_id, waits) == ("2055", "r1", [])
    assert str(caught.value) == f"test {status} code 2055 request r1: Etag is no longer valid"
    assert len(script.requests) == 1


def test_a_slip_of_the_service_is_repeated_once(http_for, waits):
    http, script = http_for(failing(500), failing(500), ok())
    with pytest.raises(Unavailable):
        http.request("GET", "/x")
    assert (len(script.requests), waits) == (2, [1.0])

    http, script = http_for(failing(500), ok())
    with pytest.raises(Unavailable):
        http.request("POST", "/x")  # nobody knows what it did
    assert len(script.requests) == 1


@pytest.mark.parametrize("fault", [requests.ReadTimeout("slow"), failing(504)])
def test_a_time_out_is_told_apart_and_repeated_unless_less_would_be_better(http_for, fault):
    http, script = http_for(fault, ok())
    assert http.request("POST", "/x", keyed=True).status == 200
    assert len(script.requests) == 2

    http, script = http_for(fault, ok())
    with pytest.raises(TimedOut):
        http.request("POST", "/x", keyed=True, patience=replace(http.patience, timeouts=False))
    assert len(script.requests) == 1


def test_a_code_can_say_that_a_fault_passes_by_itself(http_for):
    deadlock = failing(400, b'{"error": {"code": "0x80044150", "message": "Sql error"}}')
    patience = Patience(codes=frozenset({"0x80044150"}))
    http, script = http_for(deadlock, deadlock, ok(), patience=patience)
    assert http.request("POST", "/x", keyed=True).status == 200
    assert len(script.requests) == 3

    http, script = http_for(deadlock, ok(), patience=patience)
    with pytest.raises(ServiceError):
        http.request("POST", "/x")  # not keyed: nobody knows what it did
    assert len(script.requests) == 1


def test_a_closed_door_is_told_at_once_where_it_stays_closed_too_long(http_for, waits):
    grant = Allowance(requests=9, seconds=9.0, at_once=9, window=9.0)
    pace = Pace(grant, clock=lambda: 0.0, sleep=waits.append)
    http, script = http_for(failing(429, Retry_After="7200"), ok(), pace=pace)
    for _ in range(2):
        with pytest.raises(Throttled) as caught:
            http.request("GET", "/x")
        assert caught.value.retry_after == 7200
    assert (len(script.requests), waits) == (1, [])


def test_a_failure_inside_a_good_answer_counts_as_its_own(http_for, waits):
    http, script = http_for(ok(b"busy"), ok(b"done"))

    def inspect(answer):
        if answer.content == b"busy":
            raise Throttled("busy", service="test", status=429, retry_after=3.0)

    assert http.request("POST", "/x", inspect=inspect).content == b"done"
    assert (len(script.requests), waits) == (2, [3.0])


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"code": "2055", "description": "Stale"}', ("2055", "Stale")),
        (b'{"code": 600061, "message": "Exists"}', ("600061", "Exists")),
        (
            b'{"error": {"code": "Forbidden", "message": "No", "innerError": {}}}',
            ("Forbidden", "No"),
        ),
        (
            b'{"error": "invalid_grant", "error_description": "AADSTS1"}',
            ("invalid_grant", "AADSTS1"),
        ),
        (
            b"<Error><Code>AuthenticationFailed</Code><Message>Signature did\n not match</Message></Error>",
            ("AuthenticationFailed", "Signature did not match"),
        ),
        (b"<html><h1>502</h1></html>", ("", "")),
        (b"", ("", "")),
        (b"[1]", ("", "")),
    ],
)
def test_error_bodies_of_every_system_are_read(body, expected):
    assert read_error(body) == expected


def test_a_401_gets_one_fresh_token_even_for_a_write(http_for):
    tokens = CountedTokens()
    http, script = http_for(failing(401), ok(), tokens=tokens, scope="s/.default")

    assert http.request("POST", "/x", json={}).status == 200
    assert tokens.asked == [(("s/.default",), ""), (("s/.default",), "token-1")]
    assert [r.headers["Authorization"] for r in script.requests] == [
        "Bearer token-1",
        "Bearer token-2",
    ]


def test_a_second_401_is_final(http_for, waits):
    http, script = http_for(failing(401), tokens=CountedTokens())

    with pytest.raises(NotAuthorised):
        http.request("GET", "/x")
    assert (len(script.requests), waits) == (2, [])


def test_the_token_goes_to_no_other_host(http_for):
    http, script = http_for(ok(), tokens=CountedTokens())

    with pytest.raises(ServiceError, match=r"refuses to follow a link to evil\.example"):
        http.request("GET", "https://evil.example/next")
    with pytest.raises(ServiceError, match="refuses"):
        http.request("GET", BASE.replace("https", "http") + "/next")
    assert script.requests == []


def test_embedded_mode_reaches_no_other_host():
    session = new_session()
    mount_wsgi(session, {BASE: Script(ok())})
    http = Http(BASE + ".evil.example", service="t", session=session, patience=Patience(tries=1))

    with pytest.raises(Unavailable, match="not mounted"):
        http.request("GET", "/x")


def test_a_rehosted_address_is_served_from_elsewhere():
    session = new_session()
    script = Script(ok(b"{}"))
    mount_wsgi(session, {"http://127.0.0.1:8401": script})
    mount_rehosted(session, "https://login.example", "http://127.0.0.1:8401")

    assert session.get("https://login.example/a?b=c").json() == {}
    assert (script.requests[0].path, script.requests[0].query_string) == ("/a", b"b=c")


def test_secrets_do_not_appear_in_errors(http_for):
    body = json.dumps({"code": "1", "description": "bad Bearer abcdefghijklmnop sig=SECRET&x=1"})
    http, _ = http_for(failing(400, body.encode()))

    with pytest.raises(ServiceError) as caught:
        http.request("GET", "/x")
    assert "abcdefgh" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_an_answer_beyond_the_limit_is_an_error_and_not_repeated(http_for, waits):
    http, script = http_for(ok(b"x" * 1000))

    with pytest.raises(ServiceError, match="more than 100 bytes"):
        http.request("GET", "/x", limit=100)
    assert (len(script.requests), waits) == (1, [])


def test_cookies_and_redirects_are_not_followed(http_for):
    http, script = http_for(failing(302, Location="https://evil.example/", Set_Cookie="a=b"), ok())

    assert http.request("GET", "/x").status == 302
    http.request("GET", "/x")
    assert "Cookie" not in script.requests[1].headers


def test_calls_are_told_without_query_or_body(http_for):
    calls = []
    http, _ = http_for(ok(), on_call=calls.append)

    http.request("GET", "/a/b", params={"sig": "secret"})

    call = calls[0]
    assert call[:5] == ("test", "GET", "api.example.test", "/a/b", 200)
    assert call.milliseconds >= 0


def test_each_try_is_told_with_its_number_and_the_services_request_id(http_for):
    calls = []
    http, _ = http_for(
        failing(503, request_id="one"),
        ConnectionResetError("cut"),
        failing(429, Retry_After="1"),
        ok(request_id="four"),
        ok(request_id="five"),
        on_call=calls.append,
    )

    http.request("GET", "/x")
    http.request("GET", "/x")

    told = [(one.status, one.tried, one.request_id) for one in calls]
    assert told == [
        (503, 1, "one"),
        (None, 2, ""),
        (429, 3, ""),
        (200, 4, "four"),
        (200, 1, "five"),
    ]


def test_a_download_is_whole_or_absent(http_for, tmp_path):
    whole = ok(b"PK-and-more", Content_Encoding="deflate")  # claimed, not done: kept as it came
    http, script = http_for(ConnectionResetError("cut"), whole)

    path = http.download(f"{BASE}/f", tmp_path / "f.zip")

    assert path.read_bytes() == b"PK-and-more"
    assert "Authorization" not in script.requests[1].headers
    with pytest.raises(ServiceError, match="more than 3 bytes"):
        http.download(f"{BASE}/f", tmp_path / "g.zip", limit=3)
    assert [p.name for p in tmp_path.iterdir()] == ["f.zip"]


def test_a_shortened_download_is_tried_again(http_for, tmp_path, waits):
    def shortened(environ, start_response):
        start_response("200 OK", [("Content-Length", "100")])
        return [b"only this"]

    http, script = http_for(shortened, ok(b"all"))
    assert http.download(f"{BASE}/f", tmp_path / "f").read_bytes() == b"all"
    assert (len(script.requests), waits) == (2, [1.0])


def test_a_download_without_token_is_over_https_alone(http_for, tmp_path):
    http, _ = http_for(ok())
    with pytest.raises(ServiceError, match="not https"):
        http.download("http://store.example/f", tmp_path / "f")


def test_a_body_that_comes_drop_by_drop_is_not_waited_for():
    import time
    from types import SimpleNamespace

    from transport.mounts import in_time

    def drop(*_, **__):
        time.sleep(0.02)
        return b" "

    read = []
    with pytest.raises(requests.ReadTimeout):
        read.extend(in_time(SimpleNamespace(read1=drop), 0.1))
