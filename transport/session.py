"""HTTP calls to one system: identity, the only retry decision of the product, typed errors.

An `Http` speaks to one base URL and sends its token nowhere else. What comes back is bounded in
size and read with exact numbers. Failures are the `ServiceError` tree of `domain.problems`, told by
status, error code and request id, and free of secrets. A call is repeated only where repeating is
harmless: by its method, by an If-Match, because the caller says that a key makes it so, or because
a 429 says that it was turned away at the door.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
import tenacity
import urllib3

from domain.problems import (
    ServiceError,
    Throttled,
    TimedOut,
    Unavailable,
)
from transport import exact_json
from transport.calls import Call, log_call
from transport.mounts import in_time
from transport.pace import Pace, StillClosed, Turn
from transport.refusals import cause, is_timeout, refusal, request_id_of

T = TypeVar("T")
Now = Callable[[], datetime]

MEGABYTE = 1 << 20
ANSWER_LIMIT = 64 * MEGABYTE
DOWNLOAD_LIMIT = 2048 * MEGABYTE
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_REPEATED = frozenset({429, 502, 503, 504})


class AccessToken(NamedTuple):
    """A bearer token and when it expires (seconds since the epoch), as azure-core has it."""

    token: str
    expires_on: int

    def __repr__(self) -> str:
        return f"AccessToken(***, expires_on={self.expires_on})"


class Tokens(Protocol):
    """Where access tokens come from (see `transport.auth`)."""

    def get_token(self, *scopes: str, refused: str = "") -> AccessToken:
        """Return a token for the scopes; never the one that was just refused."""
        ...


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


HURRIED_TRIES = 3
_CAP: ContextVar[float] = ContextVar("seconds of patience at most", default=math.inf)


@contextmanager
def hurried(seconds: float) -> Iterator[None]:
    """Have little patience inside, as somebody waits for the answer.

    Per call: at most so many seconds between tries, as many without a byte, and three tries.
    """
    before = _CAP.set(seconds)
    try:
        yield
    finally:
        _CAP.reset(before)


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
            _Request(method, self._own(url), params, sent, body, tokens, count(1)),
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
            _Request("GET", url, params, dict(headers or {}), None, tokens, count(1)),
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

        chosen = replace(patience or self.patience, only_refused=not repeatable)
        if math.isfinite(cap := _CAP.get()):
            tries = min(chosen.tries, HURRIED_TRIES)
            chosen = replace(chosen, seconds=min(chosen.seconds, cap), tries=tries)
        return persist(
            once,
            patience=chosen,
            sleep=self.sleep,
            jitter=self._jitter,
        )

    def _silence(self) -> float | None:
        """Return the seconds without a byte that are waited for; None: those of the session."""
        cap = _CAP.get()
        return self._timeout if math.isinf(cap) else min(self._timeout or cap, cap)

    def _paced(
        self, request: _Request, read: Callable[[requests.Response], T], refused: str = ""
    ) -> T:
        if self.pace is None:
            return self._once(request, read, refused)
        try:
            with self.pace.turn(min(self.patience.seconds, _CAP.get())) as turn:
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
        method, url, params, headers, body, tokens, tries = request
        token = tokens.get_token(self._scope, refused=refused).token if tokens else ""
        tried = next(tries)
        started = time.perf_counter()
        status: int | None = None
        request_id = ""
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
                timeout=self._silence(),
            ) as response:
                status = response.status_code
                request_id = request_id_of(response.headers)
                if turn:
                    turn.heard(status, response.headers)
                if status < HTTPStatus.BAD_REQUEST:
                    return read(response)
                problem = self._refusal(response)
                if status == HTTPStatus.UNAUTHORIZED and token:
                    raise _TokenRefused(token, problem)
                raise problem
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            kind = TimedOut if is_timeout(error) else Unavailable
            raise kind(
                f"no answer from {address.netloc}: {cause(error)}",
                service=self.service,
                hint="check the address and the network, then run check-config",
            ) from None
        finally:
            milliseconds = round((time.perf_counter() - started) * 1000)
            self._on_call(
                Call(
                    self.service,
                    method,
                    address.netloc,
                    address.path,
                    status,
                    milliseconds,
                    tried,
                    request_id,
                )
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
        return refusal(
            self.service,
            response.status_code,
            content,
            response.headers,
            response.request.headers,
            now=self._now,
        )


class _Request(NamedTuple):
    method: str
    url: str
    params: Mapping[str, str] | None
    headers: Mapping[str, str]
    body: bytes | None
    tokens: Tokens | None
    tries: Iterator[int]


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
