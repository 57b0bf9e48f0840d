"""Queue functions: one for each kind of message, each works one unit through the ledger.

The connection is `WORKER_QUEUE` (in the cloud WORKER_QUEUE__queueServiceUri, by identity). A message
that fails is delivered again after host.json's pause, at most maxDequeueCount times; then the host
puts it on the poison queue of its kind, whose function notes on unit and run that it was given up.
"""

from __future__ import annotations

import logging

import azure.functions as func

from domain.problems import InputError, Unreadable

log = logging.getLogger(__name__)
bp = func.Blueprint()  # type: ignore[no-untyped-call]


def _handle(queue: str, message: func.QueueMessage) -> None:
    """Work a message; one that comes too early is sent anew, so that waiting uses up no try.

    One that nobody can read is put aside at once: it would be as unreadable the next time.
    """
    from app.wiring import worker
    from sync.ledger import Later

    body = message.get_body()
    try:
        worker().handle(queue, body, message_id=message.id or "", tries=message.dequeue_count or 1)
    except Later as early:
        log.info("message %s of queue %s comes again: %s", message.id, queue, early)
        worker().postpone(queue, body, early)
    except Unreadable as fault:
        _give_up(queue, message, str(fault))


def _give_up(queue: str, message: func.QueueMessage, problem: str = "") -> None:
    """Note on unit and run that a message is not tried again; what names neither is kept."""
    from app.wiring import worker

    log.error("gave up message %s of queue %s. %s", message.id, queue, problem)
    try:
        worker().give_up(queue, message.get_body(), problem)
    except Unreadable:
        name = worker().put_aside(queue, message.get_body())
        log.warning("message %s is kept in the archive as %s", message.id, name)


@bp.queue_trigger(arg_name="message", queue_name="start", connection="WORKER_QUEUE")
def start_run(message: func.QueueMessage) -> None:
    """Begin a run: plan it and enter its units."""
    try:
        _handle("start", message)
    except InputError as error:  # a month that is not complete is not so in ten minutes either
        _give_up("start", message, str(error))


@bp.queue_trigger(arg_name="message", queue_name="pull", connection="WORKER_QUEUE")
def pull_part(message: func.QueueMessage) -> None:
    """Read one part of Microsoft's side."""
    _handle("pull", message)


@bp.queue_trigger(arg_name="message", queue_name="bill", connection="WORKER_QUEUE")
def bill_customer(message: func.QueueMessage) -> None:
    """Bill one customer for one month."""
    _handle("bill", message)


@bp.queue_trigger(arg_name="message", queue_name="close", connection="WORKER_QUEUE")
def close_run(message: func.QueueMessage) -> None:
    """Reconcile a run and store its totals."""
    _handle("close", message)


@bp.queue_trigger(arg_name="message", queue_name="event", connection="WORKER_QUEUE")
def take_event(message: func.QueueMessage) -> None:
    """Read anew what Partner Center says has changed."""
    _handle("event", message)


@bp.queue_trigger(arg_name="message", queue_name="handoff", connection="WORKER_QUEUE")
def hand_off_document(message: func.QueueMessage) -> None:
    """Hand one issued document to its accounting system."""
    _handle("handoff", message)


@bp.queue_trigger(arg_name="message", queue_name="feedback", connection="WORKER_QUEUE")
def read_feedback(message: func.QueueMessage) -> None:
    """Read what became of documents in one accounting system."""
    _handle("feedback", message)


@bp.queue_trigger(arg_name="message", queue_name="report", connection="WORKER_QUEUE")
def make_report(message: func.QueueMessage) -> None:
    """Read what is stored, and tell."""
    _handle("report", message)


@bp.queue_trigger(arg_name="message", queue_name="start-poison", connection="WORKER_QUEUE")
def give_up_start(message: func.QueueMessage) -> None:
    """Fail the run that could not begin."""
    _give_up("start", message)


@bp.queue_trigger(arg_name="message", queue_name="pull-poison", connection="WORKER_QUEUE")
def give_up_pull(message: func.QueueMessage) -> None:
    """Park the part that could not be read."""
    _give_up("pull", message)


@bp.queue_trigger(arg_name="message", queue_name="bill-poison", connection="WORKER_QUEUE")
def give_up_bill(message: func.QueueMessage) -> None:
    """Park the customer that could not be billed."""
    _give_up("bill", message)


@bp.queue_trigger(arg_name="message", queue_name="close-poison", connection="WORKER_QUEUE")
def give_up_close(message: func.QueueMessage) -> None:
    """Fail the run that could not be closed."""
    _give_up("close", message)


@bp.queue_trigger(arg_name="message", queue_name="event-poison", connection="WORKER_QUEUE")
def give_up_event(message: func.QueueMessage) -> None:
    """Park the event that could not be followed."""
    _give_up("event", message)


@bp.queue_trigger(arg_name="message", queue_name="handoff-poison", connection="WORKER_QUEUE")
def give_up_handoff(message: func.QueueMessage) -> None:
    """Park the document that could not be handed off."""
    _give_up("handoff", message)


@bp.queue_trigger(arg_name="message", queue_name="feedback-poison", connection="WORKER_QUEUE")
def give_up_feedback(message: func.QueueMessage) -> None:
    """Park the accounting system that could not be read."""
    _give_up("feedback", message)


@bp.queue_trigger(arg_name="message", queue_name="report-poison", connection="WORKER_QUEUE")
def give_up_report(message: func.QueueMessage) -> None:
    """Park the report that could not be made."""
    _give_up("report", message)
