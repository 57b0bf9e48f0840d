"""Where telemetry goes: nowhere, the console, an OTLP collector, or Azure Monitor.

The only place that knows OpenTelemetry's SDK. It is imported when something is to be told, so that
a command pays nothing for it. Providers are this object's own and not the process's: the Functions
host's worker and other libraries are left alone, and nothing is told twice.
"""

from __future__ import annotations

import atexit
import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry._logs import Logger, SeverityNumber

from app.telemetry import EVENTS, SCOPE, Telemetry
from domain.problems import ConfigurationError
from transport.redaction import redact

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LogRecordProcessor
    from opentelemetry.sdk.metrics.export import MetricExporter, MetricReader, MetricsData
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

CONNECTION = "APPLICATIONINSIGHTS_CONNECTION_STRING"
QUIET = ("azure", "msal", "urllib3", "opentelemetry")
"""Loggers that tell of each request, with headers; they are heard from warnings on."""
DEAF = ("opentelemetry", "azure.monitor", "azure.core", "azure.identity", "msal")
"""Loggers of the exporters themselves: to pass their warnings on would be a circle."""
OFF_BY_DEFAULT = (
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
)
"""What the exporter tells of itself, and asks for, beside what it was given: set to false, it may."""
METRICS_EVERY = 60_000

_log = logging.getLogger(__name__)


def telemetry_of(choice: str | None, environ: MutableMapping[str, str]) -> Telemetry:
    """Return what tells of this process; a fault of its set-up is a line in the log, and silence.

    Left open, the choice is Azure Monitor where its connection string is set, and else nobody.
    `environ` is the process's own: the exporter reads its settings there.
    """
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    choice = choice or ("azure" if environ.get(CONNECTION) else "off")
    if choice == "off":
        return Telemetry()
    try:
        make = {"azure": _azure, "otlp": _otlp, "console": _console}[choice]
        return make(environ)
    except ConfigurationError as error:
        _log.error("no telemetry: %s", error)
    except Exception as error:  # noqa: BLE001 - whatever it is, billing goes on
        _log.error("no telemetry: %s", type(error).__name__)  # its sentence may hold the key
    return Telemetry()


def telemetry_to(
    spans: SpanProcessor,
    metrics: MetricReader,
    logs: LogRecordProcessor | None = None,
    *,
    name: str = "",
) -> Telemetry:
    """Return what tells to these; of the log they hear our events, and everybody's warnings."""
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    resource = Resource.create({"service.name": name or SCOPE})
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(spans)
    meters = MeterProvider([metrics], resource=resource, shutdown_on_exit=False)
    loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
    ear = _Ear(loggers.get_logger(SCOPE))
    if logs is not None:
        loggers.add_log_record_processor(logs)
        logging.getLogger().addHandler(ear)

    def close() -> None:
        atexit.unregister(close)
        logging.getLogger().removeHandler(ear)
        for provider in (tracers, meters, loggers):
            with suppress(Exception):
                provider.shutdown()

    atexit.register(close)
    return Telemetry(tracers.get_tracer(SCOPE), meters.get_meter(SCOPE), close)


# Where to ----------------------------------------------------------------------------------------


def _azure(environ: MutableMapping[str, str]) -> Telemetry:
    """To Application Insights: by identity where APPLICATIONINSIGHTS_AUTHENTICATION_STRING says so."""
    if not environ.get(CONNECTION):
        raise ConfigurationError(
            f"CSP_TELEMETRY is azure, but {CONNECTION} is not set", hint="set it, or choose another"
        )
    for name in OFF_BY_DEFAULT:
        environ.setdefault(name, "true")
    from azure.monitor.opentelemetry.exporter import (
        AzureMonitorLogExporter,
        AzureMonitorMetricExporter,
        AzureMonitorTraceExporter,
    )
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    # What cannot be sent soon is dropped: telemetry on a disk that goes away with the instance is
    # none, and an instance that is asked to end must not wait for it.
    to: dict[str, Any] = {
        "connection_string": environ[CONNECTION],
        "disable_offline_storage": True,
        "retry_total": 1,
        "timeout": 5,
    }
    return telemetry_to(
        BatchSpanProcessor(AzureMonitorTraceExporter(**to)),
        PeriodicExportingMetricReader(once(AzureMonitorMetricExporter(**to)), METRICS_EVERY),
        BatchLogRecordProcessor(AzureMonitorLogExporter(**to)),
        name=environ.get("WEBSITE_SITE_NAME", ""),
    )


