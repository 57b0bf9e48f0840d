"""Every check that the product knows, by name: what it looks at, what to do, who may overrule it.

A room is who looks: it replaces its own findings, and so closes those whose cause is gone. A test
reads the code, and fails on a check that is not listed here and on one here that nothing finds.
`docs/checks.md` is made of this list. The points of an audit of files are no findings: nobody is
billed by them (docs/audit.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date
from difflib import get_close_matches

from domain.problems import Finding, Severity
from rules.check import Check, Room
from rules.gate_checks import ADDRESS, GATE, TAX
from rules.work_checks import (
    AHEAD,
    ANSWER,
    DOCUMENT,
    DRAFT,
    EVENT,
    INVOICE,
    NUMBERS,
    READING,
    RECONCILE,
    STORE,
    UNBILLED,
)

__all__ = [
    "CHECKS",
    "Check",
    "Policy",
    "Room",
    "in_force",
    "judged",
    "nearest",
    "of_rooms",
    "severity_of",
    "why_final",
]

CHECKS: Mapping[str, Check] = {
    check.name: check
    for check in (
        *GATE,
        *ADDRESS,
        *TAX,
        *DRAFT,
        *RECONCILE,
        *READING,
        *INVOICE,
        *NUMBERS,
        *EVENT,
        *UNBILLED,
        *AHEAD,
        *DOCUMENT,
        *STORE,
        *ANSWER,
    )
}


def of_rooms(*rooms: Room) -> tuple[str, ...]:
    """Return the names of the checks of some rooms."""
    return tuple(name for name, check in CHECKS.items() if check.room in rooms)


def nearest(name: str) -> list[str]:
    """Return the names that a mistyped one may mean, the nearest first."""
    close = get_close_matches(name, CHECKS, n=3)
    tail = [known for known in CHECKS if known.rpartition(".")[2] == name.rpartition(".")[2]]
    return list(dict.fromkeys([*close, *tail]))[:3]


Policy = Mapping[str, Severity]
"""Severity by check name, where it differs from the check's own."""


def severity_of(finding: Finding, policy: Policy) -> Severity:
    """Return the severity of a finding by the partner's policy.

    None makes a warning of what there is nothing to bill with for: what is not proposed would be
    credited, and never asked for.
    """
    wanted = policy.get(finding.check, finding.severity)
    check = CHECKS.get(finding.check)
    never = wanted is Severity.WARN and check is not None and check.final
    return finding.severity if never else wanted


def judged(
    findings: Iterable[Finding], policy: Policy, known: Iterable[Finding] = ()
) -> tuple[Finding, ...]:
    """Return each finding once, with the severity of the partner's policy, released as it was.

    Of two with one key both sentences are told. Of the `known` ones those count that say the same.
    """
    before = {finding.key: finding for finding in known}
    unique: dict[str, Finding] = {}
    for finding in findings:
        unique[finding.key] = _joined(unique.get(finding.key, finding), finding)
    return tuple(
        _as_released(replace(f, severity=severity_of(f, policy)), before.get(key))
        for key, f in unique.items()
    )


def _joined(one: Finding, other: Finding) -> Finding:
    if other.sentence in one.sentence:
        return one
    severity = max(one.severity, other.severity, key=list(Severity).index)
    return replace(one, sentence=f"{one.sentence} {other.sentence}", severity=severity)


def _as_released(finding: Finding, known: Finding | None) -> Finding:
    if known is None or not known.is_released or known.sentence != finding.sentence:
        return finding
    released = finding.with_release_of(known)
    return released if released.is_released and not why_final(finding) else finding


def in_force(finding: Finding, policy: Policy, day: date) -> Finding:
    """Return a stored finding as it counts on a day, by the policy of today.

    A release has an end, and no policy or person releases what there is nothing to bill with for.
    """
    known = replace(finding, severity=severity_of(finding, policy)).on(day)
    final = why_final(known)
    return known.with_ended_release(known, day, final) if final else known


def why_final(finding: Finding) -> str:
    """Say why nobody can release a finding; empty: a person may."""
    if finding.severity is Severity.WARN:
        return "it is a warning and holds nobody"
    check = CHECKS.get(finding.check)
    if check is None:
        return f"this version knows no check {finding.check}"
    if finding.severity is Severity.BLOCK:
        return check.final or "the partner's policy blocks it"
    return check.final
