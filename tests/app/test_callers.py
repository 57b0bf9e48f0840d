"""Who may call over HTTP: tokens as Entra ID issues them, and every way in which one may be wrong."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import azure.functions as func
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app import wiring
from app.callers import ROLES, Forbidden, Unauthenticated, auth_level, caller_of
from app.settings import Settings
from domain.problems import Unavailable
from emulator import published
from tests.app.conftest import functions
from transport.bearer import BadToken, entra_tokens

OPEN = {"alive"}
BY_KEY = {"dataverse-events", "partner-center-events"}
"""Who posts there cannot sign in: the host asks for a key at either door."""
AUDIENCE = "api://3f0c2b50-57a5-5d0e-9b1a-000000000001"


class Office:
    """A worker behind the door `entra`, the API's registration, and who calls it."""

    def __init__(self, worker):
        self.worker = worker
        self.emulator = worker.systems.emulator
        self.principals = self.emulator.principals
        self.tenant = self.emulator.world.partner.tenant_id

    def login(self, client, scope, **form):
        given = {
            "client_id": client.client_id,
            "client_secret": client.client_secret,
            "grant_type": "client_credentials",
            "scope": scope,
        }
        url = f"{self.emulator.base_urls['login']}/{self.tenant}/oauth2/v2.0/token"
        http = self.worker.dataverse.http
        return http._session.post(url, data=given | form).json()

    def application(self, *roles, name="flow"):
        """The token of an application that holds these roles."""
        client = self.principals.add(kind="application", name=name, roles=roles)
        return self.login(client, f"{self.api.names[1]}/.default")["access_token"]

    def user(self, *roles, name="ada"):
        """What a portal gets for a user who signed in: an access token and an ID token."""
        portal = self.principals.add(kind="application", name="portal")
        user = self.principals.add(kind="user", name=name, roles=roles)
        redirect = "https://portal.example/back"
        http = self.worker.dataverse.http
        sent = http._session.get(
            f"{self.emulator.base_urls['login']}/{self.tenant}/oauth2/v2.0/authorize",
            params={
                "client_id": portal.client_id,
                "response_type": "code",
                "redirect_uri": redirect,
                "login_hint": user.upn,
            },
            allow_redirects=False,
        )
        code = sent.headers["Location"].partition("code=")[2]
        return user, self.login(
            portal,
            f"openid {self.api.names[1]}/user_impersonation",
            grant_type="authorization_code",
            code=code,
            redirect_uri=redirect,
        )

    @property
    def api(self):
        return next(iter(self.principals.apis.values()))

    @property
    def now(self):
        return int(self.emulator.clock.now().timestamp())

    def claims(self, **changes):
        """The claims of a good token of an application, some of them changed or (None) left out."""
        good = {
            "aud": self.api.app_id,
            "iss": f"https://login.microsoftonline.com/{self.tenant}/v2.0",
            "tid": self.tenant,
            "iat": self.now,
            "nbf": self.now,
            "exp": self.now + 3600,
            "azp": "0f0f0f0f-0000-4000-8000-000000000001",
            "oid": "0f0f0f0f-0000-4000-8000-000000000002",
            "roles": list(ROLES),
            "ver": "2.0",
        }
        return {key: value for key, value in (good | changes).items() if value is not None}

    def signed(self, **changes):
        """A token that the tenant's own key signed."""
        return published.sign(self.claims(**changes))

    def key_requests(self):
        asked = self.emulator.control.requests()
        return [one for one in asked if one["path"].endswith("/discovery/v2.0/keys")]


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    variables = {
        "CSP_STATE_DIR": str(tmp_path_factory.mktemp("callers")),
        "CSP_SCENARIO": "small",
        "CSP_HTTP_DOOR": "entra",
    }
    with wiring.opened(Settings.from_env(variables | {"CSP_HTTP_AUDIENCE": AUDIENCE})) as first:
        api = first.systems.emulator.principals.register(name="billing")
    with wiring.opened(Settings.from_env(variables | {"CSP_HTTP_AUDIENCE": api.app_id})) as worker:
        worker.systems.emulator.principals.register(name="billing")
        yield Office(worker)


def asked(token=None, *, scheme="Bearer", headers=None):
    given = dict(headers or {})
    if token is not None:
        given["Authorization"] = f"{scheme} {token}"
    return func.HttpRequest("GET", "https://app.example/api/runs", headers=given, body=b"")


