"""Customer tenants, their agreements and their delegated administration, in the published shapes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import Any, TypeVar

from emulator.terms import stamp
from emulator.wire import derived_guid

Resource = dict[str, Any]
Value = TypeVar("Value")

# How long before its end a relationship counts as expiring: not published, see section 7.
EXPIRING = timedelta(days=30)
EXTENSION = timedelta(days=180)
ADDRESS_FIELDS = (
    "country",
    "region",
    "city",
    "state",
    "addressLine1",
    "addressLine2",
    "postalCode",
    "phoneNumber",
)
OLD_AGREEMENT = "MicrosoftCloudAgreement"
CUSTOMER_AGREEMENT = "MicrosoftCustomerAgreement"
_AGREEMENTS = {
    OLD_AGREEMENT: (
        "998b88de-aa99-4388-a42c-1b3517d49490",
        "https://docs.microsoft.com/partner-center/agreements",
    ),
    CUSTOMER_AGREEMENT: (
        "117a77b0-9360-443b-8795-c6dedc750cf9",
        "https://aka.ms/customeragreement",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """A consent that the partner confirmed; ``contact`` is who agreed, else the tenant's own.

    Without a ``template`` it is the first version of its kind.
    """

    kind: str
    agreed: date
    contact: tuple[str, str, str, str] | None = None
    template: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reseller:
    """An indirect reseller under the partner."""

    tenant_id: str
    name: str
    mpn_id: str
    signed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualification:
    """A special qualification and how far its vetting is."""

    name: str
    vetting: str
    reason: str = ""
    created: date | None = None
    # What the vetting comes to by the clock, and when.
    decision: tuple[datetime, str] | None = None

    def vetting_at(self, now: datetime) -> str:
        """How far the vetting is at an instant."""
        if self.decision is not None and self.decision[0] <= now:
            return self.decision[1]
        return self.vetting


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One customer; ``recon_mpn_id`` stands on its lines instead of the partner's own id.

    ``recon_reseller_id``, where it is given, stands there as the reseller, whatever sold them.
    """

    id: str
    commerce_id: str
    profile_id: str
    company: str
    domain: str
    country: str
    region: str
    city: str
    postal_code: str
    street: str
    first_name: str
    last_name: str
    email: str
    phone: str
    segment: str = "Commercial"
    registration_number: str | None = None
    vat_number: str = ""
    agreements: tuple[Agreement, ...] = ()
    direct_signed: bool = False
    reseller: Reseller | None = None
    qualifications: tuple[Qualification, ...] = ()
    validation: str = "Allowed"
    recon_mpn_id: str | None = None
    recon_reseller_id: str | None = None
    # What the company changed of its address; what it pays in stays as it was.
    moved: tuple[tuple[str, str], ...] = ()
    left: bool = False
    accepted: tuple[datetime, ...] = ()

    @property
    def billing_currency(self) -> str:
        """The currency of the partner's invoice that this customer's lines stand on."""
        return "USD" if self.country == "US" else "EUR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A security group's roles in a relationship; ``steps`` and ``updates`` come from writes."""

    id: str
    group_id: str
    status: str
    roles: tuple[str, ...]
    created: datetime
    steps: tuple[tuple[datetime, str], ...] = ()
    updates: tuple[tuple[datetime, tuple[str, ...]], ...] = ()

    def status_at(self, now: datetime) -> str:
        """The status as of an instant."""
        return _last(self.steps, now, self.status)

    def roles_at(self, now: datetime) -> tuple[str, ...]:
        """The roles as of an instant."""
        return _last(self.updates, now, self.roles)

    def modified(self, now: datetime) -> datetime:
        """When it was last changed, as of an instant."""
        written = [at for at, _ in (*self.steps, *self.updates) if at <= now]
        if written:
            return max(written)
        return self.created if self.steps else self.created + timedelta(minutes=7)

    def history(self, until: datetime) -> list[tuple[datetime, str]]:
        """What happened to it, in the words of events."""
        words = {"pending": "created", "active": "activated", "deleted": "deleted"}
        found = [(at, words[status]) for at, status in self.steps if status in words]
        found += [(at, "updated") for at, _ in self.updates]
        return [one for one in sorted(found) if one[0] <= until]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relationship:
    """A GDAP relationship; its end and status follow from activation, duration and the clock."""

    id: str
    name: str
    customer: tuple[str, str] | None
    days: int
    roles: tuple[str, ...]
    created: datetime
    activated: datetime | None = None
    extends: bool = False
    # A status that the clock does not decide: everything but active, expiring and expired.
    fixed_status: str | None = None
    assignments: tuple[Assignment, ...] = ()
    through_provider: str | None = None
    # What writes brought it to and when; from the first step on they decide, not `fixed_status`.
    steps: tuple[tuple[datetime, str], ...] = ()
    # Its end when extension was switched last, and how often it was written to.
    ends: datetime | None = None
    version: int = 0

    def end(self, now: datetime) -> datetime | None:
        """Activation plus duration, extended by six months at a time where that is on."""
        if self.activated is None or self.activated > now:
            return None
        end = self.ends or self.activated + timedelta(days=self.days)
        over = [at for at, status in self.steps if status.startswith("terminat") and at <= now]
        while self.extends and self.fixed_status is None and end <= min([now, *over]):
            end += EXTENSION
        return end

    def status(self, now: datetime) -> str:
        """The status as of an instant."""
        end = self.end(now)
        written = _last(self.steps, now, self.fixed_status)
        if written not in (None, "active") or end is None:
            return written or "created"
        if now >= end:
            return "expired"
        return "expiring" if not self.extends and now >= end - EXPIRING else "active"

    def modified(self, now: datetime) -> datetime:
        """When it was last changed, as of an instant."""
        if self.status(now) in {"expired", "terminated"} and not self.steps:
            return self.end(now) or self.created
        activated = [self.activated] if self.activated and self.activated <= now else []
        return max([self.created, *activated, *(at for at, _ in self.steps if at <= now)])

    def history(self, until: datetime) -> list[tuple[datetime, str]]:
        """The statuses it went through, with when."""
        found = [step for step in self.steps if step[0] <= until]
        end = self.end(until)
        if end is not None and self.status(until) == "expired":
            found.append((end, "expired"))
        return found


