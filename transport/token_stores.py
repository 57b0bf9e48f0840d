"""Where the refresh token of the partner's user is kept: a private file, or Azure Key Vault.

Both keep the newest token, which is not proved yet, and the one that obtained it. If the newest turns
out useless (a write that half happened, a restored backup), the other still signs in. That a token is
not revoked when it is redeemed, and lives for 90 days, is documented for Entra ID.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from domain.problems import ConfigurationError
from transport.redaction import Secret
from transport.session import Now
from transport.vault import azure_errors, is_disabled, vault_client

RENEWED_AFTER = timedelta(days=1)
"""How old a version is before the next one is made; a token lives for 90 days."""
PROVED = "proved"
"""Tag of a version whose token has signed in, with the time when it first did."""
_MISSING = "the Key Vault holds no refresh token"


class FileTokenStore:
    """A file that its owner alone may read, replaced in one step; for laptops and the emulator."""

    def __init__(self, path: Path, *, now: Now = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._now = now

    def load(self) -> Iterator[Secret]:
        """Read the tokens, newest first; no file: none."""
        if not self._path.exists():
            return
        if os.name == "posix" and self._path.stat().st_mode & 0o077:
            raise ConfigurationError(
                f"{self._path.name} may be read by others", hint=f"chmod 600 {self._path.name}"
            )
        yield from [Secret(line) for line in self._path.read_text().split()]

    def saved_at(self) -> datetime | None:
        """When the file was written, at the last sign-in; None: there is no file."""
        if not self._path.exists():
            return None
        return datetime.fromtimestamp(self._path.stat().st_mtime, UTC)

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
            moment = self._now().timestamp()  # of the mode's clock: its age is told
            os.utime(name, (moment, moment))
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


class KeyVaultTokenStore:
    """One secret of a Key Vault, shared by any number of instances that need not know each other.

    A new version is made once a day: Entra ID does not revoke the token that it replaces, so the
    tokens of the hours between need not be kept. A token that signed in is marked as proved. Only
    what is older than the proved one is disabled, by whoever makes a new version: whatever two
    instances do at once, the newest and the last proved one stay. Times of versions are whole
    seconds of the vault's own clock, and versions are listed in no order.
    """

    def __init__(
        self,
        vault_url: str,
        name: str,
        *,
        client_id: str = "",
        client: Any = None,
        now: Now = lambda: datetime.now(UTC),
    ) -> None:
        self._vault_url = vault_url
        self._name = name
        self._client_id = client_id
        self._made = client
        self._now = now

    def load(self) -> Iterator[Secret]:
        """Read the enabled versions, newest first, each when it is asked for."""
        with azure_errors(_MISSING):
            versions = self._versions()
        for one in versions:
            value = self._value(one)
            if value is not None:
                yield value

    def save(self, token: Secret, *, proved: Secret) -> None:
        """Mark the proved token's version; where it is a day old, or not the newest, add a version."""
        with azure_errors(_MISSING):
            versions = self._versions()
        by = next((one for one in versions if self._value(one) == proved), None)
        with azure_errors(_MISSING):
            if by is not None and PROVED not in (by.tags or {}):
                tags = {**(by.tags or {}), PROVED: f"{self._now():%Y-%m-%dT%H:%M:%SZ}"}
                self._client.update_secret_properties(self._name, by.version, tags=tags)
            if by is not None and by.created_on >= versions[0].created_on:
                age = self._now() - by.created_on
                if age < RENEWED_AFTER:
                    return
            self._client.set_secret(self._name, token.reveal())
            for one in versions:
                if by is not None and one.created_on < by.created_on:
                    self._client.update_secret_properties(self._name, one.version, enabled=False)

    def saved_at(self) -> datetime | None:
        """When the newest token that has signed in was kept; None: none has yet."""
        with azure_errors(_MISSING):
            kept = [one.created_on for one in self._versions() if PROVED in (one.tags or {})]
        return max(kept, default=None)

    def _versions(self) -> list[Any]:
        """List what is enabled, newest first."""
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - heavy

        try:
            versions = list(self._client.list_properties_of_secret_versions(self._name))
        except (
            ResourceNotFoundError
        ):  # nothing was stored yet: the token of the settings is the first
            return []
        enabled = [one for one in versions if one.enabled]
        return sorted(enabled, key=lambda one: one.created_on, reverse=True)

    def _value(self, version: Any) -> Secret | None:
        """Read a version; None where another instance has disabled it meanwhile."""
        from azure.core.exceptions import HttpResponseError  # noqa: PLC0415 - heavy

        with azure_errors(_MISSING):
            try:
                value = self._client.get_secret(self._name, version.version).value
            except HttpResponseError as error:
                if is_disabled(error):
                    return None
                raise
        value = (
            value or ""
        ).strip()  # a file ends with a newline, and so does what was put in from it
        return Secret(value) if value else None

    @property
    def _client(self) -> Any:
        if self._made is None:
            self._made = vault_client(self._vault_url, self._client_id)
        return self._made
