"""The refresh token in a Key Vault: Microsoft's client over the emulated vault, many instances at once."""

from __future__ import annotations

import itertools
import logging
import random
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from azure.core.credentials import AccessToken as AzureToken
from azure.core.pipeline.transport import RequestsTransport
from azure.keyvault.secrets import SecretClient

from domain.problems import ConfigurationError, NotAuthorised, Throttled, Unavailable
from emulator import Emulator
from transport.auth import Registration, user_tokens
from transport.mounts import mount_wsgi, new_session
from transport.redaction import Secret
from transport.session import Patience
from transport.token_stores import PROVED, FileTokenStore, KeyVaultTokenStore
from transport.vault import VaultSecret

NAME = "partner-refresh-token"
DAY = timedelta(days=1)
SCOPES = (
    "https://api.partnercenter.microsoft.com/.default",
    "https://graph.microsoft.com/.default",
)


class Identity:
    """A credential that asks the emulated identity endpoint, as the platform's does."""

    def __init__(self, emulator, session):
        self.emulator = emulator
        self.session = session

    def get_token(self, *scopes, **_):
        given = self.emulator.identity_environment
        resource = scopes[0].removesuffix("/.default")
        answer = self.session.get(
            given["IDENTITY_ENDPOINT"],
            params={
                "api-version": "2019-08-01",
                "resource": resource,
                "client_id": given["AZURE_CLIENT_ID"],
            },
            headers={"X-IDENTITY-HEADER": given["IDENTITY_HEADER"]},
        ).json()
        return AzureToken(answer["access_token"], 4_000_000_000)


class Desk:
    """One vault and as many instances of the worker as a test likes."""

    def __init__(self, emulator):
        self.emulator = emulator
        self.vault = emulator.vault
        self.session = new_session()
        mount_wsgi(
            self.session, {emulator.base_urls[name]: app for name, app in emulator.apps.items()}
        )

    def client(self, **options):
        return SecretClient(
            self.emulator.base_urls["vault"],
            Identity(self.emulator, self.session),
            transport=RequestsTransport(session=self.session, session_owner=False),
            retry_total=1,
            retry_backoff_factor=0,
            **options,
        )

    def store(self, client=None):
        return KeyVaultTokenStore(
            "", NAME, client=client or self.client(), now=self.emulator.clock.now
        )

    def tokens(self, store):
        """A sign-in of one instance, with an empty cache as after its start."""
        given = self.emulator.credentials
        registration = Registration(
            tenant_id=given["tenant_id"],
            client_id=given["client_id"],
            client_secret=Secret(given["client_secret"]),
            login_url=self.emulator.base_urls["login"],
        )
        return user_tokens(
            registration,
            store,
            self.session,
            now=self.emulator.clock.now,
            patience=Patience(tries=1),
        )

    def sign_in(self, store=None, scope=SCOPES[0]):
        return self.tokens(store or self.store()).get_token(scope)

    def pass_time(self, **spent):
        self.emulator.clock.advance(timedelta(**spent))

    @property
    def enabled(self):
        return [one for one in self.vault.versions(NAME) if one.enabled]


@pytest.fixture(scope="module")
def emulator():
    with closing(Emulator(scenario="small")) as emulator:
        yield emulator


@pytest.fixture
def desk(emulator):
    emulator.vault.reset()
    emulator.control.clear_faults()
    emulator.control.clear_log()
    emulator.control.change(vault_permissions=["get", "list", "set"])
    return Desk(emulator)


@pytest.fixture
def begun(desk):
    """A vault with the token that an administrator stored."""
    desk.vault.put(NAME, desk.emulator.issue_refresh_token())
    desk.pass_time(seconds=5)
    return desk


def test_a_token_that_signs_in_is_marked_and_stays_the_only_one_for_a_day(begun):
    (first,) = begun.enabled
    assert begun.store().saved_at() is None  # nobody has signed in with it

    for scope in SCOPES:
        begun.sign_in(scope=scope)

    assert begun.enabled == [first]
    assert set(first.tags) == {"proved"}
    assert begun.store().saved_at().timestamp() == first.created


