"""Customers, their agreements and qualifications, and GDAP relationships, as Microsoft sends them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from domain.customer import (
    MICROSOFT_CUSTOMER_AGREEMENT,
    AccessAssignment,
    Address,
    Agreement,
    Customer,
    DelegatedAdminRelationship,
    IndirectReseller,
    Qualification,
)
from partner_center.wire import Day, Flag, Id, Text, Whole, Wire


class AddressWire(Wire):
    """An address of a company or billing profile."""

    country: Text = ""
    region: Text = ""
    state: Text = ""
    city: Text = ""
    address_line1: Text = ""
    address_line2: Text = ""
    postal_code: Text = ""

    def to_domain(self) -> Address:
        """Translate; the region stands in where there is no state: published examples fill the state."""
        return Address(
            country=self.country.upper(),
            region=self.state or self.region,
            city=self.city,
            line1=self.address_line1,
            line2=self.address_line2,
            postal_code=self.postal_code,
        )


class CompanyProfileWire(Wire):
    """The tenant's own profile; address and e-mail come by id and with access alone."""

    domain: Text = ""
    company_name: Text = ""
    organization_registration_number: Text = ""
    email: Text = ""
    address: AddressWire | None = None

    @property
    def is_shown(self) -> bool:
        """Whether we have access: without it both are left out, with it one alone may be empty."""
        return self.address is not None or bool(self.email)


class BillingProfileWire(Wire):
    """What the partner entered for billing."""

    company_name: Text = ""
    email: Text = ""
    default_address: AddressWire | None = None


class CustomerWire(Wire):
    """A Customer resource: the list entry, or the whole."""

    id: Id
    company_profile: CompanyProfileWire = CompanyProfileWire()
    billing_profile: BillingProfileWire = BillingProfileWire()
    relationship_to_partner: Text = ""
    """Left out, it is not taken for one."""

    def to_domain(
        self, qualifications: tuple[Qualification, ...] = (), *, details_known: bool = False
    ) -> Customer:
        """Translate; the company profile's name and e-mail win, the addresses are kept apart."""
        company, billing = self.company_profile, self.billing_profile
        address = company.address or AddressWire()
        billing_address = billing.default_address or AddressWire()
        return Customer(
            id=self.id,
            name=company.company_name or billing.company_name,
            domain=company.domain,
            relationship=self.relationship_to_partner,
            address=address.to_domain(),
            billing_address=billing_address.to_domain(),
            registration_number=company.organization_registration_number,
            email=company.email or billing.email,
            qualifications=qualifications,
            details_known=details_known,
        )


class QualificationWire(Wire):
    """One qualification with the state of its vetting."""

    qualification: Text
    vetting_status: Text = ""
    vetting_reason: Text = ""

    def to_domain(self) -> Qualification:
        """Translate."""
        return Qualification(
            name=self.qualification, status=self.vetting_status, reason=self.vetting_reason
        )


class ContactWire(Wire):
    """Who agreed."""

    first_name: Text = ""
    last_name: Text = ""
    email: Text = ""


class AgreementTemplateWire(Wire):
    """One version of an agreement's text; the higher rank is the newer one."""

    ALSO: ClassVar[Mapping[str, str]] = {"agreementtype": "type"}

    type: Text
    template_id: Id
    version_rank: Whole = -1
    """Below zero: it says none."""


class AgreementWire(Wire):
    """One agreement that the partner confirmed for the customer."""

    # The documentation names the kind `type`, the SDK `agreementType`.
    ALSO: ClassVar[Mapping[str, str]] = {"agreementtype": "type"}

    type: Text
    date_agreed: Day = None
    template_id: Id = ""
    primary_contact: ContactWire = ContactWire()

    def to_domain(self, customer_id: str, versions: Mapping[str, int] | None = None) -> Agreement:
        """Translate; `versions` are the ranks of the templates of its type."""
        who = self.primary_contact
        ranks = versions or {}
        return Agreement(
            customer_id=customer_id,
            type=self.type,
            agreed_on=self.date_agreed,
            template_id=self.template_id,
            contact=who.email,
            contact_name=f"{who.first_name} {who.last_name}".strip(),
            version=ranks.get(self.template_id),
            current_version=max(ranks.values(), default=None),
        )


class DirectSignedWire(Wire):
    """Whether the customer signed the Microsoft Customer Agreement with Microsoft itself."""

    is_signed: Flag

    def to_domain(self, customer_id: str) -> Agreement | None:
        """Translate to an agreement without date, or to nothing."""
        if not self.is_signed:
            return None
        return Agreement(
            customer_id=customer_id,
            type=MICROSOFT_CUSTOMER_AGREEMENT,
            agreed_on=None,
            signed_directly=True,
        )


class IndirectResellerWire(Wire):
    """A partner through whom a customer is sold to."""

    id: Id
    name: Text = ""
    mpn_id: Text = ""

    def to_domain(self, signed: bool | None) -> IndirectReseller:
        """Translate, with what Microsoft says of its own agreement."""
        return IndirectReseller(
            id=self.id, name=self.name, partner_id=self.mpn_id, agreement_signed=signed
        )


class SignedWire(Wire):
    """Whether a partner has signed Microsoft's partner agreement."""

    is_agreement_signed: Flag


class RoleWire(Wire):
    """One Entra role of a relationship."""

    role_definition_id: Id


class AccessDetailsWire(Wire):
    """The roles of a relationship."""

    unified_roles: tuple[RoleWire, ...] = ()

    @property
    def role_ids(self) -> tuple[str, ...]:
        """Entra role template ids."""
        return tuple(role.role_definition_id for role in self.unified_roles)


class ContainerWire(Wire):
    """Who holds the roles of an assignment: a security group of the partner."""

    access_container_id: Id = ""


class RelationshipCustomerWire(Wire):
    """The customer side of a relationship, once there is one."""

    tenant_id: Id = ""


class AssignmentWire(Wire):
    """One access assignment: a security group that holds roles of the relationship."""

    id: Id
    status: Text = ""
    access_container: ContainerWire = ContainerWire()
    access_details: AccessDetailsWire = AccessDetailsWire()

    def to_domain(self) -> AccessAssignment:
        """Translate."""
        return AccessAssignment(
            group_id=self.access_container.access_container_id,
            status=self.status,
            roles=self.access_details.role_ids,
        )


class RelationshipWire(Wire):
    """A GDAP relationship; customer and dates are null before it is locked and activated."""

    id: Id
    display_name: Text = ""
    customer: RelationshipCustomerWire = RelationshipCustomerWire()
    access_details: AccessDetailsWire = AccessDetailsWire()
    status: Text = ""
    auto_extend_duration: Text = ""
    activated_date_time: Day = None
    end_date_time: Day = None

    @property
    def may_give_access(self) -> bool:
        """Whether its assignments are worth asking for."""
        return self.status.lower() in ("active", "expiring")

    def to_domain(self, assignments: Sequence[AccessAssignment] = ()) -> DelegatedAdminRelationship:
        """Translate; access ends during the day of endDateTime, so that day is not counted on."""
        return DelegatedAdminRelationship(
            id=self.id,
            name=self.display_name,
            customer_id=self.customer.tenant_id,
            status=self.status,
            roles=self.access_details.role_ids,
            active_assignments=sum(one.gives_access for one in assignments),
            assignments=tuple(assignments),
            activated_on=self.activated_date_time,
            ends_on=self.end_date_time,
            auto_extends=self.auto_extend_duration.upper() not in ("", "P0D", "PT0S"),
        )
