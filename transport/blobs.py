"""The archive of raw payloads: a folder on disk, or a blob container.

Names are readable relative paths (`invoices/G000912345/usage/part-0.json.gz`). They come partly from
foreign ids, so each is checked: nothing leaves the archive's root.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from domain.problems import InvariantBroken, Unavailable
from transport.auth import identity

_PART = re.compile(r"[A-Za-z0-9_=@+][A-Za-z0-9._=@+ -]{0,127}")


class FolderArchive:
    """Payloads as files below one folder; each is written whole or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, name: str, content: bytes) -> None:
        """Keep a payload under a readable name; the same name again is replaced."""
        target = self._root / checked_name(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        number, partial = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        try:
            with os.fdopen(number, "wb") as file:
                file.write(content)
            Path(partial).replace(target)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    def folder(self, name: str) -> Path:
        """Return a local folder for the files of one export, made if absent."""
        path = self._root / checked_name(name)
        path.mkdir(parents=True, exist_ok=True)
        return path


class BlobArchive:
    """Payloads as blobs of one container; folders of exports are local and temporary.

    Give a connection string (Azurite, local), or an account URL, which signs in by identity.
    """

    def __init__(
        self,
        container: str,
        scratch: Path,
        *,
        account_url: str = "",
        connection_string: str = "",
        client_id: str = "",
        api_version: str | None = None,
        create: bool = False,
    ) -> None:
        self._container = container
        self._scratch = FolderArchive(scratch)
        self._account_url = account_url
        self._connection_string = connection_string
        self._client_id = client_id
        self._options: dict[str, Any] = {"api_version": api_version} if api_version else {}
        self._create = create
        self._made: Any = None

    def put(self, name: str, content: bytes) -> None:
        """Keep a payload under a readable name; the same name again is replaced."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415 - heavy

        try:
            self._client().upload_blob(checked_name(name), content, overwrite=True)
        except AzureError as error:
            status = getattr(error, "status_code", None)
            raise Unavailable(
                f"could not archive {name}", service="Blob Storage", status=status
            ) from error

    def folder(self, name: str) -> Path:
        """Return a local folder for the files of one export, made if absent."""
        return self._scratch.folder(name)

    def _client(self) -> Any:
        if self._made is None:
            from azure.core.exceptions import ResourceExistsError  # noqa: PLC0415 - heavy
            from azure.storage.blob import ContainerClient  # noqa: PLC0415

            if self._connection_string:
                client = ContainerClient.from_connection_string(
                    self._connection_string, self._container, **self._options
                )
            else:
                client = ContainerClient(
                    self._account_url,
                    self._container,
                    credential=identity(self._client_id),
                    **self._options,
                )
            if self._create:
                with contextlib.suppress(ResourceExistsError):
                    client.create_container()
            self._made = client
        return self._made


def checked_name(name: str) -> str:
    """Return the name if it stays below the archive's root; InvariantBroken otherwise."""
    if len(name) > 512 or not all(_PART.fullmatch(part) for part in name.split("/")):
        raise InvariantBroken(f"{name[:80]!r} is not a name for the archive")
    return name