def test_after_a_day_a_new_version_is_made_and_the_one_before_stays_until_the_new_one_is_proved(
    begun,
):
    (first,) = begun.enabled
    begun.pass_time(days=1)
    begun.sign_in()
    kept, second = begun.enabled
    assert kept is first
    assert not second.tags
    assert begun.store().saved_at().timestamp() == first.created

    begun.pass_time(minutes=5)
    begun.sign_in()
    assert second.tags
    assert begun.store().saved_at().timestamp() == second.created

    begun.pass_time(days=1)
    begun.sign_in()
    assert [one.id for one in begun.enabled] == [second.id, begun.vault.versions(NAME)[-1].id]
    assert not first.enabled


def test_whoever_signs_in_now_and_then_never_has_to_sign_in_by_hand(begun):
    for _ in range(9):  # twice as long as a token lives
        begun.pass_time(days=20)
        begun.sign_in()
    begun.sign_in()
    assert begun.emulator.clock.now() - begun.store().saved_at() < DAY
    assert len(begun.enabled) == 2
    begun.pass_time(days=90)
    with pytest.raises(NotAuthorised, match="700082"):
        begun.sign_in()


def test_a_newest_version_that_is_useless_falls_back_on_the_proved_one_and_is_replaced_at_once(
    begun,
):
    begun.sign_in()
    (proved,) = begun.enabled
    begun.pass_time(minutes=1)
    begun.vault.put(NAME, "half-written")
    begun.pass_time(minutes=1)

    begun.sign_in()

    useless, newest = begun.enabled[1:]
    assert begun.enabled[0] is proved
    assert useless.value == "half-written"
    begun.pass_time(minutes=1)
    begun.sign_in()
    assert newest.tags
    begun.pass_time(days=1)
    begun.sign_in()
    assert not proved.enabled
    assert not useless.enabled


def test_versions_of_one_second_have_no_order_and_none_of_them_is_disabled(begun):
    begun.sign_in()
    begun.pass_time(days=2)
    for number in range(3):
        begun.vault.put(NAME, begun.emulator.issue_refresh_token() if number else "useless")
    begun.sign_in()
    moment = max(one.created for one in begun.enabled)
    same = [one for one in begun.vault.versions(NAME) if one.created == moment]
    assert len(same) >= 3
    assert all(one.enabled for one in same)


def test_an_instance_that_slept_between_its_steps_takes_nothing_from_the_others(begun):
    """A is put to sleep after its set; B and C renew the token twice; then A wakes up."""
    client = begun.client()
    real, asleep = client.set_secret, []

    def set_and_sleep(name, value):
        made = real(name, value)
        if not asleep:
            asleep.append(made)
            for _ in range(2):
                begun.pass_time(days=1, hours=1)
                begun.sign_in()
        return made

    client.set_secret = set_and_sleep
    begun.pass_time(days=1)
    begun.sign_in(begun.store(client))

    newest = max(begun.vault.versions(NAME), key=lambda one: one.created)
    proved = [one for one in begun.enabled if one.tags]
    assert newest.enabled
    assert proved
    assert begun.sign_in()


class Turns:
    """Lets threads go one call at a time, in an order that a seed decides."""

    def __init__(self, seed, count):
        self._chance = random.Random(seed)  # noqa: S311 - an order, no secret
        self._lock = threading.Condition()
        self._waiting = set()
        self._running = count
        self._next = None

    def wait(self, who):
        with self._lock:
            self._waiting.add(who)
            self._choose()
            assert self._lock.wait_for(lambda: self._next == who, timeout=60)
            self._waiting.discard(who)
            self._next = None

    def end(self):
        with self._lock:
            self._running -= 1
            self._choose()

    def _choose(self):
        if self._next is None and self._waiting and len(self._waiting) == self._running:
            self._next = self._chance.choice(sorted(self._waiting))
            self._lock.notify_all()


