"""Partner Center v1 on the wire: refusals, the envelope of collections, seek paging, filters.

A seek page names its successor in `links.next`, whose address is relative and whose continuation
token travels in a header, not in the address. `totalCount` counts the page, not the collection.
The token holds the position after the last row seen, and the query it belongs to.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.world import World

Resource = dict[str, Any]
Handler = Callable[..., Response]
# Method, path template, handler, and whether only a user may call it.
Route = tuple[str, str, Handler, bool]
USER_ONLY = True
APP_TOO = False
CUSTOMER = "/v1/customers/{customer}"
TOKEN_HEADER = "MS-ContinuationToken"


class RefusalError(Exception):
    """An error body of Partner Center: status, code and description.

    Codes are numbers from some services and strings from others, as in the published samples; some
    answer with a `body` of another form.
    """

    def __init__(
        self,
        status: int,
        code: int | str,
        description: str,
        source: str = "PartnerFD",
        *,
        body: Resource | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(description)
        self.status = status
        self.headers = headers
        self.body: Resource = body or {
            "code": code,
            "description": description,
            "data": [],
            "source": source,
        }


class BadQueryError(RefusalError):
    """A query or body that Partner Center refuses with 400, code 3000."""

    def __init__(self, description: str) -> None:
        super().__init__(400, "3000", description, "PartnerApiServiceControllers")


def read_resource(request: Request) -> Resource:
    """The body of a write; BadQueryError when it is no JSON object."""
    try:
        return wire.read_object(request)
    except ValueError as error:
        raise BadQueryError("The body is not a valid resource.") from error


def known_customer(world: World, customer: str) -> Resource:
    """The customer of a path below it; without a relationship there is nothing to see (403)."""
    if not wire.is_guid(customer):
        raise BadQueryError("The customer id is not a GUID.")
    found = world.customer(customer.lower())
    if found is None:
        raise RefusalError(403, "20002", "There is no relationship with this customer.")
    return found


def link(uri: str, headers: list[dict[str, str]] | None = None) -> Resource:
    """A link object; its address is relative to the host, often without the /v1."""
    return {"uri": uri, "method": "GET", "headers": headers or []}


def collection(items: Sequence[Resource], uri: str = "") -> Resource:
    """The envelope of an unpaged collection."""
    envelope: Resource = {"totalCount": len(items), "items": list(items)}
    if uri:
        envelope["links"] = {"self": link(uri)}
    return envelope | {"attributes": {"objectType": "Collection"}}


def seek_page(
    items: Sequence[Resource], request: Request, *, cap: int, path: str, next_path: str
) -> Resource:
    """One page of a seek-paged collection, by `size`, `seekOperation` and the token header."""
    size = _size(request, cap)
    query = {k: v for k, v in request.args.items() if k not in ("seekOperation", "size")}
    start = _start(request, query)
    page = items[start : start + size]
    asked = f"size={request.args['size']}" if "size" in request.args else f"size={size}"
    rest = "".join(f"&{name}={quote(value, safe='')}" for name, value in query.items())
    envelope = collection(page, f"{path}?{asked}{rest}")
    if start + size < len(items):
        token = _token(start + size, query)
        uri = f"{next_path}?{asked}{rest}&seekOperation=Next"
        envelope["links"]["next"] = link(uri, [{"key": TOKEN_HEADER, "value": token}])
    return envelope


def matcher(
    text: str | None, fields: dict[str, Callable[[Resource], object]]
) -> Callable[[Resource], bool]:
    """A test for the JSON text of a filter over some fields; no text fits everything.

    Simple: `{"Field", "Value", "Operator"}`; two sides: `{"LeftFilter", "RightFilter", "Operator"}`
    with `and` or `or`. Values compare as text without case, which orders ISO dates rightly.
    """
    if not text:
        return lambda _: True
    try:
        return _matcher(wire.decode(text), fields)
    except (KeyError, TypeError, ValueError) as error:
        raise BadQueryError(f"The filter is not valid: {error}") from error


def _matcher(
    tree: Any, fields: dict[str, Callable[[Resource], object]]
) -> Callable[[Resource], bool]:
    operator = str(tree["Operator"]).lower()
    if "LeftFilter" in tree:
        left, right = (_matcher(tree[side], fields) for side in ("LeftFilter", "RightFilter"))
        if operator not in ("and", "or"):
            raise BadQueryError(f"operator {operator!r} does not join two filters")
        if operator == "and":
            return lambda row: left(row) and right(row)
        return lambda row: left(row) or right(row)
    read = {name.lower(): reader for name, reader in fields.items()}[str(tree["Field"]).lower()]
    compare = _COMPARISONS[operator]
    wanted = str(tree["Value"]).lower()

    def test(row: Resource) -> bool:
        have = read(row)
        values = have if isinstance(have, list) else [have]
        return any(compare(str(value).lower(), wanted) for value in values)

    return test


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "equals": lambda have, want: have == want,
    "not_equals": lambda have, want: have != want,
    "starts_with": lambda have, want: have.startswith(want),
    "greater_than": lambda have, want: have > want,
    "greater_than_or_equals": lambda have, want: have >= want,
    "less_than": lambda have, want: have < want,
    "less_than_or_equals": lambda have, want: have <= want,
}


def _size(request: Request, cap: int) -> int:
    text = request.args.get("size", "100")
    if not text.isdecimal() or int(text) < 1:
        raise BadQueryError("The size must be a whole number, at least 1.")
    # Above the cap the answer is a shorter page, never an error (the exact caps are unconfirmed).
    return min(int(text), cap)


def _start(request: Request, query: dict[str, str]) -> int:
    seek = request.args.get("seekOperation", "First").lower()
    if seek == "first":
        return 0
    if seek != "next":
        raise BadQueryError("The seek operation is not supported here.")
    token = request.headers.get(TOKEN_HEADER, "")
    try:
        content = wire.decode(base64.b64decode(token, validate=True))
        if content["query"] != query:
            raise BadQueryError("The continuation token belongs to another query.")
        return int(content["after"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise BadQueryError("The continuation token is missing or not valid.") from error


def _token(after: int, query: dict[str, str]) -> str:
    return base64.b64encode(wire.encode({"after": after, "query": query}).encode()).decode()
