"""Every published sample of Partner Center and Graph is read, or stands here with the reason why not."""

from collections import Counter
from datetime import date
from decimal import Decimal
from fnmatch import fnmatch
from pathlib import Path

import pytest

from domain.problems import Finding, InputError
from domain.subscription import CostKind, EventType, SubscriptionKind
from partner_center.billing import cost_lines_of, invoices_of
from partner_center.customers import (
    AgreementTemplateWire,
    AgreementWire,
    AssignmentWire,
    CustomerWire,
    IndirectResellerWire,
    QualificationWire,
    RelationshipWire,
)
from partner_center.exports import _ManifestWire
from partner_center.files import cost_lines_in, csv_rows
from partner_center.prices import sheet_prices_in
from partner_center.subscriptions import AvailabilityWire, OrderWire, SubscriptionWire, events_of
from partner_center.wire import objects, read
from transport import exact_json
from transport.refusals import read_error

SAMPLES = Path(__file__).resolve().parents[1] / "published/samples"


def body(path):
    return exact_json.loads(path.read_bytes())


def one_by_one(model, to_domain=lambda wire: wire):
    def reader(path):
        return [
            read(model, item, to_domain, check="sample", record=path.name)
            for item in objects(body(path))
        ]

    return reader


def invoice_lines(path):
    return list(cost_lines_of(objects(body(path))))


def errors(path):
    code, sentence = read_error(path.read_bytes())
    assert sentence
    return [(code, sentence)]


customers = one_by_one(CustomerWire, CustomerWire.to_domain)
agreements = one_by_one(AgreementWire, lambda wire: wire.to_domain("c"))
subscriptions = one_by_one(SubscriptionWire, lambda wire: wire.to_domain("c"))
resellers = one_by_one(IndirectResellerWire, lambda wire: wire.to_domain(None))
orders = one_by_one(OrderWire, lambda wire: list(wire.to_events("c", date(2026, 1, 1))))
relationships = one_by_one(RelationshipWire, lambda wire: wire.to_domain())

READ = {
    "agreements/*.request.*": agreements,
    "catalog/get-a-list-of-availabilities-*": one_by_one(AvailabilityWire),
    "agreements/get-agreement-metadata.*": one_by_one(AgreementTemplateWire),
    "agreements/*consent*.response-*": agreements,
    "agreements/*resource.1.json": errors,
    "audit/*": lambda path: list(
        events_of(objects(body(path)), date(2017, 1, 1), date(2018, 1, 1))
    ),
    "customers/create-a-customer.d2111.response-201.2.json": customers,
    "customers/get-a-list-of-customers.*": customers,
    "relationships/get-customers-of-an-indirect-reseller.*": customers,
    "relationships/get-indirect-resellers-of-a-customer.*": resellers,
    "relationships/retrieve-a-list-of-indirect-resellers.*": resellers,
    "errors/*": errors,
    "graph-billing/partners-billing-manifest-get.*": one_by_one(_ManifestWire),
    "graph-gdap/*relationship*accessassignments.response*": one_by_one(AssignmentWire),
    "graph-gdap/delegatedadminaccessassignment-get.*": one_by_one(AssignmentWire),
    "graph-gdap/*delegatedadminrelationships.response*": relationships,
    "invoice-lines/get-invoiceline-items.d2103.*": invoice_lines,
    "invoice-lines/get-invoiceline-items.d2111.response-200.[45].json": invoice_lines,
    "invoices/get-a-collection-of-invoices.*": lambda path: list(invoices_of(objects(body(path)))),
    "invoices/get-invoice-by-id.*": lambda path: list(invoices_of(objects(body(path)))),
    "price-sheets/azure-consumption-price-sheet.csv": lambda path: list(sheet_prices_in(path)),
    "qualifications/*": one_by_one(QualificationWire, QualificationWire.to_domain),
    "recon-csv/nce-invoice-reconciliation.csv": lambda path: list(cost_lines_in([path])),
    "subscriptions/change-the-quantity-of-a-subscription.*": subscriptions,
    "subscriptions/get-a-*subscription*": subscriptions,
    "subscriptions/get-all-*": subscriptions,
    "subscriptions/purchase-an-add-on-*": orders,
    "subscriptions/suspend-a-subscription.*": subscriptions,
    "orders/cancel-software-purchases.d2111.response*": orders,
    "orders/get-a-list-of-orders-*": orders,
}

PROFILE = "a billing profile alone: the customer resource carries what is needed"
CATALOGUE = "not read by this product: names come with lines, prices from the sheets"
REQUEST = "a request that this product does not make: it changes nothing at Microsoft"
ESTIMATE = "not read by this product: estimates before tax; the billing exports hold the truth"
LEGACY = "legacy line items, frozen by Microsoft: their invoices are told and not billed"
DAILY = "daily usage is loaded in bulk from the export's files, by the usage package"
NOTICE = "a notification: this product reads the audit log instead and registers no webhook"
MOVES = "not read by this product: transfers, migrations and transitions show in the audit log"
HAND_OFF = "accounting hand-off not offered yet"

