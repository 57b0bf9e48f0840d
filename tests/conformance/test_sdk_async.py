"""The asynchronous twin of Microsoft's SDK, over plain HTTP: it does not ask for more."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

import pytest
from azure.core.credentials import AccessToken
from PowerPlatform.Dataverse.aio.async_client import AsyncDataverseClient
from PowerPlatform.Dataverse.core.errors import HttpError

from emulator import Emulator, serve
from tests.conformance.conftest import access_token

TABLE = "nce_demo"


class Granted:
    """A credential that was granted a token already."""

    def __init__(self, token):
        self.token = token

    async def get_token(self, *_, **__):
        return AccessToken(self.token, int(time.time()) + 3600)

    async def close(self):
        """Nothing is open."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        """Nothing is open."""


@pytest.fixture(scope="module")
def plain():
    emulator = Emulator(scenario="empty")
    with closing(emulator), serve(emulator):
        yield emulator


@pytest.fixture
def run(plain):
    """Run a coroutine function with a client and its new table."""
    plain.control.reset()
    url = plain.base_urls["dataverse"]
    token = access_token(plain)

    def run(work):
        async def whole():
            async with AsyncDataverseClient(url, Granted(token)) as client:
                await client.tables.create("nce_Demo", {"nce_Number": "int", "nce_Sub": "string"})
                return await work(client)

        return asyncio.run(whole())

    assert url.startswith("http://")
    return run


def test_a_row_is_created_and_read_back(run):
    async def work(client):
        row = await client.records.create(TABLE, {"nce_number": 3})
        return row, await client.records.retrieve(TABLE, row, select=["nce_number"])

    row, found = run(work)
    assert found.etag.startswith('W/"')
    assert found.data == {"nce_number": 3, "nce_demoid": row}


def test_many_rows_keep_their_order_and_one_bad_row_stores_none(run):
    async def work(client):
        ids = await client.records.create(TABLE, [{"nce_number": n} for n in range(500)])
        with pytest.raises(HttpError) as refused:
            await client.records.create(TABLE, [{"nce_sub": "S"}, {"nce_sub": "x" * 201}])
        return ids, refused.value, await client.records.list(TABLE)

    ids, refused, stored = run(work)
    numbers = {row["nce_demoid"]: row["nce_number"] for row in stored}
    assert [numbers[row] for row in ids] == list(range(500))
    assert (refused.status_code, refused.details["service_error_code"]) == (400, "0x80044331")
    assert len(stored) == 500


def test_pages_hold_every_row_once(run):
    async def work(client):
        await client.records.create(TABLE, [{"nce_number": n} for n in range(50)])
        pages = client.records.list_pages(TABLE, page_size=7, orderby=["nce_number desc"])
        return [[row["nce_number"] for row in page] async for page in pages]

    pages = run(work)
    assert [len(page) for page in pages] == [7] * 7 + [1]
    assert [number for page in pages for number in page] == list(reversed(range(50)))


def test_requests_beside_each_other_do_not_disturb_each_other(run, plain):
    plain.dataverse.settings.latency_ms = 50

    async def work(client):
        began = time.monotonic()
        rows = [client.records.create(TABLE, {"nce_number": n}) for n in range(12)]
        ids = await asyncio.gather(*rows)
        return ids, time.monotonic() - began

    ids, seconds = run(work)
    assert len(set(ids)) == 12
    assert seconds < 12 * 0.05


def test_too_many_requests_at_once_are_refused_and_write_nothing(run, plain):
    settings = plain.dataverse.settings

    async def work(client):
        await client.records.list(TABLE)  # names and choices are in its cache from here on
        await client.records.create(TABLE, {"nce_sub": "first"})
        settings.latency_ms, settings.throttling, settings.concurrency_limit = 300, True, 4
        rows = [client.records.create(TABLE, {"nce_number": n}) for n in range(12)]
        answers = await asyncio.gather(*rows, return_exceptions=True)
        settings.throttling = False
        return answers, await client.records.list(TABLE)

    answers, stored = run(work)
    refused = [answer for answer in answers if isinstance(answer, HttpError)]
    assert {(one.status_code, one.details["service_error_code"]) for one in refused} == {
        (429, "0x80072326")
    }
    assert len(refused) + len(stored) - 1 == 12
    assert 4 <= len(stored) - 1 < 12
