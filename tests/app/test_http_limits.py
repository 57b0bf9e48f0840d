"""What the HTTP functions refuse: too much, not JSON, names that are paths, addresses elsewhere."""

from __future__ import annotations

import json

import pytest

from app import wiring
from app.http_reading import MAX_BODY, idempotency_key, read_run_token, run_token
from app.settings import Settings
from domain.problems import ConfigurationError, InputError
from domain.run import Run, RunStatus
from partner_center.registration import _check
from tests.app.conftest import functions
from tests.app.http_office import ask, data, waiting
from tests.fakes import MOMENT

POSTS = {
    "start": {"kind": "sync"},
    "approve": {"period": "2026-10", "by": "Maria"},
    "release": {"reason": "agreed", "by": "Maria", "version": "0" * 16},
}
FINDING = "agreement.missing-58fcf3"
GETS = {
    "list_runs": {},
    "read": {"run_id": "bill.2026-10"},
    "list_findings": {},
    "read_finding": {"finding_id": FINDING},
    "read_invoice": {"number": "INV-202610-0001"},
    "read_pdf": {"number": "INV-202610-0001"},
    "explain": {"number": "INV-202610-0001", "line": "1"},
    "health": {},
    "ready": {},
}


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    from dataverse.provision.provisioner import Provisioner

    state = tmp_path_factory.mktemp("limits")
    settings = Settings.from_env({"CSP_STATE_DIR": str(state), "CSP_SCENARIO": "small"})
    with wiring.opened(settings) as made:
        Provisioner(made.dataverse, sleep=made.dataverse.http.sleep).apply()
        yield made


@pytest.fixture
def worker(office, monkeypatch):
    monkeypatch.setattr(wiring, "worker", lambda: office)
    yield office
    assert waiting(office) == [], "what was refused left a message"


def check_refused(response, status, sentence=""):
    assert response.status_code == status, response.get_body()
    told = data(response)
    assert told.keys() == {"error", "hint"}
    assert sentence in told["error"]
    assert "\n" not in told["error"]
    return told


def every_function():
    found = {}
    for name, function in functions().items():
        (trigger,) = [
            one.get_dict_repr()
            for one in function.get_bindings()
            if one.get_dict_repr()["type"].endswith("Trigger")
        ]
        if trigger["type"] == "httpTrigger":
            found[name] = trigger
    return found


# Bodies --------------------------------------------------------------------------------------------


def test_every_function_that_takes_a_body_is_tried_here():
    posts = {name for name, one in every_function().items() if one["methods"][0].value == "POST"}
    assert posts == {*POSTS, "hear", "notify"}
    assert set(every_function()) == {*posts, *GETS, "alive"}


@pytest.mark.parametrize("name", POSTS)
def test_a_body_has_a_largest_size_which_is_looked_at_before_it_is_read(worker, name):
    route = {"finding_id": FINDING} if name == "release" else {}
    body = json.dumps(POSTS[name]).encode()
    too_large = body + b" " * (MAX_BODY + 1 - len(body))
    told = check_refused(ask(name, too_large, **route), 413)
    assert told["error"] == f"the body is larger than {MAX_BODY} bytes"


@pytest.mark.parametrize(("name", "most"), [("hear", 512 * 1024), ("notify", 16 * 1024)])
def test_an_event_has_a_largest_size_too(worker, name, most):
    response = ask(name, b" " * (most + 1))
    assert response.status_code == 413
    assert ask(name, b" " * most).status_code in {400, 401}


@pytest.mark.parametrize("name", POSTS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"null",
        b"[]",
        b'"sync"',
        b"{",
        b"{'kind': 'sync'}",
        b'{"kind": NaN}',
        b'{"kind": "sync", "kind": "bill"}',
        b'{"by": "a", "by": "b"}',
        b"[" * 2000 + b"]" * 2000,
        b'{"kind":' * 450 + b"1" + b"}" * 450,
        b'{"kind": ' + b"9" * 4000 + b"}",
        b'{"kind": 1e999}',
        b'{"kind": "sync", "period": {"$ne": null}}',
        b'{"kind": ["sync"]}',
        b'{"__proto__": {"kind": "sync"}}',
        b'{"kind": "sync\\u0000"}',
    ],
)
def test_what_is_no_plain_object_is_refused_with_a_sentence(worker, name, body):
    route = {"finding_id": FINDING} if name == "release" else {}
    told = check_refused(ask(name, body, **route), 400)
    assert told["error"].startswith("body: ") or told["error"].startswith("the body is not")


