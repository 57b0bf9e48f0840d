"""The command line: parse, call a use case, print. Heavy imports wait until a command needs them.

`--json` prints one JSON document on stdout and nothing else; everything for people about the course
of the work goes to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or bad input, 3 done with
holds. A fault is one line: what, where, and what to do.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import date

    from app.settings import Settings
    from app.wiring import Worker

DONE, FAILED, BAD_INPUT, HOLDS = 0, 1, 2, 3


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return BAD_INPUT
    command: Callable[[argparse.Namespace], int] = options.run
    from domain.problems import (
        ConfigurationError,
        InputError,
        NotAuthorised,
        Unavailable,
        WorkerError,
    )

    try:
        code = command(options)
        sys.stdout.flush()
    except WorkerError as error:
        if options.debug:
            traceback.print_exc()
        hint = f" ({error.hint})" if error.hint else ""
        print(f"csp-billing: {error}{hint}", file=sys.stderr)
        bad = (ConfigurationError, InputError, NotAuthorised, Unavailable)
        return BAD_INPUT if isinstance(error, bad) else FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read us has seen enough; the last flush of a closed pipe would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="CSP Billing for Dataverse: exact, explained invoices for a partner's month.",
        epilog="Try: python3 dev.py demo. Settings are environment variables, see check-config.",
    )
    parser.add_argument("--debug", action="store_true", help="show stack traces and log every call")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> Any:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        return command

    def with_json(command: Any) -> Any:
        command.add_argument("--json", action="store_true", help="print one JSON document")
        return command

    demo = with_json(
        add("demo", _demo, "a whole partner month on this machine: provision, sync, bill, approve")
    )
    demo.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    demo.add_argument("--fresh", action="store_true", help="forget the state of earlier demos")

    syncing = with_json(
        add("sync", _sync, "pull customers, subscriptions, agreements, GDAP and costs")
    )
    syncing.add_argument(
        "--customer",
        type=_customer,
        metavar="ID",
        help="only this customer (tenant id), without Microsoft's invoices",
    )

    bill = with_json(add("bill", _bill, "draft the invoices of a month"))
    _add_period(bill)
    bill.add_argument(
        "--customer", type=_customer, metavar="ID", help="only this customer (tenant id)"
    )
    bill.add_argument("--dry-run", action="store_true", help="compute and show, write nothing")

    approve = with_json(add("approve", _approve, "number, freeze and issue the drafts of a month"))
    _add_period(approve)
    approve.add_argument(
        "--customer", type=_customer, metavar="ID", help="only this customer (tenant id)"
    )

    reconcile = with_json(
        add("reconcile", _reconcile, "compare Microsoft, history and invoices of a month")
    )
    _add_period(reconcile)
    reconcile.add_argument(
        "--as-of", type=_day, metavar="YYYY-MM-DD", help="as it stood on this day (default: now)"
    )
    reconcile.add_argument(
        "--customer",
        type=_customer,
        metavar="ID",
        help="only this customer (tenant id)",
    )

    listing = with_json(add("runs", _runs, "list the latest runs, or show one with its units"))
    listing.add_argument("key", nargs="?", metavar="RUN", help="e.g. bill/2026-10")

    holds = with_json(
        add("holds", _holds, "who is on hold, why, and what to do; what was released")
    )
    holds.add_argument("--all", action="store_true", help="warnings, too")
    holds.add_argument(
        "--customer", type=_customer, metavar="ID", help="only this customer (tenant id)"
    )

    release = with_json(add("release", _release, "bill a customer in spite of a finding"))
    release.add_argument("finding", metavar="FINDING", help="as holds shows it")
    release.add_argument("--reason", metavar="TEXT", help="why; it is kept with the finding")
    release.add_argument(
        "--by", metavar="NAME", help="who decided (default: who is signed in here)"
    )
    release.add_argument(
        "--until",
        type=_day,
        metavar="YYYY-MM-DD",
        help="last day; after it the finding holds again",
    )
    release.add_argument("--withdraw", action="store_true", help="take the release back")

    alerts = with_json(add("alerts", _alerts, "list what is unusual in usage not billed yet"))
    alerts.add_argument("--all", action="store_true", help="closed ones of the last weeks, too")
    alerts.add_argument(
        "--customer", type=_customer, metavar="ID", help="only this customer (tenant id)"
    )

    with_json(add("requests", _requests, "take up the runs that were asked for in Dynamics"))

    explain = with_json(add("explain", _explain, "say why an invoice asks for what it asks"))
    explain.add_argument("invoice", metavar="INVOICE", help="number or key, e.g. INV-202610-0001")
    explain.add_argument("line", nargs="?", type=int, metavar="LINE", help="only this line")

    provision = with_json(add("provision", _provision, "plan or make the Dataverse tables"))
    what = provision.add_mutually_exclusive_group()
    what.add_argument("--plan", action="store_true", help="show what is missing (the default)")
    what.add_argument("--apply", action="store_true", help="make what is missing")
    what.add_argument(
        "--solution", type=Path, metavar="DIR", help="write it all as an unpacked solution instead"
    )

    emulate = add("emulate", _emulate, "serve the emulated systems on 127.0.0.1")
    emulate.add_argument("--port", type=_port, default=0, help="first port; 0: any free ones")
    emulate.add_argument(
        "--tls", action="store_true", help="with a certificate that is made for this run"
    )
    emulate.add_argument(
        "--database",
        default=":memory:",
        metavar="FILE",
        help="keep Dataverse in this SQLite file; the demo's is dataverse.sqlite in its state folder",
    )
    emulate.add_argument("--scenario", default="partner-month", help="partner-month, small, empty")
    emulate.add_argument("--seed", type=int, default=1, help="another seed, another world")

    add("checks", _checks, "every check that the worker knows, as the page docs/checks.md")

    hook = with_json(add("webhook", _webhook, "where Partner Center posts its events"))
    which = hook.add_mutually_exclusive_group()
    which.add_argument("--status", action="store_true", help="what is registered (the default)")
    which.add_argument("--register", metavar="URL", help="have events posted to this address")
    which.add_argument("--test", action="store_true", help="have a test event posted")

    with_json(add("check-config", _check_config, "what is configured, and can it be reached"))

    audit = with_json(
        add("audit", _audit, "check files downloaded from Partner Center; nothing else is needed")
    )
    audit.add_argument(
        "files",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="reconciliation and daily usage, CSV or JSON, .gz or .zip too, or a folder of them",
    )
    audit.add_argument(
        "--invoices",
        type=Path,
        metavar="FILE",
        help="your own invoice lines as CSV or JSON, see docs/audit.md",
    )
    audit.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    audit.add_argument(
        "--dates", choices=("dmy", "mdy"), default="", help="where 03/04/2026 cannot be told"
    )
    audit.add_argument(
        "--decimal", choices=(".", ","), default="", help="where 1.234 cannot be told"
    )

    rating = with_json(add("rate-usage", _rate_usage, "rate a folder of exported usage files"))
    rating.add_argument("folder", type=Path, metavar="DIR", help="holds the *.json.gz files")
    rating.add_argument(
        "--rules", type=Path, required=True, metavar="FILE", help="JSON, see docs/usage.md"
    )
    rating.add_argument("--out", type=Path, metavar="FILE", help="invoice lines, tab separated")
    rating.add_argument(
        "--annotate", type=Path, metavar="DIR", help="every line with rule and charge, as Parquet"
    )
    rating.add_argument(
        "--memory",
        type=_memory,
        default=512,
        metavar="MB",
        help="limit of the engine (default 512)",
    )
    rating.add_argument("--threads", type=_threads, default=0, help="default: one for each core")
    rating.add_argument(
        "--scratch", type=Path, metavar="DIR", help="for what does not fit in memory"
    )

    whatif = with_json(add("whatif", _whatif, "rate a scenario file: a quote or a forecast"))
    whatif.add_argument("file", type=Path, metavar="FILE", help="JSON, see docs/whatif.md")
    return parser


def _add_period(command: Any) -> None:
    command.add_argument(
        "--period", type=_month, metavar="YYYY-MM", help="the month (default: the last one)"
    )


def _month(text: str) -> str:
    from domain.period import Period

    try:
        period = Period.month(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not 2000 <= period.start.year < 2100:
        msg = f"{text!r} is not a month of this century"
        raise argparse.ArgumentTypeError(msg)
    return text


def _day(text: str) -> date:
    from datetime import date

    try:
        return date.fromisoformat(text)
    except ValueError:
        msg = f"{text!r} is not a day written as YYYY-MM-DD"
        raise argparse.ArgumentTypeError(msg) from None


def _customer(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z-]{1,64}", text):
        msg = f"{text!r} is not a tenant id as Partner Center shows it"
        raise argparse.ArgumentTypeError(msg)
    return text


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65000:
        msg = f"{text!r} is not a port between 0 and 65000"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _memory(text: str) -> int:
    if not text.isdecimal() or not 128 <= int(text) <= 1_000_000:
        msg = f"{text!r} is not a number of megabytes from 128 on"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        msg = f"{text!r} is not a number of threads from 1 to 256"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


# --- commands ------------------------------------------------------------------------------------


def _settings(options: argparse.Namespace) -> Settings:
    from app.settings import Settings

    if options.debug:
        import logging

        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        logging.getLogger("transport").setLevel(logging.DEBUG)
    # A person waits for the command: give up sooner than a function would.
    environ = {"CSP_PATIENCE_SECONDS": "20", **os.environ}
    return Settings.from_env(environ)


@contextmanager
def _opened(options: argparse.Namespace) -> Iterator[Worker]:
    """A worker for the command, after the banner that names its mode."""
    from app import screen
    from app.wiring import opened

    with opened(_settings(options)) as worker:
        screen.banner(worker)
        yield worker


def _demo(options: argparse.Namespace) -> int:
    from app import demo

    settings = _settings(options)
    return demo.run(settings, out=options.out, fresh=options.fresh, as_json=options.json)


def _sync(options: argparse.Namespace) -> int:
    from app import output, screen
    from sync.messages import StartRun

    with _opened(options) as worker:
        if options.customer:
            return _sync_one(worker, options.customer.lower(), as_json=options.json)
        key = worker.request(StartRun(kind="sync", day=worker.today()))
        with screen.progress("sync") as show:
            worker.drain(show)
        return output.run(worker, key, as_json=options.json)


def _sync_one(worker: Worker, customer_id: str, *, as_json: bool) -> int:
    """Read one customer anew, whatever the day's sync has read, and tell what is found."""
    from app import output_holds
    from domain.customer import Customer
    from domain.problems import InputError
    from sync import pull
    from sync.messages import StartRun

    ports = worker.ports
    if ports.store.customer(customer_id) is None and not isinstance(
        ports.partner_center.customer(customer_id), Customer
    ):
        raise InputError(
            f"there is no customer {customer_id}",
            hint="give the tenant id as Partner Center shows it",
        )
    message = StartRun(kind="sync", day=worker.today(), customer_id=customer_id)
    for unit in pull.plan(ports, message):
        pull.work(ports, unit)
    return output_holds.listed(worker, warnings=True, customer_id=customer_id, as_json=as_json)