def b64(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


STRANGER = rsa.generate_private_key(65537, 2048)


def with_header(office, key, algorithm="RS256", **header):
    return jwt.encode(office.claims(), key, algorithm=algorithm, headers=header)


def hmac_with_the_public_key(office):
    """The confusion of algorithms: the published key, used as a shared secret."""
    key = jwt.PyJWK(published.published()).key
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    header = {"typ": "JWT", "alg": "HS256", "kid": published.published()["kid"]}
    text = f"{b64(header)}.{b64(office.claims())}"
    import hashlib
    import hmac

    return f"{text}.{b64(hmac.digest(pem, text.encode(), hashlib.sha256))}"


def unsigned(office, name="none"):
    header = {"typ": "JWT", "alg": name, "kid": published.published()["kid"]}
    return f"{b64(header)}.{b64(office.claims())}."


def tampered(office):
    head, _, signature = office.signed(roles=["Runs.Read"]).split(".")
    return f"{head}.{b64(office.claims())}.{signature}"


def twice(office):
    """A claim that stands there twice: who reads the first and who reads the last disagree."""
    head = b64({"typ": "JWT", "alg": "RS256", "kid": published.published()["kid"]})
    text = json.dumps(office.claims())[:-1] + ', "exp": 99999999999}'
    body = b64(text.encode())
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256

    signature = published._key().sign(f"{head}.{body}".encode(), padding.PKCS1v15(), SHA256())
    return f"{head}.{body}.{b64(signature)}"


OWN = {"kid": lambda: published.published()["kid"]}
BAD = {
    "garbage": lambda office: "garbage",
    "three parts of nothing": lambda office: "..",
    "not text": lambda office: "\xff\xfe.\x00.\x7f",
    "another audience": lambda office: office.signed(aud="api://elsewhere"),
    "an audience with ours in it": lambda office: office.signed(aud=f"x{office.api.app_id}"),
    "a list of audiences": lambda office: office.signed(aud=[office.api.app_id]),
    "no audience": lambda office: office.signed(aud=None),
    "another issuer": lambda office: office.signed(iss="https://login.example/v2.0"),
    "the issuer of another tenant": lambda office: office.signed(
        iss="https://login.microsoftonline.com/00000000-0000-4000-8000-000000000000/v2.0"
    ),
    "another tenant": lambda office: office.signed(tid="00000000-0000-4000-8000-000000000000"),
    "no tenant": lambda office: office.signed(tid=None),
    "expired": lambda office: office.signed(exp=office.now - 121),
    "no end": lambda office: office.signed(exp=None),
    "an end in words": lambda office: office.signed(exp="2099-01-01"),
    "an end that is true": lambda office: office.signed(exp=True),
    "not valid yet": lambda office: office.signed(nbf=office.now + 121),
    "an ID token of a portal": lambda office: office.signed(azp=None),
    "algorithm none": unsigned,
    "algorithm None": lambda office: unsigned(office, "None"),
    "the public key as a secret": hmac_with_the_public_key,
    "another key under our id": lambda office: with_header(
        office, STRANGER, kid=published.published()["kid"]
    ),
    "an unknown key": lambda office: with_header(office, STRANGER, kid="unknown"),
    "no key id": lambda office: with_header(office, STRANGER),
    "a key of its own": lambda office: with_header(
        office,
        STRANGER,
        kid="own",
        jwk=json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(STRANGER.public_key())),
        jku="https://attacker.example/keys",
    ),
    "another algorithm of the same key": lambda office: with_header(
        office, published._key(), "PS256", kid=published.published()["kid"]
    ),
    "a demand that nobody knows": lambda office: with_header(
        office, published._key(), kid=published.published()["kid"], crit=["b64"], b64=True
    ),
    "changed after signing": tampered,
    "a claim twice": twice,
    "huge": lambda office: "a" * 20_000,
    "deep": lambda office: f"{b64(('[' * 9000).encode())}.{b64({})}.x",
}


@pytest.mark.parametrize("name", BAD)
def test_a_token_that_is_not_to_be_believed_is_refused_with_a_fixed_sentence(office, name):
    token = BAD[name](office)
    with pytest.raises(Unauthenticated) as refused:
        caller_of(asked(token), "Runs.Read", office.worker)
    assert refused.value.status == 401
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer error="invalid_token"'}
    told = f"{refused.value} {refused.value.hint}"
    assert len(told) < 200
    assert token[:40] not in told
    assert not [one for one in office.emulator.control.requests() if "attacker" in str(one)]


