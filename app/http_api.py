"""HTTP: start a run (202 and where to look), read a run. Bounded, strict, no work done here."""

from __future__ import annotations

import json
from typing import Any

import azure.functions as func

from app.output import run_as_data
from domain.problems import InputError, WorkerError

MAX_BODY = 4096

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


def _answer(
    status: int, body: dict[str, Any], headers: dict[str, str] | None = None
) -> func.HttpResponse:
    return func.HttpResponse(
        json.dumps(body), status_code=status, mimetype="application/json", headers=headers
    )