def _bill(options: argparse.Namespace) -> int:
    from app import output, screen
    from sync.messages import StartRun

    with _opened(options) as worker:
        message = StartRun(
            kind="bill", period=_period(options, worker), customer_id=options.customer
        )
        if options.dry_run:
            return output.dry_run(worker, message, as_json=options.json)
        key = worker.request(message)
        with screen.progress("bill") as show:
            worker.drain(show)
        return output.run(worker, key, as_json=options.json)


def _approve(options: argparse.Namespace) -> int:
    from app import output
    from sync import approval
    from sync.messages import StartRun

    with _opened(options) as worker:
        period = _period(options, worker)
        issued = approval.approve(
            worker.ports, StartRun(kind="approve", period=period, customer_id=options.customer)
        )
        return output.documents(issued, as_json=options.json, empty=f"No draft to issue: {period}.")


def _reconcile(options: argparse.Namespace) -> int:
    from app import reconciliation
    from domain.period import Period
    from sync.reconcile import of_month

    with _opened(options) as worker:
        month = of_month(
            worker.ports,
            Period.month(_period(options, worker)),
            as_of=options.as_of,
            customer_id=options.customer or "",
        )
        return reconciliation.show(month, as_json=options.json)


def _period(options: argparse.Namespace, worker: Worker) -> str:
    from app.timers import month_before

    return options.period or month_before(worker.today())


