"""What the commands answer: tables for people, or one JSON document for programs; the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.screen import banner, note, print_json, table
from domain.problems import InputError, NotFound, WorkerError
from domain.run import RequestStatus, Run, RunRequest, RunStatus

if TYPE_CHECKING:
    from rich.console import Console

    from app.settings import Settings
    from app.wiring import Worker
    from dataverse.provision.plan import Plan
    from invoice.document import Invoice
    from sync.messages import StartRun

DONE, FAILED, BAD_INPUT, HOLDS = 0, 1, 2, 3


# --- runs ----------------------------------------------------------------------------------------


def run_as_data(run: Run) -> dict[str, Any]:
    """Return a run as plain data; money is text."""
    return {
        "run_id": run.key.replace("/", "."),
        "kind": run.kind,
        "window": run.window,
        "status": run.status.value,
        "started_at": run.started_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "counts": dict(run.counts),
        "totals": [
            {
                "currency": total.currency,
                "microsoft": str(total.microsoft),
                "billed": str(total.billed),
                "credited": str(total.credited),
                "held": str(total.held),
                "excluded": str(total.excluded),
                "residual": str(total.residual),
                "sold": str(total.sold),
            }
            for total in run.totals
        ],
        "problem": run.problem,
    }


def run(worker: Worker, key: str, *, as_json: bool, units: bool = False) -> int:
    """Show one run and return the exit code that it means."""
    found = worker.run(key)
    if found is None:
        raise InputError(f"there is no run {key}", hint="list them with: python -m app runs")
    listed = worker.store.units(key) if units else ()
    if as_json:
        data = run_as_data(found)
        if units:
            data["units"] = [
                {
                    "key": unit.key,
                    "status": unit.status.value,
                    "attempt": unit.attempt,
                    "counts": dict(unit.counts),
                    "problem": unit.problem,
                }
                for unit in listed
            ]
        print_json(data)
    else:
        _run_tables(found)
        if units:
            table(
                "Units",
                ("unit", "status", ">attempt", "problem"),
                [(u.key, u.status.value, str(u.attempt), u.problem) for u in listed],
            )
        if found.kind == "bill":
            findings(worker, customer_id=found.scope)
    return exit_code(found)


def exit_code(found: Run) -> int:
    """The exit code that a run's status means."""
    return {RunStatus.DONE: DONE, RunStatus.DONE_WITH_HOLDS: HOLDS}.get(found.status, FAILED)


def _run_tables(found: Run) -> None:
    counts = ", ".join(f"{name} {count}" for name, count in sorted(found.counts.items()))
    print(f"Run {found.key}: {found.status.value}. {counts}")
    if found.problem:
        print(f"Problem: {found.problem}")
    if found.totals:
        totals(found)


def totals(found: Run, to: Console | None = None) -> None:
    """Show where every cent of Microsoft's total went."""
    table(
        "Where Microsoft's bill went",
        (
            "currency",
            ">Microsoft",
            ">billed",
            ">credited",
            ">held",
            ">excluded",
            ">residual",
            ">sold",
        ),
        [
            (
                total.currency,
                f"{total.microsoft:,f}",
                f"{total.billed:,f}",
                f"{total.credited:,f}",
                f"{total.held:,f}",
                f"{total.excluded:,f}",
                f"{total.residual:,f}",
                f"{total.sold:,f}",
            )
            for total in found.totals
        ],
        to,
    )


def findings(worker: Worker, to: Console | None = None, *, customer_id: str = "") -> None:
    """Show the customers on hold, why, and what to do; what is worth most first."""
    from app import output_holds
    from sync.holds import holds

    output_holds.shown(holds(worker.ports, customer_id=customer_id), to)


def runs(found: Sequence[Run], asked: Sequence[RunRequest] = (), *, as_json: bool) -> int:
    """List runs, newest first, and then what was asked for in Dynamics."""
    if as_json:
        print_json([run_as_data(one) for one in found])
        return DONE
    if not found and not asked:
        print("No runs yet. Start with: python -m app sync")
        return DONE
    table(
        "Runs",
        ("run", "status", "started", "finished", "problem"),
        [
            (
                one.key,
                one.status.value,
                f"{one.started_at:%Y-%m-%d %H:%M}",
                f"{one.finished_at:%Y-%m-%d %H:%M}" if one.finished_at else "",
                one.problem,
            )
            for one in found
        ],
    )
    if asked:
        _request_table(asked)
    return DONE


