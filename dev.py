#!/usr/bin/env python3
"""One door for people and machines: makes the environment, then runs. Standard library only.

    python3 dev.py demo          a whole partner month on this laptop, no tenant needed
    python3 dev.py test          every check and test
    python3 dev.py host          the functions on this machine: timers, queues, HTTP
    python3 dev.py check         the checks that do not run the product (format, lint, types, imports)
    python3 dev.py run ARGS      python -m app ARGS in the environment

The environment is `.venv` beside this file, made from the pinned and hashed requirements and made
anew when they change. Works on Linux, macOS and Windows with Python 3.11, 3.12 or 3.13.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
SUPPORTED = ((3, 13), (3, 12), (3, 11))
RUN = ("requirements.txt",)
TEST = ("requirements.txt", "requirements-dev.txt")
WORKER = ROOT / ".venv-worker"
WORKER_FILES = ("requirements.txt", "host/requirements-worker.txt")
WORKER_VERSION = "3.13"
AZURITE = ROOT / "host" / "azurite"
NODE = (ROOT / "tests" / "conformance" / "node", AZURITE)


def main(arguments: list[str]) -> int:
    """Run one command; returns its exit code."""
    command, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if command == "demo":
        return make_environment(RUN) or app(["demo", *rest])
    if command == "run":
        return make_environment(RUN) or app(rest)
    if command == "check":
        return make_environment(TEST) or checks()
    if command == "test":
        made = make_environment(TEST) or make_node_packages() or make_worker_environment()
        return made or checks() or tests(rest)
    if command == "host":
        made = make_environment(TEST) or make_node_packages((AZURITE,))
        return made or host(rest)
    print((__doc__ or "").strip())
    return 0 if command in {"help", "-h", "--help"} else 2


def app(arguments: list[str]) -> int:
    """Run the product's command line in the environment."""
    return run([str(PYTHON), "-m", "app", *arguments])


def host(arguments: list[str]) -> int:
    """Run the functions on this machine; an interrupt leaves it the time to end what it started."""
    with subprocess.Popen([str(PYTHON), "-m", "host.laptop", *arguments], cwd=ROOT) as process:
        for number in (signal.SIGINT, signal.SIGTERM):
            # Windows has no polite request: there Ctrl-C reaches the process itself.
            signal.signal(number, lambda *_: None if os.name == "nt" else process.terminate())
        return process.wait()


def checks() -> int:
    """Run the checks in order; the first that fails ends it."""
    for title, tool in (
        ("format", ["ruff", "format", "--check", "."]),
        ("lint", ["ruff", "check", "."]),
        ("types", ["mypy"]),
        ("imports", ["lint-imports"]),
    ):
        print(f"--- {title}: {' '.join(tool)}", flush=True)
        # import-linter has a command, but no module to run.
        is_script = tool[0] == "lint-imports"
        code = run([str(PYTHON.with_name(tool[0]))] if is_script else [str(PYTHON), "-m", *tool])
        if code:
            return code
    return 0


def tests(arguments: list[str]) -> int:
    """Run the tests, one process for each core unless told otherwise.

    Each begins with a stretch of its own, so what a module prepares is mostly made once, and who is
    done takes over half of what is left of another's.
    """
    own = any(a.startswith("-n") for a in arguments)
    workers = [] if own else ["-n", "auto", "--dist", "worksteal"]
    print("--- tests: pytest", flush=True)
    return run([str(PYTHON), "-m", "pytest", *workers, *arguments])


def run(command: list[str]) -> int:
    """Run a command here; an interrupt ends both without a trace."""
    try:
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:
        return 130


