"""Dynamics 365 Sales on the look-alike: only where it is installed, and reckoning as it says."""

from __future__ import annotations

from decimal import Decimal

import pytest
from werkzeug.test import Client

from emulator import Emulator
from tests.emulator.dataverse_harness import CRM, Dataverse

TOTALS = "totallineitemamount,totaldiscountamount,totaltax,totalamount,pricingerrorcode"


class Shop(Dataverse):
    """An environment with Sales, a price list in dollars, a customer and a catalogue product."""

    def __init__(self, **arguments):
        super().__init__(sales=True, **arguments)
        (dollar,) = self.values("transactioncurrencies", filter="isocurrencycode eq 'USD'")
        (euro,) = self.values("transactioncurrencies", filter="isocurrencycode eq 'EUR'")
        self.dollar = dollar["transactioncurrencyid"]
        self.euro = euro["transactioncurrencyid"]
        self.account = self.post("accounts", {"name": "Litware"}).new_id
        self.prices = self.price_list("Dollars", self.dollar)
        group = self.post("uomschedules", {"name": "Units"}).new_id
        self.unit = self.post(
            "uoms", {"name": "Seat", "uomscheduleid@odata.bind": f"/uomschedules({group})"}
        ).new_id
        product = {"name": "Business Basic", "productnumber": "BB", "productstructure": 1}
        self.product = self.post("products", product).new_id
        listed = {
            "amount": Decimal("6.00"),
            "pricingmethodcode": 1,
            "pricelevelid@odata.bind": f"/pricelevels({self.prices})",
            "productid@odata.bind": f"/products({self.product})",
            "uomid@odata.bind": f"/uoms({self.unit})",
        }
        self.listing = self.post("productpricelevels", listed).new_id

    def price_list(self, name, currency):
        bind = {"transactioncurrencyid@odata.bind": f"/transactioncurrencies({currency})"}
        return self.post("pricelevels", {"name": name, **bind}).new_id

    def organization(self, **values):
        (row,) = self.values("organizations")
        assert self.patch(f"organizations({row['organizationid']})", values).status == 204

    def invoice(self, **values):
        body = {
            "name": "October",
            "customerid_account@odata.bind": f"/accounts({self.account})",
            "pricelevelid@odata.bind": f"/pricelevels({self.prices})",
            "transactioncurrencyid@odata.bind": f"/transactioncurrencies({self.dollar})",
        }
        answer = self.post("invoices", {k: v for k, v in (body | values).items() if v is not None})
        assert answer.status == 204, answer.raw
        return answer.new_id

    def line(self, invoice, **values):
        body = {"invoiceid@odata.bind": f"/invoices({invoice})", **values}
        return self.post("invoicedetails", body)

    def write_in(self, invoice, price="18.71", quantity="25", **values):
        answer = self.line(
            invoice,
            isproductoverridden=True,
            productdescription="25 seats",
            priceperunit=Decimal(price),
            quantity=Decimal(quantity),
            **values,
        )
        assert answer.status == 204, answer.raw
        return answer.new_id

    def catalogue(self, invoice, quantity="10", **values):
        return self.line(
            invoice,
            **{
                "productid@odata.bind": f"/products({self.product})",
                "uomid@odata.bind": f"/uoms({self.unit})",
                "quantity": Decimal(quantity),
                **values,
            },
        ).new_id

    def totals(self, invoice):
        row = self.get(f"invoices({invoice})", select=TOTALS).json
        return {name: row[name] for name in TOTALS.split(",")}

    def total(self, invoice):
        return self.totals(invoice)["totalamount"]

    def amounts(self, line):
        columns = "priceperunit,baseamount,extendedamount,pricingerrorcode"
        row = self.get(f"invoicedetails({line})", select=columns).json
        return tuple(row[name] for name in columns.split(","))


@pytest.fixture
def shop():
    return Shop()


def test_an_environment_has_no_sales_until_it_is_installed():
    environment = Dataverse()
    assert environment.get("invoices").status == 404
    assert environment.get("EntityDefinitions(LogicalName='invoice')").status == 404
    assert environment.get("accounts").status == 200
    environment.app.install_sales()
    environment.app.install_sales()
    assert environment.values("invoices") == []
    environment.app.reset()
    assert environment.get("invoices").status == 404


