"""What holds for every test, and what every room of them may ask for."""

from __future__ import annotations

import gc
import os

import pytest

from host import azurite as storage


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Spare the garbage collector the modules and ten thousand tests, which stay to the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def azurite_is_there():
    """Skip what needs Azurite where it is not installed, and say what to install."""
    if missing := storage.why_missing():
        # Where everything must be tried, to leave something out is a failure.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)


@pytest.fixture(scope="session")
def azurite(azurite_is_there):
    """A connection string of an Azurite of this test process, started when first asked for."""
    with storage.azurite() as running:
        yield running.connection_string
