"""The commands `holds` and `release` on the demo's month: listed by worth, released, billed, taken back."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

import pytest

from app.settings import Settings
from app.wiring import opened
from domain.period import Period
from tests.app.conftest import command

WHY = "Customer agreed by phone on 9 November"


@pytest.fixture(scope="module")
def listed(demo):
    answer = command("holds", "--json", state=demo.state)
    assert answer.code == 3
    return answer.data["holds"]


def hold_of(state, customer):
    data = command("holds", "--json", state=state).data["holds"]
    return next(one for one in data if one["customer"] == customer)


def finding_of(state, customer):
    hold = hold_of(state, customer)
    (found,) = hold["holding"] + hold["released"]
    return found["finding"]


def test_holds_are_listed_by_what_they_are_worth(listed, demo):
    named = {demo.names[one.customer_id] for one in demo.findings if one.holds}
    assert {one["customer"] for one in listed} == named
    most = [max(map(Decimal, one["worth"].values())) for one in listed]
    assert most == sorted(most, reverse=True)
    for one in listed:
        assert one["since"] == "2026-11-09"
        for finding in one["holding"]:
            assert finding["sentence"]
            assert finding["hint"]
            assert finding["state"] == "open"


def test_what_is_held_is_what_the_run_says_and_what_earlier_months_left(listed, demo):
    """To the cent, by currency: October as the run has it, and every line that nobody answered."""
    october: dict[str, Decimal] = defaultdict(Decimal)
    with opened(Settings.from_env({"CSP_STATE_DIR": str(demo.state)})) as worker:
        for one in listed:
            sums: dict[str, Decimal] = defaultdict(Decimal)
            file = worker.store.customer_file(one["customer_id"])
            for line in file.cost_lines:
                if file.contract is None or line.falls_on >= file.contract.starts:
                    sums[line.currency] += line.subtotal
                if line.falls_on in Period.month("2026-10"):
                    october[line.currency] += line.subtotal
            assert one["worth"] == {name: str(amount) for name, amount in sums.items()}
    assert october == {one.currency: one.held for one in demo.runs["bill/2026-10"].totals}


def test_the_table_says_whom_how_much_since_when_why_and_what_to_do(demo):
    shown = command("holds", state=demo.state)
    assert shown.code == 3
    for told in (
        "On hold",
        "Umbra Unmapped",
        "1,571.56 USD",
        "2026-11-09",
        "has no billing",
        "To do:",
        "mapping.no_contract-",
        "python -m app release FINDING --reason TEXT",
    ):
        assert told in shown.out
    assert "Warnings" not in shown.out
    assert "Warnings" in command("holds", "--all", state=demo.state).out


def test_one_customer_is_asked_for_by_its_id(demo):
    tenant = next(one for one, name in demo.names.items() if name == "Grachten Groep BV")
    answer = command("holds", "--json", "--all", "--customer", tenant, state=demo.state)
    assert [one["customer"] for one in answer.data["holds"]] == ["Grachten Groep BV"]
    assert {one["customer"] for one in answer.data["warnings"]} <= {"Grachten Groep BV"}
    billed = next(d for d in demo.documents if d.number)
    free = command("holds", "--customer", billed.customer_id, state=demo.state)
    assert (free.code, free.out) == (0, "Nobody is on hold.\n")
    unknown = command("holds", "--customer", "nobody", state=demo.state)
    assert (unknown.code, "there is no customer nobody" in unknown.complaint) == (2, True)


def test_a_released_customer_is_billed_by_the_next_run_and_taken_back_it_is_not(copy):
    customer = "Grachten Groep BV"
    name = finding_of(copy, customer)
    held = hold_of(copy, customer)["worth"]
    sentence = next(one["sentence"] for one in hold_of(copy, customer)["holding"])
    answer = command(
        "release", name, "--reason", WHY, "--by", "Anna", "--until", "2026-11-30", state=copy
    )
    assert (answer.code, answer.out) == (
        0,
        (
            f"{name} of {customer} is released until 2026-11-30 by Anna: {WHY}. "
            f"It says: {sentence} The next run bills what was held.\n"
        ),
    )
    again = command(
        "release", name, "--reason", WHY, "--by", "Anna", "--until", "2026-11-30", state=copy
    )
    assert (again.code, again.out) == (0, answer.out)

    hold = hold_of(copy, customer)
    assert (hold["holding"], hold["worth"]) == ([], held)
    (released,) = hold["released"]
    assert released["state"] == "released"
    assert released["release"] == {
        "by": "Anna",
        "on": "2026-11-09",
        "until": "2026-11-30",
        "reason": WHY,
    }
    shown = command("holds", state=copy).out
    assert "Released" in shown
    assert "Anna on" in shown
    assert "2026-11-30" in shown

    assert command("bill", "--period", "2026-10", state=copy).code == 3  # the others are held
    assert customer in command("bill", "--period", "2026-10", "--dry-run", "--json", state=copy).out

    back = command("release", name, "--withdraw", "--by", "Ben", state=copy)
    assert back.code == 0
    assert back.out.startswith(f"{name} holds {customer} again. Anna released it on 2026-11-09")
    assert back.out.endswith("The release ended on 2026-11-09: Ben withdrew it.\n")
    (finding,) = hold_of(copy, customer)["holding"]
    assert finding["note"].endswith("Ben withdrew it.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--reason", ""), "a release needs a reason of 1 to 1000 characters"),
        ((), "a release needs a reason of 1 to 1000 characters"),
        (("--reason", WHY, "--by", " "), "a release needs a name"),
        (("--reason", WHY, "--until", "2026-11-08"), "its last day, 2026-11-08, is over"),
        (("--withdraw",), "is not released (list them with: python -m app holds)"),
        (("--withdraw", "--reason", WHY), "--withdraw takes a release back and has no reason"),
        (("--withdraw", "--seen", "0" * 16), "--withdraw takes a release back and has no reason"),
        (("--reason", WHY, "--seen", "0" * 16), "has changed since it was seen"),
    ],
)
def test_a_release_that_cannot_be_is_one_sentence(demo, arguments, said):
    answer = command(
        "release", finding_of(demo.state, "Grachten Groep BV"), *arguments, state=demo.state
    )
    assert answer.code == 2
    assert said in answer.complaint


def test_what_cannot_be_released_says_why_and_what_to_do(demo):
    name = finding_of(demo.state, "Umbra Unmapped")
    answer = command("release", name, "--reason", WHY, state=demo.state)
    assert answer.code == 2
    assert answer.complaint == (
        f"csp-billing: {name} cannot be released: there is no contract to bill by "
        "(make a billing contract for the customer and choose its account)"
    )
    warning = next(one for one in demo.findings if one.severity == "warn")
    answer = command("release", warning.id, "--reason", WHY, state=demo.state)
    assert "it is a warning and holds nobody" in answer.complaint
    answer = command("release", "gdap.missing-000000", "--reason", WHY, state=demo.state)
    assert "there is no open finding gdap.missing-000000" in answer.complaint


def test_who_releases_is_who_is_signed_in_unless_said(copy, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "finance-pc")
    name = finding_of(copy, "Grachten Groep BV")
    (finding,) = hold_of(copy, "Grachten Groep BV")["holding"]
    seen = ("--seen", finding["version"])
    answer = command("release", name, "--reason", WHY, *seen, "--json", state=copy)
    assert answer.data["release"]["by"] == "finance-pc"


def test_the_page_of_checks_is_printed():
    answer = command("checks")
    assert answer.code == 0
    assert answer.out.startswith("# Checks")
