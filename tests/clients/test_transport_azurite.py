"""The same behaviour on Azurite, Microsoft's own look-alike of Azure Storage."""

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