def make_environment(files: tuple[str, ...]) -> int:
    """Make `.venv` hold what the requirement files pin; does nothing when it already does."""
    stamp = VENV / f"installed-{len(files)}.txt"
    wanted = fingerprint(files)
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return 0
    interpreter = find_python()
    if interpreter is None:
        print("dev.py: needs Python 3.11, 3.12 or 3.13; install one and try again", file=sys.stderr)
        return 2
    started = time.monotonic()
    if not PYTHON.exists() or not same_version(interpreter):
        print(f"Making the environment in {VENV.name} (once) ...", flush=True)
        shutil.rmtree(VENV, ignore_errors=True)
        if run([interpreter, "-m", "venv", str(VENV)]):
            print(
                "dev.py: could not make a virtual environment; on Debian and Ubuntu: "
                "apt install python3-venv",
                file=sys.stderr,
            )
            return 2
    for old in VENV.glob("installed-*.txt"):
        old.unlink()
    names = [part for file in files for part in ("-r", file)]
    print(f"Installing {' and '.join(files)} ...", flush=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    code = run([*pip, "--require-hashes", *names])
    if code:
        print(
            "dev.py: pip could not install the pinned packages (see above); "
            "check the network or your package index and try again",
            file=sys.stderr,
        )
        return 2
    for count in range(1, len(files) + 1):
        path = VENV / f"installed-{count}.txt"
        path.write_text(fingerprint(files[:count]))
    print(f"Environment ready after {time.monotonic() - started:.0f} s.", flush=True)
    return 0


def make_worker_environment() -> int:
    """Make `.venv-worker`, in which Microsoft's Python worker runs the functions for the tests.

    It is of the version that is deployed; where that is not found the tests say so themselves.
    """
    python = WORKER / PYTHON.relative_to(VENV)
    stamp = WORKER / "installed.txt"
    wanted = fingerprint(WORKER_FILES)
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return 0
    interpreter = find_worker_python()
    if interpreter is None:
        return 0
    print(f"Making the environment of Microsoft's worker in {WORKER.name} (once) ...", flush=True)
    shutil.rmtree(WORKER, ignore_errors=True)
    if run([interpreter, "-m", "venv", str(WORKER)]):
        return 2
    names = [part for file in WORKER_FILES for part in ("-r", file)]
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if run([*pip, "--require-hashes", *names]):
        print("dev.py: pip could not install Microsoft's worker (see above)", file=sys.stderr)
        return 2
    stamp.write_text(wanted)
    return 0


def find_worker_python() -> str | None:
    """Return an interpreter of the deployed version that starts; None when there is none.

    A command on the path may be a shim that does not. Tools that install several versions keep them
    side by side, so what stands beside this interpreter's installation is looked at as well.
    """
    name = f"python{WORKER_VERSION}"
    beside = Path(sys.base_prefix).resolve().parent
    places = [sys.executable, shutil.which(name)]
    for folder in sorted(beside.glob(f"*{WORKER_VERSION}*"), reverse=True):
        places += [str(folder / "bin" / name), str(folder / "python.exe")]
    ask = "import sys; print('%s.%s' % sys.version_info[:2])"
    for place in places:
        if place is None:
            continue
        try:
            told = subprocess.run([place, "-c", ask], capture_output=True, text=True, check=False)
        except OSError:
            continue
        if told.returncode == 0 and told.stdout.strip() == WORKER_VERSION:
            return place
    return None


def make_node_packages(folders: tuple[Path, ...] = NODE) -> int:
    """Make what comes from npm be there; without Node what needs it says so itself."""
    npm = shutil.which("npm")
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    for folder in folders:
        stamp = folder / "node_modules" / "installed.txt"
        wanted = fingerprint((str(folder / "package-lock.json"),))
        if npm is None or (stamp.exists() and stamp.read_text() == wanted):
            continue
        print(f"Installing the npm packages of {folder.relative_to(ROOT)} (once) ...", flush=True)
        made = subprocess.run(
            [npm, "ci", *quiet], cwd=folder, check=False, capture_output=True, text=True
        )
        if made.returncode:
            print(
                f"{made.stderr.strip()}\ndev.py: npm could not install the packages of "
                f"{folder.relative_to(ROOT)} (see above); check the network or your package "
                "registry and try again",
                file=sys.stderr,
            )
            return 2
        stamp.write_text(wanted)
    return 0


def fingerprint(files: tuple[str, ...]) -> str:
    """Hash what decides the environment's content."""
    digest = hashlib.sha256()
    for file in files:
        digest.update((ROOT / file).read_bytes())
    return digest.hexdigest()


def find_python() -> str | None:
    """Return this interpreter if it is supported, else the newest supported one on the path."""
    if sys.version_info[:2] in SUPPORTED:
        return sys.executable
    names = [f"python{major}.{minor}" for major, minor in SUPPORTED]
    return next((path for name in names if (path := shutil.which(name))), None)


def same_version(interpreter: str) -> bool:
    """Say whether the environment was made with the same minor version of Python."""
    ask = "import sys; print(sys.version_info[:2])"
    answers = {
        subprocess.run([python, "-c", ask], capture_output=True, check=False).stdout
        for python in (interpreter, str(PYTHON))
    }
    return len(answers) == 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
