"""Timers: each asks for work by messages on a queue and is done. Schedules are settings, in UTC."""

from __future__ import annotations

from datetime import date, timedelta

import azure.functions as func

from sync.messages import StartRun

bp = func.Blueprint()  # type: ignore[no-untyped-call]


@bp.timer_trigger(arg_name="timer", schedule="%SYNC_SCHEDULE%", run_on_startup=False)
def daily_sync(timer: func.TimerRequest) -> None:
    """Ask for the sync of today."""
    from app.wiring import worker

    del timer
    worker().request(StartRun(kind="sync", day=worker().today()))


@bp.timer_trigger(arg_name="timer", schedule="%BILL_SCHEDULE%", run_on_startup=False)
def monthly_bill(timer: func.TimerRequest) -> None:
    """Ask for the bills of last month: Microsoft's invoices are out about the 8th."""
    from app.wiring import worker

    del timer
    worker().request(StartRun(kind="bill", period=month_before(worker().today())))


@bp.timer_trigger(arg_name="timer", schedule="%REQUESTS_SCHEDULE%", run_on_startup=False)
def pick_up_requests(timer: func.TimerRequest) -> None:
    """Look whether anybody asked for a run by adding a row in Dynamics."""
    from app.wiring import worker

    del timer
    worker().pick_up()


def month_before(day: date) -> str:
    """Return the month before a day's, as YYYY-MM."""
    return f"{day.replace(day=1) - timedelta(days=1):%Y-%m}"
