"""What this process tells of its work: traces, metrics and one log line for each unit and run.

The use cases know nothing of it. What is told is what they store (`Run`, `UnitOfWork`) and what was
asked of other systems (`Call`); here it becomes spans and points of OpenTelemetry, whose interface
does nothing until `app.exporters` gives it somewhere to go. Telling never fails: billing goes on
without it. Nothing is told but keys, ids, counts and sums: no name, no body, no query, no token.

One trace goes from who asked for a run, over every message (its field `trace`), to each call.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final, ParamSpec

from opentelemetry import context
from opentelemetry.metrics import Meter, NoOpMeterProvider
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NoOpTracerProvider,
    Span,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic import ValidationError

from domain.run import Run, RunStatus, UnitOfWork, UnitStatus
from sync.ledger import Later
from sync.messages import MODELS
from sync.watch import WatchReport
from transport.calls import Call, log_call
from transport.redaction import redact

P = ParamSpec("P")

SCOPE = "csp-billing"
EVENTS = "csp.events"
"""Name of the logger of the lines that tell of units, runs and messages that were given up."""

METRICS: Final[Mapping[str, tuple[str, str, str]]] = {
    "csp.units": ("counter", "{unit}", "units of work by kind and outcome"),
    "csp.charges": ("gauge", "{charge}", "charges on the documents of a bill run"),
    "csp.money": ("gauge", "{money}", "where Microsoft's total went, by run, currency and part"),
    "csp.residual": ("gauge", "{money}", "what of a run's total is not accounted for, by currency"),
    "csp.run.failed": ("counter", "{run}", "runs that ended as failed, by kind"),
    "csp.poison": ("counter", "{message}", "messages that were given up, by queue"),
    "csp.throttles": ("counter", "{call}", "calls that were answered with 429, by service"),
    "csp.watch": ("counter", "{report}", "reports of the watch"),
    "csp.run.late": ("gauge", "s", "since when a kind of run should have been, by kind"),
    "csp.run.failing": ("gauge", "{run}", "runs that failed and have not ended well since, by run"),
    "csp.units.parked": ("gauge", "{unit}", "units of a run that were given up, by run"),
    "csp.poison.waiting": ("gauge", "{message}", "messages on poison queues, by queue"),
    "csp.data.age": ("gauge", "s", "since when a kind of run did not end well, by kind"),
    "csp.token.age": ("gauge", "s", "since when the refresh token was not replaced"),
    "csp.call.duration": ("histogram", "ms", "how long tries of calls took, by service and status"),
}
"""Every metric: its instrument, its unit and what it counts."""

_PARTS = ("microsoft", "billed", "credited", "held", "excluded", "sold")
_ENDED = {UnitStatus.SETTLED, UnitStatus.HELD, UnitStatus.FAILED, UnitStatus.PARKED}
_OF_UNITS = {queue for queue, model in MODELS.items() if hasattr(model, "key")} - {"event"}
"""Queues whose messages are worked once: another one finds its unit settled."""
_ANSWERS = {404, 409, 410, 412}
"""Refusals that the caller asked for: what is not there, what somebody else wrote first."""
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z._/:-]{0,119}")
_WORD = re.compile(r"[a-z_]{1,30}")
_ERROR = re.compile(r"([A-Z][A-Za-z]{2,40}): ")
_W3C = TraceContextTextMapPropagator()

_log = logging.getLogger(__name__)
_events = logging.getLogger(EVENTS)
_events.setLevel(logging.INFO)
_events.addHandler(logging.NullHandler())  # where nobody listens, a command's stderr stays its own
_work: ContextVar[_Work | None] = ContextVar("work", default=None)


class _Work:
    """The message that is worked here, and what came of it so far."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.outcome = ""


