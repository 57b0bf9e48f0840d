"""What can be typed: commands, options, and values that are refused before anything is done."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import date


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line; `command` names the command, None where there is none."""
    made = argparse.ArgumentParser(
        prog="python -m app",
        description="CSP Billing for Dataverse: exact, explained invoices for a partner's month.",
        epilog="Try: python3 dev.py demo. Settings are environment variables, see check-config.",
    )
    made.add_argument("--debug", action="store_true", help="show stack traces and log every call")
    commands = made.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, text: str) -> Any:
        return commands.add_parser(name, help=text, description=text)

    def with_json(command: Any) -> Any:
        command.add_argument("--json", action="store_true", help="print one JSON document")
        return command

    demo = with_json(
        add("demo", "a whole partner month on this machine: provision, sync, bill, approve")
    )
    demo.add_argument("--out", type=Path, default=Path("out"), help="folder for the results")
    demo.add_argument("--fresh", action="store_true", help="forget the state of earlier demos")
    demo.add_argument(
        "--prepare",
        action="store_true",
        help="tables, accounts, contracts and prices only: the runs are left to be started",
    )

    syncing = with_json(add("sync", "pull customers, subscriptions, agreements, GDAP and costs"))
    syncing.add_argument(
        "--customer",
        type=_customer,
        metavar="ID",
        help="only this customer (tenant id), without Microsoft's invoices",
    )

    bill = with_json(add("bill", "draft the invoices of a month"))
    _add_period(bill)
    bill.add_argument(
        "--customer", type=_customer, metavar="ID", help="only this customer (tenant id)"
    )
    bill.add_argument("--dry-run", action="store_true", help="compute and show, write nothing")

    approve = with_json(add("approve", "number, freeze and issue the drafts of a month"))
    _add_period(approve)
    approve.add_argument(
        "--customer", type=_customer, metavar="ID", help="only this customer (tenant id)"
    )

    with_json(add("handoff", "hand issued documents off to the accounting system"))
    with_json(add("feedback", "bring back what is paid, cancelled or changed in accounting"))

    reconcile = with_json(add("reconcile", "compare Microsoft, history and invoices of a month"))
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

    listing = with_json(add("runs", "list the latest runs, or show one with its units"))
    listing.add_argument("key", nargs="?", metavar="RUN", help="e.g. bill/2026-10")

    holds = with_json(add("holds", "who is on hold, why, and what to do; what was released"))
    holds.add_argument("--all", action="store_true", help="warnings, too")
    holds.add_argument(
        "--customer", type=_customer, metavar="ID", help="only this customer (tenant id)"
    )

    release = with_json(add("release", "bill a customer in spite of a finding"))
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
    release.add_argument(
        "--seen",
        metavar="VERSION",
        help="of the finding, as holds --json shows it: one that has changed since is not released",
    )
    release.add_argument("--withdraw", action="store_true", help="take the release back")

    alerts = with_json(add("alerts", "list what is unusual in usage not billed yet"))
    alerts.add_argument("--all", action="store_true", help="closed ones of the last weeks, too")
    alerts.add_argument(
        "--customer", type=_customer, metavar="ID", help="only this customer (tenant id)"
    )

    with_json(add("requests", "take up the runs that were asked for in Dynamics"))

    explain = with_json(add("explain", "say why an invoice asks for what it asks"))
    explain.add_argument("invoice", metavar="INVOICE", help="number or key, e.g. INV-202610-0001")
    explain.add_argument("line", nargs="?", type=int, metavar="LINE", help="only this line")

    provision = with_json(add("provision", "plan or make the Dataverse tables"))
    what = provision.add_mutually_exclusive_group()
    what.add_argument("--plan", action="store_true", help="show what is missing (the default)")
    what.add_argument("--apply", action="store_true", help="make what is missing")
    what.add_argument(
        "--solution", type=Path, metavar="DIR", help="write it all as an unpacked solution instead"
    )

    emulate = add("emulate", "serve the emulated systems on 127.0.0.1")
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

    connector = with_json(add("connector", "the custom connector and flows of Power Automate"))
    connector.add_argument(
        "--write", type=Path, metavar="DIR", help="write the files of the connector there"
    )
    connector.add_argument(
        "--flows", type=Path, metavar="DIR", help="draw the flows there as pictures beside them"
    )

    add("checks", "every check that the worker knows, as the page docs/checks.md")

    hook = with_json(add("webhook", "where Partner Center posts its events"))
    which = hook.add_mutually_exclusive_group()
    which.add_argument("--status", action="store_true", help="what is registered (the default)")
    which.add_argument("--register", metavar="URL", help="have events posted to this address")
    which.add_argument("--test", action="store_true", help="have a test event posted")

    with_json(add("check-config", "what is configured, and can it be reached"))

    audit = with_json(
        add("audit", "check files downloaded from Partner Center; nothing else is needed")
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

    rating = with_json(add("rate-usage", "rate a folder of exported usage files"))
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

    whatif = with_json(add("whatif", "rate a scenario file: a quote or a forecast"))
    whatif.add_argument("file", type=Path, metavar="FILE", help="JSON, see docs/whatif.md")
    return made


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
