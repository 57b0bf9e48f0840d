"""What Microsoft says of a customer: is it ours to sell to, may we see it, what was agreed to.

A relationship to a customer is three things that end by themselves: the reseller relationship, the
agreement that the customer accepted, and the delegated administration (GDAP) by which its data are
read and partner credit for managed services is earned. Whatever lapsed is told with what it costs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from domain.customer import (
    GONE,
    MICROSOFT_CUSTOMER_AGREEMENT,
    Agreement,
    DelegatedAdminRelationship,
)
from domain.money import Money
from domain.problems import Finding, Severity
from rules.earned_credit import newest_credit
from rules.facts import StandingFacts

APPROVAL_PAGE = (
    "https://admin.microsoft.com/AdminPortal/Home#/partners/invitation/granularAdminRelationships/"
)
"""Where an administrator of the customer approves a relationship, by its id."""

AHEAD = 3
"""An end that nothing extends is told so many times earlier than an end that is near: early enough to
switch the extension on, and once, because the relationships of a partner do not end all at once."""

_ROLES = {
    "62e90394-69f5-4237-9190-012177145e10": "Global Administrator",
    "f2ef992c-3afb-46b9-b7cf-a126ee74c451": "Global Reader",
    "88d8e3e3-8f55-4a1e-953a-9b9898b8876b": "Directory Readers",
    "9360feb5-f418-4baa-8175-e2a00bac4301": "Directory Writers",
    "4d6ac14f-3453-41d0-bef9-a3e0c569773a": "License Administrator",
    "fe930be7-5e62-47db-91af-98c3a49a38b1": "User Administrator",
    "729827e3-9c14-49f7-bb1b-9608f156bbb8": "Helpdesk Administrator",
    "f023fd81-a637-4b56-95fd-791ac0226033": "Service Support Administrator",
    "b0f54661-2d74-4c50-afa3-1ec803f12efe": "Billing Administrator",
    "29232cdf-9323-42fd-ade2-1d097af3e4de": "Exchange Administrator",
    "44367163-eba1-44c3-98af-f5787879f96a": "Dynamics 365 Administrator",
    "3a2c62db-5318-420d-8d74-23affee5d9d5": "Intune Administrator",
    "194ae4cb-b126-40b2-bd5b-6091b380977d": "Security Administrator",
    "5d6b6bb7-de71-4623-b4af-96380a352509": "Security Reader",
}
"""Entra's public role template ids; any other is told by its id."""

_ANY = ""
"""The role of a relationship whose roles are not known."""

_EVERY = "62e90394-69f5-4237-9190-012177145e10"
"""Global Administrator: who holds it may do what any other role allows."""

_ON_THE_WAY = frozenset({"approved", "activating"})
_REQUESTED = frozenset({"created", "approvalPending", *_ON_THE_WAY})
"""What never gave access yet."""


def reseller_relationship(facts: StandingFacts) -> list[Finding]:
    """The tenant must still be our reseller customer."""
    relationship = facts.customer.relationship
    if relationship.lower() == "reseller":
        return []
    return [
        facts.tell(
            "relationship.not_reseller",
            "customer",
            f"The relationship to the customer is {relationship or 'unknown'}, not reseller.",
            "ask the customer to accept the reseller invitation, or end the contract",
        )
    ]


def access(facts: StandingFacts) -> list[Finding]:
    """What is billed by must have been read lately: data of a lost customer goes stale.

    Warns from the first day on which the customer could not be read whole, holds after
    `Demands.stale_days`.
    """
    since = facts.customer.stale_since
    found = _relationships_unread(facts)
    if since is None and facts.customer.details_known:
        return found
    if since is None:
        return [
            *found,
            facts.tell(
                "access.unread",
                "customer",
                "The customer is listed in Partner Center, and was never read whole.",
                "run sync; if it stays, look for the customer in Partner Center",
                Severity.WARN,
            ),
        ]
    return [
        *found,
        _stale(
            facts,
            "customer",
            f"The customer could not be read whole since {since}",
            since,
            "restore the access to the customer (its GDAP relationship or the reseller "
            "relationship), then run sync",
        ),
    ]


def _relationships_unread(facts: StandingFacts) -> list[Finding]:
    """Access that is believed by what was read before alone."""
    usable = _usable(facts)
    days = [one.stale_since for one in usable if one.stale_since]
    if not days or len(days) < len(usable):
        return []
    return [
        _stale(
            facts,
            "delegated admin relationship",
            f"The delegated admin relationships could not be read since {min(days)}",
            min(days),
            "give the worker's sign-in the right to read delegated admin relationships in Microsoft "
            "Graph, then run sync",
        )
    ]