class Stepping:
    """A vault's client that waits for its turn before each call."""

    def __init__(self, client, turns, who):
        self._client = client
        self._turns = turns
        self._who = who

    def __getattr__(self, name):
        call = getattr(self._client, name)

        def step(*arguments, **options):
            self._turns.wait(self._who)
            found = call(*arguments, **options)
            return list(found) if name.startswith("list") else found

        return step


@pytest.mark.parametrize("seed", range(10))
def test_in_whatever_order_the_steps_of_three_instances_fall_a_proved_token_stays(begun, seed):
    begun.sign_in()
    turns = Turns(seed, 3)
    faults = []

    def live(who):
        store = begun.store(Stepping(begun.client(), turns, who))
        try:
            for _ in range(3):
                begun.sign_in(store)
                begun.pass_time(hours=9)
        except Exception as error:  # noqa: BLE001 - told by the assertion below
            faults.append(error)
        finally:
            turns.end()

    begun.pass_time(days=1)
    threads = [threading.Thread(target=live, args=(who,)) for who in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert not faults
    newest = max(one.created for one in begun.vault.versions(NAME))
    assert newest in {one.created for one in begun.enabled}
    assert any(one.tags for one in begun.enabled)
    assert begun.sign_in()


@pytest.mark.parametrize("number", range(8))
def test_whatever_call_an_instance_dies_at_the_next_one_signs_in_and_clears_up(begun, number):
    begun.sign_in()
    begun.pass_time(days=1)
    begun.sign_in()
    begun.pass_time(days=1)
    calls = itertools.count()
    client = begun.client()

    class Dying:
        def __getattr__(self, name):
            if next(calls) == number:
                raise SystemExit
            return getattr(client, name)

    dying = begun.store(Dying())
    try:
        begun.sign_in(dying)
        died = False
    except SystemExit:
        died = True

    assert died == (next(calls) > number)
    begun.pass_time(minutes=1)
    assert begun.sign_in()
    for _ in range(2):
        begun.pass_time(days=1)
        begun.sign_in()
    assert len(begun.enabled) == 2


def test_a_version_that_is_disabled_while_it_is_looked_at_is_passed_over(begun):
    begun.pass_time(days=1)
    begun.sign_in()
    client = begun.client()
    listed = client.list_properties_of_secret_versions

    def list_then_lose(name):
        found = list(listed(name))
        begun.vault.versions(NAME)[-1].enabled = False
        return found

    client.list_properties_of_secret_versions = list_then_lose
    (left,) = list(begun.store(client).load())
    assert left.reveal() == begun.vault.versions(NAME)[0].value


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_token_that_was_put_in_from_a_file_signs_in_without_the_files_last_newline(desk, ending):
    token = desk.emulator.issue_refresh_token()
    desk.vault.put(NAME, token + ending)
    assert [one.reveal() for one in desk.store().load()] == [token]
    desk.sign_in()
    (version,) = desk.enabled
    assert PROVED in version.tags


def test_an_empty_vault_is_begun_with_the_first_token_and_a_disabled_one_says_so(desk):
    store = desk.store()
    assert list(store.load()) == []
    assert store.saved_at() is None
    first = Secret(desk.emulator.issue_refresh_token())
    store.save(first, proved=Secret("of-the-settings"))
    assert list(store.load()) == [first]

    for one in desk.enabled:
        one.enabled = False
    with pytest.raises(ConfigurationError, match="no refresh token is stored"):
        desk.sign_in()


def test_a_vault_that_refuses_throttles_or_is_down_is_told_apart(begun):
    control = begun.emulator.control
    control.change(vault_permissions=[])
    with pytest.raises(NotAuthorised) as refused:
        list(begun.store().load())
    assert "Key Vault Secrets Officer" in refused.value.hint
    control.change(vault_permissions=["get", "list", "set"])
    for status, expected in ((429, Throttled), (503, Unavailable)):
        headers = {"Retry-After": "0"} if status == 429 else {}
        control.fail_next("vault", status=status, count=2, headers=headers)
        with pytest.raises(expected):
            list(begun.store().load())
    control.fail_next("vault", kind="drop_before", count=2)
    with pytest.raises(Unavailable):
        list(begun.store().load())


def test_a_token_that_cannot_be_kept_now_is_used_and_kept_the_next_time(begun, caplog):
    begun.sign_in()
    begun.pass_time(days=1)
    control = begun.emulator.control
    put = {"method": "PUT", "status": 503}
    control.fail_next("vault", count=2, **put)
    with caplog.at_level(logging.WARNING, "transport.auth"):
        assert begun.sign_in()
    assert len(begun.enabled) == 1
    assert "was not kept" in caplog.text
    begun.sign_in()
    assert len(begun.enabled) == 2


def test_an_identity_that_may_not_keep_the_token_is_told_on_the_first_day(begun):
    begun.emulator.control.change(vault_permissions=["get", "list"])
    with pytest.raises(NotAuthorised, match="refused our identity"):
        begun.sign_in()


def test_a_refused_app_does_not_try_one_token_after_the_other(begun):
    for _ in range(3):
        begun.vault.put(NAME, begun.emulator.issue_refresh_token())
    registration = Registration(
        tenant_id=begun.emulator.credentials["tenant_id"],
        client_id=begun.emulator.credentials["client_id"],
        client_secret=Secret("wrong"),
        login_url=begun.emulator.base_urls["login"],
    )
    tokens = user_tokens(registration, begun.store(), begun.session, patience=Patience(tries=1))
    begun.emulator.control.clear_log()
    with pytest.raises(NotAuthorised, match="7000215"):
        tokens.get_token(SCOPES[0])
    asked = [one for one in begun.emulator.control.requests() if one["path"].endswith("/token")]
    assert [one["system"] for one in asked].count("login") == 1


def test_a_file_tells_when_it_was_written_by_the_clock_of_its_mode(tmp_path):
    store = FileTokenStore(tmp_path / "token", now=lambda: datetime(2026, 11, 9, tzinfo=UTC))
    assert store.saved_at() is None
    store.save(Secret("b"), proved=Secret("a"))
    assert store.saved_at() == datetime(2026, 11, 9, tzinfo=UTC)


# --- other secrets, by their names -------------------------------------------------------------------


def test_a_secret_by_name_is_read_when_it_is_needed_and_again_after_an_hour(desk):
    desk.vault.put("app-secret", "one")
    clock = [0.0]
    secret = VaultSecret(desk.client, "app-secret", monotonic=lambda: clock[0])
    assert not [one for one in desk.emulator.control.requests() if one["system"] == "vault"]
    assert bool(secret)
    assert "one" not in f"{secret} {secret!r}"

    assert secret.reveal() == "one"
    desk.vault.put("app-secret", "two")
    clock[0] = 3599
    assert secret.reveal() == "one"
    clock[0] = 3601
    assert secret.reveal() == "two"


def test_a_secret_that_was_put_in_from_a_file_is_without_the_files_last_newline(desk):
    desk.vault.put("app-secret", "one\n")
    assert VaultSecret(desk.client, "app-secret").reveal() == "one"


def test_a_secret_that_was_read_outlives_an_outage_and_no_withdrawal(desk, caplog):
    desk.vault.put("app-secret", "one")
    clock = [0.0]
    secret = VaultSecret(desk.client, "app-secret", monotonic=lambda: clock[0])
    control = desk.emulator.control
    control.fail_next("vault", status=503, count=2)
    with pytest.raises(Unavailable):
        secret.reveal()
    assert secret.reveal() == "one"
    control.fail_next("vault", status=503, count=2)
    clock[0] = 4000
    assert secret.reveal() == "one"
    assert "app-secret goes on to count" in caplog.text
    desk.vault.versions("app-secret")[0].enabled = False
    clock[0] = 8000
    with pytest.raises(ConfigurationError, match="is disabled"):
        secret.reveal()


def test_a_name_that_the_vault_does_not_hold_is_named(desk):
    with pytest.raises(ConfigurationError, match="holds no secret app-secret"):
        VaultSecret(desk.client, "app-secret").reveal()
