"""Where the refresh token of the partner's user is kept: a private file, or Azure Key Vault.

Both keep two tokens: the newest, which is not proved yet, and the one that obtained it. If the newest
turns out useless (a write that half happened, a restored backup), the other still signs in.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domain.problems import ConfigurationError, NotAuthorised, Unavailable
from transport.auth import identity
from transport.redaction import Secret


class FileTokenStore:
    """A file that its owner alone may read, replaced in one step; for laptops and the emulator."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> tuple[Secret, ...]:
        """Read the tokens, newest first; no file: none."""
        if not self._path.exists():
            return ()
        if os.name == "posix" and self._path.stat().st_mode & 0o077:
            raise ConfigurationError(
                f"{self._path.name} may be read by others", hint=f"chmod 600 {self._path.name}"
            )
        return tuple(Secret(line) for line in self._path.read_text().split())

    def save(self, token: Secret, *, proved: Secret) -> None:
        """Keep the new token before the proved one."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp makes the file for its owner alone from the start.
        number, name = tempfile.mkstemp(dir=self._path.parent, prefix=".token-")
        try:
            with os.fdopen(number, "w") as file:
                file.write(f"{token.reveal()}\n{proved.reveal()}\n")
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


class KeyVaultTokenStore:
    """One secret of a Key Vault; its two newest versions are in use, older ones are disabled."""

    def __init__(
        self, vault_url: str, name: str, *, client_id: str = "", client: Any = None
    ) -> None:
        self._vault_url = vault_url
        self._name = name
        self._client_id = client_id
        self._made = client

    def load(self) -> tuple[Secret, ...]:
        """Read the enabled versions, newest first."""
        with _azure_errors():
            return tuple(
                Secret(self._client.get_secret(self._name, one.version).value or "")
                for one in self._versions()
            )

    def save(self, token: Secret, *, proved: Secret) -> None:
        """Add a version; the version of the proved token stays, all older ones are disabled."""
        with _azure_errors():
            kept = [
                one.version
                for one in self._versions()
                if self._client.get_secret(self._name, one.version).value == proved.reveal()
            ]
            made = self._client.set_secret(self._name, token.reveal())
            kept.append(made.properties.version)
            for one in self._versions():
                if one.version not in kept:
                    self._client.update_secret_properties(self._name, one.version, enabled=False)

    def _versions(self) -> list[Any]:
        versions = self._client.list_properties_of_secret_versions(self._name)
        return sorted(
            (one for one in versions if one.enabled), key=lambda one: one.created_on, reverse=True
        )

    @property
    def _client(self) -> Any:
        if self._made is None:
            from azure.keyvault.secrets import SecretClient  # noqa: PLC0415 - heavy

            self._made = SecretClient(self._vault_url, identity(self._client_id))
        return self._made


@contextlib.contextmanager
def _azure_errors() -> Iterator[None]:
    from azure.core import exceptions  # noqa: PLC0415 - heavy

    try:
        yield
    except exceptions.ResourceNotFoundError as error:
        raise ConfigurationError(
            "the Key Vault holds no refresh token", hint="store the token under the configured name"
        ) from error
    except (exceptions.ClientAuthenticationError, exceptions.HttpResponseError) as error:
        status = getattr(error, "status_code", None)
        if isinstance(error, exceptions.ClientAuthenticationError) or status in (401, 403):
            raise NotAuthorised(
                "the Key Vault refused our identity",
                service="Key Vault",
                status=status,
                hint="give the identity the role Key Vault Secrets Officer on this secret",
            ) from error
        raise Unavailable("the Key Vault failed", service="Key Vault", status=status) from error
    except exceptions.AzureError as error:
        raise Unavailable("no answer from the Key Vault", service="Key Vault") from error