NOT_READ = {
    "catalog/[crv]*": CATALOGUE,
    "catalog/get-a-list-of-[op]*": CATALOGUE,
    "catalog/get-a-sku-*": CATALOGUE,
    "catalog/get-[!a]*": CATALOGUE,
    "catalog/get-addon-*": CATALOGUE,
    "customers/create-a-customer.d2111.request.1.json": REQUEST,
    "customers/*billing-profile*": PROFILE,
    "d365-business-central/*": HAND_OFF,
    "dataverse/*": "Dataverse client tests",
    "entitlements/*": "not read by this product: what was bought once shows on the invoice",
    "graph-billing/*.request.*": "the body of an export request, as the exports send it",
    "graph-billing/partners-billing-operation-get.*": "an operation, followed by status (below)",
    "graph-gdap/*.request.*": REQUEST,
    "graph-gdap/*delegatedadmincustomer*": "not read by this product: customers of relationships",
    "invoice-lines/get-invoice-unbilled-consumption-*": DAILY,
    "invoice-lines/get-invoiceline-items.d2111.response-200.[123].json": LEGACY,
    "invoices/get-a-customer-s-service-costs-summary.*": ESTIMATE,
    "orders/*.request.*": REQUEST,
    "orders/attach-purchase-order.*": "not read by this product: purchase order numbers",
    "orders/checkout-a-cart.*": "a cart: orders show in the audit log",
    "orders/*-a-cart*.response-*": "a cart: orders show in the audit log",
    "orders/get-order-provisioning-status.*": "not read by this product: provisioning",
    "partner-profile/*": "not read by this product: the partner's own profiles and address rules",
    "price-sheets/azure-plan-price-tiers-en.csv": "an extract without market (below)",
    "price-sheets/fx-rates-raw-as-published.csv": "exchange rates, malformed on purpose (below)",
    "qbo/*": HAND_OFF,
    "recon-csv/charge-types.json": "a list of charge types (below)",
    "recon-csv/daily-rated-usage-header-only.csv": DAILY,
    "relationships/*reseller-relationship*": REQUEST,
    "service-requests/*": "not read by this product: support tickets",
    "subscriptions/get-subscription-*-status.*": "not read by this product: provisioning",
    "subscriptions/update-a-subscription-s-support-contact.*": REQUEST,
    "transitions/retrieve-validation-status.*": "not read by this product: vetting of new tenants",
    "transitions/*": MOVES,
    "usage/get-a-customer-s-utilization-record-for-azure.*": "legacy Azure usage",
    "usage/*": ESTIMATE,
    "users-licences/*": "not read by this product yet: users and licences",
    "webhooks/*": NOTICE,
    "xero/*": HAND_OFF,
}

# Records that are rightly refused; the rest of their file is read.
REFUSED = {"invoices/get-a-collection-of-invoices.d2111.response-200.1.json": ["legacy", "voided"]}


def sample_files():
    names = {"MANIFEST.md", "index.json"}
    return sorted(
        path.relative_to(SAMPLES).as_posix()
        for path in SAMPLES.rglob("*")
        if path.is_file() and path.name not in names
    )


def matching(table, name):
    return [pattern for pattern in table if fnmatch(name, pattern)]


@pytest.mark.parametrize("name", sample_files())
def test_every_sample_is_read_or_explained(name):
    readers, reasons = matching(READ, name), matching(NOT_READ, name)
    assert readers or reasons, f"{name} stands in no table"
    assert not (readers and reasons), f"{name} stands in both tables"
    if readers:
        records = READ[readers[0]](SAMPLES / name)
        findings = [one for one in records if isinstance(one, Finding)]
        said = REFUSED.get(name, [])
        assert len(findings) == len(said), findings
        assert all(part in one.sentence for part, one in zip(said, findings, strict=True))
        assert records or name.endswith("200.1b.json")  # licence changes tell nothing


def test_no_table_entry_is_without_a_sample():
    names = sample_files()
    for pattern in (*READ, *NOT_READ, *REFUSED):
        assert any(fnmatch(name, pattern) for name in names), pattern


def sample(name):
    return READ[matching(READ, name)[0]](SAMPLES / name)


