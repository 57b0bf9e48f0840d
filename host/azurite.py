"""Azurite, Microsoft's own look-alike of Azure Storage, as a process of ours on loopback.

It is installed from `host/azurite` (pinned, without scripts of its packages) and chooses its ports
itself, so that any number of them can run side by side. It ends with whoever started it.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent / "azurite"
SCRIPT = FOLDER / "node_modules/azurite/dist/src/azurite.js"
ACCOUNT = "devstoreaccount1"
# The well-known key of the storage emulator, published by Microsoft.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
SERVICES = ("blob", "queue", "table")
START_SECONDS = 60.0
STOP_SECONDS = 10.0
# It says so of each service, --silent or not.
_LISTENING = re.compile(r"^Azurite (\w+) service is successfully listening at (\S+)$", re.MULTILINE)


class Missing(Exception):  # noqa: N818 - a state of this machine, not a fault
    """Azurite cannot be started here; the sentence says what to install."""


class Azurite(NamedTuple):
    """A running Azurite: where each service answers, and what a client is given."""

    urls: dict[str, str]
    process_id: int

    @property
    def connection_string(self) -> str:
        """What the storage clients and the Functions host take."""
        ends = "".join(
            f"{name.title()}Endpoint={url}/{ACCOUNT};" for name, url in self.urls.items()
        )
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};{ends}"


def why_missing() -> str | None:
    """Say what is to be installed before Azurite can run here; None when nothing is."""
    if shutil.which("node") is None:
        return "Azurite needs Node (22 LTS; 20 works): install it, then try again"
    if not SCRIPT.is_file():
        return "Azurite is not installed: python3 dev.py test does it (npm ci in host/azurite)"
    return None


@contextlib.contextmanager
def azurite(
    location: Path | None = None,
    *,
    ports: tuple[int, int, int] = (0, 0, 0),
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Azurite]:
    """Run Azurite until the end of the block; without a location nothing outlives it.

    `ports` are of blobs, queues and tables; 0 leaves the choice to the system. With a `certificate`
    and its key (PEM) it speaks TLS and takes tokens of Entra ID too: it looks at their times, issuer
    and audience, not at their signature. Missing is raised where it is not installed or does not
    come up.
    """
    missing = why_missing()
    node = shutil.which("node")
    if missing or node is None:
        raise Missing(missing)
    keep = ["--inMemoryPersistence"] if location is None else ["--location", str(location)]
    places = [
        part
        for name, port in zip(SERVICES, ports, strict=True)
        for part in (f"--{name}Port", str(port))
    ]
    # Clients newer than it send a version that it does not know; what they ask for, it knows.
    quiet = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    if certificate is not None:
        chain, key = certificate
        quiet += ["--oauth", "basic", "--cert", str(chain), "--key", str(key)]
    leave = ["--require", str(FOLDER / "leave_with_parent.cjs")]
    with (
        tempfile.TemporaryDirectory() as folder,
        (Path(folder) / "said.txt").open("wb") as output,
        subprocess.Popen(
            [node, *leave, str(SCRIPT), *quiet, *keep, *places],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C goes to whoever is in the terminal: storage is to outlive those who end in order.
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Azurite(_addresses(process, Path(output.name)), process.pid)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _addresses(process: subprocess.Popen[bytes], output: Path) -> dict[str, str]:
    deadline = time.monotonic() + START_SECONDS
    while True:
        said = output.read_text(errors="replace")
        found = {name.lower(): url for name, url in _LISTENING.findall(said)}
        if len(found) == len(SERVICES):
            return found
        if process.poll() is not None or time.monotonic() > deadline:
            raise Missing(f"Azurite did not start: {said.strip()[-500:] or 'it said nothing'}")
        time.sleep(0.05)
