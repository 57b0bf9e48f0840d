"""HTTP: runs, approvals, findings, documents and health, and who tells us of changes.

Routes alone; what they answer stands in `http_answers`, who may call in `callers`. `alive` is open to
everybody and says nothing. The two that others post events to always ask for a function key, since
who posts there cannot sign in.
"""

from __future__ import annotations

import azure.functions as func

from app.callers import auth_level

bp = func.Blueprint()  # type: ignore[no-untyped-call]


@bp.route(route="runs", methods=["POST"], auth_level=auth_level())
def start(req: func.HttpRequest) -> func.HttpResponse:
    """Ask for a run: 202 and where to look. The same kind and window is the same run."""
    from app import http_answers, http_door

    return http_door.respond(req, "Runs.Start", http_answers.start)


@bp.route(route="runs", methods=["GET"], auth_level=auth_level())
def list_runs(req: func.HttpRequest) -> func.HttpResponse:
    """List runs, newest first."""
    from app import http_answers, http_door

    return http_door.respond(req, "Runs.Read", http_answers.list_runs)


@bp.route(route="runs/{run_id}", methods=["GET"], auth_level=auth_level())
def read(req: func.HttpRequest) -> func.HttpResponse:
    """Read a run: its status, counts and control totals."""
    from app import http_answers, http_door

    return http_door.respond(req, "Runs.Read", http_answers.read_run)


@bp.route(route="approvals", methods=["POST"], auth_level=auth_level())
def approve(req: func.HttpRequest) -> func.HttpResponse:
    """Ask for drafts to be numbered and issued: 202 and where to look."""
    from app import http_answers, http_door

    return http_door.respond(req, http_answers.APPROVER, http_answers.approve)


@bp.route(route="findings", methods=["GET"], auth_level=auth_level())
def list_findings(req: func.HttpRequest) -> func.HttpResponse:
    """List the findings whose cause is there."""
    from app import http_answers, http_door

    return http_door.respond(req, "Runs.Read", http_answers.list_findings)


@bp.route(route="findings/{finding_id}", methods=["GET"], auth_level=auth_level())
def read_finding(req: func.HttpRequest) -> func.HttpResponse:
    """Read one finding."""
    from app import http_answers, http_door

    return http_door.respond(req, "Runs.Read", http_answers.read_finding)


@bp.route(route="findings/{finding_id}/release", methods=["POST"], auth_level=auth_level())
def release(req: func.HttpRequest) -> func.HttpResponse:
    """Ask for a customer to be billed in spite of a finding, or take that back."""
    from app import http_answers, http_door

    return http_door.respond(req, "Holds.Release", http_answers.release)


@bp.route(route="invoices/{number}", methods=["GET"], auth_level=auth_level())
def read_invoice(req: func.HttpRequest) -> func.HttpResponse:
    """Read a document as data."""
    from app import http_answers, http_door

    return http_door.respond(req, "Runs.Read", http_answers.read_invoice)


@bp.route(route="invoices/{number}/pdf", methods=["GET"], auth_level=auth_level())
def read_pdf(req: func.HttpRequest) -> func.HttpResponse:
    """Read a document as the customer gets it."""
    from app import http_answers, http_door

    return http_door.respond(req, "Runs.Read", http_answers.read_pdf)


@bp.route(route="invoices/{number}/lines/{line}", methods=["GET"], auth_level=auth_level())
def explain(req: func.HttpRequest) -> func.HttpResponse:
    """Say why one line asks for what it asks."""
    from app import http_answers, http_door

    return http_door.respond(req, "Runs.Read", http_answers.explain)


@bp.route(route="health", methods=["GET"], auth_level=auth_level())
def health(req: func.HttpRequest) -> func.HttpResponse:
    """Give the latest report of health."""
    from app import http_answers, http_door

    return http_door.respond(req, "Runs.Read", http_answers.health)


@bp.route(route="ready", methods=["GET"], auth_level=auth_level())
def ready(req: func.HttpRequest) -> func.HttpResponse:
    """Say whether everything that the worker needs answers."""
    from app import http_answers, http_door

    return http_door.respond(req, "Runs.Read", http_answers.ready)


@bp.route(route="alive", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
def alive(req: func.HttpRequest) -> func.HttpResponse:
    """Say that the functions run; asks nobody anything."""
    from app import http_door

    del req
    return http_door.written(http_door.alive())


@bp.route(route="dataverse-events", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
def hear(req: func.HttpRequest) -> func.HttpResponse:
    """Hear from a webhook of Dataverse that a row asks for a run; it is read when taken up."""
    from app import http_answers, http_door

    return http_door.respond(req, "", http_answers.hear)


@bp.route(route="partner-center-events", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
def notify(req: func.HttpRequest) -> func.HttpResponse:
    """Hear from Partner Center, signed, that a record changed; what it is, is read anew later."""
    from app import http_answers, http_door

    return http_door.respond(req, "", http_answers.notify)
