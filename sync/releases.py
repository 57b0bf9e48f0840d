"""A person lets a customer be billed in spite of a finding, or takes that back; who, when and why.

A release comes by a command or by the finding's row in Dynamics, where a person sets the state and a
reason. What was set there counts when it is accepted, at the start of the next run. What there is
nothing to bill with for is not released, and the row says why.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from datetime import date

from domain.problems import (
    Conflict,
    Decision,
    Finding,
    FindingState,
    InputError,
    NotFound,
    Severity,
)
from rules.checks import CHECKS, Room, in_force, judged, why_final
from sync.findings import current
from sync.ledger import Ledger, Outcome
from sync.messages import TakeRelease
from sync.ports import Ports

LONGEST = 1000
"""Characters of a reason."""
_LIST = "list them with: python -m app holds"


def settle(ports: Ports) -> None:
    """Accept or refuse what people set on findings, and end the releases whose time is over."""
    today = ports.now().date()
    for decision in ports.store.decisions():
        # Changed or deleted meanwhile: the next run looks again.
        with suppress(Conflict, NotFound):
            ports.store.put_finding(_answered(ports, decision, today), decision.version)
    for finding in ports.store.findings():
        counts = in_force(finding, ports.policy, today)
        if finding.released_by and not counts.released_by:
            with suppress(NotFound):
                ports.store.put_finding(replace(counts, severity=finding.severity))


def _answered(ports: Ports, decision: Decision, today: date) -> Finding:
    finding, who = decision.finding, decision.by or "Somebody in Dynamics"
    match decision.state:
        case FindingState.OPEN:
            return finding.with_ended_release(finding, today, f"{who} withdrew it")
        case FindingState.CLOSED if _ends_by_itself(ports, finding):
            held = finding.with_ended_release(finding, today, f"{who} set it to Closed")
            said = (
                f"{who} set it to Closed on {decision.on}. It holds, so it closes by itself when "
                "a look no longer finds it; to bill in spite of it, release it with a reason."
            )
            return replace(held, closed_on=None, release_note=said)
        case FindingState.CLOSED:
            said = f"{who} closed it on {decision.on}; a run that finds it again opens it."
            return replace(finding.closed(decision.on), release_note=said)
        case FindingState.RELEASED:
            refused = _refusal(ports, finding, finding.released_reason, finding.released_until)
            if refused:
                said = f"Not released on {decision.on}: {refused}."
                return replace(finding.with_ended_release(finding, today, ""), release_note=said)
            return replace(
                finding,
                released_by=who,
                released_on=decision.on,
                released_reason=finding.released_reason.strip()[:LONGEST],
                release_note="",
            )


def _ends_by_itself(ports: Ports, finding: Finding) -> bool:
    """Say whether only its cause ends a finding: it holds, and something looks for it again.

    Otherwise closing would be a release without a reason, also of what nobody may release.
    """
    check = CHECKS.get(finding.check)
    if check is None or check.room in {Room.EVENT, Room.STORE}:
        return False
    return ports.policy.get(finding.check, finding.severity) is not Severity.WARN


def _refusal(ports: Ports, finding: Finding, reason: str, until: date | None) -> str:
    """Say why a finding is not released; empty: it is."""
    (as_judged,) = judged([finding], ports.policy)
    final = why_final(as_judged)
    if final:
        return final
    if not reason.strip():
        return "a reason is missing; enter it and set the state to Released again"
    if until is not None and until < ports.now().date():
        return f"its last day, {until}, is over"
    return ""


def release(ports: Ports, name: str, *, reason: str, by: str, until: date | None = None) -> Finding:
    """Release a finding by its short name; the same release again changes nothing.

    InputError, in a sentence, for what is unknown, holds nobody, cannot be released or has no reason.
    """
    found = find(ports, name)
    final = why_final(found)
    if final:
        raise InputError(f"{found.id} cannot be released: {final}", hint=found.hint)
    if not reason.strip() or len(reason) > LONGEST:
        raise InputError(
            f"a release needs a reason of 1 to {LONGEST} characters",
            hint='give it as --reason "agreed with the customer by phone"',
        )
    if not by.strip():
        raise InputError("a release needs a name", hint="give it as --by NAME")
    refused = _refusal(ports, found, reason, until)
    if refused:
        raise InputError(f"{found.id} is not released: {refused}", hint="give a later day")
    told = (by.strip(), reason.strip(), until)
    if (found.released_by, found.released_reason, found.released_until) == told:
        return found
    today = ports.now().date()
    ended = found.with_ended_release(found, today, f"{by.strip()} released it anew")
    released = replace(
        ended,
        released_by=by.strip(),
        released_on=today,
        released_reason=reason.strip(),
        released_until=until,
    )
    ports.store.put_finding(released)
    return released


def take(ports: Ports, wanted: TakeRelease) -> None:
    """Do once what a message asks for; what cannot be done is noted on the finding.

    A finding whose cause is gone needs neither: nothing holds any more.
    """

    def work() -> Outcome:
        try:
            if not wanted.withdraw:
                release(
                    ports, wanted.finding, reason=wanted.reason, by=wanted.by, until=wanted.until
                )
            elif find(ports, wanted.finding).released_by:
                withdraw(ports, wanted.finding, by=wanted.by)
        except InputError as fault:
            note(ports, wanted.finding, str(fault))
        return Outcome()

    Ledger(ports.store, ports.now).run_once(wanted.key, "release", wanted.run_key, work)


def note(ports: Ports, name: str, problem: str) -> None:
    """Say on an open finding why a release that was asked for is not there."""
    with suppress(InputError, NotFound):
        finding = find(ports, name)
        said = f"Not released on {ports.now().date()}: {problem.rstrip('.')}."
        if finding.release_note != said:
            ports.store.put_finding(replace(finding, release_note=said[:LONGEST]))


def withdraw(ports: Ports, name: str, *, by: str) -> Finding:
    """Take a release back: the finding holds again."""
    found = find(ports, name)
    if not found.released_by:
        raise InputError(f"{found.id} is not released", hint=_LIST)
    today = ports.now().date()
    held = found.with_ended_release(found, today, f"{by.strip() or 'somebody'} withdrew it")
    ports.store.put_finding(held)
    return held


_CUT = re.compile(r"-[0-9a-f]{6}$")


class Ambiguous(InputError):  # noqa: N818 - it is what the name is
    """A name of several findings."""


def find(ports: Ports, name: str) -> Finding:
    """Return the one open finding of a name, as `holds` shows it, or of a key; else InputError.

    A name may be cut to the six digits that earlier versions showed. Ambiguous where it names several.
    """
    wanted = name.strip().lower()
    cut = bool(_CUT.search(wanted))
    found = [
        one
        for one in current(ports)
        if wanted in {one.id.lower(), one.key.lower()} or (cut and one.id.startswith(wanted))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        keys = ", ".join(one.key for one in found)
        raise Ambiguous(
            f"{name} names several findings: {keys}", hint="give all ten digits, or a key"
        )
    raise InputError(f"there is no open finding {name}", hint=_LIST)