def _stale(facts: StandingFacts, record: str, sentence: str, since: date, hint: str) -> Finding:
    limit = facts.demands.stale_days
    late = (facts.today - since).days > limit
    # No count of days: the sentence of each day would be another, and undo a release.
    age = f"older than the {_days(limit)} that are allowed" if late else "of before"
    return facts.tell(
        "access.stale",
        record,
        f"{sentence}: what is known is {age}.",
        hint,
        Severity.HOLD if late else Severity.WARN,
    )


# --- agreements -----------------------------------------------------------------------------------


def customer_agreement(facts: StandingFacts) -> list[Finding]:
    """The Microsoft Customer Agreement counts, attested or signed directly; the old one does not.

    Nor does an acceptance that is dated ahead, or that Microsoft no longer lists. Source: Partner
    Center refuses a purchase without it (403, code 13605).
    """
    listed = [one for one in facts.agreements if one.withdrawn_on is None]
    ours = [one for one in listed if one.type == MICROSOFT_CUSTOMER_AGREEMENT]
    counting = [one for one in ours if one.agreed_on is None or one.agreed_on <= facts.today]
    if not counting:
        return [_no_agreement(facts, listed, ours)]
    if any(one.signed_directly for one in counting):
        return []
    latest = max(counting, key=lambda one: (one.version or 0, one.agreed_on or date.min))
    record = f"agreement {latest.template_id or latest.type}"
    found = []
    if latest.agreed_on is None:
        found.append(
            facts.tell(
                "agreement.undated",
                record,
                "The acceptance of the Microsoft Customer Agreement has no date"
                f"{_by(latest)}: since when it counts cannot be shown.",
                "look up the customer's agreement in Partner Center, and attest it with its date",
                Severity.WARN,
            )
        )
    newest = latest.current_version
    if newest is not None and latest.version is None:
        found.append(
            facts.tell(
                "agreement.version_unknown",
                record,
                f"Which version of the Microsoft Customer Agreement was accepted{_on(latest)}"
                f"{_by(latest)} is not known: Microsoft no longer lists its text.",
                "ask the customer to accept the newest version, and attest it in Partner Center",
                Severity.WARN,
            )
        )
    elif newest is not None and latest.version is not None and latest.version < newest:
        found.append(
            facts.tell(
                "agreement.outdated",
                record,
                f"The customer accepted version {latest.version} of the Microsoft Customer "
                f"Agreement{_on(latest)}{_by(latest)}; version {newest} is the newest.",
                "ask the customer to accept the newest version, and attest it in Partner Center",
                Severity.WARN,
            )
        )
    return found


def _no_agreement(
    facts: StandingFacts, listed: Sequence[Agreement], ours: Sequence[Agreement]
) -> Finding:
    old = sorted({one.type for one in listed} - {MICROSOFT_CUSTOMER_AGREEMENT})
    gone = max(
        (
            one.withdrawn_on
            for one in facts.agreements
            if one.withdrawn_on and one.type == MICROSOFT_CUSTOMER_AGREEMENT
        ),
        default=None,
    )
    sentence = "The customer has not accepted the Microsoft Customer Agreement"
    if ours:
        first = min(one.agreed_on for one in ours if one.agreed_on)
        sentence = f"The acceptance of the Microsoft Customer Agreement is dated {first}, ahead"
    elif gone:
        sentence = f"Microsoft no longer lists the customer's agreement since {gone}"
    return facts.tell(
        "agreement.missing",
        "agreement",
        sentence + (f" (only {', '.join(old)})." if old else "."),
        "attest the acceptance in Partner Center, or ask the customer to sign with Microsoft",
    )


def _by(agreement: Agreement) -> str:
    who = " ".join(part for part in (agreement.contact_name, agreement.contact) if part)
    return f", by {who}" if who else ""


def _on(agreement: Agreement) -> str:
    return f" on {agreement.agreed_on}" if agreement.agreed_on else ""