def _last(steps: Sequence[tuple[datetime, Value]], now: datetime, first: Value) -> Value:
    """The value of the last step that was reached, or what was there before any."""
    return next((value for at, value in reversed(steps) if at <= now), first)


def link(uri: str) -> Resource:
    """A v1 link."""
    return {"uri": uri, "method": "GET", "headers": []}


def customer_resource(tenant: Tenant, *, reachable: bool) -> Resource:
    """The v1 Customer by id; without delegated access it lacks address, e-mail and domains."""
    path = f"/customers/{tenant.id}"
    company: Resource = {
        "tenantId": tenant.id,
        "domain": tenant.domain,
        "companyName": tenant.company,
        "organizationRegistrationNumber": tenant.registration_number,
    }
    if reachable:
        company["address"] = {
            "country": tenant.country,
            "region": tenant.region,
            "city": tenant.city,
            "state": tenant.region,
            "addressLine1": tenant.street,
            "addressLine2": "",
            "postalCode": tenant.postal_code,
            "phoneNumber": tenant.phone,
        } | dict(tenant.moved)
        company["email"] = tenant.email
    company["links"] = {"self": link(f"{path}/profiles/company")}
    company["attributes"] = {"objectType": "CustomerCompanyProfile"}
    culture = _CULTURES[tenant.country]
    customer: Resource = {
        "id": tenant.id,
        "commerceId": tenant.commerce_id,
        "companyProfile": company,
        "billingProfile": {
            "id": tenant.profile_id,
            "firstName": tenant.first_name,
            "lastName": tenant.last_name,
            "email": tenant.email,
            "culture": culture,
            "language": culture[:2],
            "companyName": tenant.company,
            "defaultAddress": {
                "country": tenant.country,
                "city": tenant.city,
                "state": tenant.region,
                "addressLine1": tenant.street,
                "postalCode": tenant.postal_code,
                "firstName": tenant.first_name,
                "lastName": tenant.last_name,
                "phoneNumber": tenant.phone,
            },
            "links": {"self": link(f"{path}/profiles/billing")},
            "attributes": {
                "etag": str(-int(sha256(tenant.id.encode()).hexdigest()[:15], 16)),
                "objectType": "CustomerBillingProfile",
            },
        },
        "relationshipToPartner": "reseller",
        "allowDelegatedAccess": reachable,
        "associatedPartnerId": tenant.reseller.mpn_id if tenant.reseller else None,
    }
    if reachable:
        customer["customDomains"] = [tenant.domain, tenant.email.partition("@")[2]]
    customer["links"] = {"self": link(path)}
    customer["attributes"] = {"objectType": "Customer"}
    return customer


_CULTURES = {
    "US": "en-US",
    "GB": "en-GB",
    "IE": "en-IE",
    "DE": "de-DE",
    "AT": "de-AT",
    "FR": "fr-FR",
    "NL": "nl-NL",
    "ES": "es-ES",
}