def _runs(options: argparse.Namespace) -> int:
    from app import output

    with _opened(options) as worker:
        if options.key:
            return output.run(worker, options.key, as_json=options.json, units=True)
        asked = () if options.json else worker.ports.requests.latest()
        return output.runs(worker.store.runs(), asked, as_json=options.json)


def _requests(options: argparse.Namespace) -> int:
    from app import output, screen

    with _opened(options) as worker:
        asked = worker.pick_up()
        with screen.progress("requests") as show:
            worker.drain(show)
        return output.requests(worker, asked, as_json=options.json)


def _holds(options: argparse.Namespace) -> int:
    from app import output_holds

    with _opened(options) as worker:
        return output_holds.listed(
            worker,
            warnings=options.all,
            customer_id=options.customer or "",
            as_json=options.json,
        )


def _release(options: argparse.Namespace) -> int:
    from app import output_holds

    with _opened(options) as worker:
        return output_holds.release(
            worker,
            options.finding,
            reason=options.reason,
            by=options.by,
            until=options.until,
            withdraw=options.withdraw,
            as_json=options.json,
        )


def _alerts(options: argparse.Namespace) -> int:
    from app import output_alerts

    with _opened(options) as worker:
        return output_alerts.listed(
            worker, closed=options.all, customer_id=options.customer or "", as_json=options.json
        )


