import json
import stat
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest
from werkzeug.wrappers import Request, Response

from domain.problems import ConfigurationError, NotAuthorised, Unavailable
from transport.auth import (
    CachedTokens,
    Registration,
    app_tokens,
    identity,
    identity_tokens,
    user_tokens,
)
from transport.mounts import mount_wsgi, new_session
from transport.redaction import Secret, redact
from transport.session import AccessToken, Patience
from transport.token_stores import FileTokenStore

TENANT = "a1b2c3d4-0000-4000-8000-00000000c5b1"
SCOPE = "https://api.partnercenter.microsoft.com/.default"


class Login:
    """A token endpoint after the published shapes: rotation, refusals, outages."""

    def __init__(self, base="https://login.microsoftonline.com"):
        self.base = base
        self.forms = []
        self.good = {"refresh-0"}
        self.refusal = None
        self.outages = 0

    def __call__(self, environ, start_response):
        return self.answer(Request(environ))(environ, start_response)

    def answer(self, request):
        if self.outages:
            self.outages -= 1
            return Response("<html>", 503)
        if request.path.endswith("openid-configuration"):
            if TENANT not in request.path:
                return self.error("AADSTS90002: Tenant not found.", "invalid_tenant")
            public = "https://login.microsoftonline.com"
            found = {
                "authorization_endpoint": f"{public}/{TENANT}/oauth2/v2.0/authorize",
                "token_endpoint": f"{public}/{TENANT}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{public}/{TENANT}/oauth2/v2.0/devicecode",
                "issuer": f"{public}/{TENANT}/v2.0",
            }
            return Response(json.dumps(found), content_type="application/json")
        form = {k: v[0] for k, v in parse_qs(request.get_data(as_text=True)).items()}
        self.forms.append(form)
        if self.refusal:
            return self.error(self.refusal)
        number = len(self.forms)
        answer = {"token_type": "Bearer", "expires_in": 3600, "access_token": f"access-{number}"}
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self.good:
                return self.error("AADSTS70008: The refresh token has expired.")
            self.good.add(f"refresh-{number}")
            answer["refresh_token"] = f"refresh-{number}"
        return Response(json.dumps(answer), content_type="application/json")

    def error(self, description, code="invalid_grant"):
        body = {"error": code, "error_description": description, "correlation_id": "c-1"}
        return Response(json.dumps(body), 400, content_type="application/json")


class Clock:
    def __init__(self):
        self.moment = datetime(2026, 4, 1, tzinfo=UTC)

    def __call__(self):
        return self.moment


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def login():
    return Login()


@pytest.fixture
def session(login):
    session = new_session()
    mount_wsgi(session, {login.base: login, "http://127.0.0.1:8402": login})
    return session


@pytest.fixture
def store(tmp_path):
    store = FileTokenStore(tmp_path / "refresh-token")
    store.save(Secret("refresh-0"), proved=Secret("refresh-0"))
    return store


def registration(**changes):
    given = {"tenant_id": TENANT, "client_id": "client", "client_secret": Secret("s3cret")}
    return Registration(**(given | changes))


def revealed(store):
    return [token.reveal() for token in store.load()]


def test_a_rotated_refresh_token_is_saved_and_the_one_before_is_kept(session, login, store, clock):
    tokens = user_tokens(registration(), store, session, now=clock)

    token = tokens.get_token(SCOPE)

    assert token == AccessToken("access-1", int(clock().timestamp()) + 3600)
    assert revealed(store) == ["refresh-1", "refresh-0"]
    form = login.forms[0]
    assert (form["grant_type"], form["refresh_token"]) == ("refresh_token", "refresh-0")
    assert SCOPE in form["scope"].split()
    assert form["client_secret"] == "s3cret"


def test_a_token_is_kept_until_shortly_before_its_end(session, login, store, clock):
    tokens = user_tokens(registration(), store, session, now=clock)
    first = tokens.get_token(SCOPE)
    clock.moment += timedelta(minutes=54)
    assert tokens.get_token(SCOPE) == first

    clock.moment += timedelta(minutes=2)
    assert tokens.get_token(SCOPE).token == "access-2"
    assert tokens.get_token("https://graph.microsoft.com/.default").token == "access-3"
    assert revealed(store) == ["refresh-3", "refresh-2"]


def test_a_refused_token_is_not_given_again_and_is_renewed_once(session, login, store, clock):
    tokens = user_tokens(registration(), store, session, now=clock)
    first = tokens.get_token(SCOPE)

    fresh = [tokens.get_token(SCOPE, refused=first.token) for _ in range(3)]
    assert {token.token for token in fresh} == {"access-2"}


def test_a_useless_newest_token_falls_back_to_the_proved_one(session, login, store, clock):
    store.save(Secret("half-written"), proved=Secret("refresh-0"))

    tokens = user_tokens(registration(), store, session, now=clock)

    assert tokens.get_token(SCOPE).token == "access-2"
    assert revealed(store) == ["refresh-2", "refresh-0"]


