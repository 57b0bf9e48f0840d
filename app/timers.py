"""Timers: each leaves one message on a queue and is done. Schedules are settings, in UTC.

A timer decides nothing: which days, months and documents are open is read from the ledger by whoever
takes the message. One that fires late, twice or not at all does no harm: its message leads to the
run of its day, and what a missed day left open is found open by the next.
"""

from __future__ import annotations

import azure.functions as func

from sync.messages import RunKind

bp = func.Blueprint()  # type: ignore[no-untyped-call]


@bp.timer_trigger(arg_name="timer", schedule="%SYNC_SCHEDULE%", run_on_startup=False)
def daily_sync(timer: func.TimerRequest) -> None:
    """Ask for the sync of today."""
    del timer
    _ask("sync")


@bp.timer_trigger(arg_name="timer", schedule="%USAGE_SCHEDULE%", run_on_startup=False)
def daily_usage(timer: func.TimerRequest) -> None:
    """Ask for what Microsoft billed, and for usage that is not billed yet."""
    del timer
    _ask("usage")


@bp.timer_trigger(arg_name="timer", schedule="%PRICES_SCHEDULE%", run_on_startup=False)
def daily_prices(timer: func.TimerRequest) -> None:
    """Ask for Microsoft's price sheets of today."""
    del timer
    _ask("prices")


@bp.timer_trigger(arg_name="timer", schedule="%ACCESS_SCHEDULE%", run_on_startup=False)
def daily_access(timer: func.TimerRequest) -> None:
    """Ask for the delegated administration of all customers."""
    del timer
    _ask("access")


@bp.timer_trigger(arg_name="timer", schedule="%RENEWALS_SCHEDULE%", run_on_startup=False)
def daily_renewals(timer: func.TimerRequest) -> None:
    """Ask for the ends of terms ahead."""
    del timer
    _ask("renewals")


@bp.timer_trigger(arg_name="timer", schedule="%BILL_SCHEDULE%", run_on_startup=False)
def daily_bill(timer: func.TimerRequest) -> None:
    """Ask for the bills of whom today makes due."""
    del timer
    _ask("bill")


@bp.timer_trigger(arg_name="timer", schedule="%HANDOFF_SCHEDULE%", run_on_startup=False)
def hand_off(timer: func.TimerRequest) -> None:
    """Ask for issued documents to be handed off."""
    del timer
    _ask("handoff")


@bp.timer_trigger(arg_name="timer", schedule="%FEEDBACK_SCHEDULE%", run_on_startup=False)
def hourly_feedback(timer: func.TimerRequest) -> None:
    """Ask what became of documents that were handed off."""
    del timer
    _ask("feedback")


@bp.timer_trigger(arg_name="timer", schedule="%HEALTH_SCHEDULE%", run_on_startup=False)
def weekly_health(timer: func.TimerRequest) -> None:
    """Ask for the health page of this week."""
    del timer
    _ask("health")


@bp.timer_trigger(arg_name="timer", schedule="%REQUESTS_SCHEDULE%", run_on_startup=False)
def pick_up_requests(timer: func.TimerRequest) -> None:
    """Have it looked whether anybody asked for a run by adding a row in Dynamics."""
    from app.wiring import worker

    del timer
    worker().look_for_requests()


@bp.timer_trigger(arg_name="timer", schedule="%WATCH_SCHEDULE%", run_on_startup=False)
def watch(timer: func.TimerRequest) -> None:
    """Have it looked whether everything is done in time."""
    from app.wiring import worker

    del timer
    worker().look_around()


def _ask(kind: RunKind) -> None:
    from app.wiring import worker

    worker().ask(kind)