def _quietly(method: Callable[P, None]) -> Callable[P, None]:
    """Let a fault of telling be no fault of what is told."""

    @wraps(method)
    def told(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(*args, **kwargs)
        except Exception:  # noqa: BLE001 - whatever it is, billing goes on
            _log.debug("could not tell: %s", method.__name__, exc_info=True)

    return told


class Telemetry:
    """Tells what happens; safe for threads. Without arguments it tells nobody."""

    def __init__(
        self,
        tracer: Tracer | None = None,
        meter: Meter | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """`close` sends what is still waiting, and ends it."""
        self.close = close
        self._tracer = tracer or NoOpTracerProvider().get_tracer(SCOPE)
        meter = meter or NoOpMeterProvider().get_meter(SCOPE)
        make: dict[str, Callable[..., Any]] = {
            "counter": meter.create_counter,
            "gauge": meter.create_gauge,
            "histogram": meter.create_histogram,
        }
        self._metrics = {name: make[kind](name, *more) for name, (kind, *more) in METRICS.items()}

    # Traces --------------------------------------------------------------------------------------

    @contextmanager
    def asking(self, run_key: str) -> Iterator[None]:
        """Tell that a run is asked for: the trace of all that it leads to begins or goes on here."""
        kind = _word(run_key.partition("/")[0])
        with self._span(f"ask {kind}", SpanKind.PRODUCER, {"csp.run": run_key}):
            yield

    @contextmanager
    def caller(self, traceparent: str) -> Iterator[None]:
        """Go on with the trace of who called by HTTP, where the host has not said so already."""
        here = get_current_span().get_span_context()
        token = (
            None if here.is_valid else context.attach(_W3C.extract({"traceparent": traceparent}))
        )
        try:
            yield
        finally:
            if token is not None:
                context.detach(token)

    @contextmanager
    def message(
        self, queue: str, body: str | bytes, *, message_id: str = "", tries: int = 1
    ) -> Iterator[None]:
        """Go on with a message's trace while it is worked, and tell what came of it.

        A message that finds nothing to do for its unit is told as `unchanged`: so duplicates show.
        """
        data, run_key = _read(body), ""
        with suppress(ValidationError, KeyError):  # of what is not readable less is told
            run_key = getattr(MODELS[queue].model_validate_json(body), "run_key", "")
        about = _word(data.get("part") or data.get("kind"))
        customer = data.get("customer_id") or (data.get("scope") if about == "customer" else None)
        told = {
            "csp.queue": queue,
            "csp.tries": tries,
            "csp.message": message_id,
            "csp.run": run_key,
            "csp.customer": _id(customer),
        }
        name = f"{queue} {about}".strip()
        with self._span(name, SpanKind.CONSUMER, told, data.get("trace")) as span:
            work = _Work(span)
            token = _work.set(work)
            try:
                yield
            except Later:
                work.outcome = "postponed"
                raise
            finally:
                _work.reset(token)
                if queue in _OF_UNITS:
                    work.outcome = work.outcome or "unchanged"
                _mark(span, {"csp.outcome": work.outcome})

    @contextmanager
    def _span(
        self, name: str, kind: SpanKind, told: Mapping[str, Any], trace: Any = None
    ) -> Iterator[Span]:
        """Open a span, below that of `trace` where one is given; the host's own is linked then."""
        span: Span = INVALID_SPAN
        token = None
        with suppress(Exception):
            here = get_current_span().get_span_context()
            parent = _W3C.extract({"traceparent": trace}) if isinstance(trace, str) else None
            linked = [Link(here)] if parent and here.is_valid else []
            span = self._tracer.start_span(
                name, parent, kind, attributes=_clean(told), links=linked
            )
            token = context.attach(set_span_in_context(span))
        try:
            yield span
        except Later:
            raise
        except BaseException as error:
            _mark(span, {"error.type": type(error).__name__}, failed=True)
            raise
        finally:
            with suppress(Exception):
                if token is not None:
                    context.detach(token)
                span.end()

    def stamp(self, body: str) -> str:
        """Write the trace that goes on here into a message; one that has its own keeps it."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier)
        data = _read(body) if carrier else {}
        if not data or data.get("trace"):
            return body
        return json.dumps({**data, "trace": carrier["traceparent"]}, separators=(",", ":"))

    @_quietly
    def call(self, call: Call) -> None:
        """Tell of one finished try of a call, which took until now."""
        log_call(call)
        ended = time.time_ns()
        host, _, port = call.host.partition(":")
        span = self._tracer.start_span(
            f"{call.method} {call.template}",
            kind=SpanKind.CLIENT,
            start_time=ended - call.milliseconds * 1_000_000,
            attributes=_clean(
                {
                    "http.request.method": call.method,
                    "http.response.status_code": call.status,
                    "server.address": host,
                    "server.port": int(port or 443),
                    "url.template": call.template,
                    "url.full": f"https://{call.host}{call.template}",
                    "csp.service": call.service,
                    "csp.tries": call.tried,
                    "csp.request": call.request_id,
                }
            ),
        )
        status = call.status
        if status is None or (status >= 400 and status not in _ANSWERS):
            span.set_status(StatusCode.ERROR)
        span.end(ended)
        service = {"csp.service": call.service}
        if status == 429:
            self._metrics["csp.throttles"].add(1, service)
        self._metrics["csp.call.duration"].record(
            call.milliseconds, {**service, "csp.status": str(status or "none")}
        )

    # What is stored ------------------------------------------------------------------------------

    @_quietly
    def tell(self, stored: Run | UnitOfWork) -> None:
        """Tell of a run or a unit as it was just stored."""
        if isinstance(stored, UnitOfWork):
            self._tell_unit(stored)
        elif stored.status is not RunStatus.RUNNING:
            self._tell_run(stored)

    def _tell_unit(self, unit: UnitOfWork) -> None:
        if not unit.run_key:
            return  # a lock: it is the work under it that is told
        outcome = unit.status.value
        told = {"csp.unit": unit.key, "csp.kind": unit.kind, "csp.run": unit.run_key}
        work = _work.get()
        if work is not None and unit.status is not UnitStatus.QUEUED:
            work.outcome = outcome
            _mark(work.span, told)
        if unit.status not in _ENDED:
            return
        self._metrics["csp.units"].add(1, {"csp.kind": unit.kind, "csp.outcome": outcome})
        bad = unit.status in {UnitStatus.FAILED, UnitStatus.PARKED}
        more = {"csp.outcome": outcome, "csp.tries": unit.attempt, "error.type": _error(unit)}
        _line("unit", {**told, **more}, unit.counts, logging.WARNING if bad else logging.INFO)

    def _tell_run(self, run: Run) -> None:
        told = {"csp.run": run.key, "csp.kind": run.kind}
        if run.status is RunStatus.FAILED:
            self._metrics["csp.run.failed"].add(1, {"csp.kind": run.kind})
        if "charges" in run.counts:
            self._metrics["csp.charges"].set(run.counts["charges"], {"csp.run": run.key})
        for total in run.totals:
            # A picture for charts: floats are near enough to look at. The exact sums are the row's.
            where = {"csp.run": run.key, "csp.currency": total.currency}
            for part in _PARTS:
                amount = float(getattr(total, part))
                self._metrics["csp.money"].set(amount, {**where, "csp.part": part})
            self._metrics["csp.residual"].set(float(total.residual), where)
        bad = run.status is RunStatus.FAILED
        more = {"csp.outcome": run.status.value, "error.type": _error(run)}
        _line("run", {**told, **more}, run.counts, logging.ERROR if bad else logging.INFO)

    @_quietly
    def watched(self, report: WatchReport) -> None:
        """Tell what the watch found; what is unknown is left out, and not told as zero."""
        work = _work.get()
        if work is not None:
            work.outcome = "looked"
        told = self._metrics
        told["csp.watch"].add(1)
        # Two months may be late at once: a gauge of a kind holds one number, the worst.
        for late in sorted(report.late, key=lambda one: one.since, reverse=True):
            by = (report.at - late.since).total_seconds()
            told["csp.run.late"].set(by, {"csp.kind": late.kind})
        for failed in report.failed:
            told["csp.run.failing"].set(1, {"csp.run": failed.key})
        for run, units in Counter(unit.run_key for unit in report.parked).items():
            told["csp.units.parked"].set(units, {"csp.run": run})
        for queue, messages in report.lengths.items():
            if queue.endswith("-poison"):
                where = {"csp.queue": queue.removesuffix("-poison")}
                told["csp.poison.waiting"].set(messages, where)
        for kind, age in report.ages.items():
            told["csp.data.age"].set(age.total_seconds(), {"csp.kind": kind})
        if report.token_age is not None:
            told["csp.token.age"].set(report.token_age.total_seconds())
        for one in report.residuals:
            where = {"csp.run": one.run_key, "csp.currency": one.currency}
            told["csp.residual"].set(float(one.amount), where)
        for run in report.asked_again:
            _line("asked again", {"csp.run": run}, {}, logging.WARNING)

    @_quietly
    def gave_up(self, queue: str, body: str | bytes) -> None:
        """Tell that a message is not tried again."""
        data = _read(body)
        self._metrics["csp.poison"].add(1, {"csp.queue": queue})
        told = {"csp.queue": queue, "csp.run": _id(data.get("run_key"))}
        _line("gave up", told, {}, logging.ERROR)

    @_quietly
    def put_aside(self, queue: str, name: str) -> None:
        """Tell that a message that nobody can read is kept, and under which name in the archive."""
        _line("put aside", {"csp.queue": queue, "csp.kept": name}, {}, logging.WARNING)


def _read(body: str | bytes) -> dict[str, Any]:
    """Read a message as it came; nothing of one that is not readable."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _word(value: Any) -> str:
    """Return a word of ours, or nothing: names of spans are few."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""


def _id(value: Any) -> str:
    """Return what looks like an id or a key, or nothing: anybody may have written the message."""
    return value if isinstance(value, str) and _ID.fullmatch(value) else ""


def _error(stored: Run | UnitOfWork) -> str:
    """Return the kind of a problem; its sentence may hold names, and stands on the row alone."""
    found = _ERROR.match(stored.problem)
    return found.group(1) if found else ""


def _clean(told: Mapping[str, Any]) -> dict[str, str | int]:
    """Keep what is said, short, and without anything that has the shape of a secret."""
    kept: dict[str, str | int] = {}
    for name, value in told.items():
        if isinstance(value, int):
            kept[name] = value
        elif isinstance(value, str) and value:
            kept[name] = redact(value)[:200]
    return kept


def _mark(span: Span, told: Mapping[str, Any], *, failed: bool = False) -> None:
    with suppress(Exception):
        span.set_attributes(_clean(told))
        if failed:
            span.set_status(StatusCode.ERROR)


def _line(event: str, told: Mapping[str, Any], counts: Mapping[str, int], level: int) -> None:
    """Write one line: what happened, to which run and unit, and what it counted."""
    words = {name.removeprefix("csp."): value for name, value in _clean(told).items()}
    text = " ".join(f"{name}={value}" for name, value in {**words, **counts}.items())
    _events.log(level, "%s: %s", event, text, extra={"csp": {"csp.event": event, **_clean(told)}})
