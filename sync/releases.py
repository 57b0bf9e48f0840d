"""A person lets a customer be billed in spite of a finding, or takes that back; who, when and why.

A release comes by a command or by the finding's row in Dynamics, where a person sets the state and a
reason. What was set there counts when it is accepted, at the start of the next run. What there is
nothing to bill with for is not released, and the row says why.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime

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
CHANGED = "has changed since it was seen"
LOOK_AGAIN = "read it anew, and decide again"
_LIST = "list them with: python -m app holds"


def settle(ports: Ports) -> None:
    """Accept or refuse what people set on findings, and end the releases whose time is over."""
    today = ports.now().date()
    for decision in ports.store.decisions():
        # Changed or deleted meanwhile: the next run looks again.
        with suppress(Conflict, NotFound):
            answered = replace(_answered(ports, decision, today), decided_at=_second(decision.at))
            ports.store.put_finding(answered, decision.version)
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


def release(
    ports: Ports,
    name: str,
    *,
    reason: str,
    by: str,
    until: date | None = None,
    version: str = "",
    at: datetime | None = None,
) -> Finding:
    """Release a finding by its short name; the same release again changes nothing.

    `version` is that of the finding that was seen (empty: as it stands), `at` when it was asked for
    (None: now). InputError, in a sentence, for what is unknown, has changed since, holds nobody,
    cannot be released or has no reason.
    """
    found = find(ports, name)
    if version not in {"", found.version}:
        raise InputError(f"{found.id} {CHANGED}", hint=LOOK_AGAIN)
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
    moment = _second(at or ports.now())
    told = (by.strip(), reason.strip(), until)
    if (found.released_by, found.released_reason, found.released_until) == told:
        return _decided(ports, found, moment)
    today = ports.now().date()
    ended = found.with_ended_release(found, today, f"{by.strip()} released it anew")
    released = replace(
        ended,
        released_by=by.strip(),
        released_on=today,
        released_reason=reason.strip(),
        released_until=until,
        decided_at=moment,
    )
    ports.store.put_finding(released)
    return released


def _decided(ports: Ports, found: Finding, moment: datetime) -> Finding:
    """Keep that a person decided so again, or decided what was so already."""
    if found.decided_at is not None and found.decided_at >= moment:
        return found
    decided = replace(found, decided_at=moment)
    ports.store.put_finding(decided)
    return decided


def _second(moment: datetime) -> datetime:
    """Return a moment as a row keeps it."""
    return moment.astimezone(UTC).replace(microsecond=0)


def take(ports: Ports, wanted: TakeRelease) -> None:
    """Do once what a message asks for; what cannot be done is noted on the finding.

    Messages have no order: what a person decided later stands, also on the row in Dynamics. A
    finding whose cause is gone needs neither: nothing holds any more.
    """

    def work() -> Outcome:
        settle(ports)
        try:
            found = find(ports, wanted.finding)
            _refuse_overtaken(found, wanted)
            if not wanted.withdraw:
                release(
                    ports,
                    found.key,
                    reason=wanted.reason,
                    by=wanted.by,
                    until=wanted.until,
                    version=wanted.version,
                    at=wanted.asked_at,
                )
            elif found.released_by:
                withdraw(ports, found.key, by=wanted.by, at=wanted.asked_at)
            else:
                _decided(ports, found, _second(wanted.asked_at))
        except InputError as fault:
            note(ports, wanted, str(fault))
        return Outcome()

    Ledger(ports.store, ports.now).run_once(wanted.key, "release", wanted.run_key, work)


def _refuse_overtaken(found: Finding, wanted: TakeRelease) -> None:
    """Refuse what was asked for before the last decision; of one second a withdrawal is the later."""
    asked, decided = _second(wanted.asked_at), found.decided_at
    if decided is None or decided < asked:
        return
    if decided == asked and (wanted.withdraw or found.released_by):
        return
    raise InputError(
        f"{wanted.by} asked at {asked:%Y-%m-%d %H:%M:%S} UTC, "
        f"and it was decided anew at {decided:%Y-%m-%d %H:%M:%S} UTC"
    )


def note(ports: Ports, wanted: TakeRelease, problem: str) -> None:
    """Say on an open finding why what was asked for is not so, before what was said of it last."""
    with suppress(InputError, NotFound):
        finding = find(ports, wanted.finding)
        what = "The release is not taken back" if wanted.withdraw else "Not released"
        said = f"{what} on {ports.now().date()}: {problem.rstrip('.')}."
        if not finding.release_note.startswith(said):
            whole = f"{said} {finding.release_note}".strip()[:LONGEST]
            ports.store.put_finding(replace(finding, release_note=whole))


def withdraw(ports: Ports, name: str, *, by: str, at: datetime | None = None) -> Finding:
    """Take a release back: the finding holds again."""
    found = find(ports, name)
    if not found.released_by:
        raise InputError(f"{found.id} is not released", hint=_LIST)
    today = ports.now().date()
    held = found.with_ended_release(found, today, f"{by.strip() or 'somebody'} withdrew it")
    held = replace(held, decided_at=_second(at or ports.now()))
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