def requests(worker: Worker, ids: Sequence[str], *, as_json: bool) -> int:
    """Show what became of requests that were taken up, and return the exit code that they mean."""
    found = [one for one in map(worker.ports.requests.get, ids) if one is not None]
    taken = [request for request, _ in found]
    if as_json:
        print_json([request_as_data(one) for one in taken])
    elif taken:
        _request_table(taken)
        for one in taken:
            if one.answer:
                print(one.answer)
    else:
        print("Nobody asked for a run.")
    states = {one.status for one in taken}
    if RequestStatus.FAILED in states:
        return FAILED
    return HOLDS if RequestStatus.DONE_WITH_HOLDS in states else DONE


def request_as_data(request: RunRequest) -> dict[str, Any]:
    """Return a request as plain data; money is text."""
    return {
        "request_id": request.id,
        "kind": request.kind,
        "window": request.period or (str(request.day) if request.day else ""),
        "customer_id": request.customer_id,
        "dry_run": request.dry_run,
        "asked_by": request.asked_by,
        "status": request.status.value,
        "run_id": request.run_key.replace("/", "."),
        "counts": dict(request.counts),
        "answer": dict(request.answer_data),
        "problem": request.problem,
    }


def _request_table(asked: Sequence[RunRequest]) -> None:
    table(
        "Asked for in Dynamics",
        ("what", "by", "status", "led to", "problem"),
        [
            (
                " ".join(
                    filter(
                        None,
                        (
                            "dry" if one.dry_run else "",
                            one.kind or "(nothing chosen)",
                            one.period or (str(one.day) if one.day else ""),
                            one.customer_id,
                        ),
                    )
                ),
                one.asked_by,
                one.status.value,
                one.run_key,
                one.problem,
            )
            for one in asked
        ],
    )


# --- documents -----------------------------------------------------------------------------------


def documents(found: Sequence[Invoice], *, as_json: bool, empty: str) -> int:
    """List documents."""
    if as_json:
        from invoice.explain import explain_document

        print_json([explain_document(one) for one in found])
        return DONE
    if not found:
        print(empty)
        return DONE
    table(
        "Documents",
        ("number", "customer", "status", ">lines", ">total", "currency"),
        [
            (
                one.number or "(draft)",
                one.customer_name,
                one.status.value,
                str(len(one.lines)),
                f"{one.total.amount:,f}",
                one.currency,
            )
            for one in found
        ],
    )
    return DONE


def dry_run(worker: Worker, message: StartRun, *, as_json: bool) -> int:
    """Compute the drafts of a month and show them; nothing is written."""
    from invoice.explain import explain_document
    from invoice.render import to_text
    from sync import bill
    from sync.drafts import propose

    drafts = []
    for unit in bill.plan(worker.ports, message):
        file, draft = propose(worker.ports, unit.customer_id, unit.month)
        drafts.append((file.customer.name, draft))
    if as_json:
        print_json(
            [
                {
                    "customer": name,
                    "held": one.held,
                    "document": explain_document(one.document) if one.document else None,
                    "findings": [f.sentence for f in one.told],
                }
                for name, one in drafts
            ]
        )
    else:
        for name, one in drafts:
            if one.document is not None:
                print(to_text(one.document))
            elif one.held:
                why = " ".join(f.sentence for f in one.told if f.holds)
                print(f"{name}: on hold. {why}\n")
        if not any(one.document or one.held for _, one in drafts):
            print(f"Nothing to bill: {message.period}.")
    return HOLDS if any(one.held for _, one in drafts) else DONE


def explain(worker: Worker, name: str, line: int | None, *, as_json: bool) -> int:
    """Say why a document, or one line of it, asks for what it asks, down to Microsoft's lines."""
    from app.trace import trace
    from invoice.explain import explain_document
    from invoice.render import to_text
    from invoice.tax_words import why_taxed

    found = worker.store.document(name)
    if found is None:
        raise InputError(
            f"there is no invoice {name}", hint="give its number (INV-202610-0001) or its key"
        )
    if line is None and not as_json:
        print(to_text(found), end="")
        if why := why_taxed(found):
            print(f"\nTax. {why}")
        if attached := worker.store.document_file(found.key):
            print(f"\nThe customer's copy is {attached[0]}, on its row in Dynamics.")
        return DONE
    traces = trace(worker, found, line)
    if line is None:
        print_json({**explain_document(found), "lines": [one.as_data() for one in traces]})
    elif as_json:
        print_json(traces[0].as_data())
    else:
        print(f"{found.number or found.key}, line {line}: {traces[0].line.charge.name}")
        print(traces[0].as_text())
        if why := why_taxed(found):
            print(f"Tax. {why}")
    return DONE


