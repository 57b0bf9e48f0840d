"""What a worker tells, kept in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from app.exporters import telemetry_to
from app.telemetry import Telemetry


@dataclass
class Told:
    """Spans, points and lines of one worker."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    records: InMemoryLogRecordExporter = field(default_factory=InMemoryLogRecordExporter)

    def so_far(self) -> Told:
        """What was told until now, and nothing of what comes after."""
        now = Told()
        now.exporter.export(self.exporter.get_finished_spans())
        now.records.export(self.records.get_finished_logs())
        now.reader = _Read(self.reader.get_metrics_data())
        return now

    def telemetry(self) -> Telemetry:
        return telemetry_to(
            SimpleSpanProcessor(self.exporter),
            self.reader,
            SimpleLogRecordProcessor(self.records),
        )

    def spans(self, kind: SpanKind | None = None) -> list[ReadableSpan]:
        found = self.exporter.get_finished_spans()
        return [span for span in found if kind in {None, span.kind}]

    def points(self, name: str) -> dict[tuple[str, ...], Any]:
        """A metric's points by their attributes' values, in the order of their names."""
        data = self.reader.get_metrics_data()
        found = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points if metric.name == name else ():
                        told = dict(point.attributes or {})
                        key = tuple(str(told[one]) for one in sorted(told))
                        found[key] = getattr(point, "value", getattr(point, "count", None))
        return found

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        """What was told to the log: sentence and attributes."""
        return [
            (str(one.log_record.body), dict(one.log_record.attributes or {}))
            for one in self.records.get_finished_logs()
        ]

    def everything(self) -> Iterator[str]:
        """Every text that left: names, attributes and sentences."""
        for span in self.spans():
            yield span.name
            yield str(dict(span.attributes or {}))
            yield str([dict(event.attributes or {}) for event in span.events])
            yield str(span.status.description)
        for body, attributes in self.lines():
            yield body
            yield str(attributes)
        data = self.reader.get_metrics_data()
        yield data.to_json() if data else ""


class _Read(InMemoryMetricReader):
    """A reader that has read."""

    def __init__(self, data: MetricsData | None) -> None:
        super().__init__()
        self._data = data

    def get_metrics_data(self) -> MetricsData | None:
        return self._data


def said(span: ReadableSpan, name: str) -> Any:
    return (span.attributes or {}).get(name)
