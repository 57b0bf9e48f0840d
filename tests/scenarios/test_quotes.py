"""Quotes: scenario files, what they come to by pocket calculator, and what the engine answers.

A folder is a case: `story.md` says it and works it out by hand, `scenario.json` is the file that is
rated, and `expected.txt` is the whole answer with its sentences. The table of the story is a check
of its own: its calculations are evaluated here, and its days and amounts must be those of the answer.

To change what is expected, look at the difference and then run with UPDATE_EXPECTED=1; a table is
only ever changed by hand.
"""

import ast
import json
import operator
import os
import re
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from tests.app.conftest import command

HERE = Path(__file__).parent / "quotes"
CASES = sorted(path.parent for path in HERE.glob("*/*/story.md"))
_DAYS = re.compile(r"(\d{4}-\d\d-\d\d)(?: to (\d{4}-\d\d-\d\d))?: \S")
_SIGNS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def worked_out(calculation: str) -> Fraction:
    """What a calculator shows for the last step; the steps before it are separated by semicolons."""
    last = calculation.rpartition(";")[2].strip()
    return _value(ast.parse(last.replace("×", "*").replace("÷", "/"), mode="eval").body, last)


def _value(node: ast.expr, text: str) -> Fraction:
    match node:
        case ast.BinOp():
            return _SIGNS[type(node.op)](_value(node.left, text), _value(node.right, text))
        case ast.UnaryOp(op=ast.USub()):
            return -_value(node.operand, text)
        case ast.Constant():
            return Fraction(ast.get_source_segment(text.replace("×", "*").replace("÷", "/"), node))
    pytest.fail(f"not a calculation: {text}")


def shown(value: Fraction, like: str) -> str:
    """Round half up, away from zero, to as many decimals as an amount is written with."""
    places = len(like.partition(".")[2])
    units = int(abs(value) * 10**places + Fraction(1, 2))
    return f"{Decimal(-units if value < 0 else units).scaleb(-places):f}"


def tables(story: str) -> list[list[list[str]]]:
    """The rows of each table, without its head."""
    found = []
    for block in re.split(r"\n(?!\|)", story):
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in block.splitlines()
            if line.startswith("|")
        ]
        if rows:
            found.append(rows[2:])
    return found


def tell(answer: dict) -> str:
    lines = []
    for line in answer["lines"]:
        days = _days_of(line)
        lines.append(
            f"{line['subscription'] or line['name']}  {line['charge_type']}  {days}  due "
            f"{line['due']}  {line['quantity']} × {line['unit_price']}  {line['amount']}  "
            f"tax {line['tax']}"
        )
        lines.append(f"    {line['why']}")
        if "tax_note" in line:
            lines.append(f"    {line['tax_note']}")
    lines.append(
        f"Subtotal {answer['subtotal']}, tax {answer['tax']}, "
        f"total {answer['total']} {answer['currency']}"
    )
    lines.extend(f"{f['check']}: {f['sentence']} ({f['hint']})" for f in answer["findings"])
    return "\n".join(lines)


def _days_of(line: dict) -> str:
    if line["service_start"] == line["service_end"]:
        return line["service_start"]
    last = date.fromisoformat(line["service_end"]) - timedelta(days=1)
    if str(last) == line["service_start"]:
        return line["service_start"]
    return f"{line['service_start']} to {last}"


def test_there_are_quotes_of_every_kind():
    families = Counter(case.parent.name for case in CASES)
    assert len(CASES) >= 60
    assert not [name for name, count in families.items() if count < 2]
    assert {path.name for path in HERE.iterdir()} == set(families)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.name}")
def test_quote(case):
    path = case / "scenario.json"
    answered = command("whatif", str(path), "--json")
    answers = answered.data if isinstance(answered.data, list) else [answered.data]
    told = "\n\n".join(tell(answer) for answer in answers) + f"\nExit code {answered.code}\n"
    expected = case / "expected.txt"
    if os.environ.get("UPDATE_EXPECTED") == "1":
        expected.write_text(told, encoding="utf-8")
    assert told == expected.read_text(encoding="utf-8")

    story = (case / "story.md").read_text(encoding="utf-8")
    by_hand = tables(story)
    assert len(by_hand) == len(answers)
    for rows, answer in zip(by_hand, answers, strict=True):
        for label, calculation, amount in rows:
            assert not calculation or shown(worked_out(calculation), amount) == amount, label
        lines = [row for row in rows if _DAYS.match(row[0])]
        assert [(label.partition(":")[0], amount) for label, _, amount in lines] == [
            (_days_of(line), line["amount"]) for line in answer["lines"]
        ]
        sums = {label.strip("*").split(",")[0]: amount for label, _, amount in rows if amount}
        assert sums["Total"] == answer["total"]
        assert sums.get("Tax", answer["tax"]) == answer["tax"]
        assert "Tax" in sums or not Decimal(answer["tax"])
        assert len(rows) == len(lines) + 1 + ("Tax" in sums)
        assert Decimal(answer["total"]) == sum(
            Decimal(line["amount"]) + Decimal(line["tax"]) for line in answer["lines"]
        )
    found = re.search(r"^Findings?: (.+)\.$", story, re.MULTILINE)
    named = found[1].split(", ") if found else []
    assert named == [finding["check"] for answer in answers for finding in answer["findings"]]
    assert answered.code == (3 if named else 0)
    assert json.loads(path.read_text(encoding="utf-8"), parse_float=str)