def reseller_agreement(facts: StandingFacts) -> list[Finding]:
    """An indirect reseller needs an agreement of its own with Microsoft.

    It warns: Microsoft refuses new orders without it (403, code 900123), and goes on with what runs.
    """
    customer = facts.customer
    found = []
    if not customer.resellers_known:
        found.append(
            facts.tell(
                "reseller_agreement.unknown",
                "indirect resellers",
                "Partner Center does not say through which indirect resellers the customer is "
                "sold to.",
                "look up the customer's resellers in Partner Center; the sign-in of the worker "
                "may lack the right to read them",
                Severity.WARN,
            )
        )
    for one in customer.resellers:
        name = f"{one.name or one.id}{f' ({one.partner_id})' if one.partner_id else ''}"
        if one.agreement_signed is None:
            found.append(
                facts.tell(
                    "reseller_agreement.unknown",
                    f"indirect reseller {one.partner_id or one.id}",
                    f"Microsoft does not say whether the indirect reseller {name} has signed the "
                    "Microsoft Partner Agreement.",
                    "ask the reseller; its id may be wrong, or not migrated at Microsoft",
                    Severity.WARN,
                )
            )
        elif not one.agreement_signed:
            found.append(
                facts.tell(
                    "reseller_agreement.missing",
                    f"indirect reseller {one.partner_id or one.id}",
                    f"The indirect reseller {name} has not signed the Microsoft Partner Agreement.",
                    "ask the reseller to sign it in its own Partner Center: until then Microsoft "
                    "refuses new orders for the customer",
                    Severity.WARN,
                )
            )
    return found


# --- delegated administration -----------------------------------------------------------------------


def delegated_admin(facts: StandingFacts) -> list[Finding]:
    """GDAP must be active, with an active access assignment that holds the required roles.

    Its status may lag behind its end: the end is believed. Several active relationships are normal:
    for each role the one that ends last counts.
    """
    known = [one for one in facts.relationships if one.status != GONE]
    usable = _usable(facts)
    if not usable:
        return [_no_access(facts, known)]
    assigned = [one for one in usable if one.active_assignments]
    if not assigned:
        return [
            facts.tell(
                "gdap.no_assignment",
                f"delegated admin relationship {usable[0].id}",
                f"The relationship {usable[0].name} is active, but no group has access by it.",
                "wait until Microsoft has activated the assignment of a group, then run sync"
                if any(
                    each.status.lower() == "pending" for one in usable for each in one.assignments
                )
                else "assign a security group to the relationship in Partner Center",
                lost_per_day=_lost(facts),
            )
        ]
    missing = _roles_missing(facts, assigned, known)
    return missing or _ending(facts, assigned, known)


def _usable(facts: StandingFacts) -> list[DelegatedAdminRelationship]:
    """Relationships that are active today; of one that extends itself the end moves on that day."""
    return [
        one
        for one in sorted(facts.relationships, key=lambda one: one.id)
        if one.status in {"active", "expiring"}
        and (
            one.ends_on is None
            or one.ends_on > facts.today
            or (one.ends_on == facts.today and one.auto_extends and one.status == "active")
        )
    ]


def _no_access(facts: StandingFacts, known: Sequence[DelegatedAdminRelationship]) -> Finding:
    newest = max(
        (one for one in facts.relationships if one.ends_on and one.status not in _REQUESTED),
        key=lambda one: (one.ends_on or date.min, one.id),
        default=None,
    )
    ended = newest.ends_on if newest else None
    sentence = "There is no active delegated admin relationship."
    if newest and ended and ended <= facts.today:
        sentence = f"The delegated admin relationship ended on {ended}."
    elif newest:
        ended = None  # before its end, and the day is not told
        sentence = f"The delegated admin relationship {newest.name} is " + (
            "no longer listed." if newest.status == GONE else f"{newest.status}."
        )
    sentence, hint, link = _wait(
        known, sentence, "send the customer a new GDAP request and have it approved"
    )
    return facts.tell(
        "gdap.missing",
        "delegated admin relationship",
        sentence,
        hint,
        link=link,
        lost_per_day=_lost(facts, ended),
    )


def _wait(
    known: Sequence[DelegatedAdminRelationship], sentence: str, hint: str
) -> tuple[str, str, str]:
    """Tell what is on its way already: a request that waits for the customer, or for Microsoft."""
    for one in known:
        if one.status == "approvalPending":
            return (
                f"{sentence} The request {one.name} waits for the customer's approval.",
                "send the customer's administrator the link, and have the request approved",
                APPROVAL_PAGE + one.id,
            )
    for one in known:
        if one.status in _ON_THE_WAY:
            return (
                f"{sentence} The relationship {one.name} is approved and not active yet.",
                "wait until Microsoft has activated it, then run sync",
                "",
            )
    return sentence, hint, ""


