"""Pack what is deployed: every file of the folder but those that .funcignore names.

    python3 infra/scripts/package.py worker.zip

Standard library. The same files give the same bytes, so an unchanged package can be told. Patterns are
names or globs at any depth, or paths from the root after a slash; `#` begins a comment. Exceptions
(`!`) are refused: azd and Core Tools read the same file, and the plainer it is the more they agree.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Write the package; returns its exit code."""
    if len(arguments) != 1:
        print("usage: python3 infra/scripts/package.py FILE.zip", file=sys.stderr)
        return 2
    target = Path(arguments[0])
    names = sorted(deployed(ROOT))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for name in names:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            package.writestr(entry, (ROOT / name).read_bytes(), zipfile.ZIP_DEFLATED)
    print(f"{target}: {len(names)} files, {target.stat().st_size // 1024} KiB")
    return 0


def deployed(root: Path) -> Iterator[str]:
    """Yield the files that belong into the package, by their path below the root."""
    patterns = read_patterns((root / ".funcignore").read_text(encoding="utf-8"))
    waiting = [root]
    while waiting:
        for path in waiting.pop().iterdir():
            name = path.relative_to(root).as_posix()
            if any(matches(name, pattern) for pattern in patterns):
                continue
            if path.is_dir():
                waiting.append(path)
            else:
                yield name


def read_patterns(text: str) -> list[str]:
    """Return the patterns of a .funcignore; ValueError names one that is not understood."""
    lines = [line.strip() for line in text.splitlines()]
    patterns = [line.rstrip("/") for line in lines if line and not line.startswith("#")]
    for pattern in patterns:
        if pattern.startswith("!") or "/" in pattern[1:] or "**" in pattern:
            raise ValueError(f".funcignore: {pattern} is more than a name or a path at the root")
    return patterns


def matches(name: str, pattern: str) -> bool:
    """Say whether a path, or the last part of it, is what a pattern names."""
    if pattern.startswith("/"):
        return fnmatchcase(name, pattern[1:])
    return fnmatchcase(name.rpartition("/")[2], pattern)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
