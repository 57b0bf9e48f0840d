"""Secrets that print as stars, and a filter for text that leaves the process (logs, errors).

The filter knows the shapes of secrets in this trade: bearer tokens and JWTs, SAS signatures, client
secrets and refresh tokens in forms or JSON, account keys. A secret without a shape is known by its
value: whatever `Secret` this process holds is replaced wherever it is echoed.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import deque
from urllib.parse import quote
from weakref import WeakValueDictionary

_STARS = "***"
_NAMES = (
    "access_token|refresh_token|id_token|client_secret|client_assertion|assertion|password|code|"
    "sasToken|sig|AccountKey|SharedAccessKey|SharedAccessSignature|api[-_]?key"
)
_SHAPES = (
    re.compile(r"(?i)\b(bearer|basic|signature|sharedkey)(\s+)[A-Za-z0-9+/=_.~:-]{8,}"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*)*"),
    re.compile(rf"(?i)(\b(?:{_NAMES})=)[^&\s\"';,<>]+"),
    re.compile(rf'(?i)("(?:{_NAMES})"\s*:\s*)"[^"]*"'),
)
_KEY = re.compile(r"AccountKey=([^;]+)")
"""The secret within a connection string."""
_SHORTEST = 8
"""Characters of a value that is looked for: a shorter one stands in innocent words."""
_MOST_PASSING = 64
_CHATTY = (
    "urllib3.connectionpool",
    "msal.application",
    "msal.authority",
    "msal.managed_identity",
    "msal.oauth2cli.oauth2",
    "msal.oauth2cli.oidc",
    "msal.token_cache",
    "msal.throttled_http_client",
)
"""Loggers of libraries that write addresses with their queries, or answers, when they are let."""


def redact(text: str) -> str:
    """Replace what has the shape of a secret, or is one that this process holds, by stars."""
    for value in _held():
        if value in text:
            text = text.replace(value, _STARS)
    scheme, jwt, pair, field = _SHAPES
    text = jwt.sub(_STARS, text)
    text = scheme.sub(rf"\1\2{_STARS}", text)
    text = pair.sub(rf"\1{_STARS}", text)
    return field.sub(rf'\1"{_STARS}"', text)


def cleaned(content: bytes) -> bytes:
    """Return a payload with the secrets that this process holds replaced, if a system quoted any."""
    for value in _held():
        if value.encode() in content:
            content = content.replace(value.encode(), _STARS.encode())
    return content


class Secret:
    """A secret text; prints as stars, compares by value, is read by `reveal` alone."""

    __slots__ = ("__weakref__", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._remember()

    def _remember(self) -> None:
        """Let this value be recognised for as long as it is held."""
        global _number  # noqa: PLW0603 - counts what came
        with _registry_lock:
            _registry[id(self)] = self
            _number += 1

    def reveal(self) -> str:
        """Return the secret itself: call it where it goes on the wire, nowhere else."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return _STARS

    def __format__(self, spec: str) -> str:
        return _STARS

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        msg = "a secret is not pickled"
        raise TypeError(msg)


_passing: deque[Secret] = deque(maxlen=_MOST_PASSING)


def conceal(value: str) -> None:
    """Let a secret that only passes through (a token, a signature) be recognised where it is echoed."""
    if value:
        _passing.append(Secret(value))


_registry: WeakValueDictionary[int, Secret] = WeakValueDictionary()
_registry_lock = threading.Lock()
_number = 0
_known: tuple[tuple[int, int], tuple[str, ...]] = ((0, 0), ())


def _held() -> tuple[str, ...]:
    """Return the values of all secrets that are alive, as they are and as addresses have them."""
    global _known  # noqa: PLW0603 - made anew when secrets came or went
    with _registry_lock:
        state = (_number, len(_registry))
        if _known[0] != state:
            texts = {secret._text for secret in _registry.values()}  # noqa: SLF001 - the same module
            texts |= {key for text in texts for key in _KEY.findall(text)}
            texts = {text for text in texts if len(text) >= _SHORTEST}
            texts |= {quote(text, safe="") for text in texts}
            # The longest first: one may begin with another.
            _known = (state, tuple(sorted(texts, key=lambda text: (-len(text), text))))
        return _known[1]


class _Redacting(logging.Filter):
    """Lets a record pass as what `redact` makes of it."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


_redacting = _Redacting()


def quieten() -> None:
    """Let the libraries below us log no secrets, whatever level somebody sets."""
    for name in _CHATTY:
        logging.getLogger(name).addFilter(_redacting)