@pytest.mark.parametrize(
    ("request_", "challenge"),
    [
        (asked(), "Bearer"),
        (asked("dXNlcjpwYXNz", scheme="Basic"), 'Bearer error="invalid_token"'),
        (asked(""), 'Bearer error="invalid_token"'),
        (asked(headers={"X-MS-CLIENT-PRINCIPAL": b64({"role": list(ROLES)})}), "Bearer"),
        (asked(headers={"X-MS-TOKEN-AAD-ACCESS-TOKEN": "x"}), "Bearer"),
    ],
)
def test_without_a_bearer_token_nobody_is_known(office, request_, challenge):
    with pytest.raises(Unauthenticated) as refused:
        caller_of(request_, "Runs.Read", office.worker)
    assert refused.value.headers["WWW-Authenticate"] == challenge


@pytest.mark.parametrize("version", [1, 2])
def test_an_application_with_the_role_is_let_in_and_known_by_its_id(office, version):
    office.principals.register(name="billing", token_version=version)
    token = office.application("Runs.Start", "Runs.Read")
    office.principals.register(name="billing")

    caller = caller_of(asked(token), "Runs.Start", office.worker)

    flow = office.principals.holders[-1]
    assert caller.name == f"application {flow.client_id}"
    assert caller.object_id == flow.object_id
    assert caller.roles == {"Runs.Start", "Runs.Read"}


@pytest.mark.parametrize("version", [1, 2])
def test_a_user_with_the_role_is_let_in_and_known_by_address(office, version):
    office.principals.register(name="billing", token_version=version)
    ada, granted = office.user("Invoices.Approve")
    office.principals.register(name="billing")

    caller = caller_of(
        asked(granted["access_token"], scheme="bearer"), "Invoices.Approve", office.worker
    )

    assert (caller.name, caller.object_id) == (ada.upn, ada.object_id)
    with pytest.raises(Unauthenticated):
        caller_of(asked(granted["id_token"]), "Invoices.Approve", office.worker)


