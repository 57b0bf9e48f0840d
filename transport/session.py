"""HTTP calls to one system: identity, the only retry decision of the product, typed errors.

An `Http` speaks to one base URL and sends its token nowhere else. What comes back is bounded in
size and read with exact numbers. Failures are the `ServiceError` tree of `domain.problems`, told by
status, error code and request id, and free of secrets. A call is repeated only where repeating is
harmless: by its method, by an If-Match, because the caller says that a key makes it so, or because
a 429 says that it was turned away at the door.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
import tenacity
import urllib3

from domain.problems import (
    Conflict,
    NotAuthorised,
    NotFound,
    ServiceError,
    Throttled,
    TimedOut,
    Unavailable,
)
from transport import exact_json
from transport.mounts import in_time
from transport.pace import Pace, StillClosed, Turn
from transport.redaction import redact

T = TypeVar("T")
Now = Callable[[], datetime]

MEGABYTE = 1 << 20
ANSWER_LIMIT = 64 * MEGABYTE
DOWNLOAD_LIMIT = 2048 * MEGABYTE
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_REPEATED = frozenset({429, 502, 503, 504})
_REQUEST_IDS = (
    "MS-RequestId",
    "x-ms-service-request-id",
    "request-id",
    "x-ms-request-id",
    "REQ_ID",
)
_TAX_NUMBER = re.compile(r"(?<=/vat/)[^/]+")
_log = logging.getLogger(__name__)


class AccessToken(NamedTuple):
    """A bearer token and when it expires (seconds since the epoch), as azure-core has it."""

    token: str
    expires_on: int


class Tokens(Protocol):
    """Where access tokens come from (see `transport.auth`)."""

    def get_token(self, *scopes: str, refused: str = "") -> AccessToken:
        """Return a token for the scopes; never the one that was just refused."""
        ...


class Call(NamedTuple):
    """One finished try of a call, for logs: no query, no body, no identity."""

    service: str
    method: str
    host: str
    path: str
    status: int | None
    milliseconds: int


def log_call(call: Call) -> None:
    """Write a call to the debug log, without the tax number that a register has in its paths."""
    shown = call._replace(path=_TAX_NUMBER.sub("...", call.path))
    _log.debug("%s %s %s%s -> %s in %d ms", *shown)


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer: status, headers (in any case) and body."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    url: str
    service: str

    def json(self) -> Any:
        """Parse the body with exact numbers; ServiceError when it is not JSON (a proxy's page)."""
        try:
            return exact_json.loads(self.content)
        except ValueError:
            raise ServiceError(
                "an answer that is not JSON",
                service=self.service,
                status=self.status,
                request_id=request_id_of(self.headers),
                hint=f"check that no proxy answers in place of {self.service}",
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a failing call is tried again: tries, seconds of waiting in all, and per wait."""

    tries: int = 6
    seconds: float = 300.0
    first_wait: float = 1.0
    longest_wait: float = 60.0
    only_refused: bool = False
    """For calls that must not act twice: only 429 is tried again, it says that nothing was done."""
    timeouts: bool = True
    """False where the caller would rather send less at once than the same again (also after a 500)."""
    codes: frozenset[str] = frozenset()
    """Error codes that pass by themselves, whatever their status (a deadlock)."""

    def wait(self, problem: BaseException, tries: int, waited: float, jitter: float) -> float:
        """Decide whether a call that may be repeated is: seconds to wait, or infinity.

        Retry-After is obeyed to the letter, and given up on where it exceeds our patience. Without
        it the wait doubles, less up to a half by `jitter` (0 to 1).
        """
        if tries >= self.tries or not isinstance(problem, ServiceError):
            return math.inf
        if not self._passes(problem, tries):
            return math.inf
        wait = problem.retry_after
        if wait is None:
            wait = min(self.longest_wait, self.first_wait * 2.0 ** (tries - 1)) * (1 - jitter / 2)
        return wait if waited + wait <= self.seconds else math.inf

    def _passes(self, problem: ServiceError, tries: int) -> bool:
        """Say whether a fault is of the kind that passes."""
        if isinstance(problem, Throttled):
            return True
        if self.only_refused:
            return False
        if isinstance(problem, TimedOut):
            return self.timeouts
        if problem.code in self.codes:
            return True
        if not isinstance(problem, Unavailable):
            return False
        # None: no answer at all. A plain 500 may be a slip of the service, but not twice.
        if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return tries == 1 and self.timeouts
        return problem.status is None or problem.status in _REPEATED


def persist(
    attempt: Callable[[], T],
    *,
    patience: Patience,
    sleep: Callable[[float], None] = time.sleep,
    jitter: Callable[[], float] = random.random,
) -> T:
    """Call until it succeeds or patience ends; the last error is raised."""

    def wait(state: tenacity.RetryCallState) -> float:
        problem = state.outcome.exception() if state.outcome else None
        if problem is None:
            return math.inf
        return patience.wait(problem, state.attempt_number, state.idle_for, jitter())

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(ServiceError),
        wait=wait,
        stop=lambda state: math.isinf(state.upcoming_sleep),
        sleep=sleep,
        reraise=True,
    )(attempt)


class Http:
    """Calls to one system; safe for threads."""

    def __init__(
        self,
        base_url: str,
        *,
        service: str,
        session: requests.Session,
        tokens: Tokens | None = None,
        scope: str = "",
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        now: Now = lambda: datetime.now(UTC),
        on_call: Callable[[Call], None] = log_call,
        pace: Pace | None = None,
        timeout: float | None = None,
    ) -> None:
        """`pace` gates every try; `timeout`: seconds without a byte, where the session's are too many."""
        self.base_url = base_url.rstrip("/")
        self.service = service
        self.sleep = sleep
        self._session = session
        self._tokens = tokens
        self._scope = scope or f"{self.base_url}/.default"
        self.patience = patience or Patience()
        self.pace = pace
        self._jitter = jitter
        self._now = now
        self._on_call = on_call
        self._timeout = timeout

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        body: bytes | None = None,
        tokens: Tokens | None = None,
        keyed: bool = False,
        limit: int = ANSWER_LIMIT,
        patience: Patience | None = None,
        inspect: Callable[[Answer], None] = lambda _: None,
    ) -> Answer:
        """Call the system and return its 2xx or 3xx answer; anything else is a ServiceError.

        `url` is a path below the base URL, or an absolute URL of the same host (next links).
        `keyed`: repeating the call converges (a request id, an alternate key), whatever its method.
        `inspect` raises what an answer that looks good holds of failures; they count as its own.
        """
        sent = dict(headers or {})
        if json is not None:
            body = exact_json.dumps(json).encode()
            sent.setdefault("Content-Type", "application/json")
        sent.setdefault("Accept", "application/json")
        tokens = tokens or self._tokens

        def read(response: requests.Response) -> Answer:
            chunks = response.iter_content(MEGABYTE)
            if self._timeout is not None:
                chunks = in_time(response.raw, self._timeout)
            content = b"".join(_bounded(chunks, limit, self.service))
            answer = Answer(
                response.status_code, response.headers, content, response.url, self.service
            )
            inspect(answer)
            return answer

        return self._persist(
            _Request(method, self._own(url), params, sent, body, tokens),
            read,
            repeatable=keyed
            or method in _IDEMPOTENT
            or (method == "PATCH" and any(name.lower() == "if-match" for name in sent)),
            patience=patience,
        )

    def download(
        self,
        url: str,
        target: Path,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        tokens: Tokens | None = None,
        limit: int = DOWNLOAD_LIMIT,
    ) -> Path:
        """Fetch a file as it is stored (not decoded), first under another name, then renamed."""
        partial = target.with_name(f".{target.name}.part")

        def receive(chunks: Iterator[bytes]) -> Path:
            with partial.open("wb") as file:
                for chunk in chunks:
                    file.write(chunk)
            return partial.replace(target)

        try:
            return self.stream(
                url, receive, headers=headers, params=params, tokens=tokens, limit=limit
            )
        finally:
            partial.unlink(missing_ok=True)

    def stream(
        self,
        url: str,
        receive: Callable[[Iterator[bytes]], T],
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        tokens: Tokens | None = None,
        limit: int = DOWNLOAD_LIMIT,
    ) -> T:
        """Hand a body to `receive` as it is stored (not decoded), in blocks while they come in.

        A body that breaks off raises inside `receive`, which is called anew with the next try and
        must start over. Without tokens the URL may be of any https host: a signature in it is the
        permission.
        """
        if tokens is not None:
            url = self._own(url)
        elif not _is_safe(url):
            raise self._problem(f"refuses to download from {urlsplit(url).netloc}: not https")

        def read(response: requests.Response) -> T:
            chunks = response.raw.stream(MEGABYTE, decode_content=False)
            return receive(_bounded(chunks, limit, self.service))

        return self._persist(
            _Request("GET", url, params, dict(headers or {}), None, tokens),
            read,
            repeatable=True,
        )

    def _persist(
        self,
        request: _Request,
        read: Callable[[requests.Response], T],
        *,
        repeatable: bool,
        patience: Patience | None = None,
    ) -> T:
        def once() -> T:
            try:
                return self._paced(request, read)
            except _TokenRefused as problem:
                refused = problem.token
            try:  # a 401 is answered with one fresh token, whatever the method: nothing was done
                return self._paced(request, read, refused)
            except _TokenRefused as problem:
                raise problem.cause from None

        return persist(
            once,
            patience=replace(patience or self.patience, only_refused=not repeatable),
            sleep=self.sleep,
            jitter=self._jitter,
        )

    def _paced(
        self, request: _Request, read: Callable[[requests.Response], T], refused: str = ""
    ) -> T:
        if self.pace is None:
            return self._once(request, read, refused)
        try:
            with self.pace.turn(self.patience.seconds) as turn:
                try:
                    return self._once(request, read, refused, turn)
                except Throttled as problem:
                    # Without a time of the service's own all wait for as long as a first try.
                    wait = problem.retry_after
                    turn.refused = self.patience.first_wait if wait is None else wait
                    turn.code = problem.code
                    raise
        except StillClosed as closed:
            raise Throttled(
                f"not asked: it wants to be left alone for {closed.seconds:.0f} s more",
                service=self.service,
                status=429,
                retry_after=closed.seconds,
                hint=f"{self.service} is busy or down; run this again later",
            ) from None

    def _once(
        self,
        request: _Request,
        read: Callable[[requests.Response], T],
        refused: str = "",
        turn: Turn | None = None,
    ) -> T:
        method, url, params, headers, body, tokens = request
        token = tokens.get_token(self._scope, refused=refused).token if tokens else ""
        started = time.perf_counter()
        status: int | None = None
        address = urlsplit(url)
        try:
            with self._session.request(
                method,
                url,
                params=params,
                data=body,
                headers=headers,
                auth=_Bearer(token),
                stream=True,
                allow_redirects=False,
                timeout=self._timeout,
            ) as response:
                status = response.status_code
                if turn:
                    turn.heard(status, response.headers)
                if status < HTTPStatus.BAD_REQUEST:
                    return read(response)
                problem = self._refusal(response)
                if status == HTTPStatus.UNAUTHORIZED and token:
                    raise _TokenRefused(token, problem)
                raise problem
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            kind = TimedOut if _is_timeout(error) else Unavailable
            raise kind(
                f"no answer from {address.netloc}: {_cause(error)}",
                service=self.service,
                hint="check the address and the network, then run check-config",
            ) from error
        finally:
            milliseconds = round((time.perf_counter() - started) * 1000)
            self._on_call(
                Call(self.service, method, address.netloc, address.path, status, milliseconds)
            )

    def _own(self, url: str) -> str:
        """Make a URL absolute; a token goes to the base URL's host and to no other."""
        if url.startswith("/"):
            return f"{self.base_url}{url}"
        if urlsplit(url)[:2] != urlsplit(self.base_url)[:2]:
            raise self._problem(f"refuses to follow a link to {urlsplit(url).netloc}")
        return url

    def _problem(self, sentence: str) -> ServiceError:
        return ServiceError(sentence, service=self.service)

    def _refusal(self, response: requests.Response) -> ServiceError:
        content = b"".join(_bounded(response.iter_content(MEGABYTE), MEGABYTE, self.service))
        code, sentence = read_error(content)
        status = response.status_code
        error_type = _error_type(status)
        hint = ""
        if issubclass(error_type, Throttled | Unavailable):
            hint = f"{self.service} is busy or down; run this again later"
        elif issubclass(error_type, Conflict):
            hint = "somebody else changed the same record; run this again"
        return error_type(
            sentence or _phrase(status),
            service=self.service,
            status=status,
            code=code,
            request_id=request_id_of(response.headers, response.request.headers),
            retry_after=_retry_after(response.headers, sentence, self._now),
            hint=hint,
        )


def read_error(content: bytes) -> tuple[str, str]:
    """Read code and sentence from an error body of any of the systems; empty where there is none.

    Known: Partner Center `{code, description}` (code a number or a string), its gateway
    `{statusCode, message}`, OData `{error: {code, message}}`, Entra `{error, error_description}`,
    VIES `{errorWrappers: [{error}]}`, storage XML, and HTML of a gateway, of which nothing is kept.
    """
    try:
        body = exact_json.loads(content)
    except ValueError:
        text = content.decode("utf-8", "replace")
        found = [re.search(rf"<{tag}>([^<]*)</{tag}>", text) for tag in ("Code", "Message")]
        code, sentence = (match.group(1) if match else "" for match in found)
        return code, _short(sentence)
    if not isinstance(body, dict):
        return "", ""
    wrapped = body.get("errorWrappers")
    if isinstance(wrapped, list) and wrapped and isinstance(wrapped[0], dict):
        body = wrapped[0]
    inner = body.get("error")
    if isinstance(inner, dict):
        body = inner
    elif isinstance(inner, str):
        body = {"code": inner, "message": body.get("error_description")}
    code = next((body[name] for name in ("code", "Code") if body.get(name) is not None), "")
    names = ("description", "message", "Message")
    sentence = next((body[name] for name in names if body.get(name)), "")
    return str(code), _short(str(sentence))


class _Request(NamedTuple):
    method: str
    url: str
    params: Mapping[str, str] | None
    headers: Mapping[str, str]
    body: bytes | None
    tokens: Tokens | None


class _TokenRefused(Exception):  # noqa: N818 - control flow inside this file
    def __init__(self, token: str, cause: ServiceError) -> None:
        super().__init__(str(cause))
        self.token = token
        self.cause = cause


class _Bearer(requests.auth.AuthBase):
    """Sets the token, or nothing; its presence keeps requests from reading .netrc."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _cause(error: BaseException) -> str:
    """Say what happened at the socket; the layers above only repeat it with addresses of objects."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror.lower()
        if isinstance(inner, RemoteDisconnected):
            return "the connection was cut before an answer came"
        reason = getattr(inner, "reason", None)
        first = inner.args[0] if inner.args else None
        following = reason if isinstance(reason, BaseException) else inner.__cause__
        if following is None and isinstance(first, BaseException):
            following = first
        inner = following or inner.__context__
    return redact(str(error))[:300]


def _bounded(chunks: Any, limit: int, service: str) -> Any:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise ServiceError(f"an answer of more than {limit} bytes", service=service)
        yield chunk


def _is_safe(url: str) -> bool:
    address = urlsplit(url)
    return address.scheme == "https" or address.hostname in ("127.0.0.1", "localhost", "::1")


def request_id_of(*known: Mapping[str, str]) -> str:
    """Return the first id that some headers know; Partner Center sometimes has it as "a,a"."""
    found = (headers[name] for headers in known for name in _REQUEST_IDS if headers.get(name))
    return next(found, "").split(",")[0].strip()


def _is_timeout(error: Exception) -> bool:
    """Say whether we stopped waiting for an answer; a connection that never came is no such case."""
    return isinstance(error, requests.ReadTimeout | urllib3.exceptions.ReadTimeoutError) or (
        # How requests tells of a time-out in the middle of a body.
        isinstance(error, requests.ConnectionError) and "Read timed out" in str(error)
    )


def _error_type(status: int) -> type[ServiceError]:
    if status == HTTPStatus.GATEWAY_TIMEOUT:
        return TimedOut
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Unavailable
    return {
        401: NotAuthorised,
        403: NotAuthorised,
        404: NotFound,
        410: NotFound,
        409: Conflict,
        412: Conflict,
        429: Throttled,
    }.get(status, ServiceError)


def _phrase(status: int) -> str:
    with contextlib.suppress(ValueError):
        return HTTPStatus(status).phrase
    return "an answer without a known status"


def _short(sentence: str) -> str:
    return redact(" ".join(sentence.split()))[:500]


def _retry_after(headers: Mapping[str, str], sentence: str, now: Now) -> float | None:
    """Read Retry-After as seconds or HTTP date, or Microsoft's "Try again in 57 seconds."."""
    text = headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        # Measured against the answer's own date, so that a wrong clock of ours does not matter.
        sent = headers.get("Date")
        moment = parsedate_to_datetime(sent) if sent else now()
        return max(0.0, (parsedate_to_datetime(text) - moment).total_seconds())
    found = re.search(r"[Tt]ry again in (\d+) second", sentence)
    return float(found.group(1)) if found else None
