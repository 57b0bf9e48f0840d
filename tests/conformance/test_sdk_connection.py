"""Microsoft's SDK for Python meets the emulated environment: sign-in, errors, throttling."""

from __future__ import annotations

import time

import certifi
import pytest
import requests
from azure.core.credentials import AccessToken
from PowerPlatform.Dataverse.client import DataverseClient
from PowerPlatform.Dataverse.core.config import DataverseConfig
from PowerPlatform.Dataverse.core.errors import HttpError, MetadataError

NOBODY = "00000000-0000-4000-8000-000000000000"


class FixedToken:
    """A credential that has a token already."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *_, **__):
        return AccessToken(self.token, int(time.time()) + 3600)


def without_repeats(url, credential):
    return DataverseClient(url, credential, DataverseConfig(http_retries=1))


def test_the_sdk_refuses_plain_http_by_itself(environment):
    with pytest.raises(ValueError, match="must use HTTPS"):
        DataverseClient(environment.url.replace("https", "http"), FixedToken("t"))


def test_azure_identity_signs_in_and_the_sdk_reads_over_tls(environment, client):
    assert client.records.list("account").records == []
    hosts = {entry["system"] for entry in environment.control.requests()}
    assert hosts == {"login", "dataverse"}


def test_without_our_authority_the_certificate_is_refused(environment, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", certifi.where())
    with (
        without_repeats(environment.url, FixedToken("t")) as client,
        pytest.raises(requests.exceptions.SSLError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.records.list("account")


@pytest.mark.parametrize("token", ["", " ", "not-a-token"])
def test_a_missing_or_invented_token_is_401(environment, token):
    with (
        without_repeats(environment.url, FixedToken(token)) as client,
        pytest.raises(HttpError) as refused,
    ):
        client.records.list("account")
    assert refused.value.status_code == 401
    assert not refused.value.is_transient


def test_an_unknown_table_is_named_by_the_sdk_from_the_metadata(client):
    with pytest.raises(MetadataError, match="nce_nothing"):
        client.records.list("nce_nothing")


def test_an_unknown_row_is_none_to_read_and_404_to_update(client):
    assert client.records.retrieve("account", NOBODY) is None
    with pytest.raises(HttpError) as missing:
        client.records.update("account", NOBODY, {"name": "x"})
    assert missing.value.status_code == 404
    assert missing.value.details["service_error_code"] == "0x80040217"
    assert missing.value.details["service_request_id"]


def test_a_429_reaches_the_caller_at_once_with_its_wait(environment, client):
    """The SDK repeats no status; waiting is the caller's affair."""
    client.records.list("account")
    environment.control.clear_log()
    environment.fail("accounts", method="POST", status=429, headers={"Retry-After": "2"})
    with pytest.raises(HttpError) as refused:
        client.records.create("account", {"name": "Contoso"})
    assert refused.value.status_code == 429
    assert refused.value.is_transient
    assert refused.value.details["retry_after"] == 2
    assert refused.value.details["service_error_code"] == "0x80072322"
    assert environment.asked("POST") == ["POST accounts"]


@pytest.mark.parametrize("kind", ["drop_after", "drop_during", "stall_after"])
def test_a_create_whose_answer_is_lost_is_repeated_by_the_sdk_and_doubles_the_row(
    environment, kind
):
    """Its defaults repeat a POST five times; that is why no create of ours goes without a key."""
    config = DataverseConfig(http_backoff=0.01, http_timeout=2)
    with (
        environment.credential() as credential,
        DataverseClient(environment.url, credential, config) as client,
    ):
        client.records.list("account")  # tables and choices are in its cache from here on
        environment.fail("accounts", method="POST", kind=kind)
        client.records.create("account", {"name": "Contoso"})
        assert len(client.records.list("account", filter="name eq 'Contoso'")) == 2