@pytest.mark.parametrize("name", POSTS)
@pytest.mark.parametrize(
    "media",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonp",
        "text/html, application/json",
        "application/json\r\nX-Admin: 1",
    ],
)
def test_only_what_is_marked_as_json_is_read(worker, name, media):
    route = {"finding_id": FINDING} if name == "release" else {}
    response = ask(name, POSTS[name], headers={"Content-Type": media}, **route)
    assert check_refused(response, 415)["hint"].endswith("Content-Type: application/json")


def test_json_may_name_its_letters(office, monkeypatch):
    monkeypatch.setattr(wiring, "worker", lambda: office)
    for media in ("application/json; charset=utf-8", "Application/JSON"):
        response = ask("start", {"kind": "sync"}, headers={"Content-Type": media})
        assert response.status_code == 202
    assert len(waiting(office)) == 2


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"kind": "pay"}, "kind: Input should be 'sync', 'usage'"),
        ({"kind": "bill"}, "kind bill needs a period"),
        ({"kind": "bill", "period": "last"}, "period: String should match pattern"),
        ({"kind": "bill", "period": "2026-10\n"}, "period: String should match pattern"),
        ({"kind": "sync", "day": "today"}, "day: Input should be a valid date"),
        ({"kind": "sync", "day": "10000-01-01"}, "day: Input should be a valid date"),
        ({"kind": "sync", "day": "0001-01-01"}, "day: Input should be greater than or equal to"),
        ({"kind": "sync", "day": "2101-01-01"}, "day: Input should be less than or equal to"),
        ({"kind": "sync", "period": "2026-10"}, "is for a day, not for a month"),
        ({"kind": "sync", "amount": "1"}, "amount: Extra inputs are not permitted"),
        ({"kind": "sync", "trace": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}, "trace: Extra"),
        ({"kind": "sync", "v": 1}, "v: Extra inputs are not permitted"),
        ({"kind": "sync", "x" * 3000: 1}, "x" * 40 + ": Extra inputs"),
        ({"kind": "bill", "period": "2026-10", "customer_id": "c1/../x"}, "customer_id: String"),
        ({"kind": "sync", "by": "x" * 101}, "by: String should have at most 100 characters"),
        ({"kind": "sync", "by": "a\x00b"}, "by: String should match pattern"),
        ({"kind": "sync", "by": 7}, "by: Input should be a valid string"),
    ],
)
def test_a_run_that_cannot_be_is_told_in_one_sentence(worker, body, sentence):
    check_refused(ask("start", body), 400, sentence)


def test_what_is_refused_is_not_repeated(worker):
    """A value may be a secret that was put into the wrong field."""
    for body in (
        {"kind": "hunter2"},
        {"kind": "bill", "period": "hunter2"},
        {"kind": "sync", "by": ["hunter2"]},
    ):
        assert b"hunter2" not in ask("start", body).get_body()


# Names in a path -----------------------------------------------------------------------------------

TRICKS = [
    "",
    ".",
    "..",
    "../..",
    "..%2f..%2fsecrets",
    "%2e%2e",
    "bill%2f2026-10",
    "bill/2026-10",
    "bill\\2026-10",
    "bill.2026-10\x00",
    "bill.2026-10\n",
    "bill.2026-10\r\nSet-Cookie: a=b",
    "bill.2026-10'--",
    "bill.2026-10' or '1' eq '1",
    "bill.2026-10)",
    "bill.2026-10?$expand=x",
    "bill.2026-10;x",
    "bill.2026-10.",
    ".bill.2026-10",
    "bill..2026-10",
    "ｂill.2026-10",
    "é" * 300,
    "a" * 20_000,
    "bill." + "a" * 20_000,
    "-" * 50 + "-58fcf3",
]


