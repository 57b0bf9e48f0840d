"""Application Insights on loopback: what Microsoft's exporter sends here can be asked for in KQL.

Rows get the names and forms that a query on the component sees. Time can be moved: `shift` makes
what is there older. The engine is duckdb-kql: a window is a view here, as an alert rule makes one.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import duckdb_kql

KEY = "11111111-2222-4333-8444-555555555555"
TABLES = {
    "MetricData": "customMetrics",
    "MessageData": "traces",
    "RequestData": "requests",
    "RemoteDependencyData": "dependencies",
}
COLUMNS = {
    "customMetrics": "timestamp timestamp, name varchar, valueSum double, valueCount int, "
    "customDimensions json, cloud_RoleName varchar",
    "traces": "timestamp timestamp, message varchar, severityLevel int, customDimensions json, "
    "operation_Id varchar",
    "requests": "timestamp timestamp, id varchar, name varchar, success varchar, duration double, "
    "resultCode varchar, customDimensions json, operation_Id varchar, operation_ParentId varchar",
    "dependencies": "timestamp timestamp, id varchar, name varchar, success varchar, "
    "duration double, resultCode varchar, type varchar, target varchar, data varchar, "
    "customDimensions json, "
    "operation_Id varchar, operation_ParentId varchar",
}


@dataclass
class Insights:
    """What was sent, as it was sent, and as rows."""

    port: int = 0
    sent: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    age: timedelta = timedelta(0)

    @property
    def connection(self) -> str:
        return f"InstrumentationKey={KEY};IngestionEndpoint=http://127.0.0.1:{self.port}/"

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table, as ingestion makes them of envelopes."""
        return [row(one) for one in self.sent if TABLES.get(one["data"]["baseType"], "") == table]

    def query(self, kql: str, *, window: timedelta = timedelta(days=1)) -> list[dict[str, Any]]:
        """Ask the tables, of which no more is seen than a window until now."""
        con = duckdb_kql.connect()
        since = datetime.now(UTC).replace(tzinfo=None) - window
        for table, columns in COLUMNS.items():
            con.execute(f"create table {table} ({columns})")
            names = [one.split()[0] for one in columns.split(", ")]
            for one in self.rows(table):
                if one["timestamp"] - self.age < since:
                    continue
                values = [one.get(name) for name in names]
                values[0] = one["timestamp"] - self.age
                blanks = ", ".join("?" * len(names))
                con.execute(f"insert into {table} values ({blanks})", values)  # noqa: S608
        answer = duckdb_kql.query(con, kql)
        found = [dict(zip(answer.columns, values, strict=True)) for values in answer.fetchall()]
        con.close()
        return found


def row(envelope: dict[str, Any]) -> dict[str, Any]:
    """One envelope as a row."""
    data, tags = envelope["data"]["baseData"], envelope["tags"]
    moment = datetime.fromisoformat(envelope["time"]).astimezone(UTC).replace(tzinfo=None)
    made = {
        "timestamp": moment,
        "name": data.get("name"),
        "message": data.get("message"),
        "severityLevel": data.get("severityLevel"),
        "id": data.get("id"),
        "success": str(data.get("success")),
        "resultCode": data.get("resultCode") or data.get("responseCode"),
        "type": data.get("type"),
        "target": data.get("target"),
        "data": data.get("data"),
        "duration": milliseconds(data["duration"]) if "duration" in data else None,
        "customDimensions": json.dumps(data.get("properties") or {}),
        "cloud_RoleName": tags.get("ai.cloud.role"),
        "operation_Id": tags.get("ai.operation.id"),
        "operation_ParentId": tags.get("ai.operation.parentId"),
    }
    if "metrics" in data:
        (metric,) = data["metrics"]
        made |= {
            "name": metric["name"],
            "valueSum": float(metric["value"]),
            "valueCount": metric.get("count", 1),
        }
    return made


def milliseconds(duration: str) -> float:
    """Read `d.hh:mm:ss.fff`."""
    days, clock = duration.split(".", 1)
    hours, minutes, seconds = clock.split(":")
    span = timedelta(days=int(days), hours=int(hours), minutes=int(minutes), seconds=float(seconds))
    return span / timedelta(milliseconds=1)


class Listening:
    """Serves the address that the exporter posts to."""

    def __init__(self) -> None:
        insights = self.insights = Insights()

        class Ingestion(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                items = json.loads(body)
                if insights.status == 200:
                    insights.sent.extend(items)
                answer = {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}
                content = json.dumps(answer).encode()
                self.send_response(insights.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Ingestion)
        self._server.daemon_threads = True
        insights.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )

    def __enter__(self) -> Insights:
        self._thread.start()
        return self.insights

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