# --- set-up --------------------------------------------------------------------------------------


def provision(worker: Worker, *, apply: bool, as_json: bool) -> int:
    """Plan or make the tables."""
    provisioner = worker.provisioner(note if apply else _quiet)
    plan: Plan = provisioner.apply() if apply else provisioner.plan()
    if as_json:
        print_json(
            {
                "applied": apply,
                "operations": [str(step) for step in plan.steps],
                "counts": plan.counts,
                "notes": list(plan.notes),
                "refused": [finding.sentence for finding in plan.refusals],
            }
        )
    elif apply:
        for words in plan.notes:
            print(f"note: {words}")
        print(f"{len(plan.steps)} operations done." if plan.steps else "Nothing to do.")
    else:
        print(plan)
    return FAILED if plan.refusals else DONE


def solution(folder: Path, *, as_json: bool) -> int:
    """Write the tables, screens and roles as an unpacked solution."""
    from dataverse.provision.solution import write_solution

    try:
        changed, removed = write_solution(folder)
    except OSError as error:
        raise InputError(
            f"--solution {folder}: {error.strerror}", hint="choose a folder that can be written"
        ) from None
    if as_json:
        print_json({"folder": str(folder), "written": changed, "removed": removed})
    else:
        print(f"{folder}: {changed} files written, {removed} removed.")
    return DONE


def _quiet(_: str) -> None:
    """Say nothing."""


def check_config(settings: Settings, *, as_json: bool) -> int:
    """Show what is set and whether each system answers; exit code 2 when one does not."""
    from app import webhook
    from app.wiring import opened

    rows: list[tuple[str, str]] = [
        (name, "(not set)" if value is None else str(value)) for name, value in settings
    ]
    reached: list[tuple[str, str]] = []
    with opened(settings) as worker:
        banner(worker)
        for system, check in worker.checks.items():
            try:
                check()
                reached.append((system, "reached"))
            except NotFound as error:
                reached.append((system, f"reached, but: {error}"))
            except WorkerError as error:
                hint = f" ({error.hint})" if error.hint else ""
                reached.append((system, f"NOT reached: {error}{hint}"))
        events = webhook.told(worker)
    bad = any(answer.startswith("NOT") for _, answer in reached)
    if as_json:
        print_json({"settings": dict(rows), "systems": dict(reached), "webhook": events})
    else:
        table("Settings", ("CSP_...", "value"), [(name.upper(), value) for name, value in rows])
        table("Systems", ("system", "answer"), reached)
        print(f"Webhook: {events}")
    return BAD_INPUT if bad else DONE


def whatif(answer: dict[str, Any] | list[dict[str, Any]], *, as_json: bool) -> int:
    """Show the answer to a scenario file."""
    answers = answer if isinstance(answer, list) else [answer]
    if as_json:
        print_json(answer)
    else:
        for number, one in enumerate(answers, start=1):
            _quote(f"Scenario {number}" if len(answers) > 1 else "Lines", one)
    return HOLDS if any(one["findings"] for one in answers) else DONE


def _quote(title: str, answer: dict[str, Any]) -> None:
    """Show lines as people read them: both days of a service are covered."""
    lines = answer["lines"]
    taxed = any(Decimal(line["tax"]) for line in lines)
    columns = ["subscription", "type", "service", ">quantity", ">amount"]
    table(
        title,
        [*columns, ">tax"] if taxed else columns,
        [
            (
                line["subscription"] or line["name"],
                line["charge_type"],
                _days(line["service_start"], line["service_end"]),
                line["quantity"],
                line["amount"],
                *([line["tax"]] if taxed else []),
            )
            for line in lines
        ],
    )
    for line in lines:
        print(f"  {line['why']}")
    for words in dict.fromkeys(line["tax_note"] for line in lines if "tax_note" in line):
        print(f"Note: {words}")
    print(
        f"Subtotal {answer['subtotal']}, tax {answer['tax']}, "
        f"total {answer['total']} {answer['currency']}"
    )
    for finding in answer["findings"]:
        print(f"Finding: {finding['sentence']} {_sentence(finding['hint'])}")


def _days(start: str, end: str) -> str:
    last = date.fromisoformat(end) - timedelta(days=1)
    return start if str(last) <= start else f"{start} to {last}"


def _sentence(hint: str) -> str:
    return f"{hint[:1].upper()}{hint[1:]}."
