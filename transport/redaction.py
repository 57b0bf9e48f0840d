"""Secrets that print as stars, and a filter for text that leaves the process (logs, errors).

The filter knows the shapes of secrets in this trade: bearer tokens and JWTs, SAS signatures, client
secrets and refresh tokens in forms or JSON, account keys. It cannot know a secret without a shape;
those are held in `Secret` and never formatted.
"""

from __future__ import annotations

import re

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


def redact(text: str) -> str:
    """Replace everything that has the shape of a secret by stars."""
    scheme, jwt, pair, field = _SHAPES
    text = jwt.sub(_STARS, text)
    text = scheme.sub(rf"\1\2{_STARS}", text)
    text = pair.sub(rf"\1{_STARS}", text)
    return field.sub(rf'\1"{_STARS}"', text)


class Secret:
    """A secret text; prints as stars, compares by value, is read by `reveal` alone."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

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