def test_the_control_plane_installs_sales_while_it_runs():
    emulator = Emulator(scenario="empty")
    control = Client(emulator.apps["control"])
    for _ in range(2):
        assert control.post("/_emulator/dataverse", json={"sales": True}).status_code == 200
    assert "invoice" in emulator.dataverse.store.schema.tables
    control.post("/_emulator/reset", json={})
    assert "invoice" not in emulator.dataverse.store.schema.tables


def test_sales_stays_in_its_file_and_survives_a_reset_where_it_was_asked_for(tmp_path):
    file = str(tmp_path / "dataverse.sqlite")
    first = Shop(file=file)
    invoice = first.invoice()
    first.write_in(invoice)
    first.app.close()
    second = Dataverse(file=file)
    (row,) = second.values("invoices", select="totalamount")
    assert row["totalamount"] == Decimal("467.75")
    second.app.close()
    shop = Shop()
    shop.app.reset()
    assert shop.values("invoices") == []


def test_an_invoice_numbers_itself_unless_it_has_a_number(shop):
    named = shop.invoice(invoicenumber="INV-1")
    numbered, other = shop.invoice(), shop.invoice()
    numbers = [
        shop.get(f"invoices({one})", select="invoicenumber").json["invoicenumber"]
        for one in (named, numbered, other)
    ]
    assert numbers[0] == "INV-1"
    assert len(set(numbers)) == 3
    assert all(number.startswith("INV-") for number in numbers)


# --- the price engine ------------------------------------------------------------------------------


def test_write_in_lines_add_up_with_tax_and_discount(shop):
    invoice = shop.invoice()
    first = shop.write_in(invoice, tax=Decimal("88.87"))
    second = shop.write_in(invoice, "0.10", "3", manualdiscountamount=Decimal("0.05"))
    assert shop.amounts(first) == (Decimal("18.71"), Decimal("467.75"), Decimal("556.62"), 0)
    assert shop.amounts(second) == (Decimal("0.10"), Decimal("0.30"), Decimal("0.25"), 0)
    assert shop.totals(invoice) == {
        "totallineitemamount": Decimal("468.00"),
        "totaldiscountamount": Decimal(0),
        "totaltax": Decimal("88.87"),
        "totalamount": Decimal("556.87"),
        "pricingerrorcode": 0,
    }


def test_changing_or_removing_a_line_recalculates_the_header(shop):
    invoice = shop.invoice()
    first, second = shop.write_in(invoice, "10", "1"), shop.write_in(invoice, "5", "1")
    assert shop.total(invoice) == Decimal(15)
    shop.patch(f"invoicedetails({first})", {"quantity": Decimal(2)}, If_Match="*")
    assert shop.total(invoice) == Decimal(25)
    shop.delete(f"invoicedetails({second})")
    assert shop.total(invoice) == Decimal(20)
    shop.patch(f"invoices({invoice})", {"freightamount": Decimal("1.50")}, If_Match="*")
    assert shop.total(invoice) == Decimal("21.50")
    half = {"discountpercentage": Decimal(50), "discountamount": Decimal(1)}
    shop.patch(f"invoices({invoice})", half, If_Match="*")
    assert shop.totals(invoice)["totaldiscountamount"] == Decimal(11)
    assert shop.total(invoice) == Decimal("10.50")


def test_lines_that_come_nested_in_their_invoice_are_reckoned_too(shop):
    line = {
        "isproductoverridden": True,
        "productdescription": "x",
        "priceperunit": 2,
        "quantity": 3,
    }
    invoice = shop.invoice(invoice_details=[line, line])
    assert shop.total(invoice) == Decimal(12)


def test_deleting_an_invoice_takes_its_lines_along(shop):
    invoice = shop.invoice()
    shop.write_in(invoice)
    assert shop.delete(f"invoices({invoice})").status == 204
    assert shop.values("invoicedetails") == []