@pytest.mark.parametrize("name", ["read", "read_finding", "release"])
@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: repr(trick[:20]))
def test_a_name_that_is_none_of_ours_is_nothing_and_asks_nobody(worker, name, trick):
    worker.systems.emulator.control.clear_log()
    route = {"run_id": trick} if name == "read" else {"finding_id": trick}
    response = ask(name, POSTS.get(name), **route)
    check_refused(response, 404)
    assert worker.systems.emulator.control.requests() == []
    told = json.dumps(dict(response.headers))
    assert "Set-Cookie" not in told


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: repr(trick[:20]))
def test_no_name_of_a_document_finds_another_one(worker, trick):
    for name in ("read_invoice", "read_pdf", "explain"):
        check_refused(ask(name, number=trick, line="1"), 404)


def test_the_name_of_a_file_ends_no_header_and_no_folder():
    from app.http_answers import _file_name

    for trick in (*TRICKS, 'a"; filename="x.exe', "INV-202610-0001"):
        made = _file_name(trick)
        assert len(made) <= 100
        assert set(made) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
    assert _file_name("INV-202610-0001") == "INV-202610-0001"


# Queries and headers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("list_runs", {"top": "0"}),
        ("list_runs", {"top": "201"}),
        ("list_runs", {"top": "many"}),
        ("list_runs", {"top": "1,2"}),
        ("list_runs", {"kind": "pay"}),
        ("list_runs", {"after": "x" * 401}),
        ("list_runs", {"after": "../x"}),
        ("list_runs", {"after": "bnVsbA"}),
        ("list_runs", {"after": "WzEsMl0"}),
        ("list_runs", {"$filter": "1 eq 1"}),
        ("list_findings", {"after": "agreement.missing-58fcf3"}),
        ("list_findings", {"state": "all"}),
        ("list_findings", {"customer_id": "' or '"}),
        ("list_findings", {"top": "-1"}),
        ("read", {"select": "x"}),
        ("read_invoice", {"format": "xml"}),
        ("health", {"format": "exe"}),
        ("health", {"name": "../settings"}),
        ("ready", {"url": "https://evil.example"}),
    ],
)
def test_parameters_that_are_not_known_or_do_not_fit_are_refused(worker, name, query):
    check_refused(ask(name, query=query, **GETS[name]), 400, "query: ")


def test_a_token_of_a_page_holds_a_place_and_nothing_more():
    run = Run(
        key="bill/2026-10",
        kind="bill",
        scope="",
        window="2026-10",
        status=RunStatus.DONE,
        started_at=MOMENT,
    )
    assert read_run_token(run_token(run)) == (MOMENT, "bill/2026-10")
    for started, key in (
        (MOMENT.isoformat(), "bill/2026-10' or csp_key ne '"),
        (MOMENT.replace(tzinfo=None).isoformat(), "bill/2026-10"),
        ("yesterday", "bill/2026-10"),
        (7, "bill/2026-10"),
        # Days that some zone or system cannot hold.
        ("0001-01-01T00:00:00+14:00", "bill/2026-10"),
        ("9999-12-31T23:59:59-14:00", "bill/2026-10"),
        ("1600-01-01T00:00:00+00:00", "bill/2026-10"),
        ("2100-12-31T23:59:59-14:00", "bill/2026-10"),
        (MOMENT.isoformat(), None),
    ):
        import base64

        token = base64.urlsafe_b64encode(json.dumps([started, key]).encode()).decode()
        with pytest.raises(Exception, match="after is no token of ours"):
            read_run_token(token.rstrip("="))


@pytest.mark.parametrize("key", ["a b", "a\r\nX: 1", "é", "x" * 129, '"', "<script>", "a\x00"])
def test_an_idempotency_key_is_short_and_plain(worker, key):
    response = ask("start", {"kind": "sync"}, headers={"Idempotency-Key": key})
    check_refused(response, 400, "Idempotency-Key is not readable")


