"""Queue functions: one for each kind of message, each works one unit through the ledger.

The connection is `WORKER_QUEUE` (in the cloud WORKER_QUEUE__queueServiceUri, by identity). A unit
that fails is delivered again after host.json's pause, at most maxDequeueCount times.
"""

from __future__ import annotations

import azure.functions as func

bp = func.Blueprint()  # type: ignore[no-untyped-call]


def _handle(queue: str, message: func.QueueMessage) -> None:
    from app.wiring import worker  # noqa: PLC0415 - importing the app must touch nothing

    worker().handle(queue, message.get_body())


@bp.queue_trigger(arg_name="message", queue_name="start", connection="WORKER_QUEUE")
def start_run(message: func.QueueMessage) -> None:
    """Begin a run: plan it and enter its units."""
    _handle("start", message)


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
