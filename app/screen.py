"""The terminal: what is for people about the course of the work goes to stderr, results to stdout.

Plain text of one width where nobody watches, so that a log can be compared with another.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from app.wiring import Progress, Worker

PLAIN_WIDTH = 110


def console(*, errors: bool = False) -> Console:
    """A console that is plain and wide enough when nobody watches."""
    from rich.console import Console

    class Plain(Console):
        """A console that leaves a closed pipe to the command line: rich would exit with 1."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    stream = sys.stderr if errors else sys.stdout
    width = None if stream.isatty() else PLAIN_WIDTH
    return Plain(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())


def picture(recorded: Console, title: str) -> str:
    """Return what a recording console has shown as an SVG that loads nothing from elsewhere."""
    drawn = recorded.export_svg(title=title, unique_id="csp-billing")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


def readable(text: str) -> str:
    """Return a foreign text without what a terminal would obey; lines stay lines."""
    return "".join(one if one == "\n" or one.isprintable() else " " for one in text)


def note(text: str) -> None:
    """Tell a person how the work goes; the work goes on when nobody listens any more."""
    with suppress(BrokenPipeError):
        print(readable(text), file=sys.stderr, flush=True)


def banner(worker: Worker) -> None:
    """Name the mode first: nobody may mistake invented data for a tenant's."""
    settings = worker.settings
    what = {
        "embedded": f"invented data (scenario {settings.scenario}, seed {settings.seed}); "
        "nothing leaves this process",
        "emulator": f"emulators at {settings.emulator_url}",
        "cloud": f"Microsoft cloud, Dataverse {settings.dataverse_url}",
    }[settings.mode]
    note(f"CSP Billing · mode {settings.mode} · {what} · {worker.today()}")


@contextmanager
def progress(title: str) -> Iterator[Callable[[Progress], None]]:
    """Show how far the work is: a bar on a terminal, a line now and then elsewhere."""
    if not sys.stderr.isatty():
        done = 0

        def tell(step: Progress) -> None:
            nonlocal done
            done = step.done
            if step.done % 20 == 0:
                note(f"{title}: {step.done} done, {step.waiting} waiting")

        yield tell
        note(f"{title}: {done} {'message' if done == 1 else 'messages'} worked")
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[what]}"),
    )
    with Bar(*columns, console=console(errors=True)) as bar:
        task = bar.add_task(title, total=None, what="")

        def show(step: Progress) -> None:
            total = step.done + step.waiting
            bar.update(task, completed=step.done, total=total, what=_subject(step))

        yield show


def _subject(step: Progress) -> str:
    keys = json.loads(step.body)
    return (
        f"{step.queue} {keys.get('part', '')} {keys.get('scope') or keys.get('customer_id') or ''}"
    )


def table(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    to: Console | None = None,
) -> None:
    """Print a table; columns whose heading starts with `>` are numbers, at the right.

    Cells are text as it was typed somewhere: what looks like markup is shown, never obeyed.
    """
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        right = heading.startswith(">")
        drawn.add_column(
            heading.removeprefix(">"), justify="right" if right else "left", no_wrap=right
        )
    for row in rows:
        drawn.add_row(*(Text(readable(cell)) for cell in row))
    (to or console()).print(drawn)


def print_json(data: Any) -> None:
    """Print the one JSON document that a program asked for."""
    print(json.dumps(data, indent=2, ensure_ascii=False))