@pytest.mark.parametrize("roles", [None, [], ["Runs.Start"], ["runs.read"], "Runs.Read", [["x"]]])
def test_a_believable_caller_without_the_role_is_forbidden(office, roles):
    with pytest.raises(Forbidden) as refused:
        caller_of(asked(office.signed(roles=roles)), "Runs.Read", office.worker)
    assert refused.value.status == 403
    assert refused.value.headers == {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
    assert "assign Runs.Read" in refused.value.hint


def test_clocks_may_differ_by_two_minutes(office):
    for changes in ({"exp": office.now - 119}, {"nbf": office.now + 119}, {"nbf": None}):
        assert caller_of(asked(office.signed(**changes)), "Runs.Read", office.worker).object_id


def test_a_name_is_one_line_without_control_characters(office):
    token = office.signed(preferred_username="a\r\nSet-Cookie: x\x00" + "b" * 500)
    name = caller_of(asked(token), "Runs.Read", office.worker).name
    assert name.isprintable()
    assert len(name) <= 200


def test_a_person_whose_address_the_token_leaves_out_is_not_taken_for_the_application(office):
    """The address is an optional claim of tokens for people; their scopes are not."""
    left_out = {"preferred_username": None, "scp": "user_impersonation", "azp": "connector"}
    caller = caller_of(asked(office.signed(**left_out)), "Runs.Read", office.worker)
    assert caller.name == f"user {caller.object_id}"


# --- the keys ------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(office):
    """A judge that has read no key yet."""
    office.worker.bearers.cache_clear()
    office.emulator.control.clear_log()
    office.emulator.control.clear_faults()
    yield office
    office.emulator.control.clear_faults()
    office.worker.bearers.cache_clear()


def test_keys_are_read_once_for_many_tokens_and_again_after_a_day(fresh):
    for _ in range(5):
        caller_of(asked(fresh.signed()), "Runs.Read", fresh.worker)
    assert len(fresh.key_requests()) == 1
    fresh.emulator.clock.advance(timedelta(days=1))
    for _ in range(5):
        caller_of(asked(fresh.signed()), "Runs.Read", fresh.worker)
    assert len(fresh.key_requests()) == 2


def test_invented_key_ids_make_nobody_ask_entra_more_than_every_few_minutes(fresh):
    for minute in range(20):
        for number in range(5):
            token = with_header(fresh, STRANGER, kid=f"invented-{minute}-{number}")
            with pytest.raises(Unauthenticated):
                caller_of(asked(token), "Runs.Read", fresh.worker)
        fresh.emulator.clock.advance(timedelta(minutes=1))
    assert len(fresh.key_requests()) == 4


def test_while_entra_fails_invented_key_ids_make_nobody_ask_it_more_often(fresh):
    caller_of(asked(fresh.signed()), "Runs.Read", fresh.worker)
    fresh.emulator.clock.advance(timedelta(minutes=5))
    fresh.emulator.control.clear_log()
    fresh.emulator.control.fail_next("login", path=".*keys", status=503, count=99)
    for number in range(40):
        invented = with_header(fresh, STRANGER, kid=f"invented-{number}")
        with pytest.raises(Unauthenticated):
            caller_of(asked(invented), "Runs.Read", fresh.worker)
        assert caller_of(asked(fresh.signed()), "Runs.Read", fresh.worker)
        fresh.emulator.clock.advance(timedelta(seconds=15))
    assert len(fresh.key_requests()) == 2 * 2  # each time one repetition


def test_who_has_a_known_key_waits_for_nobody_s_invented_one(fresh):
    bearers = fresh.worker.bearers()
    bearers.read(f"Bearer {fresh.signed()}")
    fresh.emulator.clock.advance(timedelta(minutes=5))
    asking, answer = threading.Event(), threading.Event()
    real = bearers._keys._http

    class Slow:
        def request(self, *args, **named):
            asking.set()
            assert answer.wait(20)
            return real.request(*args, **named)

    bearers._keys._http = Slow()
    try:
        with ThreadPoolExecutor(2) as threads:
            invented = with_header(fresh, STRANGER, kid="invented")
            stranger = threads.submit(bearers.read, f"Bearer {invented}")
            assert asking.wait(20)
            honest = threads.submit(bearers.read, f"Bearer {fresh.signed()}")
            try:
                assert honest.result(5).object_id
            finally:
                answer.set()
            with pytest.raises(BadToken):
                stranger.result(20)
    finally:
        bearers._keys._http = real


def test_the_tenant_may_stand_in_capitals_in_the_settings(office):
    login = office.worker.bearers()._keys._http
    own = entra_tokens(
        login,
        tenant_id=office.tenant.upper(),
        audience=office.api.app_id,
        issuer="",
        now=office.emulator.clock.now,
    )
    issuer = f"{login.base_url}/{office.tenant}/v2.0"
    assert own.read(f"Bearer {office.signed(iss=issuer)}").roles == set(ROLES)


def test_a_key_that_entra_begins_to_use_is_found(fresh, monkeypatch):
    caller_of(asked(fresh.signed()), "Runs.Read", fresh.worker)
    fresh.emulator.clock.advance(timedelta(minutes=5))
    monkeypatch.setattr(published, "_key", lambda: STRANGER)
    assert caller_of(asked(fresh.signed()), "Runs.Read", fresh.worker)


def test_known_keys_outlive_an_outage_and_without_any_the_answer_is_not_no(fresh):
    control = fresh.emulator.control
    control.fail_next("login", path=".*keys", status=503, count=50)
    with pytest.raises(Unavailable):
        caller_of(asked(fresh.signed()), "Runs.Read", fresh.worker)
    first = len(fresh.key_requests())
    with pytest.raises(Unavailable):  # asked a moment ago
        caller_of(asked(fresh.signed()), "Runs.Read", fresh.worker)
    assert len(fresh.key_requests()) == first
    control.clear_faults()
    fresh.emulator.clock.advance(timedelta(seconds=15))
    assert caller_of(asked(fresh.signed()), "Runs.Read", fresh.worker)

    control.fail_next("login", path=".*keys", status=503, count=50)
    fresh.emulator.clock.advance(timedelta(days=2))
    assert caller_of(asked(fresh.signed()), "Runs.Read", fresh.worker)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        {},
        [{"kty": "oct", "kid": "k", "k": "c2VjcmV0"}],
        [{"kty": "RSA", "kid": "k", "n": "AQAB", "e": "AQAB"}],
        [{"kty": "RSA", "kid": "k", "use": "enc", "n": "AQAB", "e": "AQAB"}],
        ["text", None, {"kty": "RSA"}],
    ],
)
def test_a_key_set_without_a_usable_key_is_no_key_set(fresh, keys):
    fresh.emulator.control.fail_next(
        "login", path=".*keys", status=200, count=9, body={"keys": keys}
    )
    with pytest.raises(Unavailable):
        caller_of(asked(with_header(fresh, STRANGER, kid="k")), "Runs.Read", fresh.worker)


