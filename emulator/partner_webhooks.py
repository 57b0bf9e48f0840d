"""Partner Center's webhook registration, and the host that shows the certificates of its events.

One registration per partner. Names of properties are read without regard to case, since Microsoft's
samples send WebhookUrl and its contract says webhookUrl. Answers follow the contract, except that a
test event's id comes as an object, as the documentation shows; the setting `webhook_answers` gives
the other published forms. A callback must be https; loopback is the emulator's own exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.partner_wire import APP_TOO, BadQueryError, RefusalError, Route, read_resource
from emulator.posting import on_this_machine
from emulator.webhooks import EVENTS, NotRegisteredError, Registration, Webhooks

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_TESTS_A_MINUTE = 2
_MINUTE = timedelta(minutes=1)


class WebhookRegistration:
    """Handlers under /webhooks/v1."""

    def __init__(self, stage: Stage, sender: Webhooks) -> None:
        self._stage = stage
        self._sender = sender
        here = "/webhooks/v1/registration"
        self.routes: list[Route] = [
            ("GET", here, self._show, APP_TOO),
            ("POST", here, self._create, APP_TOO),
            ("PUT", here, self._replace, APP_TOO),
            ("GET", here + "/events", self._events, APP_TOO),
            ("POST", here + "/validationEvents", self._test, APP_TOO),
            ("GET", here + "/validationEvents/{correlation}", self._result, APP_TOO),
        ]

    def _events(self, request: Request) -> Response:
        del request
        return wire.json_response(EVENTS)

    def _show(self, request: Request) -> Response:
        del request
        if self._sender.registration is None:
            raise _not_registered()
        return self._answer(self._sender.registration)

    def _create(self, request: Request) -> Response:
        return self._register(request, anew=True)

    def _replace(self, request: Request) -> Response:
        return self._register(request, anew=False)

    def _register(self, request: Request, *, anew: bool) -> Response:
        body = {name.lower(): value for name, value in read_resource(request).items()}
        url, events = body.get("webhookurl"), body.get("webhookevents")
        to_ms_signature = body.get("signaturetokentomssignatureheader", False)
        if not isinstance(url, str) or not _may_be_called(url):
            raise BadQueryError("WebhookUrl must be an absolute https address.")
        if not isinstance(events, list) or not events:
            raise BadQueryError("WebhookEvents must name at least one event.")
        names = {name.lower(): name for name in EVENTS}
        unknown = [str(one) for one in events if str(one).lower() not in names]
        if unknown:
            raise BadQueryError(f"WebhookEvents: {', '.join(unknown)} cannot be registered for.")
        if not isinstance(to_ms_signature, bool):
            raise BadQueryError("SignatureTokenToMsSignatureHeader must be true or false.")
        try:
            made = self._sender.register(
                url,
                tuple(dict.fromkeys(names[str(one).lower()] for one in events)),
                to_ms_signature=to_ms_signature,
                anew=anew,
            )
        except NotRegisteredError as error:
            if not anew:
                raise _not_registered() from error
            raise RefusalError(
                409, "1000", "Registration already exists, use the PUT method to update it."
            ) from error
        return self._answer(made)

    def _answer(self, registration: Registration) -> Response:
        partner = self._stage.world.partner.tenant_id
        return self._published(
            {
                "subscriberId": wire.derived_guid("webhook subscriber", partner),
                "webhookUrl": registration.url,
                "webhookEvents": list(registration.events),
                "signatureTokenToMsSignatureHeader": registration.to_ms_signature,
                "lastModifiedTimestamp": wire.stamp(registration.modified),
            }
        )

    def _published(self, answer: Mapping[str, Any]) -> Response:
        if self._stage.control.settings.webhook_answers == "pascal":
            answer = {name[:1].upper() + name[1:]: value for name, value in answer.items()}
        return wire.json_response(answer)

    def _test(self, request: Request) -> Response:
        del request
        registration = self._sender.registration
        if registration is None:
            raise _not_registered()
        if "test-created" not in registration.events:
            # From the documentation's prose; the contract does not say it.
            raise BadQueryError("The registration does not include the event test-created.")
        now = self._stage.clock.now()
        recent = self._sender.tests_since(now - _MINUTE)
        if len(recent) >= _TESTS_A_MINUTE:
            wait = max(1, int((min(recent) + _MINUTE - now).total_seconds()))
            sentence = f"Rate limit is exceeded. Try again in {wait} seconds."
            body = {"statusCode": 429, "message": sentence}
            raise RefusalError(429, 429, sentence, body=body, headers={"Retry-After": str(wait)})
        correlation = self._sender.test()
        if self._stage.control.settings.webhook_answers == "contract":
            return wire.json_response(correlation)
        return self._published({"correlationId": correlation})

    def _result(self, request: Request, correlation: str) -> Response:
        del request
        found = self._sender.validation(correlation.lower())
        if found is None:
            raise RefusalError(404, "1000", "The validation event was not found.")
        return self._published(found)


class Certificates:
    """The host of the certificates that events name: DER, for anybody who asks."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        from emulator.seals import seals  # noqa: PLC0415 - keys only where one signs

        request = Request(environ)
        folder, _, name = request.path.strip("/").partition("/")
        seal = seals().get(name.removesuffix(".cer")) if folder == "notifications" else None
        if seal is None:
            response = Response("Not found.", status=404)
        elif request.method not in ("GET", "HEAD"):
            response = Response("Not allowed.", status=405)
        else:
            response = Response(seal.der, content_type="application/pkix-cert")
        return response(environ, start_response)


def _not_registered() -> RefusalError:
    return RefusalError(404, "1000", "There is no registration.")


def _may_be_called(url: str) -> bool:
    parts = urlsplit(url)
    if not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and on_this_machine(url))