def test_what_a_client_sends_for_computed_columns_is_overwritten(shop):
    invoice = shop.invoice(totalamount=Decimal(1))
    line = shop.write_in(invoice, "10", "1", extendedamount=Decimal(1), baseamount=Decimal(1))
    shop.patch(f"invoices({invoice})", {"totalamount": Decimal(1)}, If_Match="*")
    assert shop.amounts(line)[1:3] == (Decimal(10), Decimal(10))
    assert shop.total(invoice) == Decimal(10)


def test_without_system_pricing_nothing_is_computed(shop):
    shop.organization(oobpricecalculationenabled=False)
    invoice = shop.invoice(totalamount=Decimal(1))
    line = shop.write_in(invoice, "10", "1", extendedamount=Decimal(7))
    assert shop.total(invoice) == Decimal(1)
    assert shop.amounts(line)[1:3] == (None, Decimal(7))


@pytest.mark.parametrize(
    ("precision", "kept", "amount"),
    [(0, "19", "57.00"), (2, "18.71", "56.14"), (4, "18.7125", "56.14")],
)
def test_unit_prices_have_the_organisations_decimals_and_amounts_the_currencys(
    shop, precision, kept, amount
):
    shop.organization(pricingdecimalprecision=precision)
    invoice = shop.invoice()
    line = shop.write_in(invoice, "18.7125", "3.00005")
    price, base, _, _ = shop.amounts(line)
    assert (price, base) == (Decimal(kept), Decimal(amount) if precision != 2 else Decimal("56.13"))


def test_a_catalogue_product_costs_what_the_price_list_says_or_what_is_overridden(shop):
    invoice = shop.invoice()
    listed = shop.catalogue(invoice, priceperunit=Decimal(99))
    other = shop.catalogue(invoice, ispriceoverridden=True, priceperunit=Decimal("5.50"))
    assert shop.amounts(listed) == (Decimal("6.00"), Decimal(60), Decimal(60), 0)
    assert shop.amounts(other) == (Decimal("5.50"), Decimal(55), Decimal(55), 0)
    assert shop.total(invoice) == Decimal(115)


def test_a_product_that_is_not_on_the_list_costs_nothing_and_the_row_says_so(shop):
    empty = shop.price_list("Empty", shop.dollar)
    invoice = shop.invoice(**{"pricelevelid@odata.bind": f"/pricelevels({empty})"})
    line = shop.catalogue(invoice)
    assert shop.amounts(line) == (Decimal(0), Decimal(0), Decimal(0), 11)
    assert (shop.total(invoice), shop.totals(invoice)["pricingerrorcode"]) == (Decimal(0), 1)


@pytest.mark.parametrize(("listed", "code"), [(None, 2), ("euro", 34)])
def test_an_invoice_without_a_price_list_of_its_currency_has_no_totals(shop, listed, code):
    path = f"/pricelevels({shop.price_list('Euros', shop.euro)})" if listed else None
    invoice = shop.invoice(**{"pricelevelid@odata.bind": path})
    shop.write_in(invoice)
    line = shop.catalogue(invoice)
    assert (shop.total(invoice), shop.totals(invoice)["pricingerrorcode"]) == (Decimal(0), code)
    assert shop.amounts(line)[3] == code
    bind = {"pricelevelid@odata.bind": f"/pricelevels({shop.prices})"}
    shop.patch(f"invoices({invoice})", bind, If_Match="*")
    assert (shop.total(invoice), shop.totals(invoice)["pricingerrorcode"]) == (Decimal("527.75"), 0)


def test_a_write_in_may_be_negative_or_not_as_the_switch_says(shop):
    invoice = shop.invoice()
    shop.write_in(invoice, "-18.71", "25", tax=Decimal("-88.87"))
    assert shop.total(invoice) == Decimal("-556.62")
    shop.settings.negative_prices = False
    refused = shop.line(
        invoice,
        isproductoverridden=True,
        productdescription="x",
        priceperunit=Decimal(-1),
        quantity=1,
    )
    assert (refused.status, refused.code) == (400, "0x8004431a")


