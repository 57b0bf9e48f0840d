"""The same behaviour on Azurite, Microsoft's own look-alike of Azure Storage."""

import json
import time
from base64 import b64encode
from datetime import timedelta

import pytest
from azure.storage.queue import QueueClient

from transport.blobs import BlobArchive
from transport.claims import Claims
from transport.queues import KINDS, MAX_BYTES, MAX_TRIES, AzureQueue


def raw(connection, name):
    """What stands on a queue, as the Functions host reads it."""
    with QueueClient.from_connection_string(connection, name) as client:
        return [one.content.encode() for one in client.peek_messages(32)]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK keeps its connections open
def test_messages_are_leased_released_deleted_and_poisoned(azurite):
    queue = AzureQueue(connection_string=azurite, create=True)
    assert queue.send("pull", ['{"customer": "ä"}']) == 1
    assert queue.receive("bill") is None

    message = queue.receive("pull")
    assert (message.body, message.dequeue_count) == ('{"customer": "ä"}', 1)
    assert queue.receive("pull") is None
    for tries in range(2, MAX_TRIES + 1):
        queue.release(message)
        message = queue.receive("pull", lease=timedelta(minutes=1))
        assert message.dequeue_count == tries
    queue.release(message)
    assert queue.receive("pull") is None
    assert [one.body for one in queue.poisoned("pull")] == ['{"customer": "ä"}']
    assert queue.lengths()["pull"] == 0
    assert raw(azurite, "pull-poison") == [b64encode('{"customer": "ä"}'.encode())]

    queue.send("close", ["{}"])
    done = queue.receive("close")
    queue.delete(done)
    queue.delete(done)
    queue.release(done)
    assert queue.receive("close") is None


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_message_is_sent_in_base64_and_not_seen_before_its_time(azurite):
    queue = AzureQueue(connection_string=azurite, create=True)
    queue.send("start", ['{"kind": "é"}'])
    assert raw(azurite, "start") == [b64encode('{"kind": "é"}'.encode())]
    queue.delete(queue.receive("start"))
    queue.send("start", ["{}"], after=timedelta(seconds=1))
    assert queue.receive("start") is None
    time.sleep(1.2)
    queue.delete(queue.receive("start"))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_who_lost_the_lease_of_a_message_neither_deletes_nor_returns_it(azurite):
    queue = AzureQueue(connection_string=azurite, create=True)
    queue.send("event", ["{}"])
    late = queue.receive("event", lease=timedelta(seconds=1))
    time.sleep(1.2)
    current = queue.receive("event")
    queue.delete(late)
    queue.release(late)
    assert queue.receive("event") is None  # still leased by the other
    queue.release(current)
    again = queue.receive("event")
    assert again.id == current.id
    queue.delete(again)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_messages_are_counted_leased_ones_too_and_those_that_were_given_up(azurite):
    queue = AzureQueue(connection_string=azurite, create=True)
    before = queue.lengths()
    assert set(before) == {name for kind in KINDS for name in (kind, f"{kind}-poison")}
    queue.send("report", ["{}", "{}"])
    leased = queue.receive("report")
    assert queue.lengths()["report"] - before["report"] == 2
    queue.delete(leased)
    assert queue.lengths()["report"] - before["report"] == 1
    queue.delete(queue.receive("report"))


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_too_large_for_a_queue_goes_by_way_of_a_container(azurite, tmp_path):
    archive = BlobArchive("claimed", tmp_path, connection_string=azurite, create=True)
    claims = Claims(archive, limit=MAX_BYTES)
    queue = AzureQueue(connection_string=azurite, create=True, claims=claims)
    large = json.dumps({"note": "é" * MAX_BYTES})
    queue.send("event", [large])
    came = queue.receive("event")
    assert len(came.body) < 300
    assert claims.redeem(came.body) == large.encode()
    queue.delete(came)
