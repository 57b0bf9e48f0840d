"""Who is on hold, for people and for programs; releasing a hold and taking that back."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

from app.screen import print_json, readable, table
from domain.problems import Finding, InputError, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date
    from decimal import Decimal

    from rich.console import Console

    from app.wiring import Worker
    from sync.holds import Hold

DONE, HOLDS = 0, 3


def listed(worker: Worker, *, warnings: bool, customer_id: str, as_json: bool) -> int:
    """List who is on hold and what was released; with `warnings` also what holds nobody."""
    from sync.findings import current
    from sync.holds import holds

    found = holds(worker.ports, customer_id=customer_id)
    told = current(worker.ports, customer_id=customer_id) if warnings else []
    told = [one for one in told if one.severity is Severity.WARN]
    on_hold = any(one.holding for one in found)
    names = {one.id: one.name for one in worker.store.customers()}
    if as_json:
        data: dict[str, Any] = {"holds": [hold_as_data(one) for one in found]}
        if warnings:
            data["warnings"] = [
                {"customer": names.get(f.customer_id, ""), **as_data(f)} for f in told
            ]
        print_json(data)
        return HOLDS if on_hold else DONE
    shown(found)
    if not on_hold:
        print("Nobody is on hold.")
    else:
        print("Release one: python -m app release FINDING --reason TEXT (docs/holds.md)")
    if told:
        table(
            "Warnings",
            ("customer", "what", "what to do"),
            [
                (names.get(f.customer_id, "(partner)"), f.sentence, sentence(f.hint))
                for f in sorted(told, key=lambda f: (f.customer_id, f.check, f.key))
            ],
        )
    return HOLDS if on_hold else DONE


def shown(found: Sequence[Hold], to: Console | None = None) -> None:
    """Show holds as a table, the released ones apart."""
    rows = [
        (hold.customer, money(hold.worth), *_said(one)) for hold in found for one in hold.holding
    ]
    if rows:
        headings = ("customer", ">held", ">since", "why, and what to do", "finding")
        table("On hold", headings, _once(rows), to)
    let_go = [
        (
            hold.customer,
            f"{one.sentence} {one.released_by} on {one.released_on}: {sentence(one.released_reason)}",
            f"{one.released_until or ''}",
            one.id,
        )
        for hold in found
        for one in hold.released
    ]
    if let_go:
        table("Released", ("customer", "what, who and why", ">until", "finding"), let_go, to)


def _said(finding: Finding) -> tuple[str, str, str]:
    said = f"{finding.sentence} To do: {sentence(finding.hint)}"
    return (
        str(finding.since or ""),
        "\n".join(filter(None, (said, lost(finding), finding.link))),
        finding.id,
    )


def _once(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Name a customer and its money with its first finding alone: the money is held once."""
    return [
        ("", "", *row[2:]) if before and before[:2] == row[:2] else row
        for before, row in zip([None, *rows], rows, strict=False)
    ]


def money(worth: Mapping[str, Decimal] | None) -> str:
    """Write what is held, by currency; empty: nothing is."""
    if worth is None:
        return "not known"
    return "\n".join(f"{amount:,f} {currency}" for currency, amount in worth.items())


def lost(finding: Finding) -> str:
    """Say what each day costs, where that is known."""
    each = " and ".join(f"{one.amount:,f} {one.currency}" for one in finding.lost_per_day)
    return f"Lost each day: about {each} of partner earned credit." if each else ""


def sentence(text: str) -> str:
    """Write a hint as a sentence."""
    text = text.strip()
    if not text:
        return ""
    return f"{text[:1].upper()}{text[1:]}" + ("" if text[-1] in ".!?" else ".")


def hold_as_data(hold: Hold) -> dict[str, Any]:
    """Return a customer's hold as plain data; money is text."""
    return {
        "customer_id": hold.customer_id,
        "customer": hold.customer,
        "since": str(hold.since) if hold.since else None,
        "worth": None
        if hold.worth is None
        else {currency: f"{amount:f}" for currency, amount in hold.worth.items()},
        "holding": [as_data(one) for one in hold.holding],
        "released": [as_data(one) for one in hold.released],
    }


def as_data(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain data."""

    def day(value: date | None) -> str | None:
        return str(value) if value else None

    data: dict[str, Any] = {
        "finding": finding.id,
        "key": finding.key,
        "version": finding.version,
        "check": finding.check,
        "severity": finding.severity.value,
        "state": finding.state.value,
        "record": finding.record,
        "sentence": finding.sentence,
        "hint": finding.hint,
        "link": finding.link,
        "since": day(finding.since),
        "changed": day(finding.seen),
    }
    if finding.lost_per_day:
        data["lost_per_day"] = {one.currency: f"{one.amount:f}" for one in finding.lost_per_day}
    if finding.released_by:
        data["release"] = {
            "by": finding.released_by,
            "on": day(finding.released_on),
            "until": day(finding.released_until),
            "reason": finding.released_reason,
        }
    if finding.release_note:
        data["note"] = finding.release_note
    return data


def release(
    worker: Worker,
    name: str,
    *,
    reason: str | None,
    by: str | None,
    until: date | None,
    withdraw: bool,
    seen: str | None,
    as_json: bool,
) -> int:
    """Release a finding, or take that back; InputError where it cannot be."""
    from sync import releases

    who = by if by is not None else getpass.getuser()
    if withdraw:
        if reason is not None or until is not None or seen is not None:
            raise InputError(
                "--withdraw takes a release back and has no reason, no last day and no version",
                hint="leave --reason, --until and --seen out",
            )
        found = releases.withdraw(worker.ports, name, by=who)
    else:
        found = releases.release(
            worker.ports, name, reason=reason or "", by=who, until=until, version=seen or ""
        )
    if as_json:
        print_json(as_data(found))
        return DONE
    whom = next(
        (one.name for one in worker.store.customers() if one.id == found.customer_id), "the partner"
    )
    if withdraw:
        print(readable(f"{found.id} holds {whom} again. {found.release_note}"))
    else:
        last = f" until {found.released_until}" if found.released_until else ""
        said = (
            f"{found.id} of {whom} is released{last} by {found.released_by}: "
            f"{sentence(found.released_reason)} It says: {found.sentence} "
            "The next run bills what was held."
        )
        print(readable(said))
    return DONE