def test_the_published_reconciliation_row():
    (line,) = sample("recon-csv/nce-invoice-reconciliation.csv")
    assert (line.invoice_id, line.kind, line.charge_type) == ("G002297372", CostKind.USAGE, "new")
    assert (line.charged.start, line.charged.last_day) == (date(2020, 9, 1), date(2020, 9, 30))
    assert (line.effective_unit_price, line.exchange_rate) == (
        Decimal("0.03825"),
        Decimal("0.846202666"),
    )
    assert (line.partner_id, line.reseller_id) == ("6034453", "6048879")


def test_published_line_items_with_numbers_as_text():
    lines = sample("invoice-lines/get-invoiceline-items.d2111.response-200.4.json")
    assert [line.subtotal for line in lines][:2] == [Decimal(0), Decimal(720)]
    assert [line.reseller_id for line in lines][:2] == ["4649221", ""]
    assert [line.kind for line in lines][:2] == [CostKind.LICENCE, CostKind.LICENCE]
    assert lines[1].subscription_end == date(2022, 5, 20)


def test_published_subscriptions_of_both_generations():
    (software,) = sample(
        "subscriptions/get-all-of-a-customer-s-subscriptions.d2111.response.2.json"
    )
    assert (software.term_end, software.term) == (date(2024, 10, 15), "P3Y")
    (legacy,) = sample("subscriptions/get-a-subscription-by-id.d2111.response-200.2.json")
    assert (legacy.term_end, legacy.sku_id) == (date(2018, 2, 10), "")
    (azure,) = sample("subscriptions/get-a-subscription-by-id.d2111.response-200.1.json")
    assert (azure.kind, azure.term_end) == (SubscriptionKind.USAGE, None)


def test_the_published_audit_record_is_a_purchase():
    (event,) = sample(
        "audit/get-a-record-of-partner-center-activity-by-user.d2111.response-200.1.json"
    )
    assert (event.type, event.quantity) == (EventType.PURCHASE, 25)
    assert event.subscription_id == "488745b5-2086-4912-802c-6abb9f7c3638"
    assert event.effective == date(2017, 6, 15)


def test_published_relationships():
    found = sample(
        "graph-gdap/tenantrelationship-list-delegatedadminrelationships.response-200.1.json"
    )
    assert found[0].auto_extends
    assert found[0].ends_on == date(2024, 2, 10)
    assignments = sample(
        "graph-gdap/delegatedadminrelationship-list-accessassignments.response-200.1.json"
    )
    held = [one.to_domain() for one in assignments]
    assert [one.gives_access for one in held] == [True, True]
    assert held[0].group_id == "227a2f44-2682-4831-a021-f8d69a34bcba"
    assert "62e90394-69f5-4237-9190-012177145e10" in held[0].roles


def test_published_operations_have_the_fields_that_are_followed():
    operations = [
        body(SAMPLES / f"graph-billing/partners-billing-operation-get.response-200.{n}.json")
        for n in (1, 3)
    ]
    assert [one["status"] for one in operations] == ["succeeded", "running"]
    assert operations[0]["resourceLocation@odata.navigationLink"].startswith("https://graph.")


def test_published_charge_types_keep_their_names_or_get_the_current_one():
    rows = body(SAMPLES / "recon-csv/charge-types.json")["chargeTypes"]
    line = {"CustomerId": "c", "ProductId": "p", "Subtotal": 1, "Currency": "USD", "Quantity": 1}
    found = [one.charge_type for one in cost_lines_of(line | {"ChargeType": row} for row in rows)]
    known = Counter(found)
    assert known["new"] == known["addQuantity"] == known["cancelImmediate"] == known["convert"] == 1
    assert known["Prorate fees when cancel"] == 1


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("azure-plan-price-tiers-en.csv", "has no column currency, effectivestartdate, market"),
        ("fx-rates-raw-as-published.csv", "has no column"),
    ],
)
def test_what_is_no_price_sheet_is_refused_in_one_sentence(name, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        list(sheet_prices_in(SAMPLES / "price-sheets" / name))
    assert "\n" not in str(caught.value)


def test_malformed_quoting_is_refused_with_its_line():
    with pytest.raises(InputError, match=r"fx-rates-raw-as-published\.csv, line 2: not readable"):
        list(csv_rows(SAMPLES / "price-sheets/fx-rates-raw-as-published.csv"))


def test_the_published_price_sheet():
    (price,) = sample("price-sheets/azure-consumption-price-sheet.csv")
    assert (price.sku, price.unit_price, price.market) == ("DZH318Z0C16V:001J", Decimal(15), "US")
    assert (price.valid.start, price.valid.end) == (date(2018, 3, 1), date.max)


def test_published_errors_have_their_codes():
    found = {name: sample(name)[0][0] for name in sample_files() if name.startswith("errors/")}
    assert found["errors/change-the-quantity-of-a-subscription.d2111.response.4.json"] == "800090"
    assert sum(bool(code) for code in found.values()) == len(found) - 1  # the gateway has none
