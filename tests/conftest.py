"""What every room of the tests may ask for: Azurite, Microsoft's look-alike of Azure Storage."""

import pytest

from host import azurite as storage


@pytest.fixture(scope="session")
def azurite():
    """A connection string of an Azurite of this test process, started when first asked for."""
    if missing := storage.why_missing():
        pytest.skip(missing)
    with storage.azurite() as running:
        yield running.connection_string
