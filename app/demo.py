"""The demo: a whole partner month on one machine, from Partner Center to explained invoices.

It does what a partner does, with the same use cases: provision, sync, key in contracts and prices,
bill, approve. The state stays in the state folder, so a second demo finds everything done.
"""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

from rich.console import Console

from app import demo_data, output, output_alerts, screen
from app.health_page import report_of
from app.settings import Settings
from app.systems import EMBEDDED_DATABASE
from app.wiring import Worker, opened
from domain.customer import Customer
from domain.problems import InputError
from domain.run import Run
from invoice.document import Invoice
from invoice.pdf import to_pdf
from invoice.render import to_html, to_text
from reports.health import page, summary
from sync import approval
from sync.health import gather
from sync.messages import StartRun

PERIOD = "2026-10"


def run(settings: Settings, *, out: Path, fresh: bool, as_json: bool) -> int:
    """Run the demo and leave its results in a folder; returns the exit code."""
    _refuse_what_is_not_its(settings)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--out {out}: {error.strerror}", hint="choose a folder that can be written"
        ) from None
    if fresh and settings.mode == "embedded":
        _forget(settings.state_dir)
    with opened(settings) as worker:
        screen.banner(worker)
        _provision(worker)
        _work(worker, StartRun(kind="sync", day=worker.today()))
        _key_in(worker, list(worker.store.customers()))
        key = _work(worker, StartRun(kind="bill", period=PERIOD))
        issued = approval.approve(worker.ports, StartRun(kind="approve", period=PERIOD))
        screen.note(f"approve: {len(issued)} documents issued")
        found = worker.run(key)
        data = write_results(worker, PERIOD, out)
        _draw(worker, found, out)
        if as_json:
            screen.print_json(data)
        else:
            _show(worker, found, out)
    # Its holds are stories of the scenario: a demo that shows them is done.
    failed = found is None or output.exit_code(found) == output.FAILED
    return output.FAILED if failed else output.DONE


def prepare(settings: Settings, *, fresh: bool) -> int:
    """Make the partner's tables, enter accounts, contracts and prices; every run is still to do."""
    _refuse_what_is_not_its(settings)
    if fresh and settings.mode == "embedded":
        _forget(settings.state_dir)
    with opened(settings) as worker:
        screen.banner(worker)
        _provision(worker)
        source = worker.ports.partner_center
        listed = [one for one in source.customers() if isinstance(one, Customer)]
        found = [source.customer(one.id) for one in listed]
        _key_in(worker, [one for one in found if isinstance(one, Customer)])
    return output.DONE


def _refuse_what_is_not_its(settings: Settings) -> None:
    if settings.mode == "cloud":
        raise InputError("the demo bills invented data", hint="unset CSP_MODE")
    if settings.scenario != "partner-month":
        raise InputError(
            f"the demo has contracts for scenario partner-month, not {settings.scenario}",
            hint="unset CSP_SCENARIO",
        )


def _forget(state: Path) -> None:
    """Remove what embedded mode made, and nothing else that may lie in the folder."""
    for path in (*state.glob(f"{EMBEDDED_DATABASE}*"), state / "refresh-token.embedded"):
        path.unlink(missing_ok=True)
    shutil.rmtree(state / "archive", ignore_errors=True)


def _provision(worker: Worker) -> None:
    plan = worker.provisioner().apply()
    screen.note(f"provision: {len(plan.steps)} operations")


def _work(worker: Worker, message: StartRun) -> str:
    key = worker.request(message)
    with screen.progress(message.kind) as show:
        worker.drain(show)
    return key


