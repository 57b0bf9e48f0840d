"""HTTP: start a run (202 and where to look), read a run, hear of rows and of Partner Center.

Bounded, strict, no work.

The host asks for a function key on every route, in `x-functions-key` or as `?code=`.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import azure.functions as func
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.output import run_as_data
from domain.problems import InputError, WorkerError

MAX_BODY = 4096
MAX_EVENT = 512 * 1024
"""Dataverse leaves out what makes an event larger than 256 KB; the rest is the envelope."""
REQUEST_TABLE = "csp_billingrun"

EVENT_HINT = f"register the webhook on {REQUEST_TABLE}, message Create, asynchronous"

bp = func.Blueprint()  # type: ignore[no-untyped-call]


@bp.route(route="runs", methods=["POST"])
def start(req: func.HttpRequest) -> func.HttpResponse:
    """Ask for a run. The same kind and period is the same run, so asking twice starts one."""
    from app.wiring import worker

    body = req.get_body()
    if len(body) > MAX_BODY:
        return _answer(413, {"error": f"the body is larger than {MAX_BODY} bytes"})
    try:
        run_key = worker().request_json(body)
    except InputError as error:
        return _answer(400, {"error": str(error), "hint": error.hint})
    except WorkerError as error:
        return _answer(503, {"error": str(error), "hint": error.hint})
    run_id = run_key.replace("/", ".")
    return _answer(
        202,
        {"run_id": run_id, "status": "accepted"},
        {"Location": f"/api/runs/{run_id}", "Retry-After": "10"},
    )


@bp.route(route="runs/{run_id}", methods=["GET"])
def read(req: func.HttpRequest) -> func.HttpResponse:
    """Read a run: its status, counts and control totals."""
    from app.wiring import worker

    run_id = req.route_params.get("run_id", "")
    try:
        run = worker().run(run_id.replace(".", "/"))
    except WorkerError as error:
        return _answer(503, {"error": str(error), "hint": error.hint})
    if run is None:
        return _answer(404, {"error": "there is no such run", "hint": "it may still be waiting"})
    return _answer(200, run_as_data(run))


class _Event(BaseModel):
    """What is read of Dataverse's RemoteExecutionContext: which row, never what stands in it."""

    model_config = ConfigDict(frozen=True)

    message: str = Field(alias="MessageName")
    table: str = Field(alias="PrimaryEntityName")
    row_id: UUID = Field(alias="PrimaryEntityId")


@bp.route(route="dataverse-events", methods=["POST"])
def hear(req: func.HttpRequest) -> func.HttpResponse:
    """Hear from a webhook of Dataverse that a row asks for a run; it is read when taken up."""
    from app.wiring import worker

    body = req.get_body()
    if len(body) > MAX_EVENT:
        return _answer(413, {"error": f"the event is larger than {MAX_EVENT} bytes"})
    try:
        event = _Event.model_validate_json(body)
    except ValidationError:
        return _answer(400, {"error": "this is no event of Dataverse", "hint": EVENT_HINT})
    if event.table != REQUEST_TABLE:
        return _answer(400, {"error": f"{event.table} asks for nothing", "hint": EVENT_HINT})
    if event.message in {"Create", "Update"}:
        try:
            worker().take_up(str(event.row_id))
        except WorkerError as error:
            return _answer(503, {"error": str(error), "hint": error.hint})
    return _answer(202, {"status": "accepted"})


@bp.route(route="partner-center-events", methods=["POST"])
def notify(req: func.HttpRequest) -> func.HttpResponse:
    """Hear from Partner Center, signed, that a record changed; what it is, is read anew later."""
    from app.webhook import answer
    from app.wiring import worker

    return _answer(*answer(worker(), req.headers, req.get_body()))


def _answer(
    status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> func.HttpResponse:
    return func.HttpResponse(
        json.dumps(body), status_code=status, mimetype="application/json", headers=headers
    )
