"""The command line: parse, call a use case, print. Heavy imports wait until a command needs them.

`--json` prints one JSON document on stdout and nothing else; everything for people about the course
of the work goes to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage or bad input, 3 done with
holds. A fault is one line: what, where, and what to do.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app.parser import parser

if TYPE_CHECKING:
    from app.settings import Settings
    from app.wiring import Worker

DONE, FAILED, BAD_INPUT, HOLDS = 0, 1, 2, 3


def main(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code."""
    reader = parser()
    options = reader.parse_args(arguments)
    if options.command is None:
        reader.print_help()
        return BAD_INPUT
    command = COMMANDS[options.command]
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
    if options.prepare:
        return demo.prepare(settings, fresh=options.fresh)
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


def _handoff(options: argparse.Namespace) -> int:
    from app import output_accounting, screen
    from sync.messages import StartRun

    with _opened(options) as worker:
        key = worker.request(StartRun(kind="handoff", day=worker.today()))
        with screen.progress("handoff") as show:
            worker.drain(show)
        return output_accounting.handed_off(worker, key, as_json=options.json)


def _feedback(options: argparse.Namespace) -> int:
    from app import output_accounting
    from sync import feedback

    # Who asks wants to know how it is now, and not what the look of this hour saw.
    with _opened(options) as worker:
        systems = sorted(worker.ports.accounting)
        counts = {target: feedback.look(worker.ports, target) for target in systems}
        return output_accounting.fed_back(worker, counts, as_json=options.json)


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
    from domain.period import month_before

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
            seen=options.seen,
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


def _connector(options: argparse.Namespace) -> int:
    from app import connector, flow_pictures
    from app.connector_actions import OPERATIONS
    from app.screen import print_json

    written = connector.write(options.write) if options.write else []
    drawn = flow_pictures.draw(options.flows) if options.flows else []
    actions = {one.id: f"{one.method} /api{one.path}" for one in OPERATIONS}
    if options.json:
        print_json({"actions": actions, "written": written, "drawn": drawn})
        return DONE
    for name, address in actions.items():
        print(f"{name:<16} {address}")
    if options.write or options.flows:
        print(f"{len(written)} files written, {len(drawn)} pictures drawn.")
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


COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "demo": _demo,
    "sync": _sync,
    "bill": _bill,
    "approve": _approve,
    "handoff": _handoff,
    "feedback": _feedback,
    "reconcile": _reconcile,
    "runs": _runs,
    "holds": _holds,
    "release": _release,
    "alerts": _alerts,
    "requests": _requests,
    "explain": _explain,
    "provision": _provision,
    "emulate": _emulate,
    "checks": _checks,
    "connector": _connector,
    "webhook": _webhook,
    "check-config": _check_config,
    "audit": _audit,
    "rate-usage": _rate_usage,
    "whatif": _whatif,
}
