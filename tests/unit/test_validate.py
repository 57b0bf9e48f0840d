"""Each check: when it holds a customer, when it must not, and what it says of missing data."""

from dataclasses import replace

import pytest

from domain.problems import Severity
from rules.validate import CHECKS, Facts, validate, validate_standing
from tests.builders import (
    a_contract,
    a_customer,
    a_line,
    a_relationship,
    a_subscription,
    a_tax_profile,
    an_account,
    an_agreement,
    checks,
    day,
    period,
)


def facts(**fields):
    return Facts(
        **{
            "customer": a_customer(),
            "agreements": [an_agreement()],
            "relationships": [a_relationship()],
            "subscriptions": [a_subscription()],
            "cost_lines": [a_line()],
            "contract": a_contract(),
            "account": an_account(),
            "tax_profile": a_tax_profile(),
            "period": period("2026-10-01", "2026-11-01"),
            "today": day("2026-11-08"),
            **fields,
        }
    )


def found(**fields):
    return [(f.check, f.severity.value) for f in validate(facts(**fields))]


def test_a_customer_in_order_has_no_findings():
    assert found() == []
    assert len(CHECKS) == 13


# --- relationship ----------------------------------------------------------------------------------


@pytest.mark.parametrize("relationship", ["none", "advisor", ""])
def test_only_a_reseller_may_bill(relationship):
    (finding,) = validate(facts(customer=a_customer(relationship=relationship)))
    assert (finding.check, finding.severity) == ("relationship.not_reseller", Severity.HOLD)
    assert f"is {relationship or 'unknown'}, not reseller" in finding.sentence


# --- agreement ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("agreements", [[], [an_agreement(type="MicrosoftCloudAgreement")]])
def test_the_customer_agreement_must_be_there(agreements):
    assert found(agreements=agreements) == [("agreement.missing", "hold")]


def test_an_old_agreement_beside_the_right_one_does_no_harm():
    both = [an_agreement(type="MicrosoftCloudAgreement"), an_agreement()]
    assert found(agreements=both) == []


def test_an_agreement_signed_with_microsoft_directly_counts_without_a_date():
    assert found(agreements=[an_agreement(agreed_on=None, signed_directly=True)]) == []


# --- delegated administration -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "relationships",
    [
        [],
        [a_relationship(status="expired")],
        [a_relationship(status="terminated"), a_relationship(status="approvalPending")],
        [a_relationship(status="somethingNew")],
        [a_relationship(ends_on=day("2026-11-08"))],  # its status has not caught up
    ],
)
def test_an_active_relationship_must_be_there(relationships):
    assert found(relationships=relationships) == [("gdap.missing", "hold")]


def test_the_end_of_the_last_relationship_is_told():
    ended = [
        a_relationship(status="expired", ends_on=day("2026-01-31")),
        a_relationship(status="expired", ends_on=day("2026-10-09")),
    ]
    (finding,) = validate(facts(relationships=ended))
    assert finding.sentence == "The delegated admin relationship ended on 2026-10-09."
    waiting = a_relationship(id="g-9", name="New", status="approvalPending", ends_on=None)
    (finding,) = validate(facts(relationships=[*ended, waiting]))
    assert finding.sentence.endswith("The request New waits for the customer's approval.")
    assert finding.link.endswith("/granularAdminRelationships/g-9")


def test_a_relationship_without_an_assignment_gives_no_access():
    assert found(relationships=[a_relationship(active_assignments=0)]) == [
        ("gdap.no_assignment", "hold")
    ]


@pytest.mark.parametrize(
    ("ends_on", "told"),
    [
        ("2026-11-09", [("gdap.expiring", "warn")]),
        ("2026-12-08", [("gdap.expiring", "warn")]),
        ("2026-12-09", [("gdap.not_extended", "warn")]),
        ("2027-02-06", [("gdap.not_extended", "warn")]),
        ("2027-02-07", []),
    ],
)
def test_an_end_within_thirty_days_is_a_warning_and_within_ninety_days_another(ends_on, told):
    assert found(relationships=[a_relationship(status="expiring", ends_on=day(ends_on))]) == told


@pytest.mark.parametrize(
    "other",
    [
        a_relationship(),
        a_relationship(ends_on=None, auto_extends=True),
        a_relationship(ends_on=day("2026-11-20"), auto_extends=True),
    ],
)
def test_the_latest_end_of_several_counts(other):
    soon = a_relationship(id="gdap-2", ends_on=day("2026-11-10"))
    assert found(relationships=[soon, other]) == []


def test_a_later_relationship_without_assignment_does_not_count():
    soon = a_relationship(ends_on=day("2026-11-10"))
    assert found(relationships=[soon, a_relationship(active_assignments=0)]) == [
        ("gdap.expiring", "warn")
    ]


# --- mapping -----------------------------------------------------------------------------------------


