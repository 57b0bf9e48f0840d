"""What the command line says of accounting: what was handed off, what came back, what is in the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app import output, output_holds
from app.output import DONE, HOLDS
from app.screen import print_json, table
from app.wiring import Worker
from domain.problems import Finding
from sync import feedback, handoff


def handed_off(worker: Worker, key: str, *, as_json: bool) -> int:
    """Show a hand-off and what stands in its way; returns the exit code that it means."""
    found = worker.run(key)
    if found is None:
        return output.FAILED
    told = _told(worker)
    if as_json:
        print_json({**output.run_as_data(found), "findings": _as_data(told)})
    else:
        counts = found.counts
        print(
            f"{counts.get('handed_off', 0)} documents handed off, "
            f"{counts.get('in_the_way', 0)} not yet."
            if worker.ports.accounting
            else found.problem
        )
        _shown(told)
    code = output.exit_code(found)
    return (
        HOLDS if code == DONE and any(one.check == handoff.NOT_CONNECTED for one in told) else code
    )


def fed_back(worker: Worker, counts: Mapping[str, Mapping[str, int]], *, as_json: bool) -> int:
    """Show what came back from each connected system."""
    told = _told(worker)
    if as_json:
        systems = {target: dict(one) for target, one in counts.items()}
        print_json({"systems": systems, "findings": _as_data(told)})
        return DONE
    for target, one in counts.items():
        print(
            f"{target}: looked at {one.get('looked_at', 0)}, paid {one.get('paid', 0)}, "
            f"opened again {one.get('reopened', 0)}, told {one.get('told', 0)}."
        )
    if not counts:
        print(handoff.NOTHING)
    _shown(told)
    return DONE


def _told(worker: Worker) -> list[Finding]:
    """Return what is told of documents in accounting, whoever found it."""
    checks = {handoff.NOT_CONNECTED, *feedback.CHECKS}
    for one in worker.ports.accounting.values():
        checks |= set(one.checks)
    return [one for one in worker.store.findings() if one.check in checks]


def _as_data(told: list[Finding]) -> list[dict[str, Any]]:
    return [output_holds.as_data(one) for one in told]


def _shown(told: list[Finding]) -> None:
    if told:
        table(
            "To be looked at",
            ("what", "why", "what to do"),
            [(one.record, one.sentence, one.hint) for one in told],
        )
