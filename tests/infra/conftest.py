"""The templates as the checker reads them, and what the product says of itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from app.settings import PREFIX, Settings
from infra.checks import house
from tests.app.conftest import functions
from transport.queues import KINDS

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
OF_THE_HOST = {
    "AzureWebJobsStorage__blobServiceUri",
    "AzureWebJobsStorage__queueServiceUri",
    "AzureWebJobsStorage__tableServiceUri",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "WORKER_QUEUE__queueServiceUri",
    "WORKER_QUEUE__credential",
    "WORKER_QUEUE__clientId",
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "AZURE_CLIENT_ID",
    "PYTHON_ENABLE_OPENTELEMETRY",
    "PYTHON_THREADPOOL_THREAD_COUNT",
}
"""What the Functions host, its worker and Azure's libraries read, after Microsoft's documentation."""


def schedules():
    """The settings that stand in percent signs in triggers: the host resolves them when it indexes."""
    said = [str(one.get_bindings_dict()) for one in functions().values()]
    return {name for text in said for name in re.findall(r"%([A-Za-z_]+)%", text)}


def left_out():
    """What infra/settings.md gives a reason for."""
    rows = [line for line in (INFRA / "settings.md").read_text().splitlines() if line[:3] == "| `"]
    return {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])}


def queue_settings():
    return json.loads((ROOT / "host.json").read_text())["extensions"]["queues"]


@pytest.fixture(scope="session")
def wanted():
    ours = {PREFIX + name.upper() for name in Settings.model_fields}
    return house.Wanted(
        kinds=KINDS,
        read=frozenset(ours | schedules() | OF_THE_HOST),
        optional=frozenset(left_out()),
        threads=queue_settings()["batchSize"] + queue_settings()["newBatchThreshold"],
        alerts={path.name: path.read_text() for path in (INFRA / "alerts").glob("*.kql")},
    )