def test_keys_as_programs_make_them_are_taken():
    import azure.functions as func

    for given, read in (
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ('"8e03978e"', "8e03978e"),
        ("08585123456789012345678901234CU42", "08585123456789012345678901234CU42"),
        ("", ""),
    ):
        request = func.HttpRequest("POST", "/", body=b"", headers={"Idempotency-Key": given})
        assert idempotency_key(request) == read


@pytest.mark.parametrize("name", [*POSTS, *GETS, "alive", "hear", "notify"])
def test_every_answer_forbids_to_be_kept_and_guessed_at_and_reflects_nothing(worker, name):
    mark = "mark-58fcf3"
    headers = {"X-Forwarded-Host": mark, "Origin": f"https://{mark}", "Cookie": mark, "Host": mark}
    response = ask(name, b"{}" if name in POSTS else None, headers=headers, **GETS.get(name, {}))
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert mark not in json.dumps(dict(response.headers))
    assert "Access-Control-Allow-Origin" not in response.headers


# Addresses that are set or typed -------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "http://169.254.169.254/metadata",
        "http://10.0.0.5",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379",
        "//evil.example",
        "https://user:word@graph.microsoft.com",
        "https://graph.microsoft.com?x=1",
        "https://graph.microsoft.com#x",
        "https://",
    ],
)
@pytest.mark.parametrize("name", ["GRAPH_URL", "LOGIN_URL", "DATAVERSE_URL", "TAX_ENGINE_URL"])
def test_an_address_in_the_settings_is_https_and_plain(name, address):
    with pytest.raises(ConfigurationError, match=f"CSP_{name}: must be "):
        Settings.from_env({f"CSP_{name}": address})


@pytest.mark.parametrize("address", ["https://emulator.example", "https://10.0.0.5:8443"])
def test_emulators_are_on_this_machine(address):
    with pytest.raises(ConfigurationError, match=r"EMULATOR_URL: must be on 127\.0\.0\.1"):
        Settings.from_env({"CSP_MODE": "emulator", "CSP_EMULATOR_URL": address})


def test_an_emulator_that_names_another_machine_is_sent_no_secret():
    """What answers on a port of this machine may be anything."""
    from werkzeug.wrappers import Response

    from app.systems import systems_of
    from transport.mounts import mount_wsgi, new_session

    settings = Settings.from_env(
        {"CSP_MODE": "emulator", "CSP_EMULATOR_URL": "http://127.0.0.1:9", "CSP_CLIENT_SECRET": "s"}
    )
    urls = {"graph": "http://127.0.0.1:10", "login": "https://evil.example"}
    overview = json.dumps({"credentials": {}, "base_urls": urls})
    session = new_session()
    mount_wsgi(session, {"http://127.0.0.1:9": Response(overview, mimetype="application/json")})
    with pytest.raises(ConfigurationError, match="has login on another machine"):
        systems_of(settings, session)


@pytest.mark.parametrize(
    "address",
    [
        "http://app.example/api/partner-center-events",
        "https://",
        "https://user@app.example/x",
        "https://app.example/x#part",
        "https://10.0.0.5/x",
        "https://192.168.1.1/x",
        "https://169.254.169.254/x",
        "https://[::1]/x",
        "https://[fd00::1]/x",
        "https://0.0.0.0/x",
        "https://app.example/x\r\nX-Admin: 1",
        "https://app.example/x y",
        "https://app.example/\x00",
        "ftp://app.example/x",
        "https://app.example/" + "x" * 2000,
        "https://[::1/x",
    ],
)
def test_no_webhook_is_registered_where_it_cannot_be_reached_or_is_no_plain_address(address):
    with pytest.raises(InputError):
        _check(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://app.azurewebsites.net/api/partner-center-events?code=abc",
        "https://20.50.2.3/api/partner-center-events",
        "http://127.0.0.1:7071/api/partner-center-events",
    ],
)
def test_a_public_address_or_one_of_this_machine_is_registered(address):
    _check(address)
