"""How a customer stands to the partner: relationship, agreements, qualifications, address; and changes.

A change makes a new tenant in place of the old one. What a customer pays in and what was billed
stay as they were: an address that moves moves no price list and no invoice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from emulator.authoring import Content
from emulator.clock import Clock
from emulator.history import CommerceError
from emulator.invoicing import Account
from emulator.resources import Actor, audit_record
from emulator.tenants import (
    ADDRESS_FIELDS,
    CUSTOMER_AGREEMENT,
    OLD_AGREEMENT,
    Agreement,
    Qualification,
    Resource,
    Tenant,
    agreement_metadata,
    agreement_resource,
    qualification_resource,
    template_of,
)


class Standing:
    """The accounts of a scenario by tenant, and what the partner and the others change about them."""

    def __init__(self, content: Content, *, clock: Clock, forget: Callable[[], None]) -> None:
        self._content = content
        self._clock = clock
        self._forget = forget
        self.accounts: dict[str, Account] = {one.tenant.id: one for one in content.accounts}
        self._versions = 1
        self._acts: list[tuple[datetime, str, str, Resource | None, Resource]] = []

    def change(self, customer_id: str, **changes: Any) -> None:
        """Change what is known of a customer; ValueError where there is none."""
        account = self.accounts.get(customer_id)
        if account is None:
            raise ValueError(f"there is no customer {customer_id}")
        changed = replace(account, tenant=replace(account.tenant, **changes))
        place = self._content.accounts.index(account)
        self._content.accounts[place] = self.accounts[customer_id] = changed
        self._forget()

    def _tenant(self, customer_id: str) -> Tenant:
        if customer_id not in self.accounts:
            raise ValueError(f"there is no customer {customer_id}")
        return self.accounts[customer_id].tenant

    def leave(self, customer_id: str) -> None:
        """End the reseller relationship."""
        if self._tenant(customer_id).left:
            raise ValueError("there is no reseller relationship to end")
        self.change(customer_id, left=True)

    def remove(self, customer_id: str) -> None:
        """End it by the partner's hand, which the audit trail tells."""
        self.leave(customer_id)
        before, after = _customer(customer_id, "reseller"), _customer(customer_id, "none")
        self._note(customer_id, "remove_partner_customer_relationship", before, after)

    def _note(self, customer_id: str, operation: str, old: Resource | None, new: Resource) -> None:
        self._acts.append((self._clock.now(), customer_id, operation, old, new))

    def audit_records(
        self, actor: Actor, since: datetime, until: datetime
    ) -> list[tuple[datetime, Resource]]:
        """Audit records of what was done to a customer's standing, with when."""
        return [
            (
                at,
                audit_record(
                    actor,
                    self.accounts[customer_id].tenant,
                    operation,
                    at=at,
                    old=old,
                    new=new,
                    facts={"CustomerId": customer_id},
                ),
            )
            for at, customer_id, operation, old, new in self._acts
            if since <= at <= until
        ]

    def accept(self, customer_id: str) -> None:
        """Begin the reseller relationship again."""
        tenant = self._tenant(customer_id)
        if not tenant.left:
            raise ValueError("there is a reseller relationship already")
        self.change(customer_id, left=False, accepted=(*tenant.accepted, self._clock.now()))
        after = _customer(customer_id, "reseller")
        self._note(customer_id, "reseller_relationship_accepted_by_customer", None, after)

    def move(self, customer_id: str, address: Mapping[str, str]) -> None:
        """Change the company's address, the fields that are given."""
        known = ADDRESS_FIELDS
        if unknown := address.keys() - known:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        changed = dict(self._tenant(customer_id).moved) | dict(address)
        self.change(customer_id, moved=tuple(changed.items()))

    def agreement_versions(self, wanted: str) -> list[Resource]:
        """What may be agreed to, of a kind or ("*") of all; every version, the oldest first."""
        newer = [agreement_metadata(CUSTOMER_AGREEMENT, rank) for rank in range(self._versions)]
        known = [agreement_metadata(OLD_AGREEMENT), *newer]
        return [row for row in known if wanted in ("*", row["agreementType"])]

    def publish_agreement(self) -> Resource:
        """Microsoft publishes another version of the customer agreement."""
        self._versions += 1
        return self.agreement_versions(CUSTOMER_AGREEMENT)[-1]

    def confirm_agreement(self, customer_id: str, agreement: Agreement, user_id: str) -> None:
        """The partner confirms that a customer consented; once for each version."""
        held = self._tenant(customer_id).agreements
        if any(template_of(one) == template_of(agreement) for one in held):
            raise CommerceError(
                400, "600061", "A partner confirmed agreement already exists for the customer."
            )
        self.change(customer_id, agreements=(*held, agreement))
        content = agreement_resource(self._tenant(customer_id), agreement, user_id)
        new = content | {"attributes": {"objectType": "Agreement"}}
        self._note(customer_id, "create_agreement", None, new)

    def ask_qualification(self, customer_id: str, asked: Qualification) -> Resource:
        """Ask for a qualification; one that was denied may be asked for again."""
        now, held = self._clock.now(), self._tenant(customer_id).qualifications
        if any(one.name == asked.name and one.vetting_at(now) != "Denied" for one in held):
            raise CommerceError(409, "3000", "The customer has this qualification already.")
        others = tuple(one for one in held if one.name != asked.name)
        self.change(customer_id, qualifications=(*others, asked))
        return qualification_resource(asked, now)

    def vet(self, customer_id: str, name: str, status: str, reason: str) -> None:
        """Decide on a qualification now."""
        held = self._tenant(customer_id).qualifications
        if not any(one.name.lower() == name.lower() for one in held):
            raise ValueError(f"the customer has not asked for {name}")
        self.change(
            customer_id,
            qualifications=tuple(
                replace(one, vetting=status, reason=reason, decision=None)
                if one.name.lower() == name.lower()
                else one
                for one in held
            ),
        )

    def sign_reseller(self, mpn_id: str, *, signed: bool) -> None:
        """An indirect reseller signs the partner agreement, or its own lapses."""
        rows = self._content.resellers
        for place, reseller in enumerate(rows):
            if reseller.mpn_id == mpn_id:
                rows[place] = replace(reseller, signed=signed)
                return
        raise ValueError(f"there is no indirect reseller {mpn_id}")


def _customer(customer_id: str, relationship: str) -> Resource:
    return {
        "id": customer_id,
        "relationshipToPartner": relationship,
        "attributes": {"objectType": "Customer"},
    }
