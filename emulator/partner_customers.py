"""Partner Center v1: customers, whether they may be sold to, the audit trail, own profiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Any

from werkzeug.wrappers import Request, Response

from emulator import wire
from emulator.control import Stage
from emulator.history import CommerceError
from emulator.partner_wire import (
    APP_TOO,
    CUSTOMER,
    USER_ONLY,
    BadQueryError,
    RefusalError,
    Resource,
    Route,
    collection,
    known_customer,
    link,
    matcher,
    read_resource,
    seek_page,
)
from emulator.tenants import (
    CUSTOMER_AGREEMENT,
    OLD_AGREEMENT,
    Agreement,
    Qualification,
)

AUDIT_DAYS = 90


class Customers:
    """Handlers of everything about customers but what they bought."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._written = 0
        self._billing_profiles: dict[str, Resource] = {}
        self.routes: list[Route] = [
            ("GET", "/v1/customers", self._customers, APP_TOO),
            ("GET", "/v1/customers/relationshiprequests", self._invitation, USER_ONLY),
            ("GET", CUSTOMER, self._customer, APP_TOO),
            ("GET", CUSTOMER + "/profiles/company", self._company_profile, APP_TOO),
            ("GET", CUSTOMER + "/profiles/billing", self._billing_profile, APP_TOO),
            ("PUT", CUSTOMER + "/profiles/billing", self._put_billing_profile, USER_ONLY),
            ("PATCH", CUSTOMER, self._patch_customer, USER_ONLY),
            ("GET", CUSTOMER + "/agreements", self._agreements, USER_ONLY),
            ("POST", CUSTOMER + "/agreements", self._confirm_agreement, USER_ONLY),
            ("GET", "/v1/agreements", self._agreement_metadata, USER_ONLY),
            (
                "GET",
                CUSTOMER + "/directSignedMicrosoftCustomerAgreementStatus",
                self._direct_signed,
                USER_ONLY,
            ),
            ("GET", CUSTOMER + "/relationships", self._indirect_resellers, USER_ONLY),
            ("GET", CUSTOMER + "/qualifications", self._qualifications, APP_TOO),
            ("POST", CUSTOMER + "/qualifications", self._ask_qualification, USER_ONLY),
            ("GET", CUSTOMER + "/validationStatus", self._validation_status, APP_TOO),
            ("GET", "/v1/compliance/csp/agreementstatus", self._agreement_status, USER_ONLY),
            ("GET", "/v1/relationships", self._relationships, USER_ONLY),
            ("GET", "/v1/auditrecords", self._audit_records, USER_ONLY),
            ("GET", "/auditactivity/v1/auditrecords/{record}", self._audit_record, USER_ONLY),
            ("GET", "/v1/profiles/mpn", self._mpn_profile, APP_TOO),
            ("GET", "/v1/profiles/legalbusiness", self._legal_profile, USER_ONLY),
            ("GET", "/v1/profiles/organization", self._organization_profile, USER_ONLY),
        ]

    def reset(self) -> None:
        """Forget changed billing profiles."""
        self._written = 0
        self._billing_profiles.clear()

    def _customers(self, request: Request) -> Response:
        fields: dict[str, Callable[[Resource], object]] = {
            "CompanyName": lambda row: row["companyProfile"]["companyName"],
            "Domain": lambda row: row["companyProfile"]["domain"],
            "IndirectReseller": self._reseller_ids,
            "IndirectCloudSolutionProvider": self._reseller_ids,
        }
        fits = matcher(request.args.get("filter"), fields)
        items = [_listed(row) for row in self._stage.world.customers() if fits(row)]
        cap = self._stage.control.settings.page_size_cap
        return wire.json_response(
            seek_page(items, request, cap=cap, path="/v1/customers", next_path="/customers")
        )

    def _reseller_ids(self, customer: Resource) -> list[str]:
        resellers = self._stage.world.indirect_resellers(customer["id"])
        return [value for row in resellers for value in (row["mpnId"], row["id"])]

    def _invitation(self, request: Request) -> Response:
        del request
        partner = self._stage.world.partner.tenant_id
        page = "https://admin.microsoft.com/Adminportal/Home?invType=ResellerRelationship"
        return wire.json_response({"url": f"{page}&partnerId={partner}#/BillingAccounts"})

    def _customer(self, request: Request, customer: str) -> Response:
        del request
        if wire.is_guid(customer) and self._stage.world.customer(customer.lower()) is None:
            raise RefusalError(404, "60003", "The tenant was not found.")
        found = known_customer(self._stage.world, customer)
        answer = dict(found)
        if "billingProfile" in answer:
            answer["billingProfile"] = self._profile(found)
        return wire.json_response(answer)

    def _company_profile(self, request: Request, customer: str) -> Response:
        del request
        return wire.json_response(known_customer(self._stage.world, customer)["companyProfile"])

    def _profile(self, customer: Resource) -> Resource:
        changed = self._billing_profiles.get(customer["id"])
        return dict(customer["billingProfile"]) if changed is None else changed

    def _billing_profile(self, request: Request, customer: str) -> Response:
        del request
        return wire.json_response(self._profile(known_customer(self._stage.world, customer)))

    def _put_billing_profile(self, request: Request, customer: str) -> Response:
        found = known_customer(self._stage.world, customer)
        profile = self._profile(found)
        sent = request.headers.get("If-Match", "").strip('"')
        if not sent:
            raise RefusalError(400, "3000", "The header If-Match is required.")
        if sent != profile["attributes"]["etag"]:
            raise RefusalError(400, "2055", "Etag is no longer valid")
        self._written += 1
        etag = str(-int(wire.derived_guid(sent, self._written).replace("-", "")[:15], 16))
        changed = profile | read_resource(request) | {"id": profile["id"]}
        changed["attributes"] = {"etag": etag, "objectType": "CustomerBillingProfile"}
        self._billing_profiles[found["id"]] = changed
        return wire.json_response(changed)

    # --- may this customer be sold to ----------------------------------------------------------

    def _agreements(self, request: Request, customer: str) -> Response:
        owner = known_customer(self._stage.world, customer)["id"]
        kind = request.args.get("agreementType")
        return wire.json_response(collection(self._stage.world.agreements(owner, kind)))

    def _agreement_metadata(self, request: Request) -> Response:
        wanted = request.args.get("agreementType", OLD_AGREEMENT)
        rows = self._stage.world.standing.agreement_versions(wanted)
        return wire.json_response(collection(rows, "/agreements"))

    def _confirm_agreement(self, request: Request, customer: str) -> Response:
        owner = known_customer(self._stage.world, customer)["id"]
        body = read_resource(request)
        contact = body.get("primaryContact")
        contact = contact if isinstance(contact, dict) else {}
        missing = [
            name for name in ("firstName", "lastName", "email") if not _text(contact.get(name))
        ]
        if missing:
            raise BadQueryError(f"primaryContact: {', '.join(missing)} missing.")
        kind = body.get("type")
        if kind != CUSTOMER_AGREEMENT:
            raise BadQueryError(f"type must be {CUSTOMER_AGREEMENT}.")
        versions = self._stage.world.standing.agreement_versions(CUSTOMER_AGREEMENT)
        if body.get("templateId") not in [row["templateId"] for row in versions]:
            raise BadQueryError("templateId is not that of the agreement.")
        agreed = _date_agreed(body.get("dateAgreed"), self._stage.clock.today())
        phone = contact.get("phoneNumber") or ""
        who = (contact["firstName"], contact["lastName"], contact["email"], str(phone))
        try:
            self._stage.world.standing.confirm_agreement(
                owner,
                Agreement(
                    kind=CUSTOMER_AGREEMENT,
                    agreed=agreed,
                    contact=who,
                    template=body["templateId"],
                ),
                self._stage.world.partner.user_id,
            )
        except CommerceError as error:
            raise RefusalError(error.http, 600061, error.description, body=_DUPLICATE) from error
        answer = {
            "userId": self._stage.world.partner.user_id,
            "primaryContact": contact,
            "templateId": body["templateId"],
            "dateAgreed": body["dateAgreed"],
            "type": kind,
        }
        return wire.json_response(answer, 201)

    def _patch_customer(self, request: Request, customer: str) -> Response:
        """Remove the reseller relationship: the one change of a customer that Microsoft takes."""
        owner = known_customer(self._stage.world, customer)["id"]
        if read_resource(request).get("relationshipToPartner") != "none":
            raise BadQueryError("Only relationshipToPartner none can be asked for.")
        active = [
            row["id"] for row in self._stage.world.subscriptions(owner) if row["status"] == "active"
        ]
        if active:
            # That it is refused is documented, its code is not.
            raise BadQueryError(f"The customer has {len(active)} active subscriptions.")
        self._stage.world.standing.remove(owner)
        return wire.json_response(_REMOVED)

    def _ask_qualification(self, request: Request, customer: str) -> Response:
        owner = known_customer(self._stage.world, customer)["id"]
        body = read_resource(request)
        name = _QUALIFICATIONS.get(str(body.get("qualification", "")).lower())
        if name is None:
            raise BadQueryError("The qualification cannot be asked for.")
        if name == "Education":
            if body.get("educationSegment") not in ("K12", "HigherEducation"):
                raise BadQueryError("educationSegment must be K12 or HigherEducation.")
            if not _text(body.get("website")):
                raise BadQueryError("website is missing.")
        now = self._stage.clock.now()
        wait = timedelta(seconds=self._stage.control.settings.vetting_seconds)
        asked = Qualification(
            name=name, vetting="InReview", created=now.date(), decision=(now + wait, "Approved")
        )
        return wire.json_response(self._stage.world.standing.ask_qualification(owner, asked), 201)

    def _direct_signed(self, request: Request, customer: str) -> Response:
        del request
        owner = known_customer(self._stage.world, customer)["id"]
        return wire.json_response({"isSigned": self._stage.world.direct_signed(owner)})

    def _agreement_status(self, request: Request) -> Response:
        mpn, tenant = request.args.get("mpnId"), request.args.get("tenantId")
        controllers = "PartnerApiServiceControllers"
        if (mpn is None) == (tenant is None):
            raise RefusalError(400, 2000, "Either mpnId or tenantId is required.", controllers)
        if mpn is not None and not mpn.isdecimal():
            raise RefusalError(400, 2000, "MPN Id must be numeric.", controllers)
        if tenant is not None and not wire.is_guid(tenant):
            raise RefusalError(400, 2000, "Tenant Id must be a GUID.", controllers)
        signed = self._stage.world.reseller_agreement_signed(
            mpn_id=mpn, tenant_id=tenant and tenant.lower()
        )
        if signed is None:
            who = f"MPN Id {mpn}" if mpn is not None else f"Tenant Id {tenant}"
            raise RefusalError(400, 2200, f"{who} is either invalid or not yet migrated.")
        return wire.json_response({"isAgreementSigned": signed})

    def _indirect_resellers(self, request: Request, customer: str) -> Response:
        del request
        rows = self._stage.world.indirect_resellers(
            known_customer(self._stage.world, customer)["id"]
        )
        return wire.json_response(collection(rows))

    def _relationships(self, request: Request) -> Response:
        kind = request.args.get("relationship_type", "")
        known = {"isindirectcloudsolutionproviderof", "isindirectresellerof"}
        if kind.lower() not in known:
            raise RefusalError(400, "3000", "The relationship type is not valid.")
        rows: dict[str, Resource] = {}
        if kind.lower() == "isindirectcloudsolutionproviderof":
            for customer in self._stage.world.customers():
                for row in self._stage.world.indirect_resellers(customer["id"]):
                    rows.setdefault(row["id"], row)
        return wire.json_response(collection(list(rows.values()), "/relationships"))

    def _qualifications(self, request: Request, customer: str) -> Response:
        del request
        return wire.json_response(
            self._stage.world.qualifications(known_customer(self._stage.world, customer)["id"])
        )

    def _validation_status(self, request: Request, customer: str) -> Response:
        if request.args.get("type", "").lower() != "account":
            raise RefusalError(400, "3000", "The validation type must be account.")
        return wire.json_response(
            self._stage.world.validation_status(known_customer(self._stage.world, customer)["id"])
        )

    # --- audit and the partner itself ----------------------------------------------------------

    def _audit_records(self, request: Request) -> Response:
        today = self._stage.clock.today()
        start = _day(request, "startDate", today - timedelta(days=30))
        end = _day(request, "endDate", today)
        if start < today - timedelta(days=AUDIT_DAYS):
            raise RefusalError(400, "3000", f"The start date is more than {AUDIT_DAYS} days ago.")
        fields: dict[str, Callable[[Resource], object]] = {
            "CustomerId": lambda row: row.get("customerId", ""),
            "CompanyName": lambda row: row.get("customerName", ""),
            "ResourceType": lambda row: row["resourceType"],
        }
        fits = matcher(request.args.get("filter"), fields)
        items = [row for row in self._stage.world.audit_records(start, end) if fits(row)]
        cap = self._stage.control.settings.page_size_cap
        # The successor's address carries /v1 here and not for customers: both forms are real.
        return wire.json_response(
            seek_page(items, request, cap=cap, path="/auditrecords", next_path="/v1/auditrecords")
        )

    def _audit_record(self, request: Request, record: str) -> Response:
        """The record that an event names."""
        del request
        today = self._stage.clock.today()
        reach = today - timedelta(days=AUDIT_DAYS)
        for row in self._stage.world.audit_records(reach, today):
            if row["id"].lower() == record.lower():
                return wire.json_response(row)
        raise RefusalError(404, "1000", "The audit record was not found.")

    def _mpn_profile(self, request: Request) -> Response:
        partner = self._stage.world.partner
        wanted = request.args.get("mpnId", partner.mpn_id)
        names = {partner.mpn_id: partner.name}
        for customer in self._stage.world.customers():
            for row in self._stage.world.indirect_resellers(customer["id"]):
                names[row["mpnId"]] = row["name"]
        if wanted not in names:
            raise RefusalError(404, "1000", "The partner was not found.")
        return _own_profile("MpnProfile", "mpn", {"mpnId": wanted, "partnerName": names[wanted]})

    def _legal_profile(self, request: Request) -> Response:
        del request
        partner = self._stage.world.partner
        return _own_profile(
            "LegalBusinessProfile",
            "legalbusiness",
            {
                "companyName": partner.name,
                "address": {"country": partner.country},
                "vettingStatus": "authorized",
                "vettingSubStatus": "none",
            },
        )

    def _organization_profile(self, request: Request) -> Response:
        del request
        partner = self._stage.world.partner
        content = {"id": partner.tenant_id, "companyName": partner.name, "domain": partner.domain}
        return _own_profile("OrganizationProfile", "organization", content)