def test_a_line_needs_an_invoice_and_a_product_or_a_description(shop):
    invoice = shop.invoice()
    assert shop.line(invoice, quantity=1).code == "0x80040203"
    assert shop.post("invoicedetails", {"isproductoverridden": True}).code == "0x80040203"


def test_a_line_takes_the_currency_of_its_invoice(shop):
    euros = shop.price_list("Euros", shop.euro)
    invoice = shop.invoice(
        **{
            "pricelevelid@odata.bind": f"/pricelevels({euros})",
            "transactioncurrencyid@odata.bind": f"/transactioncurrencies({shop.euro})",
        }
    )
    line = shop.write_in(invoice, "9.20", "1")
    row = shop.get(f"invoicedetails({line})").json
    assert row["_transactioncurrencyid_value"] == shop.euro
    assert row["extendedamount_base"] == Decimal(10)


# --- locks and states ------------------------------------------------------------------------------


def test_a_locked_invoice_keeps_its_prices_when_the_list_changes(shop):
    locked, free = shop.invoice(), shop.invoice()
    lines = [shop.catalogue(one) for one in (locked, free)]
    lock = f"invoices({locked})/{CRM}LockInvoicePricing"
    assert shop.post(lock).status == 204
    assert shop.get(f"invoices({locked})").json["ispricelocked"] is True
    shop.patch(f"productpricelevels({shop.listing})", {"amount": Decimal(7)}, If_Match="*")
    for line in lines:
        shop.patch(f"invoicedetails({line})", {"quantity": Decimal(11)}, If_Match="*")
    assert (shop.total(locked), shop.total(free)) == (Decimal(66), Decimal(77))
    assert shop.post(f"invoices({locked})/{CRM}UnlockInvoicePricing").status == 204
    shop.patch(f"invoicedetails({lines[0]})", {"quantity": Decimal(11)}, If_Match="*")
    assert shop.total(locked) == Decimal(77)


def test_locking_what_is_not_there_or_not_an_invoice_is_an_error(shop):
    missing = "00000000-0000-0000-0000-00000000dead"
    assert shop.post(f"invoices({missing})/{CRM}LockInvoicePricing").status == 404
    assert shop.post(f"accounts({shop.account})/{CRM}LockInvoicePricing").status == 404


@pytest.mark.parametrize(("state", "status"), [(2, 100001), (3, 100003)])
def test_a_paid_or_cancelled_invoice_is_read_only_until_it_is_reactivated(shop, state, status):
    invoice = shop.invoice()
    line = shop.write_in(invoice)
    closed = {"statecode": state, "statuscode": status}
    assert shop.patch(f"invoices({invoice})", closed, If_Match="*").status == 204
    for refused in (
        shop.patch(f"invoices({invoice})", {"name": "x"}, If_Match="*"),
        shop.patch(f"invoicedetails({line})", {"quantity": Decimal(1)}, If_Match="*"),
        shop.delete(f"invoicedetails({line})"),
        shop.line(invoice, isproductoverridden=True, priceperunit=1, quantity=1),
        shop.post(f"invoices({invoice})/{CRM}LockInvoicePricing"),
    ):
        assert refused.status == 400
        assert "read-only until it is reactivated" in refused.message
    assert shop.total(invoice) == Decimal("467.75")
    again = {"statecode": 0, "statuscode": 1}
    assert shop.patch(f"invoices({invoice})", again, If_Match="*").status == 204
    assert shop.patch(f"invoices({invoice})", {"name": "x"}, If_Match="*").status == 204


def test_a_state_has_its_own_reasons(shop):
    wrong = {"statecode": 3, "statuscode": 100001}
    assert shop.patch(f"invoices({shop.invoice()})", wrong, If_Match="*").code == "0x80048408"


def test_a_product_begins_as_a_draft(shop):
    assert shop.get(f"products({shop.product})").json["statecode"] == 2


def test_bulk_messages_are_listed_for_invoices(shop):
    found = shop.values(
        "sdkmessagefilters",
        filter="sdkmessageid/name eq 'CreateMultiple' and primaryobjecttypecode eq 'invoice'",
    )
    assert len(found) == 1