def _explain(options: argparse.Namespace) -> int:
    from app import output

    with _opened(options) as worker:
        return output.explain(worker, options.invoice, options.line, as_json=options.json)


def _provision(options: argparse.Namespace) -> int:
    from app import output

    if options.solution is not None:
        return output.solution(options.solution, as_json=options.json)
    with _opened(options) as worker:
        return output.provision(worker, apply=options.apply, as_json=options.json)


def _emulate(options: argparse.Namespace) -> int:
    from domain.problems import ConfigurationError, InputError
    from emulator import Emulator, serve

    if os.environ.get("CSP_MODE") == "cloud":
        raise ConfigurationError("the emulators are not for mode cloud", hint="unset CSP_MODE")
    try:
        emulator = Emulator(
            seed=options.seed, scenario=options.scenario, dataverse_file=options.database
        )
    except ValueError as error:
        raise InputError(f"--scenario: {error}") from None
    except sqlite3.Error as error:
        raise InputError(
            f"--database {options.database}: {error}", hint="name a file that can be written"
        ) from None
    try:
        server = serve(emulator, port=options.port, tls=options.tls)
    except OSError as error:
        raise InputError(
            f"--port {options.port}: {error.strerror or error}", hint="choose another port, or 0"
        ) from None
    with server:
        # Who ends it by a signal leaves no certificate behind either.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(DONE))
        bundle = {"ca_bundle": str(server.ca_bundle)} if server.ca_bundle else {}
        print(json.dumps(emulator.base_urls | bundle), flush=True)
        trust = f"REQUESTS_CA_BUNDLE={server.ca_bundle} " if server.ca_bundle else ""
        print(
            f"Serving scenario {options.scenario}, seed {options.seed}. "
            f"In another terminal: {trust}CSP_MODE=emulator CSP_EMULATOR_URL="
            f"{emulator.base_urls['control']} python -m app check-config. In a browser: "
            f"{emulator.base_urls['dataverse']}/ shows the tables. Ctrl-C ends it.",
            file=sys.stderr,
            flush=True,
        )
        server.wait()
    return DONE


def _checks(_options: argparse.Namespace) -> int:
    from app.checks import page

    sys.stdout.write(page())
    return DONE


def _webhook(options: argparse.Namespace) -> int:
    from app import webhook

    with _opened(options) as worker:
        if options.register is not None:
            return webhook.register(worker, options.register, as_json=options.json)
        if options.test:
            return webhook.test(worker, as_json=options.json)
        return webhook.status(worker, as_json=options.json)


def _check_config(options: argparse.Namespace) -> int:
    from app import output

    return output.check_config(_settings(options), as_json=options.json)


def _audit(options: argparse.Namespace) -> int:
    from app import audit

    return audit.run(
        options.files,
        invoices=options.invoices,
        out=options.out,
        as_json=options.json,
        order=options.dates,
        decimal=options.decimal,
    )


def _rate_usage(options: argparse.Namespace) -> int:
    from app import rate_usage

    return rate_usage.run(
        options.folder,
        options.rules,
        options.out,
        options.annotate,
        options.memory,
        options.threads,
        options.scratch,
        as_json=options.json,
    )


def _whatif(options: argparse.Namespace) -> int:
    from app import output, whatif

    return output.whatif(whatif.rate_file(options.file), as_json=options.json)
