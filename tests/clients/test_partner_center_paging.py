"""Paging in every form that Partner Center is known to use, and answers that are none."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from werkzeug.wrappers import Request, Response

from domain.customer import Customer
from domain.problems import Finding, ServiceError, Severity
from partner_center.client import PARTNER_CENTER_SCOPE, PARTNER_CENTER_URL, PartnerCenterClient
from partner_center.exports import BillingExports
from partner_center.prices import PriceSheets
from transport.blobs import FolderArchive
from transport.mounts import mount_wsgi, new_session
from transport.session import AccessToken, Http, Patience


class Token:
    def get_token(self, *scopes, refused=""):
        assert scopes == (PARTNER_CENTER_SCOPE,)
        return AccessToken("token", 0)


class Pages:
    """Answers from a list of bodies, and keeps what was asked."""

    def __init__(self, *bodies):
        self.bodies = list(bodies)
        self.asked = []

    def __call__(self, environ, start_response):
        request = Request(environ)
        token = request.headers.get("MS-ContinuationToken")
        self.asked.append((request.path, request.query_string.decode(), token))
        body = self.bodies[min(len(self.asked), len(self.bodies)) - 1]
        content = body if isinstance(body, bytes) else json.dumps(body)
        return Response(content, content_type="application/json")(environ, start_response)


def client_of(pages):
    session = new_session()
    mount_wsgi(session, {PARTNER_CENTER_URL: pages})
    http = Http(
        PARTNER_CENTER_URL, service="Partner Center", session=session, patience=Patience(tries=1)
    )
    nowhere = FolderArchive(Path("nothing-is-exported-here"))
    exports = BillingExports(http, http, nowhere, now=lambda: datetime(2026, 11, 9, tzinfo=UTC))
    return PartnerCenterClient(http, exports, PriceSheets(http, Token()), user=Token(), page_size=2)


def page(*names, uri=None, token=None, **more):
    links = {}
    if uri is not None:
        headers = [{"key": "MS-ContinuationToken", "value": token}] if token else []
        links = {"next": {"uri": uri, "method": "GET", "headers": headers}}
    return {
        "totalCount": len(names),
        "items": [{"id": name} for name in names],
        "links": links,
    } | more


def ids(pages):
    return [customer.id for customer in client_of(pages).customers()]


def test_seek_paging_repeats_the_query_with_the_token_in_the_header():
    pages = Pages(
        page("a", "b", uri="/customers?size=2&seekOperation=Next", token="T1=="),
        page("c", uri="/v1/customers?size=2?seekOperation=Next", token="T2=="),
        page("d"),
    )
    assert ids(pages) == ["a", "b", "c", "d"]
    assert pages.asked == [
        ("/v1/customers", "size=2", None),
        ("/v1/customers", "size=2&seekOperation=Next", "T1=="),
        ("/v1/customers", "size=2&seekOperation=Next", "T2=="),
    ]


def test_the_token_may_stand_beside_the_items():
    pages = Pages(page("a", uri="/customers", continuationToken="T1"), page("b"))
    assert ids(pages) == ["a", "b"]
    assert pages.asked[1][2] == "T1"


@pytest.mark.parametrize(
    "uri",
    [
        "/customers?size=2&offset=2",
        "customers?size=2&offset=2",
        "/v1/customers?size=2&offset=2",
        f"{PARTNER_CENTER_URL}/v1/customers?size=2&offset=2",
    ],
)
def test_index_paging_follows_the_link_with_or_without_version(uri):
    pages = Pages(page("a", uri=uri), page("b"))
    assert ids(pages) == ["a", "b"]
    assert pages.asked[1] == ("/v1/customers", "size=2&offset=2", None)


@pytest.mark.parametrize("token", [None, "same"])
def test_a_circle_of_pages_is_noticed(token):
    pages = Pages(page("a", uri="/customers?size=2", token=token))
    with pytest.raises(ServiceError, match="leads back"):
        ids(pages)
    assert len(pages.asked) <= 3


def test_a_link_to_another_host_is_not_followed():
    pages = Pages(page("a", uri="https://evil.example/v1/customers"))
    with pytest.raises(ServiceError, match=r"link to evil\.example"):
        ids(pages)


def test_a_customer_that_cannot_be_read_does_not_hide_the_others():
    body = page("a", "b")
    body["items"][0] = {"id": None, "companyProfile": {"companyName": "No Id"}}
    first, second = client_of(Pages(body)).customers()
    assert isinstance(first, Finding)
    assert (first.check, first.severity) == ("wire.customer", Severity.WARN)
    assert second == Customer(id="b", name="", domain="", relationship="", details_known=False)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>maintenance</html>", "not JSON"),
        (b"", "not JSON"),
        (b'"text"', "without content"),
        ({"code": 400072, "description": "Item is not available."}, "code 400072"),
    ],
)
def test_an_answer_without_the_data_is_an_error(body, said):
    with pytest.raises(ServiceError, match=said):
        ids(Pages(body))


def test_qualifications_come_as_an_array_or_as_one():
    customer = {
        "id": "a",
        "companyProfile": {"companyName": "A"},
        "relationshipToPartner": "reseller",
    }
    several = [
        {"qualification": "Education", "vettingStatus": "InReview"},
        {"qualification": "none"},
    ]
    found = client_of(Pages(customer, several)).customer("a")
    assert [(one.name, one.status) for one in found.qualifications] == [("Education", "InReview")]
    found = client_of(Pages(customer, {"qualification": "education"})).customer("a")
    assert [one.name for one in found.qualifications] == ["education"]