def test_without_a_contract_nothing_else_is_asked_of_it():
    assert found(contract=None) == [("mapping.no_contract", "hold")]


def test_a_contract_needs_an_account():
    assert found(contract=a_contract(account_id="")) == [("mapping.no_account", "hold")]


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        (None, []),
        ("2026-10-15", []),
        ("2026-10-02", [("mapping.outside_contract", "warn")]),
        ("2026-10-01", [("mapping.contract_ended", "hold")]),
        ("2026-01-01", [("mapping.contract_ended", "hold")]),
    ],
)
def test_a_contract_that_ended_before_the_period_holds(ends, told):
    assert found(contract=a_contract(ends=day(ends) if ends else None)) == told


# --- partner of record ---------------------------------------------------------------------------------


def test_a_strange_partner_is_told_with_where_it_stands():
    strange = facts(
        contract=a_contract(expected_partner_id="111"),
        subscriptions=[a_subscription(partner_of_record="222"), a_subscription(id="s2")],
        cost_lines=[a_line(partner_id="222"), a_line(subscription_id="s3", reseller_id="222")],
    )
    (finding,) = validate(strange)
    assert (finding.check, finding.severity) == ("partner_of_record.drift", Severity.HOLD)
    assert finding.sentence == (
        "Partner 222 stands on 2 of the customer's subscriptions (s1, s3); 111 is expected."
    )


def test_a_deleted_subscription_keeps_its_former_partner_and_nobody_is_held():
    moved = facts(
        contract=a_contract(expected_partner_id="111"),
        subscriptions=[
            a_subscription(partner_of_record="111"),
            a_subscription(id="s2", partner_of_record="222", status="deleted"),
        ],
        cost_lines=[a_line(reseller_id="111")],
    )
    assert validate(moved) == []


def left(**fields):
    """Who left: no relationship, no agreement, no access, and a contract that has ended."""
    return facts(
        **{
            "customer": a_customer(relationship="none"),
            "agreements": [],
            "relationships": [],
            "subscriptions": [a_subscription(status="deleted")],
            "contract": a_contract(starts=day("2026-01-01"), ends=day("2026-10-01")),
            "cost_lines": [],
            "history": [a_line("earlier", charged=period("2026-09-01", "2026-10-01"))],
            **fields,
        }
    )


def test_who_left_is_held_as_long_as_something_is_left_to_bill():
    (line,) = left().history
    held = ["relationship.not_reseller", "agreement.missing", "gdap.missing"]
    assert checks(validate_standing(left())) == held
    assert validate_standing(left(invoiced={line.key})) == []
    assert checks(validate_standing(left(invoiced={line.key}, contract=a_contract()))) == held
    ours = left(invoiced={line.key}, customer=a_customer(), subscriptions=[a_subscription()])
    assert checks(validate_standing(ours)) == held[1:]
    gone = left(invoiced={line.key}, customer=a_customer(stale_since=day("2026-01-01")))
    assert validate_standing(replace(gone, unreachable=True)) == []


def test_what_microsoft_bills_after_the_end_of_the_contract_is_not_left_to_bill():
    later = a_line("later", charged=period("2026-10-01", "2026-11-01"))
    assert validate_standing(left(history=[later])) == []


def test_a_tenant_that_never_bought_is_not_held():
    nobody = {"contract": None, "contracts": [], "history": [], "subscriptions": []}
    assert validate_standing(left(customer=a_customer(), **nobody)) == []
    some = nobody | {"subscriptions": [a_subscription()]}
    assert "agreement.missing" in checks(validate_standing(left(customer=a_customer(), **some)))


@pytest.mark.parametrize(
    ("expected", "line"),
    [
        ("", {"partner_id": "222"}),
        ("111", {"partner_id": "111"}),
        ("111", {"partner_id": "999", "reseller_id": "111"}),
    ],
)
def test_the_expected_partner_and_no_partner_at_all_are_fine(expected, line):
    contract = a_contract(expected_partner_id=expected)
    assert found(contract=contract, cost_lines=[a_line(**line)]) == []


# --- tax -----------------------------------------------------------------------------------------------


def test_the_tax_must_be_known_on_the_last_day_of_the_period():
    assert found(tax_profile=None) == [("tax.no_profile", "hold")]
    lapsing = replace(a_tax_profile(), valid_until=day("2026-10-30"))
    assert found(tax_profile=lapsing) == [("tax.lapsed", "hold")]
    assert found(tax_profile=replace(lapsing, valid_until=day("2026-10-31"))) == []


# --- policy ----------------------------------------------------------------------------------------------


def test_a_partner_may_set_the_severity_of_a_check():
    broken = facts(agreements=[], relationships=[])
    policy = {"agreement.missing": Severity.WARN, "gdap.expiring": Severity.HOLD}
    findings = validate(broken, policy)
    assert [(f.check, f.severity.value) for f in findings] == [
        ("agreement.missing", "warn"),
        ("gdap.missing", "hold"),
    ]
    assert checks(findings) == checks(validate(broken))


