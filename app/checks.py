"""The page of all checks, for docs/checks.md: made of the list, so that it cannot lag behind."""

from __future__ import annotations

from rules.checks import CHECKS, Check, Room

_INTRO = """\
# Checks

Every check that the worker knows. It is generated: `python3 dev.py run checks > docs/checks.md`.

A check that finds something leaves a row in *Billing findings*. **hold** keeps the customer out of billing until its cause is gone or, where the table says so, until a person releases it with a reason ([holds.md](holds.md)); **block** holds and nobody releases it; **warn** only tells.
`CSP_SEVERITIES` sets another severity by name: `{"gdap.expiring": "hold"}`.
"""
_HEADINGS = {
    Room.GATE: (
        "Before a bill: relationship and contract",
        "Looked at whenever a customer is billed, and in between.",
    ),
    Room.TAX: ("Before a bill: tax and address", "Looked at whenever a customer is billed."),
    Room.DRAFT: ("The bill of a month", "Looked at whenever a customer is billed."),
    Room.RECONCILE: ("Microsoft's lines beside the documents", "Looked at when a run ends."),
    Room.READING: (
        "Reading Partner Center",
        (
            "Looked at by each sync. One that names no customer warns, except that an invoice which is "
            "not read whole blocks its month."
        ),
    ),
    Room.INVOICE: (
        "Reading an invoice",
        (
            "Looked at when an invoice is imported. What cannot be read holds the bill of the "
            "invoice's month alone, and warns where it names no customer."
        ),
    ),
    Room.NUMBERS: (
        "Tax numbers",
        "Looked at by each sync, and before a month is billed ([tax-numbers.md](tax-numbers.md)).",
    ),
    Room.EVENT: (
        "Told by Partner Center",
        "Found when its event comes in ([webhooks.md](webhooks.md)); a person closes it.",
    ),
    Room.UNBILLED: ("Usage that is not billed yet", "Looked at by each sync."),
    Room.AHEAD: ("What lies ahead", "Looked at by the runs of prices and of renewals."),
    Room.DOCUMENT: ("Issued documents", "Looked at by each approval and at the end of a run."),
    Room.STORE: ("Writing rows", "Found where a row is written."),
    Room.ANSWER: ("In the answer of a command", "Told by the command alone; no row is kept."),
}


def page() -> str:
    """Return the list of all checks as Markdown."""
    parts = [_INTRO]
    for room, (heading, when) in _HEADINGS.items():
        own = sorted((one for one in CHECKS.values() if one.room is room), key=lambda one: one.name)
        if own:
            rows = "\n".join(_row(one) for one in own)
            parts.append(f"## {heading}\n\n{when}\n\n{_TABLE}{rows}\n")
    return "\n".join(parts)


_TABLE = "| check | by default | looks at | what to do | release |\n|---|---|---|---|---|\n"


def _row(check: Check) -> str:
    release = f"no: {check.final}" if check.final else "with a reason"
    if check.severity == "warn":
        release = ""
    return f"| `{check.name}` | {check.severity} | {check.about} | {check.to_do} | {release} |"
