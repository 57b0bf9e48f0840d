"""A customer tenant of the partner, and what allows us to sell to it and to read its data."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

MICROSOFT_CUSTOMER_AGREEMENT = "MicrosoftCustomerAgreement"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where somebody is, in the words of whoever holds it; parts may be empty."""

    country: str = ""
    region: str = ""
    city: str = ""
    line1: str = ""
    line2: str = ""
    postal_code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A row of the standard account table: who is billed, as Dynamics knows it."""

    id: str
    name: str
    number: str = ""
    address: Address = field(default_factory=Address)
    tax_number: str = ""
    currency: str = ""
    """ISO 4217 code of the row's currency; empty: none is chosen, or the environment lost it."""
    active: bool = True
    """False where somebody deactivated the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualification:
    """A customer's right to a price segment (education, nonprofit, government)."""

    name: str
    status: str
    """Open enum: Approved, InReview, Denied, ... as Microsoft writes it; Approved alone counts."""
    reason: str = ""
    """Why it was denied, in Microsoft's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndirectReseller:
    """A partner between us and a customer: it needs an agreement of its own with Microsoft."""

    id: str
    """Its tenant id."""
    name: str
    partner_id: str = ""
    """MPN id, now PLA id."""
    agreement_signed: bool | None = None
    """None: Microsoft does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """One Partner Center customer tenant; `id` is its tenant id.

    `details_known` is False where only the list entry could be read (access lost): then the fields
    that come by id alone are unknown, not empty.
    """

    id: str
    name: str
    domain: str
    relationship: str = "reseller"
    """Open enum: reseller, advisor, none, ... as Microsoft writes it."""
    address: Address = field(default_factory=Address)
    """Of the company profile: the tenant's own. Hidden (empty) where access was lost."""
    billing_address: Address = field(default_factory=Address)
    """Of the billing profile: what the partner entered for the customer at Microsoft."""
    registration_number: str = ""
    email: str = ""
    qualifications: tuple[Qualification, ...] = ()
    details_known: bool = True
    resellers: tuple[IndirectReseller, ...] = ()
    resellers_known: bool = True
    """False where Microsoft did not say through whom the customer is sold to."""
    stale_since: date | None = None
    """First day on which it could not be read whole: what stands here is of before. None: it could."""

    @property
    def key(self) -> str:
        """Identity from meaning."""
        return f"customer/{self.id}"

    @property
    def market(self) -> str:
        """Country in which Microsoft sells to it; empty where neither profile tells one."""
        return (self.address.country or self.billing_address.country).upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One agreement of a customer with Microsoft, attested by the partner or signed directly."""

    customer_id: str
    type: str
    """MicrosoftCustomerAgreement counts; MicrosoftCloudAgreement is the old one."""
    agreed_on: date | None
    """None when the customer signed with Microsoft directly: the API gives no date."""
    template_id: str = ""
    contact: str = ""
    """E-mail address of the person who agreed; may be empty."""
    contact_name: str = ""
    signed_directly: bool = False
    version: int | None = None
    """Rank of the version that was accepted; None: Microsoft does not list its template."""
    current_version: int | None = None
    """Rank of the newest version of its type when it was read; None: not known."""
    withdrawn_on: date | None = None
    """Day from which Microsoft no longer lists it: it counts no more."""

    @property
    def key(self) -> str:
        """Identity from meaning."""
        when = self.agreed_on or ("direct" if self.signed_directly else "undated")
        return f"agreement/{self.customer_id}/{self.type}/{when}"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessAssignment:
    """A security group of the partner that holds roles of a GDAP relationship."""

    group_id: str
    status: str
    """Open enum: pending, active, deleting, deleted, error, ... as Microsoft writes it."""
    roles: tuple[str, ...] = ()
    """Entra role template ids."""

    @property
    def gives_access(self) -> bool:
        """Only an active assignment does."""
        return self.status.lower() == "active"


GONE = "gone"
"""Our own word beside Microsoft's for a relationship that is no longer listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegatedAdminRelationship:
    """One GDAP relationship; gives access only while active and with an active assignment."""

    id: str
    name: str
    customer_id: str
    """Empty until the relationship is locked to a customer."""
    status: str
    """Open enum: created, approvalPending, active, expiring, expired, terminated, ..."""
    roles: tuple[str, ...] = ()
    """Entra role template ids."""
    active_assignments: int = 0
    assignments: tuple[AccessAssignment, ...] = ()
    """Read while the relationship may give access; empty as well where an earlier version read it."""
    activated_on: date | None = None
    ends_on: date | None = None
    """First day without access."""
    auto_extends: bool = False
    stale_since: date | None = None
    """First day on which it could not be read: what stands here is of before. None: it could."""

    @property
    def key(self) -> str:
        """Identity from meaning."""
        return f"gdap/{self.id}"
