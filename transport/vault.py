"""Azure Key Vault: its client, its faults as our own, and secrets that are read when they are needed."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from domain.problems import ConfigurationError, NotAuthorised, ServiceError, Throttled, Unavailable
from transport.auth import identity
from transport.redaction import Secret

SERVICE = "Key Vault"
FRESH_SECONDS = 3600.0
"""A secret that was replaced in the vault is used from then on at the latest."""
_PATIENCE: dict[str, Any] = {"retry_total": 3, "connection_timeout": 10, "read_timeout": 30}
"""Some seconds: of its own the client goes on for minutes, and what fails here is tried again anyhow."""
_log = logging.getLogger(__name__)


def vault_client(vault_url: str, client_id: str = "") -> Any:
    """Return Microsoft's client of a vault, signed in by identity."""
    from azure.keyvault.secrets import SecretClient  # noqa: PLC0415 - heavy

    # A look-alike on this machine is under no domain of Azure, which its challenge names.
    local = urlsplit(vault_url).hostname in {"127.0.0.1", "localhost"}
    return SecretClient(
        vault_url, identity(client_id), verify_challenge_resource=not local, **_PATIENCE
    )


class VaultSecret(Secret):
    """A secret by its name in a vault: read at its first use, and again after an hour.

    Where a later reading fails, what was read before goes on to count.
    """

    __slots__ = ("_client", "_lock", "_monotonic", "_name", "_open", "_read_at")

    def __init__(
        self,
        open_vault: Callable[[], Any],
        name: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__("")
        self._open = open_vault
        self._name = name
        self._client: Any = None
        self._read_at: float | None = None
        self._monotonic = monotonic
        self._lock = threading.Lock()

    def reveal(self) -> str:
        """Return the secret itself; ConfigurationError where the vault has none of the name."""
        with self._lock:
            now = self._monotonic()
            if self._read_at is None or now - self._read_at >= FRESH_SECONDS:
                try:
                    self._text = self._read()
                    self._remember()
                except ServiceError as problem:
                    if self._read_at is None:
                        raise
                    _log.warning("secret %s goes on to count as it was: %s", self._name, problem)
                self._read_at = now
            return self._text

    def _read(self) -> str:
        with azure_errors(f"the Key Vault holds no secret {self._name}"):
            self._client = self._client or self._open()
            value = str(self._client.get_secret(self._name).value or "")
        return value.strip()  # what was put in from a file ends as the file does, with a newline

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def is_disabled(error: Any) -> bool:
    """Say whether the vault refused to read a version because it was disabled."""
    inner = getattr(getattr(error, "error", None), "innererror", None) or {}
    return getattr(error, "status_code", None) == 403 and inner.get("code") == "SecretDisabled"


@contextlib.contextmanager
def azure_errors(missing: str) -> Iterator[None]:
    """Turn what the vault's client raises into our own errors; `missing`: what a 404 means.

    Its own are not kept as causes: they quote answers, which may quote what we sent.
    """
    from azure.core import exceptions  # noqa: PLC0415 - heavy

    try:
        yield
    except exceptions.ResourceNotFoundError:
        raise ConfigurationError(missing, hint="store it under the configured name") from None
    except exceptions.HttpResponseError as error:
        raise _refusal(error) from None
    except exceptions.AzureError:
        raise Unavailable("no answer from the Key Vault", service=SERVICE) from None


def _refusal(error: Any) -> Exception:
    from azure.core.exceptions import ClientAuthenticationError  # noqa: PLC0415 - heavy

    status = getattr(error, "status_code", None)
    if is_disabled(error):
        return ConfigurationError(
            "the secret is disabled in the Key Vault", hint="enable it, or store a new version"
        )
    if isinstance(error, ClientAuthenticationError) or status in {401, 403}:
        return NotAuthorised(
            "the Key Vault refused our identity",
            service=SERVICE,
            status=status,
            hint="give the identity the role Key Vault Secrets User on the secrets that it reads, "
            "and Key Vault Secrets Officer on the refresh token",
        )
    if status == 429:
        return Throttled("the Key Vault wants to be left alone", service=SERVICE, status=status)
    return Unavailable("the Key Vault failed", service=SERVICE, status=status)
