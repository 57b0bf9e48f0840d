"""The four billing exports of Microsoft Graph, fetched into an archive part by part.

An export is started, polled until it is ready, and fetched as gzip JSON lines from blob storage with
a signature that expires. "No data" is an ordinary answer and means no parts. Where the manifest
stands differs between Microsoft's documentation and its behaviour: all three places are read.

Every version of an export has a folder of its own, named after what makes it that version, and in
it a journal that is written while parts come in. So a crash costs the parts of the last half minute, a
signature that ends costs a new export and no part, and two versions never mix.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, urlsplit
from uuid import NAMESPACE_URL, uuid5

from pydantic import ValidationError

from domain.delivery import JOURNAL, Delivery, Part, delivery_of
from domain.problems import Incomplete, NotAuthorised, NotFound, ServiceError, Unavailable
from partner_center.graph import json_of
from partner_center.parts import Counter
from partner_center.wire import Text, Whole, Wire
from transport import exact_json
from transport.blobs import FolderArchive, Stored
from transport.calls import Threads
from transport.redaction import conceal
from transport.session import Answer, Http

_BILLING = "/v1.0/reports/partners/billing"
_PART_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"/InvoiceVersion=([A-Za-z0-9._-]{1,40})(?:/|$)", re.IGNORECASE)
_LEAST_PAUSE = 1.0
_NO_DATA = ("5000", "no data available")
"""Code and message of an empty period, as Microsoft documents the failed operation; one of the two
alone may be any other fault."""
# Microsoft's payloads say the first, its documentation the second.
_FORMATS = ("", "compressedjson", "compressedjsonlines")


AZURE_STORES = (".blob.core.windows.net", ".blob.storage.azure.net")
"""Endings of the hosts of Azure's blob storage; the published example has the first."""


class Archive(Protocol):
    """Where parts and journals are kept; each is written whole or not at all."""

    def write(self, name: str, blocks: Iterable[bytes]) -> Stored:
        """Keep a payload that comes in blocks."""
        ...

    def put(self, name: str, content: bytes) -> None:
        """Keep a small payload; the same name again is replaced."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a small payload; None when there is none of that name."""
        ...

    def stored(self, name: str) -> Stored | None:
        """Say what is kept under a name; None when there is nothing."""
        ...

    def local(self, name: str) -> AbstractContextManager[Path]:
        """Give a kept payload as a file."""
        ...


class _PartWire(Wire):
    name: Text
    size_in_bytes: Whole | None = None
    item_count: Whole | None = None


class _ManifestWire(Wire):
    root_directory: Text
    sas_token: Text = ""
    data_format: Text = ""
    e_tag: Text = ""
    blob_count: Whole | None = None
    blobs: tuple[_PartWire, ...] = ()

    @property
    def version(self) -> str:
        """The invoice version in its path; empty where there is none."""
        found = _VERSION.search(self.root_directory)
        return found.group(1) if found else ""

    @property
    def name(self) -> str:
        """Name of the folder of this data set, by what makes it this one.

        That is its path (the storage account may change), its eTag, and the names of its parts,
        which hold an id that is drawn for each writing: other parts are another writing, whatever
        the eTag says.
        """
        names = sorted(part.name for part in self.blobs)
        told = [urlsplit(self.root_directory).path.rstrip("/"), self.e_tag, *names]
        mark = sha256("\n".join(told).encode()).hexdigest()[:8]
        return "-".join(filter(None, ("version", self.version, mark)))


_WRITTEN_SECONDS = 30
_WRITTEN_PART = 16


@dataclass(slots=True)
class _Journal:
    """The state of one delivery, kept in the archive; safe for threads.

    It is written when a sixteenth more has arrived or half a minute has gone by, so that thousands
    of parts do not write it thousands of times. What a crash finds unwritten comes again.
    """

    archive: Archive
    delivery: Delivery
    now: Callable[[], datetime]
    lock: threading.Lock = field(default_factory=threading.Lock)
    parts: dict[str, Part] = field(init=False)
    unwritten: int = 0
    written_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.parts = {part.name: part for part in self.delivery.parts}
        self.written_at = self.now()

    def add(self, part: Part) -> None:
        with self.lock:
            self.parts[part.name] = part
            self.unwritten += 1
            late = (self.now() - self.written_at).total_seconds() >= _WRITTEN_SECONDS
            if late or self.unwritten * _WRITTEN_PART >= len(self.parts):
                self._write()

    def keep(self) -> None:
        """Write what has arrived."""
        with self.lock:
            if self.unwritten:
                self._write()

    def finish(self, moment: datetime) -> Delivery:
        with self.lock:
            if self.unwritten or self.delivery.finished is None:
                finished = self.delivery.finished or moment
                self.delivery = replace(self.delivery, finished=finished)
                self._write()
            return self.delivery

    def _write(self) -> None:
        parts = tuple(sorted(self.parts.values(), key=lambda one: one.name))
        delivery = replace(self.delivery, parts=parts)
        self.archive.put(f"{delivery.folder}/{JOURNAL}", delivery.journal())
        self.delivery, self.unwritten, self.written_at = delivery, 0, self.now()