@pytest.mark.parametrize(
    ("description", "code", "hint"),
    [
        ("AADSTS50076: MFA is needed.", "AADSTS50076", "MFA"),
        ("AADSTS65001: No consent.", "AADSTS65001", "consent"),
        ("AADSTS700082: Inactive.", "AADSTS700082", "sign in again"),
        ("AADSTS50173: Revoked.", "AADSTS50173", "sign in again"),
        ("AADSTS7000215: Invalid client secret.", "AADSTS7000215", "not its id"),
        ("AADSTS7000222: Expired secret.", "AADSTS7000222", "make a new one"),
        ("AADSTS99999: Something new.", "AADSTS99999", ""),
    ],
)
def test_a_refusal_says_what_to_do(session, login, store, description, code, hint):  # noqa: PLR0917
    login.refusal = description
    tokens = user_tokens(registration(), store, session)

    with pytest.raises(NotAuthorised) as caught:
        tokens.get_token(SCOPE)

    assert (caught.value.code, caught.value.request_id) == (code, "c-1")
    assert hint in caught.value.hint
    assert revealed(store) == ["refresh-0", "refresh-0"]


def test_an_outage_of_the_login_is_waited_for(session, login, store, clock):
    waits = []
    login.outages = 2
    tokens = user_tokens(registration(), store, session, now=clock, sleep=waits.append)
    assert tokens.get_token(SCOPE).token == "access-1"
    assert len(waits) == 2

    login.outages = 9
    once = app_tokens(registration(), session, now=clock, patience=Patience(tries=1))
    with pytest.raises(Unavailable):
        once.get_token(SCOPE)


def test_an_unknown_tenant_is_a_fault_of_the_configuration(session, store, clock):
    wrong = registration(tenant_id="00000000-0000-0000-0000-000000000000")
    with pytest.raises(ConfigurationError) as caught:
        user_tokens(wrong, store, session, now=clock).get_token(SCOPE)
    assert "tenant id" in caught.value.hint


def test_without_a_stored_token_there_is_nothing_to_redeem(session, tmp_path, clock):
    tokens = user_tokens(registration(), FileTokenStore(tmp_path / "no"), session, now=clock)
    with pytest.raises(ConfigurationError, match="no refresh token"):
        tokens.get_token(SCOPE)


def test_the_app_alone_signs_in_with_its_secret(session, login, clock):
    tokens = app_tokens(registration(), session, now=clock)

    assert tokens.get_token(SCOPE).token == "access-1"
    assert login.forms[0]["grant_type"] == "client_credentials"
    clock.moment += timedelta(hours=1)
    assert tokens.get_token(SCOPE).token == "access-2"


def test_a_login_on_loopback_is_reached_by_the_same_client(session, login, clock):
    loopback = registration(login_url="http://127.0.0.1:8402/")
    assert app_tokens(loopback, session, now=clock).get_token(SCOPE).token == "access-1"


def test_the_cache_asks_once_for_each_scope():
    asked = []

    def acquire(scopes):
        asked.append(scopes)
        return AccessToken(f"t{len(asked)}", 2_000_000_000)

    tokens = CachedTokens(acquire, now=lambda: datetime(2026, 4, 1, tzinfo=UTC))
    assert [tokens.get_token(s).token for s in ("a", "b", "a")] == ["t1", "t2", "t1"]


def test_the_token_file_is_its_owners_alone(store, tmp_path):
    path = tmp_path / "refresh-token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["refresh-token"]

    path.chmod(0o644)
    with pytest.raises(ConfigurationError, match="may be read by others"):
        list(store.load())


def test_a_secret_prints_as_stars_everywhere():
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {registration(client_secret=secret)}"
    assert secret == Secret("hunter2")
    assert not Secret("")
    with pytest.raises(TypeError):
        __import__("pickle").dumps(secret)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer SECRETSECRET",
        "https://x.example/y?sv=1&sig=SECRET%3D&se=2",
        '{"refresh_token": "SECRET", "a": 1}',
        "client_secret=SECRET&grant_type=refresh_token",
        "DefaultEndpointsProtocol=https;AccountKey=SECRET;x=1",
        "token eyJSECRETSECRET.eyJSECRET.SECRET rest",
    ],
)
def test_what_looks_like_a_secret_is_redacted(text):
    assert "SECRET" not in redact(text)
    assert "***" in redact(text)


def test_a_managed_identity_is_asked_through_the_same_cache(monkeypatch):
    from azure.core.credentials import AccessToken as AzureToken
    from azure.core.exceptions import ClientAuthenticationError

    class Credential:
        asked = 0

        def get_token(self, *scopes):
            self.asked += 1
            if scopes == ("refused",):
                raise ClientAuthenticationError("no identity here\nwith many more lines")
            return AzureToken(f"token-{self.asked}", 2_000_000_000)

    credential = Credential()
    monkeypatch.setattr("transport.auth.identity", lambda client_id: credential)
    tokens = identity_tokens("client")

    assert [tokens.get_token("a").token, tokens.get_token("a").token] == ["token-1", "token-1"]
    with pytest.raises(NotAuthorised, match=r"no identity here$") as caught:
        tokens.get_token("refused")
    assert "managed identity" in caught.value.hint


def test_the_identity_is_the_named_one_or_whoever_is_signed_in():
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

    with identity("client") as named, identity() as anyone:
        assert isinstance(named, ManagedIdentityCredential)
        assert isinstance(anyone, DefaultAzureCredential)