def _roles_missing(
    facts: StandingFacts,
    assigned: Sequence[DelegatedAdminRelationship],
    known: Sequence[DelegatedAdminRelationship],
) -> list[Finding]:
    wanted = facts.demands.required_roles
    held = {role for one in assigned for role in _roles_of(one)}
    missing = [role for role in wanted if role not in held]
    if not missing or _EVERY in held:
        return []
    if _ANY in held:
        return [
            facts.tell(
                "gdap.roles_unknown",
                "delegated admin relationship",
                f"Which roles the groups of the relationship {assigned[0].name} hold is not known.",
                "run sync: it reads the roles of each group",
            )
        ]
    offered = {role for one in assigned for role in one.roles}
    fits = all(role in offered for role in missing)
    sentence, hint, link = _wait(
        () if fits else known,
        f"No group of ours holds the required {_named(missing)}.",
        "give a security group the role in the relationship's access assignment"
        if fits
        else "send the customer a GDAP request with the role, and assign a security group to it",
    )
    return [
        facts.tell(
            "gdap.roles_missing",
            "delegated admin relationship",
            sentence,
            hint,
            link=link,
            lost_per_day=_lost(facts),
        )
    ]


def _ending(
    facts: StandingFacts,
    assigned: Sequence[DelegatedAdminRelationship],
    known: Sequence[DelegatedAdminRelationship],
) -> list[Finding]:
    """Tell each relationship that is the last to give some role, and ends soon or extends nothing."""
    wanted = set(facts.demands.required_roles)
    latest: dict[str, DelegatedAdminRelationship] = {}
    for one in assigned:
        gives = _roles_of(one)
        for role in gives | wanted if _EVERY in gives else gives:
            if (not wanted or role in wanted) and (
                role not in latest or _until(one) > _until(latest[role])
            ):
                latest[role] = one
    if not wanted:
        # What is given by a relationship whose roles are not known may be any of them.
        unknown = latest.get(_ANY)
        for role, one in latest.items():
            if unknown and _until(unknown) > _until(one):
                latest[role] = unknown
    roles: dict[str, list[str]] = defaultdict(list)
    for role, one in latest.items():
        roles[one.id].append(role)
    last = max(map(_until, assigned))
    near = facts.today + timedelta(days=facts.demands.expiring_days)
    far = facts.today + timedelta(days=AHEAD * facts.demands.expiring_days)
    found = []
    for one in sorted(
        {each.id: each for each in latest.values()}.values(), key=lambda each: each.id
    ):
        until = _until(one)
        record = f"delegated admin relationship {one.id}"
        if one.ends_on is None and not one.auto_extends:
            found.append(
                facts.tell(
                    "gdap.end_unknown",
                    record,
                    f"Microsoft does not say when the relationship {one.name} ends.",
                    "look up its end in Partner Center, and renew it in time",
                    Severity.WARN,
                )
            )
        if until > far:
            continue
        lost = "" if until == last else f", and with it {_named(sorted(roles[one.id]))}"
        if until <= near:
            sentence, hint, link = _wait(
                known,
                f"The relationship {one.name} ends on {one.ends_on}{lost}.",
                "renew the relationship, or switch its automatic extension on",
            )
            found.append(
                facts.tell("gdap.expiring", record, sentence, hint, Severity.WARN, link=link)
            )
        else:
            found.append(
                facts.tell(
                    "gdap.not_extended",
                    record,
                    f"The relationship {one.name} ends on {one.ends_on}{lost}, and does not extend "
                    "itself.",
                    "switch its automatic extension on in Partner Center; with the role Global "
                    "Administrator Microsoft allows none: renew it in time",
                    Severity.WARN,
                )
            )
    return found


def _until(relationship: DelegatedAdminRelationship) -> date:
    if relationship.ends_on is None or relationship.auto_extends:
        return date.max
    return relationship.ends_on


def _roles_of(relationship: DelegatedAdminRelationship) -> set[str]:
    """Roles that some group holds now; not known of what an earlier version read."""
    active = [one for one in relationship.assignments if one.gives_access]
    roles = {role for one in active for role in one.roles}
    return roles or {_ANY}


def _named(roles: Iterable[str]) -> str:
    names = [_ROLES.get(role, role) for role in roles if role]
    word = "role" if len(names) == 1 else "roles"
    return f"{word} {', '.join(names)}" if names else "its roles"


# --- what it costs ---------------------------------------------------------------------------------


def _lost(facts: StandingFacts, ended: date | None = None) -> tuple[Money, ...]:
    """Return what having access was worth each day; nothing where credit was earned after its end.

    It stands beside the sentence: an amount that is another each month would undo a release.
    """
    credit = newest_credit(facts.history)
    if credit is None or (ended is not None and credit.month > f"{ended:%Y-%m}"):
        return ()
    return credit.per_day


def _days(count: int) -> str:
    return f"{count} day" if count == 1 else f"{count} days"