_QUALIFICATIONS = {
    "education": "Education",
    "governmentcommunitycloud": "GovernmentCommunityCloud",
    "stateownedentity": "StateOwnedEntity",
}
_DUPLICATE: Resource = {
    "code": 600061,
    "message": "A partner confirmed agreement already exists for the customer.",
    "description": "A partner confirmed agreement already exists for the customer.",
    "errorName": "PartnerConfirmedAgreementAlreadyExists",
    "isRetryable": False,
    "parameters": {},
    "errorMessageExtended": "InternalErrorCode=600061",
}
_REMOVED: Resource = {
    "Id": None,
    "CommerceId": None,
    "CompanyProfile": None,
    "BillingProfile": None,
    "RelationshipToPartner": "none",
    "AllowDelegatedAccess": None,
    "UserCredentials": None,
    "CustomDomains": None,
    "AssociatedPartnerId": None,
    "Attributes": {"ObjectType": "Customer"},
}


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _date_agreed(text: Any, today: date) -> date:
    try:
        agreed = date.fromisoformat(str(text)[:10])
    except ValueError as error:
        raise BadQueryError("dateAgreed is not a date.") from error
    if agreed > today:
        raise BadQueryError("dateAgreed is in the future.")
    return agreed


def _day(request: Request, name: str, default: date) -> date:
    text = request.args.get(name)
    try:
        return default if text is None else date.fromisoformat(text[:10])
    except ValueError as error:
        raise BadQueryError(f"{name} is not a date.") from error


def _listed(customer: Resource) -> Resource:
    """The few fields that the list of customers carries."""
    profile = customer["companyProfile"]
    return {
        "id": customer["id"],
        "companyProfile": {
            "tenantId": profile["tenantId"],
            "domain": profile["domain"],
            "companyName": profile["companyName"],
            "attributes": {"objectType": "CustomerCompanyProfile"},
        },
        "relationshipToPartner": customer["relationshipToPartner"],
        "attributes": {"objectType": "Customer"},
    }


def _own_profile(kind: str, path: str, content: Mapping[str, Any]) -> Response:
    return wire.json_response(
        {
            **content,
            "profileType": kind,
            "links": {"self": link(f"/profiles/{path}")},
            "attributes": {"objectType": kind},
        }
    )
