"""The archive of raw payloads: a folder on disk, or a blob container.

Names are readable relative paths (`invoices/G000912345/usage/version-1/part-0.json.gz`). They come
partly from foreign ids, so each is checked: nothing leaves the archive's root. Whatever is put is
there whole or not at all. Large payloads are written block by block: neither memory nor, with a
container, the local disk holds one of them then. To be read, a payload of a container lies on the
local disk for as long as it is open: lines of invoices part after part, usage all parts of one
invoice together, so the disk must hold these as packed as they came.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, NamedTuple

from domain.problems import InvariantBroken, Unavailable
from transport.auth import RETRY, identity

_PART = re.compile(r"[A-Za-z0-9_=@+][A-Za-z0-9._=@+ -]{0,127}")
_BLOCK = 4 << 20
SERVICE = "Archive"
"""Not "Blob Storage": that is Microsoft's own, where exports are fetched from."""


class Stored(NamedTuple):
    """What an archive holds under a name: its length in bytes and its digest."""

    size: int
    sha256: str


class FolderArchive:
    """Payloads as files below one folder; each is written whole or not at all."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, name: str, content: bytes) -> None:
        """Keep a payload under a readable name; the same name again is replaced."""
        self.write(name, (content,))

    def write(self, name: str, blocks: Iterable[bytes]) -> Stored:
        """Keep a payload that comes in blocks; what ends with an exception leaves nothing."""
        target = self._root / checked_name(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        size, digest = 0, sha256()
        number, partial = tempfile.mkstemp(dir=target.parent, prefix=".part-")
        try:
            with os.fdopen(number, "wb") as file:
                for block in blocks:
                    file.write(block)
                    digest.update(block)
                    size += len(block)
            Path(partial).replace(target)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        return Stored(size, digest.hexdigest())

    def read(self, name: str) -> bytes | None:
        """Return a small payload; None when there is none of that name."""
        try:
            return (self._root / checked_name(name)).read_bytes()
        except FileNotFoundError:
            return None

    def stored(self, name: str) -> Stored | None:
        """Say what is kept under a name, read again from the disk; None when there is nothing."""
        try:
            with (self._root / checked_name(name)).open("rb") as file:
                digest = file_digest(file, "sha256").hexdigest()
                return Stored(file.tell(), digest)
        except FileNotFoundError:
            return None

    def names(self, folder: str) -> list[str]:
        """List the names below a folder, in order."""
        root = self._root / checked_name(folder)
        return sorted(
            path.relative_to(self._root).as_posix()
            for path in root.rglob("*")
            if path.is_file() and not path.name.startswith(".part-")
        )

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Give a kept payload as a file, here the kept file itself: read it only."""
        yield self._root / checked_name(name)

    def folder(self, name: str) -> Path:
        """Return a local folder for scratch files, made if absent."""
        path = self._root / checked_name(name)
        path.mkdir(parents=True, exist_ok=True)
        return path


class BlobArchive:
    """Payloads as blobs of one container; what has to be a file is one only while it is read.

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
        self._options: dict[str, Any] = dict(RETRY)
        if api_version:
            self._options["api_version"] = api_version
        self._create = create
        self._made: Any = None

    def put(self, name: str, content: bytes) -> None:
        """Keep a payload under a readable name; the same name again is replaced.

        It goes in one request, so that units that keep the same answer at the same time do not drop
        each other's blocks.
        """
        blob = self._client().get_blob_client(checked_name(name))
        found = {"sha256": sha256(content).hexdigest()}
        with _told(f"could not archive {name}"):
            blob.upload_blob(content, overwrite=True, metadata=found)

    def write(self, name: str, blocks: Iterable[bytes]) -> Stored:
        """Keep a payload that comes in blocks; nothing of it is there before the last one is.

        Two writers of one name do not mix: each commits its own blocks. Who commits first drops the
        blocks of the other, who is told so (Unavailable) and begins again.
        """
        from azure.storage.blob import BlobBlock  # noqa: PLC0415 - heavy

        blob = self._client().get_blob_client(checked_name(name))
        mine = secrets.token_hex(8)
        staged: list[Any] = []
        size, digest = 0, sha256()
        for block in _even(blocks):
            number = f"{mine}-{len(staged):06d}"
            with _told(f"could not archive {name}"):
                blob.stage_block(number, block, length=len(block))
            staged.append(BlobBlock(number))
            digest.update(block)
            size += len(block)
        found = Stored(size, digest.hexdigest())
        with _told(f"could not archive {name}"):
            blob.commit_block_list(staged, metadata={"sha256": found.sha256})
        return found

    def read(self, name: str) -> bytes | None:
        """Return a small payload; None when there is none of that name."""
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - heavy

        with _told(f"could not read {name}"):
            try:
                content: bytes = self._client().download_blob(checked_name(name)).readall()
            except ResourceNotFoundError:
                return None
        return content

    def stored(self, name: str) -> Stored | None:
        """Say what is kept under a name, as it was counted when it was written."""
        from azure.core.exceptions import ResourceNotFoundError  # noqa: PLC0415 - heavy

        with _told(f"could not look at {name}"):
            try:
                found = self._client().get_blob_client(checked_name(name)).get_blob_properties()
            except ResourceNotFoundError:
                return None
        return Stored(found.size, (found.metadata or {}).get("sha256", ""))

    def names(self, folder: str) -> list[str]:
        """List the names below a folder, in order."""
        prefix = f"{checked_name(folder)}/"
        with _told(f"could not list {folder}"):
            return sorted(self._client().list_blob_names(name_starts_with=prefix))

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """Give a kept payload as a file, which is gone again afterwards."""
        with _told(f"could not read {name}"):
            self._scratch.write(name, self._client().download_blob(checked_name(name)).chunks())
        with self._scratch.local(name) as path:
            try:
                yield path
            finally:
                path.unlink(missing_ok=True)

    def folder(self, name: str) -> Path:
        """Return a local folder for scratch files, made if absent."""
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


@contextlib.contextmanager
def _told(sentence: str) -> Iterator[None]:
    """Turn what the storage library raises into our own error; what else happens goes through."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415 - heavy

    try:
        yield
    except AzureError as error:
        status = getattr(error, "status_code", None)
        raise Unavailable(sentence, service=SERVICE, status=status) from None


def _even(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Gather blocks to one size: each costs a call, and a blob has at most 50,000 of them."""
    held = bytearray()
    for block in blocks:
        held += block
        while len(held) >= _BLOCK:
            yield bytes(held[:_BLOCK])
            del held[:_BLOCK]
    if held:
        yield bytes(held)


def checked_name(name: str) -> str:
    """Return the name if it stays below the archive's root; InvariantBroken otherwise."""
    if len(name) > 512 or not all(_PART.fullmatch(part) for part in name.split("/")):
        raise InvariantBroken(f"{name[:80]!r} is not a name for the archive")
    return name