def _journal(begun: Delivery, archive: Archive, now: Callable[[], datetime]) -> _Journal:
    """Go on with the journal of this version, or begin one."""
    content = archive.read(f"{begun.folder}/{JOURNAL}")
    if content is not None:
        # A damaged one proves nothing: all parts come again.
        with suppress(ValueError, KeyError, TypeError):
            return _Journal(archive, delivery_of(content), now)
    return _Journal(archive, begun, now)


class BillingExports:
    """Usage and reconciliation, billed and unbilled.

    `blobs` fetches the parts: it carries no token, the signature in the URL is the permission.
    What ends with an error leaves every part that had arrived, and the next call goes on from
    there. Incomplete: Microsoft delivered less than it announced.
    """

    def __init__(
        self,
        http: Http,
        blobs: Http,
        archive: Archive,
        *,
        now: Callable[[], datetime],
        deadline_seconds: float = 3600.0,
        poll_seconds: float = 10.0,
        attribute_set: str = "full",
        parallel: int = 4,
        stores: tuple[str, ...] = AZURE_STORES,
    ) -> None:
        """`deadline_seconds` bounds the wait for one export, `parallel` the parts at once.

        `stores`: where parts may stand, as endings of hosts (`.example.net`) or origins
        (`https://example.net`). An answer that names another place is not followed there.
        """
        self._http = http
        self._blobs = blobs
        self._archive = archive
        self._now = now
        self._deadline = deadline_seconds
        self._poll_seconds = poll_seconds
        self._attribute_set = attribute_set
        self._parallel = parallel
        self._stores = stores

    def billed(self, report: str, invoice_id: str) -> Delivery:
        """Fetch `usage` or `reconciliation` of an invoice; of a version that is there no part."""
        place = f"invoices/{invoice_id}/{report}"
        return self._fetch(f"{report}/billed", {"invoiceId": invoice_id}, place, self._archive)

    def parts(self, delivery: Delivery) -> Iterator[Path]:
        """Yield the parts as files, one after the other: each is there until the next is asked for."""
        for name in delivery.files:
            with self._archive.local(name) as path:
                yield path

    def unbilled(
        self, report: str, currency: str, period: str, directory: Path
    ) -> tuple[Path, ...]:
        """Fetch what is not billed yet, of the `current` or the `last` period, into a local folder.

        It is restated every day and proves nothing, so it is not archived: the folder then holds
        this snapshot and no other.
        """
        wanted = {"currencyCode": currency, "billingPeriod": period}
        local = FolderArchive(directory)
        delivery = self._fetch(f"{report}/unbilled", wanted, "snapshots", local)
        snapshots = directory / "snapshots"
        for old in snapshots.iterdir() if snapshots.is_dir() else ():
            if old != directory / delivery.folder:
                shutil.rmtree(old)
        return tuple(directory / name for name in delivery.files)

    def _fetch(
        self, report: str, wanted: Mapping[str, str], place: str, archive: Archive
    ) -> Delivery:
        """Export and download; a signature that ends on the way starts the export anew.

        As often as that brings new parts, and once where it does not.
        """
        asked = {**wanted, "attributeSet": self._attribute_set}
        idle = 0
        while True:
            found = self._export(report, asked)
            if found is None:
                return Delivery(report=report, asked=asked, begun=self._now())
            manifest, told = found
            begun = Delivery(
                report=report,
                asked=asked,
                begun=self._now(),
                folder=f"{place}/{manifest.name}",
                version=manifest.version,
                etag=manifest.e_tag,
                announced=len(manifest.blobs),
                manifest=_unsigned(told),
            )
            journal = _journal(begun, archive, self._now)
            arrived = len(journal.parts)
            try:
                return self._download(manifest, journal, archive)
            except (NotAuthorised, NotFound) as error:  # it ended, or a newer version came
                idle = 0 if len(journal.parts) > arrived else idle + 1
                if error.service != self._blobs.service or idle > 1:
                    raise

    def _download(self, manifest: _ManifestWire, journal: _Journal, archive: Archive) -> Delivery:
        """Fetch the parts that are not there yet, several at once, each straight into the archive."""
        known = dict(journal.parts)
        folder = journal.delivery.folder
        root, signature = manifest.root_directory.rstrip("/"), manifest.sas_token.lstrip("?")

        def fetch(wire: _PartWire) -> None:
            name = f"{folder}/{wire.name}"
            part = known.get(wire.name)
            if part is not None and archive.stored(name) == Stored(part.size, part.sha256):
                return

            def receive(blocks: Iterator[bytes]) -> Part:
                counter = Counter(wire.name, self._blobs.service)

                def whole() -> Iterator[bytes]:
                    size = 0
                    for block in counter.through(blocks):
                        size += len(block)
                        yield block
                    _check(wire, counter, size)  # before the archive has it

                stored = archive.write(name, whole())
                return counter.part(*stored)

            journal.add(self._blobs.stream(f"{root}/{quote(wire.name)}?{signature}", receive))

        conceal(dict(parse_qsl(signature)).get("sig", ""))  # storage quotes what it refuses

        with Threads(self._parallel) as pool:
            futures = [pool.submit(fetch, wire) for wire in manifest.blobs]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                journal.keep()
                raise
        return journal.finish(self._now())

    def _export(
        self, report: str, asked: Mapping[str, str]
    ) -> tuple[_ManifestWire, Mapping[str, Any]] | None:
        """Return the manifest of a new export, as read and as it came; None: no data."""
        meaning = f"{report}/{exact_json.dumps(asked)}"
        started = self._http.request(
            "POST",
            f"{_BILLING}/{report}/export",
            json=asked,
            headers={"client-request-id": str(uuid5(NAMESPACE_URL, meaning))},
            keyed=True,  # a second export of the same data does no harm
        )
        location = started.headers.get("Location", "")
        if not location:
            raise self._fault("an export started without saying where")
        operation = self._finished(location, started)
        if operation is None:
            return None
        place = operation.get("resourceLocation@odata.navigationLink")
        place = place or operation.get("resourceLocation")
        if isinstance(place, str):
            place = json_of(self._http.request("GET", place), self._http.service)
        try:
            manifest = _ManifestWire.model_validate(place)
        except ValidationError:  # it would quote the manifest, and with it the signature
            raise self._fault("an export without a readable manifest") from None
        return self._checked(manifest), place if isinstance(place, dict) else {}

    def _finished(self, location: str, answer: Answer) -> Mapping[str, Any] | None:
        """Poll an operation until it succeeded (its body) or found no data (None)."""
        waited = 0.0
        while True:
            pause = self._pause(answer)
            if waited + pause > self._deadline:
                raise Unavailable(
                    f"an export was not ready after {waited:.0f} seconds",
                    service=self._http.service,
                    hint="try again later: Microsoft may still be preparing it",
                )
            self._http.sleep(pause)
            waited += pause
            answer = self._http.request("GET", location)
            body = json_of(answer, self._http.service)
            status = str(body.get("status", "")).lower()
            if status == "succeeded":
                return body
            if status == "failed":
                error = body.get("error")
                detail = error if isinstance(error, Mapping) else {}
                code, message = str(detail.get("code", "")), str(detail.get("message", ""))
                if (code, message.strip().rstrip(".").lower()) == _NO_DATA:
                    return None
                raise self._fault(f"an export failed: {message}", code)

    def _pause(self, answer: Answer) -> float:
        """Return the seconds to wait, never none: what is not counted would go on for ever."""
        text = answer.headers.get("Retry-After", "")
        return max(_LEAST_PAUSE, float(text) if text.isdecimal() else self._poll_seconds)

    def _checked(self, manifest: _ManifestWire) -> _ManifestWire:
        names = [part.name for part in manifest.blobs]
        announced = manifest.blob_count
        if len(names) != (len(names) if announced is None else announced) or not names:
            raise Incomplete(
                f"an incomplete manifest: {len(names)} parts named, "
                f"{'no number' if announced is None else announced} announced",
                service=self._http.service,
                hint="run sync again: the export is asked for anew",
            )
        # The names become file names here, so they are not trusted.
        if len(set(names)) != len(names) or not all(_PART_NAME.fullmatch(name) for name in names):
            raise self._fault("a manifest with part names that are no plain file names")
        if not _stands_in(manifest.root_directory, self._stores):
            raise self._fault("a manifest whose parts stand in no store that is trusted")
        if manifest.data_format.lower() not in _FORMATS:
            raise self._fault(f"an export in the format {manifest.data_format[:40]}")
        return manifest

    def _fault(self, sentence: str, code: str = "") -> ServiceError:
        return ServiceError(sentence, service=self._http.service, code=code)