def _key_in(worker: Worker, customers: list[Customer]) -> None:
    """Enter what a finance team would: accounts, tax, contracts, prices, rules."""
    wanted = demo_data.accounts(customers)
    known = {account.number: account for account in worker.store.accounts()}
    ids = {}
    for tenant_id, account in wanted.items():
        row = known.get(account.number)
        ids[tenant_id] = row.id if row else worker.dataverse.create("account", account.columns)
        if row and account.address.country and not row.address.country:  # of an earlier version
            path = worker.dataverse.id_path("account", row.id)
            worker.dataverse.call("PATCH", path, body=account.address_columns)
    saved = worker.store.save(
        [
            *demo_data.SELLERS,
            *demo_data.REGISTRATIONS,
            *demo_data.TAX_RATES,
            *demo_data.tax_profiles(customers),
            *demo_data.certificates(customers),
            *demo_data.contracts(customers, ids),
            *demo_data.price_list(customers),
            *demo_data.markup_rules(customers),
            *demo_data.budgets(customers),
        ]
    )
    screen.note(f"contracts and prices: {saved.created} new, {saved.unchanged} as they were")


def write_results(worker: Worker, period: str, out: Path) -> dict[str, object]:
    """Write summary, health page and documents of a month; returns the summary."""
    documents = worker.store.documents(period=period)
    folder = out / "invoices"
    folder.mkdir(parents=True, exist_ok=True)
    for old in (one for kind in ("pdf", "html", "txt") for one in folder.glob(f"*.{kind}")):
        old.unlink()  # a draft of an earlier run may be numbered by now
    links = {}
    for document in documents:
        name = _file_name(document)
        (folder / f"{name}.pdf").write_bytes(to_pdf(document))
        (folder / f"{name}.html").write_text(to_html(document), encoding="utf-8")
        (folder / f"{name}.txt").write_text(to_text(document), encoding="utf-8")
        links[document.key] = f"invoices/{name}.html"
    report = report_of(
        gather(worker.ports, period, worker.today()),
        partner=demo_data.PARTNER,
        mode=worker.settings.mode,
        links=links,
    )
    (out / "health.html").write_text(page(report), encoding="utf-8")
    data = summary(report)
    (out / "summary.json").write_text(
        json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return data


def _file_name(document: Invoice) -> str:
    customer = re.sub(r"[^a-z0-9]+", "-", document.customer_name.lower()).strip("-")
    return f"{document.number or 'draft'}-{customer or document.customer_id}"


def _draw(worker: Worker, found: Run | None, out: Path) -> None:
    """Leave what a terminal shows as a picture."""
    recording = Console(record=True, width=screen.PLAIN_WIDTH, file=io.StringIO())
    _month(worker, found, recording)
    out.joinpath("demo.svg").write_text(
        screen.picture(recording, "python3 dev.py demo"), encoding="utf-8"
    )


def _show(worker: Worker, found: Run | None, out: Path) -> None:
    """Print the month and where its results are."""
    _month(worker, found, screen.console())
    print(f"\nLook at {out / 'health.html'}; the invoices are in {out / 'invoices'}.")
    first = next((d for d in worker.store.documents(period=PERIOD) if d.number), None)
    if first is not None:
        print(f"Ask why: python3 dev.py run explain {first.number} 1")


def _month(worker: Worker, found: Run | None, to: Console) -> None:
    if found is None:
        return
    counts = found.counts
    pulled = worker.run(f"sync/{worker.today()}")
    screen.table(
        f"The month {PERIOD}",
        (">customers", ">subscriptions", ">charges", ">invoices", ">credit notes", ">holds"),
        [
            tuple(
                f"{count:,}"
                for count in (
                    counts.get("customers", 0),
                    pulled.counts.get("subscriptions", 0) if pulled else 0,
                    counts.get("charges", 0),
                    counts.get("invoices", 0),
                    counts.get("credit_notes", 0),
                    counts.get("held", 0),
                )
            )
        ],
        to,
    )
    to.print()
    output.totals(found, to)
    to.print()
    output.findings(worker, to)
    alerts = output_alerts.in_order(worker)
    if alerts:
        names = {customer.id: customer.name for customer in worker.store.customers()}
        to.print()
        output_alerts.shown("Unusual usage, not billed yet", alerts, names, to)
