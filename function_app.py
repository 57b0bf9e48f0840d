"""Azure Functions entry point: one app, three blueprints, no logic and no network at import."""

import azure.functions as func

from app.http_api import bp as http_api
from app.queues import bp as queues
from app.timers import bp as timers

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
for blueprint in (timers, queues, http_api):
    app.register_functions(blueprint)