def _stands_in(place: str, stores: Iterable[str]) -> bool:
    """Say whether an address is plain and of a trusted store: a manifest is data, not an order."""
    try:
        parts = urlsplit(place)
        port = parts.port
    except ValueError:
        return False
    if "@" in parts.netloc or parts.query or parts.fragment or not parts.hostname:
        return False
    origin = f"{parts.scheme}://{parts.netloc}".lower()
    plain = parts.scheme == "https" and port in {None, 443}
    return any(
        plain and parts.hostname.endswith(store) if store.startswith(".") else origin == store
        for store in stores
    )


def _unsigned(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a manifest as it came, without the signature that opens its parts."""
    return {name: told[name] for name in told if "sas" not in name.lower()}


def _check(wire: _PartWire, counter: Counter, size: int) -> None:
    """Compare a part with what the manifest announced of it; Incomplete where it falls short.

    Whether `sizeInBytes` counts the part as stored or unpacked is not documented: either will do.
    """
    if not counter.lines and wire.item_count != 0:
        raise counter.fault("is empty")
    if wire.item_count is not None and counter.lines != wire.item_count:
        raise counter.fault(f"has {counter.lines} lines, the manifest says {wire.item_count}")
    if wire.size_in_bytes is not None and wire.size_in_bytes not in (size, counter.unpacked):
        raise counter.fault(f"has {size} bytes, the manifest says {wire.size_in_bytes}")
