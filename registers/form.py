"""A tax number judged by its form and check digits alone: nothing leaves the machine.

Limit: a well-formed number may belong to nobody. Countries without a check that is known here (and
those whose register nobody has connected, as the United Kingdom's, Switzerland's and Norway's) get
no better answer than this one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from domain.tax import FORM_ONLY, NumberState, TaxNumberCheck

CheckForm = Callable[[str, str], bool | None]
"""Tells for a country (ISO 3166) and a number whether it is one; None: no check is known."""


class FormRegister:
    """Answers from the number itself."""

    def __init__(self, check_form: CheckForm, *, now: Callable[[], datetime]) -> None:
        self._check_form = check_form
        self._now = now

    def source(self, country: str, number: str) -> str:  # noqa: ARG002 - the port's signature
        """Return that only the form is looked at, whatever the number."""
        return FORM_ONLY

    def check(self, country: str, number: str) -> TaxNumberCheck:
        """Return what form and check digits say; UNKNOWN where no check is known for a country."""
        formed = self._check_form(country, number)
        state = NumberState.VALID if formed else NumberState.INVALID
        return TaxNumberCheck(
            number=number,
            country=country,
            state=NumberState.UNKNOWN if formed is None else state,
            checked_at=None if formed is None else self._now(),
            source=FORM_ONLY,
            problem=f"no check is known for numbers of {country}" if formed is None else "",
        )
