"""Dynamics 365 Sales, as far as an invoice goes: its tables, its price engine, its locks.

An environment has these tables only where Sales is installed, so they come by a switch. Amounts are
recalculated on every write of a line or a header while `oobpricecalculationenabled` is on; what a
client sends for a computed column is then overwritten. Built from Microsoft's published columns;
exact arithmetic per column, the texts and codes of refusals, what becomes of an invoice without a
price list, and negative prices are not documented: those places say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from emulator.dataverse import errors, values
from emulator.dataverse.definitions import Definitions
from emulator.dataverse.rows import Cells, Event, Rows
from emulator.dataverse.schema import Table
from emulator.dataverse.seed import Standard, link, make_tables

_TABLES = (
    Standard(
        "UoMSchedule", "uomschedules", 1056, "name:String:200 baseuomname:String:100"
    ),  # a unit group
    Standard(
        "UoM",
        "uoms",
        1055,
        "name:String:100 quantity:Decimal:10 isschedulebaseuom:Boolean "
        "uomscheduleid:Lookup:uomschedule=unit_of_measurement_schedule_conversions "
        "baseuom:Lookup:uom=unit_of_measurement_base_unit",
    ),
    # Columns of price lists by recollection: Microsoft's page of them was not at hand.
    Standard(
        "PriceLevel",
        "pricelevels",
        1022,
        "name:String:100 description:Memo:2000 begindate:DateOnly enddate:DateOnly "
        "transactioncurrencyid:Lookup:transactioncurrency=transactioncurrency_pricelevel "
        "statecode:State:0=Active|1=Inactive "
        "statuscode:Status:100001=Active>0|100002=Inactive>1",
    ),
    Standard(
        "Product",
        "products",
        1024,
        "name:String:100 productnumber:String:100 description:Memo:2000 "
        "productstructure:Picklist:1=Product|2=Product_Family|3=Product_Bundle "
        "quantitydecimal:Integer price:Money:1 currentcost:Money:1 standardcost:Money:1 "
        "validfromdate:DateOnly validtodate:DateOnly vendorpartnumber:String:100 "
        "defaultuomid:Lookup:uom=unit_of_measurement_products "
        "defaultuomscheduleid:Lookup:uomschedule=unit_of_measurement_schedule_products "
        "statecode:State:0=Active|1=Retired|2=Draft|3=Under_Revision "
        "statuscode:Status:1=Active>0|2=Retired>1|0=Draft>2|3=Under_Revision>3",
    ),
    Standard(
        "ProductPriceLevel",
        "productpricelevels",
        1026,
        # The primary name by recollection.
        "productnumber:String:100 amount:Money:1 percentage:Decimal:2 "
        "pricingmethodcode:Picklist:1=Currency_Amount|2=Percent_of_List "
        "quantitysellingcode:Picklist:1=No_Control|2=Whole|3=Whole_and_Fractional "
        "roundingpolicycode:Picklist:1=None|2=Up|3=Down|4=To_Nearest "
        "pricelevelid:Lookup:pricelevel=price_level_product_price_levels "
        "productid:Lookup:product=product_price_levels "
        "uomid:Lookup:uom=unit_of_measurement_product_price_level",
    ),
    Standard(
        "Invoice",
        "invoices",
        1090,
        "name:String:300 invoicenumber:String:100 description:Memo:2000 ispricelocked:Boolean "
        "duedate:DateOnly datedelivered:DateOnly "
        "paymenttermscode:Picklist:1=Net_30|2=2%_10,_Net_30|3=Net_45|4=Net_60 "
        "billto_name:String:200 billto_line1:String:4000 billto_city:String:80 "
        "billto_postalcode:String:20 billto_country:String:80 "
        "discountamount:Money discountpercentage:Decimal:10 freightamount:Money "
        "totallineitemamount:Money totallineitemdiscountamount:Money totaldiscountamount:Money "
        "totalamountlessfreight:Money totaltax:Money totalamount:Money "
        "lastbackofficesubmit:DateOnly skippricecalculation:Integer "
        "pricingerrorcode:Picklist:0=None|1=Detail_Error|2=Missing_Price_Level|"
        "34=Invalid_Price_Level_Currency "
        "customerid:Lookup:account=invoice_customer_accounts|contact=invoice_customer_contacts "
        "pricelevelid:Lookup:pricelevel=price_level_invoices "
        "statecode:State:0=Active|1=Closed|2=Paid|3=Canceled "
        "statuscode:Status:1=New>0|2=Partially_Shipped>0|4=Billed>0|5=Booked>0|6=Installed>0|"
        "3=Canceled>1|7=Paid_in_Full>1|100001=Complete>2|100002=Partial>2|100003=Canceled>3",
        owned=True,
    ),
    Standard(
        "InvoiceDetail",
        "invoicedetails",
        1091,
        "invoicedetailname:String:850 productdescription:String:850 description:Memo:2000 "
        "isproductoverridden:Boolean ispriceoverridden:Boolean priceperunit:Money:1 "
        "quantity:Decimal:5 manualdiscountamount:Money tax:Money baseamount:Money "
        "extendedamount:Money lineitemnumber:Integer sequencenumber:Integer "
        "skippricecalculation:Integer "
        "pricingerrorcode:Picklist:0=None|4=Missing_Quantity|5=Missing_Unit_Price|"
        "2=Missing_Price_Level|10=Missing_UOM|11=Product_Not_In_Price_Level|"
        "34=Invalid_Price_Level_Currency "
        "productid:Lookup:product=product_invoice_details "
        "uomid:Lookup:uom=unit_of_measurement_invoice_details",
        owned=True,
    ),
)
_COMPUTED = {
    "invoice": (
        "totallineitemamount", "totallineitemdiscountamount", "totaldiscountamount",
        "totalamountlessfreight", "totaltax", "totalamount", "pricingerrorcode",
    ),
    "invoicedetail": ("baseamount", "extendedamount", "pricingerrorcode"),
}  # fmt: skip
_NO_PRICE_LIST, _NOT_LISTED, _OTHER_CURRENCY = 2, 11, 34
# By recollection; the documentation at hand names only the three above.
_DETAIL_ERROR, _NO_QUANTITY, _NO_UNIT_PRICE, _NO_UNIT = 1, 4, 5, 10
_CURRENCY_AMOUNT = 1
_PAID, _CANCELED = 2, 3
_ZERO = Decimal(0)

RowAction = Callable[[Table, str], None]


def install(definitions: Definitions) -> None:
    """Add the Sales tables to an environment; the caller holds a transaction open."""
    make_tables(definitions, _TABLES)
    lines = "invoiceid:Lookup:invoice=invoice_details"
    link(definitions, "invoicedetail", lines, on_delete="Cascade")
    link(definitions, "account", "defaultpricelevelid:Lookup:pricelevel=price_level_accounts")
    tables = definitions.store.schema.tables
    for name in ("invoice", "invoicedetail"):
        definitions.offer_messages(tables[name])


class Sales:
    """The steps that Sales has around writes of invoices, and the actions on them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._store = rows.store
        self.actions: Mapping[tuple[str, str], RowAction] = {
            ("invoice", "LockInvoicePricing"): self._lock,
            ("invoice", "UnlockInvoicePricing"): self._unlock,
        }

    # The steps

    def before(self, event: Event) -> None:
        """Number, fill in and refuse; what the engine computes is taken out of the write."""
        if not self._is_ours(event.table):
            return
        cells = event.cells
        creating = event.message == "Create"
        if event.table.logical == "product":
            if creating:
                # Live, a setting of the organisation may create products active.
                cells.setdefault("statecode", 2)
            return
        if event.table.logical == "invoice":
            self._before_invoice(event)
        else:
            self._before_line(event)
        if self._computes:
            for name in _COMPUTED[event.table.logical]:
                cells.pop(name, None)

    def _before_invoice(self, event: Event) -> None:
        cells = event.cells
        if event.message == "Create":
            if not cells.get("invoicenumber"):
                number = self._store.one("SELECT COUNT(*) FROM invoice") or (0,)
                cells["invoicenumber"] = f"INV-{number[0] + 1001:05d}-{self._store.seed:06X}"
            for name in ("discountamount", "freightamount"):
                cells.setdefault(name, None)
        elif event.message == "Update":
            self._refuse_closed(event.row_id, reactivates=cells.get("statecode") == 0)

    def _before_line(self, event: Event) -> None:
        cells = event.cells
        old: Cells = {} if event.message == "Create" else self._read(event.table, event.row_id)
        invoice_id = cells.get("invoiceid", old.get("invoiceid"))
        if event.message != "Delete" and invoice_id is None:
            raise errors.invalid_argument("The invoice id is missing.")
        for parent in {old.get("invoiceid"), invoice_id} - {None}:
            self._refuse_closed(str(parent))
        if event.message == "Delete":
            cells["invoiceid"] = invoice_id
            return
        if event.message == "Create":
            count = self._store.one(
                "SELECT COUNT(*) FROM invoicedetail WHERE invoiceid = ?", (invoice_id,)
            ) or (0,)
            cells.setdefault("lineitemnumber", count[0] + 1)
        invoice = self._read(self._store.schema.tables["invoice"], str(invoice_id))
        cells["transactioncurrencyid"] = invoice["transactioncurrencyid"]
        line = old | cells
        if not line.get("isproductoverridden") and line.get("productid") is None:
            raise errors.invalid_argument(
                "A line needs an existing product, or a description of a write-in product."
            )
        price = cells.get("priceperunit")
        if price is not None and Decimal(price) < 0 and not self._rows.settings.negative_prices:
            # Whether a write-in may be below zero is not documented: both can be had.
            limit = "0 to 922337203685477"
            raise errors.out_of_range(price, "priceperunit", event.table.logical, limit)

    def after(self, event: Event) -> None:
        """Recalculate what the write concerns."""
        if not self._is_ours(event.table) or not self._computes:
            return
        tables = self._store.schema.tables
        if event.table.logical == "invoice" and event.message != "Delete":
            if {"pricelevelid", "transactioncurrencyid"} & event.cells.keys():
                found = self._store.rows(
                    "SELECT invoicedetailid FROM invoicedetail WHERE invoiceid = ?", (event.row_id,)
                )
                for (line_id,) in found:
                    self._price(tables["invoicedetail"], line_id)
            self._total(tables["invoice"], event.row_id)
        elif event.table.logical == "invoicedetail":
            if event.message == "Delete":
                invoice_id = event.cells["invoiceid"]
            else:
                self._price(event.table, event.row_id)
                invoice_id = self._read(event.table, event.row_id)["invoiceid"]
            self._total(tables["invoice"], str(invoice_id))

    def _is_ours(self, table: Table) -> bool:
        known = table.logical in ("invoice", "invoicedetail", "product")
        return known and not table.definition["IsCustomEntity"]

    @property
    def _computes(self) -> bool:
        row = self._store.one("SELECT oobpricecalculationenabled FROM organization")
        return row is not None and row[0] != 0

    def _refuse_closed(self, invoice_id: str, *, reactivates: bool = False) -> None:
        """Paid and cancelled invoices are read-only; code and words of the refusal are invented."""
        row = self._store.one("SELECT statecode FROM invoice WHERE invoiceid = ?", (invoice_id,))
        if row is not None and row[0] in (_PAID, _CANCELED) and not reactivates:
            state = "paid" if row[0] == _PAID else "canceled"
            raise errors.DataverseError(
                400, "0x80040203", f"The invoice is {state} and read-only until it is reactivated."
            )

    # The price engine

    def _price(self, table: Table, line_id: str) -> None:
        """Base and extended amount of a line, and the unit price of a catalogue product."""
        line = self._read(table, line_id)
        invoice = self._read(self._store.schema.tables["invoice"], str(line["invoiceid"]))
        places = self._places(invoice["transactioncurrencyid"])
        price = _number(line["priceperunit"])
        error = 0
        from_list = not line["isproductoverridden"] and not line["ispriceoverridden"]
        if from_list and (price is None or not invoice["ispricelocked"]):
            price, error = self._listed(line, invoice)
        elif price is None:
            error = _NO_UNIT_PRICE
        quantity = _number(line["quantity"])
        if quantity is None:
            error = error or _NO_QUANTITY
        base = _round((price or _ZERO) * (quantity or _ZERO), places)
        less, tax = (_number(line[name]) or _ZERO for name in ("manualdiscountamount", "tax"))
        amounts = {"baseamount": base, "extendedamount": base - less + tax}
        if error:
            amounts = dict.fromkeys(amounts, _ZERO)
        if from_list:
            amounts["priceperunit"] = _ZERO if error or price is None else price
        self._store_changed(table, line_id, line, amounts, error)

    def _listed(self, line: Cells, invoice: Cells) -> tuple[Decimal | None, int]:
        """The unit price of the price list, or why there is none."""
        error = self._list_error(invoice)
        if error:
            return None, error
        if line["uomid"] is None:
            return None, _NO_UNIT
        row = self._store.one(
            "SELECT amount FROM productpricelevel WHERE pricelevelid = ? AND productid = ?"
            " AND uomid = ? AND COALESCE(pricingmethodcode, 1) = ?",
            (invoice["pricelevelid"], line["productid"], line["uomid"], _CURRENCY_AMOUNT),
        )
        return (Decimal(row[0]), 0) if row and row[0] is not None else (None, _NOT_LISTED)

    def _list_error(self, invoice: Cells) -> int:
        if invoice["pricelevelid"] is None:
            return _NO_PRICE_LIST
        row = self._store.one(
            "SELECT transactioncurrencyid FROM pricelevel WHERE pricelevelid = ?",
            (invoice["pricelevelid"],),
        )
        same = row is not None and row[0] == invoice["transactioncurrencyid"]
        return 0 if same else _OTHER_CURRENCY

    def _total(self, table: Table, invoice_id: str) -> None:
        """The totals of a header from its lines, its discount and its freight.

        That an invoice without a fitting price list keeps zero totals, even for write-ins, is the
        strict reading of the documentation.
        """
        invoice = self._read(table, invoice_id)
        if not invoice:
            return  # it is being deleted, with its lines
        lines = self._store.rows(
            "SELECT baseamount, manualdiscountamount, tax, pricingerrorcode FROM invoicedetail"
            " WHERE invoiceid = ?",
            (invoice_id,),
        )
        good = [line for line in lines if not line[3]]
        base, less, tax = (
            sum((_number(line[column]) or _ZERO for line in good), _ZERO) for column in range(3)
        )
        items = base - less
        percent = _number(invoice["discountpercentage"]) or _ZERO
        places = self._places(invoice["transactioncurrencyid"])
        discount = (_number(invoice["discountamount"]) or _ZERO) + _round(
            items * percent / 100, places
        )
        amounts = {
            "totallineitemamount": items,
            "totallineitemdiscountamount": less,
            "totaldiscountamount": discount,
            "totalamountlessfreight": items - discount,
            "totaltax": tax,
            "totalamount": items - discount + (_number(invoice["freightamount"]) or _ZERO) + tax,
        }
        error = self._list_error(invoice)
        if error:
            amounts = dict.fromkeys(amounts, _ZERO)
        elif len(good) < len(lines):
            error = _DETAIL_ERROR
        self._store_changed(table, invoice_id, invoice, amounts, error)

    def _store_changed(
        self, table: Table, row_id: str, old: Cells, amounts: Mapping[str, Decimal], error: int
    ) -> None:
        new: Cells = {
            name: values.fixed(amount, values.MONEY_SCALE) for name, amount in amounts.items()
        }
        new["pricingerrorcode"] = error
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        if changed:
            self._rows.change(table, row_id, changed)

    # Actions

    def _lock(self, table: Table, row_id: str) -> None:
        self._set_lock(table, row_id, locked=True)

    def _unlock(self, table: Table, row_id: str) -> None:
        self._set_lock(table, row_id, locked=False)

    def _set_lock(self, table: Table, row_id: str, *, locked: bool) -> None:
        """Later changes of the price list do not (or again do) reach the lines."""
        self._rows.demand("Write", table)
        self._refuse_closed(row_id)
        self._rows.change(table, row_id, {"ispricelocked": int(locked)})

    # Reading

    def _read(self, table: Table, row_id: str) -> dict[str, Any]:
        names = [*table.columns]
        listed = ", ".join(f'"{name}"' for name in names)
        row = self._store.one(
            f'SELECT {listed} FROM {table.sql} WHERE "{table.primary_id}" = ?', (row_id,)
        )
        return dict(zip(names, row, strict=True)) if row else {}

    def _places(self, currency: Any) -> int:
        row = self._store.one(
            "SELECT currencyprecision FROM transactioncurrency WHERE transactioncurrencyid = ?",
            (currency,),
        )
        return int(row[0]) if row else 2


def _number(cell: Any) -> Decimal | None:
    return None if cell is None else Decimal(cell)


def _round(number: Decimal, places: int) -> Decimal:
    return Decimal(values.fixed(number, places))
