"""The same behaviour on Azurite, Microsoft's own look-alike of Azure Storage."""

import time
from datetime import timedelta

import pytest

from transport.queues import MAX_TRIES, AzureQueue


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the SDK keeps its connections open
def test_messages_are_leased_released_deleted_and_poisoned(azurite):
    queue = AzureQueue(connection_string=azurite, create=True)
    assert queue.send("bill", ['{"customer": "ä"}']) == 1
    assert queue.receive("pull") is None

    message = queue.receive("bill")
    assert (message.body, message.dequeue_count) == ('{"customer": "ä"}', 1)
    assert queue.receive("bill") is None
    for tries in range(2, MAX_TRIES + 1):
        queue.release(message)
        message = queue.receive("bill", lease=timedelta(minutes=1))
        assert message.dequeue_count == tries
    queue.release(message)
    assert queue.receive("bill") is None
    assert [one.body for one in queue.poisoned("bill")] == ['{"customer": "ä"}']

    queue.send("close", ["{}"])
    done = queue.receive("close")
    queue.delete(done)
    queue.delete(done)
    queue.release(done)
    assert queue.receive("close") is None


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
