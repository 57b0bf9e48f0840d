"""A small world written by hand, so that tests of the hosts know every value in it."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from emulator.clock import Clock
from emulator.happenings import Happening, invoice_event
from emulator.world import NOW, PARTNER, CommerceError, Resource

CUSTOMERS = [f"7f0c8a52-1111-4a55-9b0e-2a6a7d10c{number:03d}" for number in range(7)]
SEATS = "0b6f2d7e-aaaa-4c11-8d21-5f0c3b9e1001"
ADDON = "0b6f2d7e-aaaa-4c11-8d21-5f0c3b9e1002"
AZURE = "0b6f2d7e-aaaa-4c11-8d21-5f0c3b9e1003"
AZURE_SUBSCRIPTION = "c0ffee00-8888-4c22-8d33-aa44bb550001"
RESELLER = "484e548c-f5f3-4528-93a9-c16c6373cb59"
INVOICE, INVOICE_EUR, INVOICE_OLD = "G000912345", "G000912346", "G000412345"


def customer(number: int) -> Resource:
    identity = CUSTOMERS[number]
    return {
        "id": identity,
        "companyProfile": {
            "tenantId": identity,
            "domain": f"fabrikam{number}.onmicrosoft.com",
            "companyName": f"Fabrikam {number}",
            "attributes": {"objectType": "CustomerCompanyProfile"},
        },
        "billingProfile": {
            "id": f"profile-{number}",
            "email": f"billing{number}@fabrikam.example",
            "attributes": {"etag": f"-{number + 1}", "objectType": "CustomerBillingProfile"},
        },
        "relationshipToPartner": "reseller",
        "allowDelegatedAccess": False,
        "attributes": {"objectType": "Customer"},
    }


def subscription(identity: str, **changes: object) -> Resource:
    return {
        "id": identity,
        "offerId": "CFQ7TTC0AAAA:0001:CFQ7TTC0BBBB",
        "friendlyName": "Business Standard",
        "quantity": 25,
        "commitmentEndDate": "2027-02-14T00:00:00Z",
        "status": "active",
        "partnerId": "4847383",
        "orderId": "5a0000c0ffee",
        "attributes": {"etag": "v1", "objectType": "Subscription"},
        **changes,
    }


def reconciliation_line(number: int, invoice: str) -> Resource:
    return {
        "CustomerId": CUSTOMERS[number % 7],
        "Tier2MpnId": "0",
        "InvoiceNumber": invoice,
        "ChargeType": "cycleCharge",
        "UnitPrice": Decimal("12.50"),
        "EffectiveUnitPrice": Decimal("7.258064516129032258"),
        "BillableQuantity": 30 + number,
        "Subtotal": Decimal("217.50"),
        "Total": Decimal("217.50"),
        "PCToBCExchangeRate": Decimal("1.0"),
        "ProductQualifiers": '["Add-on"]',
    }


def usage_line(number: int, invoice: str) -> Resource:
    return {
        "PartnerId": "p",
        "CustomerId": CUSTOMERS[number % 7],
        "CustomerName": f"Fabrikam {number % 7} Žižkov",
        "InvoiceNumber": invoice,
        "UsageDate": f"2026-10-{number % 31 + 1:02d}T00:00:00Z",
        "MeterCategory": "Virtual Machines",
        "Quantity": Decimal("24.000000000000001") + number,
        "UnitPrice": Decimal("0.192"),
        "BillingPreTaxTotal": Decimal("3.91"),
        "Tags": '{"env":"prod"}',
    }


class HandWorld:
    """Seven customers, three subscriptions of the first, three invoices, five GDAP relationships."""

    def __init__(self, *, seed: int, scenario: str, clock: Clock) -> None:
        self.seed = seed
        self.scenario = scenario
        self.clock = clock
        self.partner = PARTNER
        self.quantity = 25
        self.version = 1
        self.patches: list[Resource] = []

    def vat_register(self) -> dict[str, tuple[str, str]]:
        return {"EL094259216": ("Fabrikam 0", "Athens")}

    def happenings(self, since: datetime, until: datetime) -> list[Happening]:
        issued = datetime(2026, 11, 20, tzinfo=UTC)
        return [invoice_event(INVOICE, issued)] if since <= issued <= until else []

    def stories(self) -> list[Resource]:
        return [{"key": "seats", "customer": "Fabrikam 0", "what": "It has three subscriptions."}]

    def customers(self) -> list[Resource]:
        return [customer(number) for number in range(7)]

    def customer(self, tenant_id: str) -> Resource | None:
        return next((row for row in self.customers() if row["id"] == tenant_id), None)

    def agreements(self, customer_id: str, agreement_type: str | None) -> list[Resource]:
        kinds = {
            "MicrosoftCloudAgreement": "2017-08-01",
            "MicrosoftCustomerAgreement": "2025-08-26",
        }
        wanted = agreement_type or "MicrosoftCloudAgreement"
        return [
            {"type": kind, "dateAgreed": f"{day}T00:00:00", "templateId": "t", "agreementLink": "x"}
            for kind, day in kinds.items()
            if wanted in (kind, "*")
        ]

    def direct_signed(self, customer_id: str) -> bool:
        return customer_id == CUSTOMERS[1]

    def reseller_agreement_signed(
        self, *, mpn_id: str | None, tenant_id: str | None
    ) -> bool | None:
        return {"4847383": True, RESELLER: False}.get(mpn_id or tenant_id or "")

    def indirect_resellers(self, customer_id: str) -> list[Resource]:
        if customer_id not in CUSTOMERS[:2]:
            return []
        return [
            {
                "id": RESELLER,
                "name": "First Up Consultants",
                "relationshipType": "is_indirect_cloud_solution_provider_of",
                "mpnId": "4847383",
                "attributes": {"objectType": "PartnerRelationship"},
            }
        ]

    def qualifications(self, customer_id: str) -> list[Resource]:
        return [{"qualification": "education", "vettingStatus": "Approved"}]

    def validation_status(self, customer_id: str) -> Resource:
        return {"type": "account", "status": "Allowed", "lastUpdateDateTime": "2026-01-01T00:00:00"}

    def subscriptions(self, customer_id: str) -> list[Resource]:
        if customer_id != CUSTOMERS[0]:
            return []
        etag = {"etag": f"v{self.version}", "objectType": "Subscription"}
        return [
            subscription(SEATS, quantity=self.quantity, attributes=etag),
            subscription(ADDON, parentSubscriptionId=SEATS, orderId="5a0000c0ff02", partnerId=""),
            subscription(AZURE, offerId="DZH318Z0BPS6:0001:X", orderId="5a0000c0ff03"),
        ]

    def subscription(self, customer_id: str, subscription_id: str) -> Resource | None:
        rows = self.subscriptions(customer_id)
        return next((row for row in rows if row["id"] == subscription_id), None)

    def patch_subscription(
        self, customer_id: str, subscription_id: str, body: Resource
    ) -> Resource:
        if body.get("quantity", 0) < self.quantity:
            raise CommerceError(400, "800090", "Subscription quantity cannot be decreased.")
        self.patches.append(body)
        self.quantity = body["quantity"]
        self.version += 1
        return self.subscriptions(customer_id)[0]

    def azure_entitlements(self, customer_id: str, plan_id: str) -> list[Resource]:
        if plan_id != AZURE:
            return []
        return [{"id": AZURE_SUBSCRIPTION, "status": "active", "subscriptionId": AZURE}]

    def orders(self, customer_id: str) -> list[Resource]:
        return [
            {
                "id": "5a0000c0ffee",
                "billingCycle": "monthly",
                "attributes": {"objectType": "Order"},
            },
            {"id": "5A0000C0FF02", "billingCycle": "annual", "attributes": {"objectType": "Order"}},
        ]

    def audit_records(self, start: date, end: date) -> list[Resource]:
        rows = [
            {
                "id": f"record-{number}",
                "customerId": CUSTOMERS[number % 7],
                "customerName": f"Fabrikam {number % 7}",
                "resourceType": "subscription" if number % 2 else "order",
                "operationDate": f"2026-10-{number + 1:02d}T09:00:00Z",
            }
            for number in range(23)
        ]
        return [row for row in rows if str(start) <= row["operationDate"][:10] <= str(end)]

    def gdap_relationships(self) -> list[Resource]:
        statuses = ["active", "expiring", "expired", "active", "created"]
        return [self._relationship(number, status) for number, status in enumerate(statuses)]

    def _relationship(self, number: int, status: str) -> Resource:
        created = status == "created"
        party = {"tenantId": CUSTOMERS[number % 3], "displayName": f"Fabrikam {number % 3}"}
        return {
            "@odata.type": "#microsoft.graph.delegatedAdminRelationship",
            "@odata.etag": f'W/"{number}"',
            "id": f"2c6a0001-1111-4b22-8c33-9d44aa55000{number}-{CUSTOMERS[number % 3]}",
            "displayName": f"Managed services {number}",
            "duration": "P730D",
            "autoExtendDuration": "P180D",
            "customer": None if created else party,
            "accessDetails": {
                "unifiedRoles": [{"roleDefinitionId": "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"}]
            },
            "status": status,
            "createdDateTime": "2026-01-05T10:00:00Z",
            "lastModifiedDateTime": "2026-01-06T08:30:00Z",
            "activatedDateTime": None if created else "2026-01-06T08:30:00Z",
            "endDateTime": None if created else "2028-01-06T08:30:00Z",
        }

    def access_assignments(self, relationship_id: str) -> list[Resource]:
        if relationship_id != self.gdap_relationships()[0]["id"]:
            return []
        return [
            {
                "@odata.type": "#microsoft.graph.delegatedAdminAccessAssignment",
                "@odata.etag": 'W/"a"',
                "id": "84c586df-0943-416e-b95f-7289cb8d3bd5",
                "status": "active",
                "createdDateTime": "2026-01-07T10:00:00Z",
                "lastModifiedDateTime": "2026-01-08T10:00:00Z",
                "accessContainer": {
                    "accessContainerId": "227a2f44-2682-4831-a021-f8d69a34bcba",
                    "accessContainerType": "securityGroup",
                },
                "accessDetails": {
                    "unifiedRoles": [{"roleDefinitionId": "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"}]
                },
            }
        ]

    def relationship_requests(self, relationship_id: str) -> list[Resource]:
        moment = "2026-01-05T10:00:00Z"
        return [
            {
                "id": "9a21aa84-0000-4000-8000-000000000001",
                "action": "lockForApproval",
                "status": "succeeded",
                "createdDateTime": moment,
                "lastModifiedDateTime": moment,
            }
        ]

    def relationship_operations(self, relationship_id: str) -> list[Resource]:
        moment = "2026-01-08T10:00:00Z"
        return [
            {
                "id": "9a21aa84-0000-4000-8000-000000000002",
                "operationType": "delegatedAdminAccessAssignmentUpdate",
                "status": "succeeded",
                "data": "{}",
                "createdDateTime": moment,
                "lastModifiedDateTime": moment,
            }
        ]

    def invoices(self) -> list[Resource]:
        rows = [
            (INVOICE, "2026-11-07T18:20:11.1234567Z", "2026-10-01T00:00:00Z", "USD", "2610.00"),
            (INVOICE_EUR, "2026-11-08T07:00:00Z", "2026-10-01T00:00:00Z", "EUR", "0.00"),
            (INVOICE_OLD, "2025-04-08T07:00:00Z", "2025-03-01T00:00:00Z", "USD", "1087.50"),
        ]
        return [
            {
                "id": identity,
                "invoiceDate": day,
                "billingPeriodStartDate": month,
                "totalCharges": Decimal(total),
                "paidAmount": Decimal("-1087.50") if identity == INVOICE_OLD else 0,
                "currencyCode": currency,
                "currencySymbol": {"USD": "$", "EUR": "€"}[currency],
                "attributes": {"objectType": "Invoice"},
            }
            for identity, day, month, currency, total in rows
        ]

    def reconciliation_lines(self, invoice_id: str) -> list[Resource] | None:
        counts = {INVOICE: 12, INVOICE_EUR: 0, INVOICE_OLD: 5}
        if invoice_id not in counts:
            return None
        return [reconciliation_line(number, invoice_id) for number in range(counts[invoice_id])]

    def usage_lines(self, invoice_id: str) -> list[Resource] | None:
        counts = {INVOICE: 23, INVOICE_EUR: 0}
        if invoice_id not in counts:
            return None
        return [usage_line(number, invoice_id) for number in range(counts[invoice_id])]

    def unbilled_reconciliation_lines(self, currency: str, period: str) -> list[Resource]:
        count = {("USD", "current"): 4, ("USD", "last"): 1}.get((currency, period), 0)
        return [reconciliation_line(number, "") for number in range(count)]

    def unbilled_usage_lines(self, currency: str, period: str) -> list[Resource]:
        count = self.clock.today().day if (currency, period) == ("USD", "current") else 0
        return [usage_line(number, "") for number in range(count)]

    def price_sheet(
        self, market: str, view: str, timeline: str, month: str | None
    ) -> list[dict[str, str]] | None:
        if (market, view) != ("US", "updatedlicensebased") or timeline == "future":
            return None
        title = 'Business "Standard", yearly'
        return [{"ProductTitle": title, "UnitPrice": "105.00", "ERP Price": "131.25"}]

    def fx_rates(self, month: str) -> list[dict[str, str]] | None:
        if month != "202610":
            return None
        return [{"CurrencyCode": "EUR", "USDPerUnit": "1.0834", "Month": "202610"}]


def build(*, seed: int, scenario: str, clock: Clock | None = None) -> HandWorld:
    if scenario not in ("partner-month", "small"):
        raise ValueError(f"unknown scenario {scenario!r}; known: partner-month, small")
    return HandWorld(seed=seed, scenario=scenario, clock=clock or Clock(NOW))