def _otlp(_: MutableMapping[str, str]) -> Telemetry:
    """To a collector at OTEL_EXPORTER_OTLP_ENDPOINT, by a package that is not among ours."""
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    root = "opentelemetry.exporter.otlp.proto.http"
    try:
        spans = import_module(f"{root}.trace_exporter").OTLPSpanExporter()
        metrics = import_module(f"{root}.metric_exporter").OTLPMetricExporter()
        logs = import_module(f"{root}._log_exporter").OTLPLogExporter()
    except ImportError:
        raise ConfigurationError(
            "CSP_TELEMETRY is otlp, but its exporter is not installed",
            hint="pip install opentelemetry-exporter-otlp-proto-http",
        ) from None
    return telemetry_to(
        BatchSpanProcessor(spans),
        PeriodicExportingMetricReader(metrics, METRICS_EVERY),
        BatchLogRecordProcessor(logs),
    )


def _console(_: MutableMapping[str, str]) -> Telemetry:
    """To stderr, a line for each span and at the end one for each metric."""
    from opentelemetry.sdk.metrics.export import (
        ConsoleMetricExporter,
        PeriodicExportingMetricReader,
    )
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

    spans = ConsoleSpanExporter(out=sys.stderr, formatter=span_line)
    metrics = ConsoleMetricExporter(out=sys.stderr, formatter=metric_lines)
    return telemetry_to(
        SimpleSpanProcessor(spans), PeriodicExportingMetricReader(once(metrics), METRICS_EVERY)
    )


def once(exporter: MetricExporter) -> MetricExporter:
    """Let a gauge be told when it was set, and not again every minute until this process ends.

    Else an instance that closed a run with a residual would tell of it long after another one
    closed it without.
    """
    from opentelemetry.sdk.metrics import Counter, Histogram, _Gauge
    from opentelemetry.sdk.metrics.export import (
        AggregationTemporality,
        MetricExporter,
        MetricExportResult,
    )

    class Once(MetricExporter):
        def export(
            self, metrics_data: MetricsData, timeout_millis: float = 10_000, **more: Any
        ) -> MetricExportResult:
            return exporter.export(metrics_data, timeout_millis, **more)

        def force_flush(self, timeout_millis: float = 10_000) -> bool:
            return exporter.force_flush(timeout_millis)

        def shutdown(self, timeout_millis: float = 30_000, **more: Any) -> None:
            exporter.shutdown(timeout_millis, **more)

    delta = AggregationTemporality.DELTA
    return Once(preferred_temporality={Counter: delta, Histogram: delta, _Gauge: delta})


# Form --------------------------------------------------------------------------------------------


def span_line(span: ReadableSpan) -> str:
    """Return a span as one line: trace, name, duration and what it says."""
    trace = format(span.context.trace_id, "032x")[:8] if span.context else ""
    milliseconds = ((span.end_time or 0) - (span.start_time or 0)) // 1_000_000
    told = " ".join(f"{name}={value!r}" for name, value in (span.attributes or {}).items())
    return f"span {trace} {span.name} {milliseconds} ms {told}\n"


def metric_lines(data: MetricsData) -> str:
    """Return the points of metrics, one a line; of a histogram, how many and their sum."""
    return "".join(
        f"metric {metric.name} {_value(point)} {dict(point.attributes or {})}\n"
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    )


def _value(point: Any) -> str:
    return str(point.value) if hasattr(point, "value") else f"{point.count} sum {point.sum}"


class _Ear(logging.Handler):
    """Passes on log records: our events with what they say, of others the sentence's form alone.

    What stands in the blanks of another's sentence may be anything: a name, an address, a body.
    """

    def __init__(self, logger: Logger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Pass on one record; a fault of it is nobody's."""
        event = record.name == EVENTS
        if not event and (record.levelno < logging.WARNING or record.name.startswith(DEAF)):
            return
        told = dict(getattr(record, "csp", {}))
        if record.exc_info and record.exc_info[0]:
            told["error.type"] = record.exc_info[0].__name__
        with suppress(Exception):
            self._logger.emit(
                timestamp=int(record.created * 1e9),
                severity_number=SeverityNumber(min(record.levelno, 50) // 10 * 4 + 1),
                severity_text=record.levelname,
                body=redact(record.getMessage() if event else str(record.msg)),
                attributes={**told, "csp.logger": record.name},
            )
