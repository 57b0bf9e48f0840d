"""Who signed: certificates by address, from hosts on a list, believed for their chain alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
import requests
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import serialize_certificates
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter

from domain.problems import Throttled, Unavailable
from tests.clients.signing import (
    AIA,
    HOST,
    NOW,
    PLACE,
    Holder,
    Web,
    between,
    bundle,
    ec_key,
    issue,
    leaf,
    root,
    rsa_key,
    trust_of,
    usage,
)
from transport.certificates import AGAIN, LIMIT, MOST, Signers, Untrusted
from transport.session import Http, Patience

BODY = b'{"EventName": "test-created"}'
ISSUER = f"http://{AIA}/pkiops/certs/issuing%20ca%2003.crt"
ISSUER_ASKED = f"https://{AIA}/pkiops/certs/issuing ca 03.crt"


@pytest.fixture
def web():
    return Web(pages={PLACE: bundle(leaf(), between())})


def check(web, signer=None, body=BODY, place=PLACE, **trust):
    web.signers(**trust).check(place, (signer or leaf()).sign(BODY), body)


def refused(web, signer=None, body=BODY, place=PLACE, **trust):
    with pytest.raises(Untrusted) as caught:
        check(web, signer, body, place, **trust)
    return str(caught.value)


# --- believed ----------------------------------------------------------------------------------------


def test_a_signature_of_a_certificate_with_a_chain_to_a_root_is_believed(web):
    check(web)
    assert web.asked == [PLACE]


@pytest.mark.parametrize(
    "content",
    [
        bundle(leaf(), between()),
        bundle(between(), leaf()),
        bundle(root(), between(), leaf()),
        serialize_certificates([leaf().certificate, between().certificate], Encoding.DER),
        b"Bag Attributes\n" + bundle(leaf(), between()),
    ],
)
def test_a_file_may_be_a_bundle_in_any_usual_form(web, content):
    web.pages[PLACE] = content
    check(web)


def test_an_issuer_that_the_settings_know_need_not_be_asked_for(web):
    web.pages[PLACE] = leaf().der
    check(web, between=(between().certificate,))
    assert web.asked == [PLACE]


def test_a_missing_issuer_is_taken_from_where_the_certificate_says(web):
    alone = issue("alone", between(), aia=ISSUER)
    web.pages |= {PLACE: alone.der, ISSUER_ASKED: between().der}
    check(web, alone)
    assert web.asked == [PLACE, ISSUER_ASKED]  # though it says http, https is asked


def test_the_issuer_is_asked_for_once(web):
    alone = issue("alone", between(), aia=ISSUER)
    web.pages |= {PLACE: alone.der, ISSUER_ASKED: between().der}
    signers = web.signers()
    for _ in range(3):
        signers.check(PLACE, alone.sign(BODY), BODY)
    assert web.asked == [PLACE, ISSUER_ASKED]


# --- where certificates may stand ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "http://3psostorageacct.blob.core.windows.net/cert/x.cer",
        "https://evil.example/cert/x.cer",
        "https://3psostorageacct.blob.core.windows.net.evil.example/x.cer",
        "https://evil-3psostorageacct.blob.core.windows.net/x.cer",
        "https://blob.core.windows.net/x.cer",
        "https://3psostorageacct.blob.core.windows.net@evil.example/x.cer",
        "https://ana:pw@3psostorageacct.blob.core.windows.net/x.cer",
        "https://3psostorageacct.blob.core.windows.net:8443/x.cer",
        "https://3psostorageacct.blob.core.windows.net:port/x.cer",
        "https://3psostorageacct.blob.core.windows.net./x.cer",
        "https://127.0.0.1/x.cer",
        "https://169.254.169.254/metadata/identity",
        "https://[::1]/x.cer",
        "https://[::1/x.cer",
        "https://localhost/x.cer",
        "https:///x.cer",
        "//3psostorageacct.blob.core.windows.net/x.cer",
        "file:///etc/passwd",
        "ftp://3psostorageacct.blob.core.windows.net/x.cer",
        "x.cer",
        "",
        f"{PLACE}?sv=2026",
        f"{PLACE}#one",
        f"{HOST}/cert\\..\\x.cer",
        f"{HOST}/cert/x\t.cer",
        f" {PLACE}",
        f"{HOST}/zertifikät.cer",
        f"{HOST}/{'a' * 500}",
        f"https://{AIA}/pkiops/certs/x.crt",
    ],
)
def test_nothing_is_fetched_from_anywhere_else(web, place):
    refused(web, place=place)
    assert web.asked == []


def test_the_usual_port_may_be_written(web):
    check(web, place=PLACE.replace(".net/", ".net:443/"))


def test_a_redirect_is_not_followed(web):
    web.pages[PLACE] = "https://evil.example/x.cer"
    assert refused(web) == "the host of the certificate answers 302"
    assert web.asked == [PLACE]


def test_no_issuer_is_asked_of_another_host(web):
    for place in ("http://evil.example/ca.crt", f"http://{AIA}:8080/ca.crt", "ldap:///CN=ca"):
        alone = issue("alone", between(), aia=place)
        web.pages[PLACE] = alone.der
        assert "no chain to a trusted root" in refused(web, alone)
    assert set(web.asked) == {PLACE}


def test_issuers_are_asked_for_a_few_steps_and_not_in_a_circle(web):
    chain = [root()]
    for number in range(6):
        above = f"http://{AIA}/{number}.crt" if number else ""
        chain.append(issue(f"CA {number + 1}", chain[-1], authority=True, aia=above))
        web.pages[f"https://{AIA}/{number + 1}.crt"] = chain[-1].der
    deep = issue("deep", chain[-1], aia=f"http://{AIA}/6.crt")
    web.pages[PLACE] = deep.der
    assert "no chain" in refused(web, deep)
    assert len(web.asked) <= 4


@pytest.mark.parametrize("size", [LIMIT + 1, 40 * LIMIT])
def test_a_huge_file_is_not_read(web, size):
    web.pages[PLACE] = b"0" * size
    assert f"more than {LIMIT} bytes" in refused(web)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 410])
def test_a_host_that_has_no_such_certificate_proves_nothing(web, status):
    web.pages[PLACE] = status
    assert refused(web)


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        (503, Unavailable),
        (500, Unavailable),
        (429, Throttled),
        (ConnectionError("reset"), Unavailable),
        (TimeoutError("slow"), Unavailable),
    ],
)
def test_an_outage_of_the_host_is_no_verdict(web, page, fault):
    web.pages[PLACE] = page
    with pytest.raises(fault):
        check(web)
    assert len(web.asked) <= 2


def test_an_outage_of_the_issuers_host_is_no_verdict(web):
    alone = issue("alone", between(), aia=ISSUER)
    web.pages |= {PLACE: alone.der, ISSUER_ASKED: 503}
    with pytest.raises(Unavailable):
        check(web, alone)


def test_a_silent_host_is_waited_for_as_long_as_was_told():
    waited = []

    class Silent(HTTPAdapter):
        def send(self, request, *, timeout=None, **_):
            waited.append(timeout)
            raise requests.ReadTimeout("slow", request=request)

    web = Web()
    web.session.mount(f"{HOST}/", Silent())
    signers = Signers(
        trust_of(),
        lambda origin: Http(
            origin,
            service="Certificates",
            session=web.session,
            patience=Patience(tries=2),
            sleep=web.waits.append,
            timeout=10.0,
        ),
        now=lambda: NOW,
    )
    with pytest.raises(Unavailable):
        signers.check(PLACE, leaf().sign(BODY), BODY)
    assert waited == [10.0, 10.0]


# --- whom to believe ----------------------------------------------------------------------------------


def other_root():
    return issue("Other Root", authority=True)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (
            lambda: bundle(issue("pcnotifications", other_root()), other_root()),
            "no chain to a trusted root",
        ),
        (lambda: issue("pcnotifications").der, "no chain to a trusted root"),
        (lambda: leaf().der, "no chain to a trusted root"),  # and nobody says where its issuer is
        (
            lambda: issue("pcnotifications", root()).der,
            "was not issued by Microsoft Corporation",
        ),
        (
            lambda: (
                issue(
                    "pcnotifications",
                    issue("CA", root(), authority=True, organisation="Microsoft Corporation Ltd"),
                ).der
            ),
            "was not issued by Microsoft Corporation",
        ),
        (
            lambda: (
                issue("pcnotifications", issue("CA", root(), authority=True, organisation=None)).der
            ),
            "was not issued by Microsoft Corporation",
        ),
        (
            lambda: bundle(issue("pcnotifications", between(), end=NOW - timedelta(1)), between()),
            "no chain to a trusted root",
        ),
        (
            lambda: bundle(
                issue("pcnotifications", between(), start=NOW + timedelta(1)), between()
            ),
            "no chain to a trusted root",
        ),
        (
            lambda: bundle(
                issue("pcnotifications", between(), key_usage=usage("key_encipherment")), between()
            ),
            "its key is not for signatures",
        ),
        (
            lambda: bundle(issue("pcnotifications", between(), authority=True), between()),
            "it is the certificate of an authority",
        ),
        (
            lambda: bundle(
                issue("pcnotifications", between(), key=rsa_key("short", 1024)), between()
            ),
            "",
        ),
        (
            lambda: bundle(issue("pcnotifications", between(), key=ec_key("curve")), between()),
            "no RSA key",
        ),
    ],
)
def test_a_certificate_that_proves_nothing_is_refused(web, make, reason):
    web.pages[PLACE] = make()
    assert reason in refused(web)


def test_an_issuer_that_has_ended_is_refused(web):
    old = issue("Old CA", root(), authority=True, end=NOW - timedelta(1))
    late = issue("late", old)
    web.pages[PLACE] = bundle(late, old)
    assert "no chain" in refused(web, late)


def test_who_is_no_authority_issues_nothing(web):
    forged = issue("forged", leaf())
    web.pages[PLACE] = bundle(forged, leaf(), between())
    assert "no chain" in refused(web, forged)


def test_an_authority_for_one_step_makes_no_other_authorities(web):
    narrow = issue("Narrow", root(), authority=True, depth=0)
    below = issue("Below", narrow, authority=True)
    far = issue("far", below)
    web.pages[PLACE] = bundle(far, below, narrow)
    assert "no chain" in refused(web, far)


def test_a_root_in_the_file_is_not_a_root_for_that(web):
    stranger = issue("pcnotifications", other_root())
    web.pages[PLACE] = bundle(stranger, other_root(), between(), root())
    assert "no chain" in refused(web, stranger)


def test_the_days_are_those_of_the_workers_clock(web):
    signers = web.signers()
    signers.check(PLACE, leaf().sign(BODY), BODY)
    web.now = NOW + timedelta(days=31)
    with pytest.raises(Untrusted, match="no chain"):
        signers.check(PLACE, leaf().sign(BODY), BODY)


# --- the signature ------------------------------------------------------------------------------------


def test_another_body_is_refused(web):
    assert refused(web, body=BODY + b" ") == "the signature does not fit the body"


def test_the_signature_of_another_key_is_refused(web):
    other = issue("other", between())
    assert refused(web, other) == "the signature does not fit the body"


@settings(max_examples=40, deadline=None)
@given(place=st.integers(0, len(BODY) - 1), bit=st.integers(0, 7))
def test_no_bit_of_the_body_may_differ(place, bit):
    web = Web(pages={PLACE: bundle(leaf(), between())})
    changed = bytearray(BODY)
    changed[place] ^= 1 << bit
    assert refused(web, body=bytes(changed)) == "the signature does not fit the body"


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=300))
def test_garbage_is_no_certificate(content):
    web = Web(pages={PLACE: content})
    assert refused(web) == "what stands at the certificate's address is no certificate"


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 1200), value=st.integers(1, 255))
def test_a_damaged_certificate_is_refused(place, value):
    """Whatever byte is wrong: nothing else than a refusal comes of it."""
    damaged = bytearray(leaf().der)
    damaged[place % len(damaged)] ^= value
    web = Web(pages={PLACE: bytes(damaged)})
    assert refused(web, between=(between().certificate,))


def test_a_file_of_many_certificates_is_refused(web):
    web.pages[PLACE] = bundle(*[leaf()] * (MOST + 1))
    assert "is no certificate" in refused(web)


# --- what is remembered -------------------------------------------------------------------------------


def test_a_certificate_is_fetched_once_a_day(web):
    signers = web.signers()
    signature = leaf().sign(BODY)
    for hours in (0, 1, 23):
        web.now = NOW + timedelta(hours=hours)
        signers.check(PLACE, signature, BODY)
    assert web.asked == [PLACE]
    web.now = NOW + timedelta(hours=24)
    signers.check(PLACE, signature, BODY)
    assert web.asked == [PLACE] * 2


def test_a_certificate_that_ends_sooner_is_fetched_then(web):
    short = issue("short", between(), end=NOW + timedelta(hours=2))
    web.pages[PLACE] = bundle(short, between())
    signers = web.signers()
    signers.check(PLACE, short.sign(BODY), BODY)
    web.now = NOW + timedelta(hours=2, seconds=1)
    web.pages[PLACE] = bundle(leaf(), between())
    signers.check(PLACE, leaf().sign(BODY), BODY)
    assert web.asked == [PLACE] * 2


def test_a_certificate_renewed_at_its_address_is_found(web):
    signers = web.signers()
    signers.check(PLACE, leaf().sign(BODY), BODY)
    renewed = issue("renewed", between())
    web.pages[PLACE] = bundle(renewed, between())
    web.now = NOW + timedelta(minutes=6)
    signers.check(PLACE, renewed.sign(BODY), BODY)
    assert web.asked == [PLACE] * 2


def test_wrong_signatures_do_not_make_us_fetch_each_time(web):
    signers = web.signers()
    web.now = NOW + timedelta(minutes=6)
    for _ in range(20):
        with pytest.raises(Untrusted):
            signers.check(PLACE, leaf().sign(b"other"), BODY)
    assert web.asked == [PLACE]


@pytest.mark.parametrize("page", [404, issue("stranger").der, b"no certificate"])
def test_what_is_not_believed_is_asked_for_again_after_some_minutes(web, page):
    web.pages[PLACE] = page
    signers = web.signers()
    for _ in range(50):
        with pytest.raises(Untrusted):
            signers.check(PLACE, leaf().sign(BODY), BODY)
    assert web.asked == [PLACE]
    web.pages[PLACE] = bundle(leaf(), between())
    web.now += AGAIN
    signers.check(PLACE, leaf().sign(BODY), BODY)


def test_a_known_certificate_that_is_gone_from_its_place_is_not_asked_for_each_time(web):
    signers = web.signers()
    signers.check(PLACE, leaf().sign(BODY), BODY)
    web.now += AGAIN
    web.pages[PLACE] = 404
    for _ in range(50):
        with pytest.raises(Untrusted):
            signers.check(PLACE, b"x" * 256, BODY)
    assert web.asked == [PLACE, PLACE]
    signers.check(PLACE, leaf().sign(BODY), BODY)


@pytest.mark.parametrize(
    "place",
    [
        PLACE.replace("/cert/", "//cert/"),
        PLACE.replace("/cert/", "/./cert/"),
        PLACE.replace("/cert/", "/cert/../cert/"),
        PLACE.replace("/cert/", "/%63ert/"),
        PLACE.replace("3ps", "3PS"),
    ],
)
def test_another_spelling_of_a_good_place_is_refused(web, place):
    with pytest.raises(Untrusted):
        web.signers().check(place, leaf().sign(BODY), BODY)
    assert web.asked == []


def test_few_addresses_are_remembered(web):
    signers = web.signers()
    places = [f"{HOST}/cert/{number}.cer" for number in range(MOST + 1)]
    for place in places:
        web.pages[place] = bundle(leaf(), between())
        signers.check(place, leaf().sign(BODY), BODY)
    signers.check(places[-1], leaf().sign(BODY), BODY)
    assert len(web.asked) == MOST + 1
    signers.check(places[0], leaf().sign(BODY), BODY)
    assert len(web.asked) == MOST + 2


def test_a_holder_signs_as_it_should():
    """The test's own signatures are RSA PKCS#1 v1.5 with SHA-256: a known answer."""
    assert isinstance(leaf(), Holder)
    assert len(leaf().sign(BODY)) == 256
    assert leaf().sign(BODY) == leaf().sign(BODY)  # no random padding
