from datetime import UTC, datetime, timedelta

import pytest

from domain.problems import InvariantBroken
from transport.blobs import FolderArchive, checked_name
from transport.queues import MAX_TRIES, MemoryQueue


class Clock:
    def __init__(self):
        self.moment = datetime(2026, 4, 1, tzinfo=UTC)

    def __call__(self):
        return self.moment


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def queue(clock):
    return MemoryQueue(now=clock)


def test_a_message_is_leased_and_gone_when_deleted(queue):
    assert queue.send("bill", ['{"a": 1}', '{"a": 2}']) == 2

    first, second = queue.receive("bill"), queue.receive("bill")
    assert (first.body, first.dequeue_count, second.body) == ('{"a": 1}', 1, '{"a": 2}')
    assert queue.receive("bill") is None
    queue.delete(first)
    queue.delete(second)
    assert len(queue) == 0


def test_a_message_whose_lease_ended_comes_back_and_the_old_receipt_is_void(queue, clock):
    queue.send("pull", ["{}"])
    late = queue.receive("pull", lease=timedelta(minutes=1))
    clock.moment += timedelta(minutes=1)

    again = queue.receive("pull")
    assert (again.id, again.dequeue_count) == (late.id, 2)
    queue.delete(late)
    assert len(queue) == 1
    queue.delete(again)
    assert len(queue) == 0


def test_a_message_that_keeps_failing_is_poisoned(queue):
    queue.send("bill", ["bad", "good"])
    for _ in range(MAX_TRIES):
        message = queue.receive("bill")
        assert message.body == "bad"
        queue.release(message)

    assert queue.receive("bill").body == "good"
    assert [(m.body, m.dequeue_count) for m in queue.poisoned("bill")] == [("bad", MAX_TRIES)]


def test_a_released_message_waits_its_pause(queue, clock):
    queue.send("bill", ["{}"])
    queue.release(queue.receive("bill"), after=timedelta(seconds=30))

    assert queue.receive("bill") is None
    clock.moment += timedelta(seconds=30)
    assert queue.receive("bill").dequeue_count == 2


def test_kinds_and_sizes_are_checked(queue):
    with pytest.raises(InvariantBroken, match="no queue for 'sell'"):
        queue.send("sell", [])
    with pytest.raises(InvariantBroken, match="keys, not data"):
        queue.send("bill", ["x" * 50_000])
    assert len(queue) == 0


@pytest.mark.parametrize(
    "name", ["../x", "a/../b", "/etc/x", "", "a//b", ".hidden", "a/\x00", "a\\b"]
)
def test_archive_names_stay_inside(name, tmp_path):
    with pytest.raises(InvariantBroken):
        checked_name(name)
    with pytest.raises(InvariantBroken):
        FolderArchive(tmp_path).put(name, b"")