# --- the door and the routes ---------------------------------------------------------------------------


def test_the_door_is_decided_by_the_environment_alone_and_is_shut_in_doubt():
    assert auth_level({}) is func.AuthLevel.FUNCTION
    assert auth_level({"CSP_HTTP_DOOR": "key"}) is func.AuthLevel.FUNCTION
    assert auth_level({"CSP_HTTP_DOOR": "Entra"}) is func.AuthLevel.FUNCTION
    assert auth_level({"CSP_HTTP_DOOR": "entra"}) is func.AuthLevel.ANONYMOUS


def test_behind_a_key_the_host_has_asked_already_and_nobody_is_named(tmp_path):
    settings = Settings.from_env({"CSP_STATE_DIR": str(tmp_path), "CSP_SCENARIO": "small"})
    with wiring.opened(settings) as worker:
        caller = caller_of(asked("forged"), "Runs.Start", worker)
    assert (caller.name, caller.object_id, caller.roles) == ("", "", set(ROLES))


def routes():
    found = {}
    for name, function in functions().items():
        for one in function.get_bindings():
            binding = one.get_dict_repr()
            if binding["type"] == "httpTrigger":
                found[name] = binding
    return found


ROUTES = routes()
GUARDED = [name for name, one in ROUTES.items() if one["route"] not in OPEN | BY_KEY]


def call(name, token=None):
    binding = ROUTES[name]
    request = func.HttpRequest(
        binding["methods"][0].value,
        f"https://app.example/api/{binding['route']}",
        headers={"Authorization": f"Bearer {token}"} if token else {},
        body=b"{}",
        route_params=dict.fromkeys(
            [part[1:-1] for part in binding["route"].split("/") if part.startswith("{")], "1"
        ),
    )
    return functions()[name].get_user_function()(request)


@pytest.fixture
def at_the_door(office, monkeypatch):
    monkeypatch.setattr(wiring, "worker", lambda: office.worker)
    return office


@pytest.mark.parametrize("route", GUARDED)
def test_every_route_but_one_asks_who_calls_and_for_a_role(at_the_door, route):
    assert call(route).status_code == 401
    for name, make in BAD.items():
        answer = call(route, make(at_the_door))
        assert answer.status_code == 401, name
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    nobody = call(route, at_the_door.signed(roles=None))
    assert nobody.status_code == 403
    needed = [
        role
        for role in ROLES
        if call(route, at_the_door.signed(roles=[role])).status_code not in {401, 403}
    ]
    assert len(needed) == 1


def test_without_any_key_a_route_says_that_it_cannot_tell_and_not_that_nobody_is_known(
    fresh, monkeypatch
):
    monkeypatch.setattr(wiring, "worker", lambda: fresh.worker)
    fresh.emulator.control.fail_next("login", path=".*keys", status=503, count=9)
    assert call("list_runs", fresh.signed()).status_code == 503


def test_at_the_door_entra_the_host_leaves_all_but_the_webhooks_to_us():
    code = (
        "import function_app\n"
        "for one in function_app.app.get_functions():\n"
        "    trigger = one.get_trigger().get_dict_repr()\n"
        "    if trigger['type'] == 'httpTrigger':\n"
        "        print(trigger['route'], trigger['authLevel'].value)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "CSP_HTTP_DOOR": "entra"},
        capture_output=True,
        text=True,
        check=True,
    )
    levels = dict(line.split() for line in told.stdout.splitlines())
    assert set(levels) == {one["route"] for one in ROUTES.values()}
    assert {route for route, level in levels.items() if level.lower() != "anonymous"} == BY_KEY


def test_the_roles_are_those_that_administrators_enter():
    listed = json.loads(
        (Path(__file__).resolve().parents[2] / "infra/app-roles.json").read_text(encoding="utf-8")
    )
    assert {one["value"] for one in listed} == set(ROLES)


def test_only_liveness_is_open_and_webhooks_ask_for_a_key_at_either_door():
    found = {one["route"]: one["authLevel"] for one in ROUTES.values()}
    assert {route for route, level in found.items() if level is func.AuthLevel.ANONYMOUS} == OPEN
    assert {found[route] for route in BY_KEY} == {func.AuthLevel.FUNCTION}