def test_every_finding_says_what_to_do_and_has_a_key_from_meaning():
    everything = facts(
        customer=a_customer(relationship="none"),
        agreements=[],
        relationships=[],
        contract=a_contract(account_id=""),
        tax_profile=None,
    )
    findings = validate(everything)
    assert len(findings) == 5
    for finding in findings:
        assert finding.hint
        assert finding.customer_id == "c1"
        assert finding.key == f"finding/{finding.check}/c1/{finding.record}"


# --- words -----------------------------------------------------------------------------------------------

WORDS = [
    (
        {"customer": a_customer(relationship="")},
        "relationship.not_reseller",
        "customer",
        "The relationship to the customer is unknown, not reseller.",
        "ask the customer to accept the reseller invitation, or end the contract",
    ),
    (
        {"agreements": []},
        "agreement.missing",
        "agreement",
        "The customer has not accepted the Microsoft Customer Agreement.",
        "attest the acceptance in Partner Center, or ask the customer to sign with Microsoft",
    ),
    (
        {"agreements": [an_agreement(type="b"), an_agreement(type="a"), an_agreement(type="b")]},
        "agreement.missing",
        "agreement",
        "The customer has not accepted the Microsoft Customer Agreement (only a, b).",
        "attest the acceptance in Partner Center, or ask the customer to sign with Microsoft",
    ),
    (
        {"relationships": []},
        "gdap.missing",
        "delegated admin relationship",
        "There is no active delegated admin relationship.",
        "send the customer a new GDAP request and have it approved",
    ),
    (
        {"relationships": [a_relationship(active_assignments=0)]},
        "gdap.no_assignment",
        "delegated admin relationship gdap-1",
        "The relationship Fabrikam admin is active, but no group has access by it.",
        "assign a security group to the relationship in Partner Center",
    ),
    (
        {"relationships": [a_relationship(ends_on=day("2026-11-20"))]},
        "gdap.expiring",
        "delegated admin relationship gdap-1",
        "The relationship Fabrikam admin ends on 2026-11-20.",
        "renew the relationship, or switch its automatic extension on",
    ),
    (
        {"contract": None},
        "mapping.no_contract",
        "billing contract",
        "The customer has no billing contract.",
        "make a billing contract for the customer and choose its account",
    ),
    (
        {"contract": a_contract(account_id="")},
        "mapping.no_account",
        "billing contract contract/c1",
        "The billing contract has no account.",
        "choose the account that is billed",
    ),
    (
        {"contract": a_contract(ends=day("2026-10-01"))},
        "mapping.contract_ended",
        "billing contract contract/c1",
        "The billing contract ended on 2026-10-01.",
        "renew the contract, or move the subscriptions away",
    ),
    (
        {
            "contract": a_contract(expected_partner_id="111"),
            "subscriptions": [a_subscription(partner_of_record="222")],
        },
        "partner_of_record.drift",
        "partner 222",
        "Partner 222 stands on 1 of the customer's subscriptions (s1); 111 is expected.",
        "correct the partner of record in Partner Center, or the contract's expectation",
    ),
]


@pytest.mark.parametrize(("fields", "check", "record", "sentence", "hint"), WORDS)
def test_a_finding_says_what_is_wrong_on_what_and_what_to_do(fields, check, record, sentence, hint):
    (finding,) = validate(facts(**fields))
    assert (finding.check, finding.record) == (check, record)
    assert (finding.sentence, finding.hint) == (sentence, hint)
    assert finding.seen == day("2026-11-08")


def test_partners_are_told_in_their_order_each_with_its_own_subscriptions():
    several = facts(
        contract=a_contract(expected_partner_id="111"),
        subscriptions=[
            a_subscription(id="s1", partner_of_record="333"),
            a_subscription(id="s2", partner_of_record="222"),
            a_subscription(id="s3", partner_of_record="222"),
        ],
        cost_lines=[],
    )
    assert [f.record for f in validate(several)] == ["partner 222", "partner 333"]
    assert (
        "222 stands on 2 of the customer's subscriptions (s2, s3);" in validate(several)[0].sentence
    )


def test_one_more_subscription_of_a_strange_partner_says_the_same_and_no_contract_expects_nobody():
    lines = [a_line(subscription_id=name, partner_id="222") for name in ("s1", "s2", "s2")]
    strange = facts(contract=a_contract(expected_partner_id="111"), cost_lines=lines)
    (finding,) = validate(strange)
    assert "222 stands on 2 of the customer's subscriptions (s1, s2);" in finding.sentence
    assert found(contract=None, cost_lines=lines) == [("mapping.no_contract", "hold")]