def template_of(agreement: Agreement) -> str:
    """Which text was agreed to."""
    return agreement.template or _AGREEMENTS[agreement.kind][0]


def agreement_resource(tenant: Tenant, agreement: Agreement, user_id: str) -> Resource:
    """The v1 Agreement."""
    address = _AGREEMENTS[agreement.kind][1]
    own = (tenant.first_name, tenant.last_name, tenant.email, tenant.phone)
    names = ("firstName", "lastName", "email", "phoneNumber")
    return {
        "primaryContact": dict(zip(names, agreement.contact or own, strict=True)),
        "templateId": template_of(agreement),
        "dateAgreed": f"{agreement.agreed.isoformat()}T00:00:00",
        "type": agreement.kind,
        "agreementLink": address,
        "userId": user_id,
    }


def agreement_metadata(kind: str, rank: int = 0) -> Resource:
    """What may be agreed to: the v1 AgreementMetaData of a kind and version."""
    template, address = _AGREEMENTS[kind]
    return {
        "templateId": derived_guid("agreement", kind, rank) if rank else template,
        "agreementType": kind,
        "agreementLink": address,
        "versionRank": rank,
    }


def qualification_resource(qualification: Qualification, now: datetime) -> Resource:
    """One row of the v1 qualifications array."""
    row: Resource = {
        "qualification": qualification.name,
        "vettingStatus": qualification.vetting_at(now),
    }
    if qualification.reason:
        row["vettingReason"] = qualification.reason
    if qualification.created:
        row["vettingCreatedDate"] = f"{qualification.created.isoformat()}T10:37:38.885Z"
    return row


def reseller_resource(reseller: Reseller) -> Resource:
    """The v1 PartnerRelationship of an indirect reseller."""
    return {
        "id": reseller.tenant_id,
        "name": reseller.name,
        "relationshipType": "is_indirect_cloud_solution_provider_of",
        "mpnId": reseller.mpn_id,
        "location": "US",
        "state": "Active",
        "attributes": {"objectType": "PartnerRelationship"},
    }


def relationship_resource(relationship: Relationship, now: datetime) -> Resource:
    """The Graph delegatedAdminRelationship as of an instant."""
    end, status, activated = relationship.end(now), relationship.status(now), relationship.activated
    kind = "resellerDelegatedAdminRelationship" if relationship.through_provider else ""
    resource: Resource = {
        "@odata.type": f"#microsoft.graph.{kind or 'delegatedAdminRelationship'}",
        "@odata.etag": _etag(f"{relationship.id}/{status}/{end}", relationship.version),
        "id": relationship.id,
        "displayName": relationship.name,
        "duration": f"P{relationship.days}D",
        "customer": None,
        "accessDetails": _roles(relationship.roles),
        "status": status,
        "autoExtendDuration": "P180D" if relationship.extends else "PT0S",
        "createdDateTime": stamp(relationship.created),
        "lastModifiedDateTime": stamp(relationship.modified(now)),
        "activatedDateTime": stamp(activated) if activated and activated <= now else None,
        "endDateTime": stamp(end) if end else None,
    }
    if relationship.customer is not None:
        tenant_id, name = relationship.customer
        resource["customer"] = {"tenantId": tenant_id, "displayName": name}
    if relationship.through_provider:
        resource["isPartnerConsentPending"] = False
        resource["indirectProviderTenantId"] = relationship.through_provider
    return resource


def assignment_resource(assignment: Assignment, now: datetime) -> Resource:
    """The Graph delegatedAdminAccessAssignment as of an instant."""
    status, version = assignment.status_at(now), len(assignment.updates)
    return {
        "@odata.type": "#microsoft.graph.delegatedAdminAccessAssignment",
        "@odata.etag": _etag(f"{assignment.id}/{status}", version),
        "id": assignment.id,
        "status": status,
        "createdDateTime": stamp(assignment.created),
        "lastModifiedDateTime": stamp(assignment.modified(now)),
        "accessContainer": {
            "accessContainerId": assignment.group_id,
            "accessContainerType": "securityGroup",
        },
        "accessDetails": _roles(assignment.roles_at(now)),
    }


def _roles(roles: tuple[str, ...]) -> Resource:
    return {"unifiedRoles": [{"roleDefinitionId": role} for role in roles]}


def _etag(state: str, version: int = 0) -> str:
    version_of = f"{state}/{version}" if version else state
    digest = sha256(version_of.encode()).hexdigest()
    inner = f"'\"{digest[:8]}-0000-0800-0000-{digest[8:16]}0000\"'"
    return f'W/"{base64.b64encode(inner.encode()).decode()}"'
