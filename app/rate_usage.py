"""`rate-usage`: a folder of exported usage and a file of rules in, exact invoice lines out.

The folder holds `*.json.gz` as Graph's export delivers them and, where somebody wrote one, a
`manifest.json` that says what they must come to. No settings and no network are needed.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from tempfile import gettempdir
from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.types import StringConstraints

from app.output import DONE, HOLDS
from app.reading import fault_in, read_json
from app.screen import note, print_json, table
from domain.contract import MarkupMethod, MarkupRule
from domain.money import plain
from domain.period import Period
from domain.problems import InputError
from usage.rate import Expected, RatedUsage, rate

_FORMAT = "docs/usage.md describes the files"


def _number(value: Any) -> Any:
    """Take a number as text or as a JSON number; never a float, never true."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        msg = "must be a number, as text or bare"
        raise ValueError(msg)  # noqa: TRY004 - pydantic reports ValueErrors
    if not re.fullmatch(r"-?\d{1,38}(\.\d{1,40})?([eE][+-]?\d{1,2})?", str(value), re.ASCII):
        msg = "must be a number, as text or bare"
        raise ValueError(msg)
    return Decimal(value)


def _day(value: Any) -> Any:
    """Take a day as text alone; a number would be taken for seconds since 1970."""
    if not isinstance(value, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", value, re.ASCII):
        msg = "must be a day written as 2026-10-01"
        raise ValueError(msg)
    return value


_Day = Annotated[date, BeforeValidator(_day)]
_Number = Annotated[Decimal, BeforeValidator(_number)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f]+$")]


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: _Text
    customer: _Text | None = None
    family: _Text | None = None
    percent: Annotated[_Number, Field(ge=-100, le=90_000, decimal_places=4)]
    """More decimals would need more of the exact charge than it has."""
    first: Annotated[_Day, Field(alias="from")]
    beyond: Annotated[_Day | None, Field(alias="to")] = None

    def to_domain(self) -> MarkupRule:
        return MarkupRule(
            key=self.id,
            method=MarkupMethod.PERCENT,
            value=self.percent,
            valid=Period(self.first, self.beyond or date.max),
            customer_id=(self.customer or "").lower(),
            meter_category=self.family or "",
        )


_ByCurrency = _Number | dict[str, _Number] | None


class _Blob(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str


class _Manifest(BaseModel):
    # Others may write more into it, Graph for one; what is not known here is not compared.
    model_config = ConfigDict(extra="ignore", frozen=True)

    lines: int | None = None
    sum_quantity: _ByCurrency = None
    sum_billing_pretax: _ByCurrency = None
    files: Annotated[int | None, Field(validation_alias=AliasChoices("files", "blobCount"))] = None
    blobs: tuple[_Blob, ...] = ()


def read_rules(path: Path) -> list[MarkupRule]:
    """Read a file of rules; InputError names file, rule and field of what is wrong."""
    content = read_json(path)
    try:
        found = TypeAdapter(tuple[_Rule, ...]).validate_python(content)
    except ValidationError as error:
        raise InputError(f"{path}: {fault_in(error, whole='the rules')}", hint=_FORMAT) from None
    rules: dict[str, MarkupRule] = {}
    for rule in found:
        if rule.beyond is not None and rule.beyond <= rule.first:
            raise InputError(
                f"{path}: rule {rule.id}: to ({rule.beyond}) is not after from ({rule.first})",
                hint="`to` is the first day on which the rule is not in force any more",
            )
        if rule.id in rules:
            raise InputError(
                f"{path}: the id {rule.id} stands twice", hint="give each rule its own"
            )
        rules[rule.id] = rule.to_domain()
    return list(rules.values())


def read_manifest(path: Path) -> Expected:
    """Read what a folder must come to; without a file nothing is said."""
    if not path.exists() and not path.is_symlink():
        return Expected()
    try:
        found = _Manifest.model_validate(read_json(path))
    except ValidationError as error:
        raise InputError(f"{path}: {fault_in(error)}", hint=_FORMAT) from None
    if not found.model_fields_set:
        raise InputError(f"{path}: says nothing that can be compared", hint=_FORMAT)
    return Expected(
        parts=found.files,
        names=frozenset(blob.name for blob in found.blobs),
        lines=found.lines,
        quantity=_by_currency(found.sum_quantity),
        cost=_by_currency(found.sum_billing_pretax),
    )


def _by_currency(told: Decimal | Mapping[str, Decimal] | None) -> Mapping[str, Decimal] | None:
    return {"": told} if isinstance(told, Decimal) else told


def run(  # noqa: PLR0917 - the options of one command
    folder: Path,
    rules: Path,
    out: Path | None,
    annotated: Path | None,
    memory_mb: int,
    threads: int,
    scratch: Path | None,
    *,
    as_json: bool,
) -> int:
    """Rate a folder and print what it comes to; the exit code says whether all was rated."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", hint="give the folder of the *.json.gz files")
    paths = sorted(one for one in folder.iterdir() if one.name.lower().endswith(".json.gz"))
    told = read_rules(rules)
    if out is not None:
        _check_target(out, (rules, *paths))
    expected = read_manifest(folder / "manifest.json")
    started = time.monotonic()
    done = lines = 0

    def progress(_path: Path, count: int) -> None:
        nonlocal done, lines
        done, lines = done + 1, lines + count
        if done % 10 == 0 or done == len(paths):
            seconds = time.monotonic() - started
            note(f"rate-usage: {done} of {len(paths)} files, {lines:,} lines, {seconds:.0f} s")

    try:
        rated = rate(
            paths,
            told,
            scratch=scratch or Path(gettempdir()) / "csp-billing",
            out=out,
            annotated=annotated,
            expected=expected,
            memory_mb=memory_mb,
            threads=threads or _cores(),
            progress=progress,
        )
    except RuntimeError as error:
        if "interrupt" in str(error).lower():  # DuckDB tells Ctrl-C so
            raise KeyboardInterrupt from None
        raise
    except OSError as error:
        raise InputError(
            f"{error.filename or 'scratch space'}: {error.strerror}",
            hint="choose a folder with room by --scratch and --out",
        ) from None
    seconds = time.monotonic() - started
    if as_json:
        print_json(_as_data(rated, seconds))
    else:
        _show(rated, seconds, out)
    return DONE if rated.reconcilable and not rated.held_lines else HOLDS


def _check_target(out: Path, inputs: Iterable[Path]) -> None:
    """Refuse a result file that is no file, or that is one of what is read."""
    if out.name in {"", ".", ".."} or (out.exists() and not out.is_file()) or out.is_symlink():
        raise InputError(f"--out {out} is no plain file", hint="name a new file for the result")
    if out.exists() and any(one.exists() and one.samefile(out) for one in inputs):
        raise InputError(f"--out {out} is an input", hint="name a new file for the result")


def _cores() -> int:
    """Count the cores that this process may use."""
    own = getattr(os, "sched_getaffinity", None)
    return len(own(0)) if own else os.cpu_count() or 1


def _as_data(rated: RatedUsage, seconds: float) -> dict[str, Any]:
    """The answer for programs. What is not reconcilable has no charges and no digest."""
    proven = rated.reconcilable
    return {
        "source_lines": rated.source_lines,
        "invoice_lines": rated.invoice_lines if proven else 0,
        "held_lines": rated.held_lines,
        "by_currency": {
            total.currency: {
                "cost": _figure(total.cost),
                "charge_exact": _figure(total.charge_exact),
                "charge": f"{total.charge:f}",
            }
            for total in rated.totals
            if proven and total.lines
        },
        "sha256": rated.sha256 or None,
        "seconds": round(seconds, 3),
        "reconcilable": proven,
        "control": {
            total.currency: {
                "lines": total.lines_in,
                "lines_rated": total.lines,
                "lines_held": total.lines_in - total.lines,
                "quantity": _figure(total.quantity_in),
                "cost": _figure(total.cost_in),
                "cost_rated": _figure(total.cost),
                "cost_held": _figure(total.cost_held),
                "rounding": _figure(total.rounding),
            }
            for total in rated.totals
        },
        "unreadable_lines": rated.unreadable_lines,
        "findings": [
            {
                "check": finding.check,
                "customer": finding.customer_id,
                "sentence": finding.sentence,
                "hint": finding.hint,
            }
            for finding in rated.findings
        ],
    }


def _figure(amount: Decimal) -> str:
    return plain(amount, 24)


def _show(rated: RatedUsage, seconds: float, out: Path | None) -> None:
    if rated.totals:
        table(
            "Where the usage went",
            ("currency", ">lines", ">cost", ">rated", ">held", ">charge", ">rounding"),
            [
                (
                    total.currency,
                    f"{total.lines_in:,}",
                    _figure(total.cost_in),
                    _figure(total.cost),
                    _figure(total.cost_held),
                    f"{total.charge:,f}",
                    _figure(total.rounding),
                )
                for total in rated.totals
            ],
        )
    for finding in rated.findings[:20]:
        print(f"{finding.sentence} {finding.hint[:1].upper()}{finding.hint[1:]}.")
    if len(rated.findings) > 20:
        print(f"{len(rated.findings) - 20} more findings: see --json.")
    if not rated.reconcilable:
        print("Nothing was rated.")
        return
    speed = f"{rated.source_lines / seconds:,.0f} lines a second" if seconds else ""
    print(
        f"{rated.source_lines:,} lines became {rated.invoice_lines:,} invoice lines; "
        f"{rated.held_lines:,} lines are held. {seconds:.1f} s, {speed}."
    )
    print(f"sha256 {rated.sha256}{f'  {out}' if out else ''}")
