"""The standard invoices of Dynamics 365 Sales: the same to the cent, once, whatever dies."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataverse.client import DataverseClient, Query
from dataverse.projection import SalesProjection
from dataverse.schema import external_key
from dataverse.standard_invoice import SALES_INVOICE, priced
from dataverse.tables import INVOICE, TABLES
from domain.money import Money
from domain.problems import ConfigurationError, ServiceError, Severity, Unavailable
from invoice.document import DocumentKind, DocumentStatus
from tests.clients.dataverse_environment import (
    NOW,
    Environment,
    a_line,
    an_invoice,
    new_environment,
)
from tests.fakes import Crash

ISSUED = INVOICE.column("csp_status").option(DocumentStatus.ISSUED)
EVERYTHING = ("totallineitemamount", "totaltax", "totalamount", "ispricelocked", "statecode")


@dataclass
class Shop:
    """An environment with Sales, our key on its invoices, an account and a list in dollars."""

    environment: Environment
    account: str
    prices: str

    @property
    def client(self):
        return self.environment.client()

    @property
    def store(self):
        return self.environment.store()

    def issue(self, document, *statuses):
        """Store a document and move it along its life."""
        document = replace(document, account_id=document.account_id or self.account)
        self.store.save_document(document)
        for status in statuses or (DocumentStatus.ISSUED,):
            document = replace(
                document,
                status=status,
                number=document.number or "INV-202610-0001",
                issued_on=date(2026, 11, 9),
                due_on=date(2026, 12, 9),
            )
            self.store.settle_document(document)
        return document

    def catch_up(self):
        return list(SalesProjection(self.client).catch_up(NOW))

    def invoices(self, *columns):
        return self.client.read(Query(table="invoice", select=(*EVERYTHING, *columns)))

    def lines(self):
        return self.client.read(
            Query(
                table="invoicedetail",
                select=("quantity", "priceperunit", "baseamount", "tax", "lineitemnumber"),
                order="lineitemnumber",
            )
        )

    def mark(self, document):
        columns = ("csp_projection", "csp_projectedon", "csp_projectedtotal", "csp_total")
        rows = self.client.read_keyed("csp_invoice", columns, [external_key(document.key)])
        words = {727000000: "different", 727000001: "locked", 727000002: "cancelled", None: None}
        return words[rows[0]["csp_projection"]], rows[0]["csp_projectedtotal"], rows[0]

    def organization(self, **values):
        (row,) = self.client.read(Query(table="organization", select=("organizationid",)))
        path = self.client.id_path("organization", row["organizationid"])
        self.client.call("PATCH", path, body=values, headers={"If-Match": "*"})

    def add_price_list(self, currency):
        (row,) = self.client.read(
            Query(
                table="transactioncurrency",
                select=("transactioncurrencyid",),
                where=f"isocurrencycode eq '{currency}'",
            )
        )
        bind = f"/transactioncurrencies({row['transactioncurrencyid']})"
        return self.client.create(
            "pricelevel", {"name": f"List {currency}", "transactioncurrencyid@odata.bind": bind}
        )


def new_shop():
    first = _first_shop()
    environment = new_environment(provisioned=False)
    environment.emulator.dataverse.store.copy_from(first.environment.emulator.dataverse.store)
    return Shop(environment, first.account, first.prices)


@cache
def _first_shop():
    """Provision once: the other shops are copies of this one, which nobody touches."""
    environment = new_environment(provisioned=False)
    environment.emulator.dataverse.install_sales()
    environment.provisioner(tables=(*TABLES, SALES_INVOICE), app=None, roles=()).apply()
    client = environment.client()
    shop = Shop(environment, client.create("account", {"name": "Contoso"}), "")
    shop.prices = shop.add_price_list("USD")
    return shop


@pytest.fixture
def shop():
    return new_shop()


# --- what is written -------------------------------------------------------------------------------


def test_an_issued_document_is_one_locked_standard_invoice_with_the_same_totals(shop):
    document = shop.issue(an_invoice())
    assert shop.catch_up() == []
    (row,) = shop.invoices(
        "name",
        "invoicenumber",
        "duedate",
        "description",
        "_customerid_value",
        "_pricelevelid_value",
    )
    assert row["totallineitemamount"] == document.subtotal.amount == Decimal("24.60")
    assert row["totaltax"] == document.tax.amount
    assert row["totalamount"] == document.total.amount
    assert row["ispricelocked"] is True
    assert (row["name"], row["invoicenumber"]) == ("INV-202610-0001", "INV-202610-0001")
    assert row["duedate"] == "2026-12-09"
    assert row["description"] == "Invoice for Contoso 1, 2026-10-01 to 2026-10-31."
    assert (row["_customerid_value"], row["_pricelevelid_value"]) == (shop.account, shop.prices)
    first, second = shop.lines()
    assert (first["lineitemnumber"], second["lineitemnumber"]) == (1, 2)
    assert (first["quantity"], first["priceperunit"]) == (Decimal(3), Decimal("4.10"))


def test_what_became_of_it_stands_on_our_own_row(shop):
    document = shop.issue(an_invoice())
    shop.catch_up()
    state, total, row = shop.mark(document)
    assert (state, total) == ("locked", document.total.amount)
    assert row["csp_projectedon"] == "2026-11-22T10:00:00Z"
    assert shop.store.documents() == (document,)


def test_doing_it_again_asks_and_writes_nothing(shop):
    shop.issue(an_invoice())
    shop.catch_up()
    shop.environment.forget_requests()
    assert shop.catch_up() == []
    assert shop.environment.writes() == []
    assert len(shop.invoices()) == 1


def test_drafts_are_not_projected(shop):
    shop.store.save_document(an_invoice(account_id=shop.account))
    assert shop.catch_up() == []
    assert shop.invoices() == []


@pytest.mark.parametrize(
    "life",
    [
        (DocumentStatus.APPROVED,),
        (DocumentStatus.ISSUED, DocumentStatus.HANDED_OFF, DocumentStatus.PAID),
        (DocumentStatus.ISSUED, DocumentStatus.CREDITED),
    ],
)
def test_every_document_that_stands_is_projected_also_late(shop, life):
    shop.issue(an_invoice(), *life)
    assert shop.catch_up() == []
    assert [row["totalamount"] for row in shop.invoices()] == [Decimal("29.28")]


def test_a_credit_note_is_an_invoice_with_negative_lines(shop):
    lines = [a_line(1, "-12.30", tax=Money(Decimal("-2.34"), "USD"))]
    note = shop.issue(an_invoice(*lines, kind=DocumentKind.CREDIT_NOTE))
    assert shop.catch_up() == []
    (row,) = shop.invoices("description")
    assert row["totalamount"] == note.total.amount == Decimal("-14.64")
    assert row["description"].startswith("Credit note for ")
    assert shop.lines()[0]["priceperunit"] == Decimal("-12.30")


def test_where_negative_prices_are_refused_a_finding_says_so_and_the_rest_goes_on(shop):
    shop.environment.emulator.dataverse.settings.negative_prices = False
    note = an_invoice(
        a_line(1, "-12.30", invoice_key="credit/1"),
        key="credit/1",
        kind=DocumentKind.CREDIT_NOTE,
        number="CN-202610-0001",
    )
    shop.issue(note)
    shop.issue(an_invoice())
    (finding,) = shop.catch_up()
    assert finding.check == "projection.refused"
    assert finding.severity is Severity.WARN
    assert "Sales refused CN-202610-0001" in finding.sentence
    assert "priceperunit" in finding.sentence
    assert [row["totalamount"] for row in shop.invoices()] == [Decimal("29.28")]
    shop.environment.emulator.dataverse.settings.negative_prices = True
    assert shop.catch_up() == []
    assert len(shop.invoices()) == 2


def test_a_document_that_was_made_void_is_cancelled_in_the_standard_table(shop):
    document = shop.issue(an_invoice(), DocumentStatus.APPROVED)
    shop.catch_up()
    shop.store.settle_document(replace(document, status=DocumentStatus.VOID))
    assert shop.catch_up() == []
    (row,) = shop.invoices("statuscode")
    assert (row["statecode"], row["statuscode"]) == (3, 100003)
    assert shop.mark(document)[0] == "cancelled"
    shop.environment.forget_requests()
    assert shop.catch_up() == []
    assert shop.environment.writes() == []


def test_a_document_that_was_void_before_is_never_projected(shop):
    document = shop.issue(an_invoice(), DocumentStatus.APPROVED, DocumentStatus.VOID)
    assert shop.catch_up() == []
    assert shop.invoices() == []
    assert shop.mark(document)[0] == "cancelled"


def test_a_document_with_more_lines_than_a_change_set_holds_is_still_one_transaction(shop):
    document = shop.issue(an_invoice(*(a_line(number) for number in range(1, 1003))))
    shop.environment.forget_requests()
    assert shop.catch_up() == []
    (row,) = shop.invoices()
    assert row["totalamount"] == document.total.amount
    assert [line["lineitemnumber"] for line in shop.lines()] == list(range(1, 1003))
    shop.environment.forget_requests()
    assert shop.catch_up() == []
    assert shop.environment.writes() == []


def test_amounts_have_the_currency_of_the_document(shop):
    shop.add_price_list("EUR")
    euro = {"tax": Money(Decimal("2.34"), "EUR")}
    line = a_line(1, **euro)
    line = replace(line, charge=replace(line.charge, amount=Money(Decimal("12.30"), "EUR")))
    shop.issue(an_invoice(line, currency="EUR"))
    assert shop.catch_up() == []
    (row,) = shop.invoices("totalamount_base", "_transactioncurrencyid_value")
    assert row["totalamount"] == Decimal("14.64")
    assert row["totalamount_base"] != row["totalamount"]


# --- quantity and unit price -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "price", "amount", "decimals", "expected"),
    [
        ("3", "4.1", "12.30", 2, ("3", "4.1")),
        ("3", "4.1", "12.29", 2, ("1", "12.29")),  # prorated: does not multiply out
        ("3", "4.125", "12.38", 4, ("1", "12.38")),  # rounded
        ("4", "4.125", "16.50", 2, ("1", "16.50")),  # the unit price would be cut
        ("4", "4.125", "16.50", 3, ("4", "4.125")),
        ("0.0000011", "1000000", "1.10", 2, ("1", "1.10")),  # the quantity would be cut
        ("-3", "4.10", "-12.30", 2, ("1", "-12.30")),
        ("0", "4.10", "0.00", 2, ("1", "0.00")),
    ],
)
def test_a_line_keeps_quantity_and_price_only_where_they_multiply_out(
    quantity, price, amount, decimals, expected
):
    line = a_line(1, amount)
    charge = replace(line.charge, quantity=Decimal(quantity), unit_price=Decimal(price))
    found = priced(replace(line, charge=charge), decimals)
    assert found == tuple(map(Decimal, expected))


@settings(max_examples=20, deadline=None)
@given(
    decimals=st.integers(0, 4),
    amounts=st.lists(
        st.tuples(
            st.decimals("0.01", "200", places=4),
            st.decimals("-500", "500", places=2),
            st.decimals("-99", "99", places=2),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_any_document_comes_to_the_same_or_is_told(shared, decimals, amounts):
    """Whatever the organisation rounds to: a copy that is locked is right to the cent."""
    shop, number = shared
    key = f"invoice/c1/2026-10/USD/{next(number)}"
    shop.organization(pricingdecimalprecision=decimals)
    lines = []
    for position, (quantity, amount, tax) in enumerate(amounts, 1):
        line = a_line(position, str(amount), invoice_key=key, tax=Money(tax, "USD"))
        price = (amount / quantity).quantize(Decimal("0.0000000001"))
        charge = replace(
            line.charge, quantity=quantity, unit_price=price, exact=Fraction(str(amount))
        )
        lines.append(replace(line, charge=charge))
    document = shop.issue(an_invoice(*lines, key=key, number=key))
    told = [one for one in shop.catch_up() if key in one.sentence]
    state, total, _ = shop.mark(document)
    assert state == ("different" if told else "locked")
    if decimals >= 2:
        assert told == []
        assert total == document.total.amount


@pytest.fixture(scope="module")
def shared():
    return new_shop(), iter(range(1, 10_000))


# --- what stands in the way ------------------------------------------------------------------------


def test_a_copy_that_differs_is_told_and_stays_open_until_somebody_mended_it(shop):
    shop.organization(pricingdecimalprecision=0)
    document = shop.issue(an_invoice())
    (finding,) = shop.catch_up()
    assert finding.check == "projection.total"
    assert (finding.severity, finding.customer_id) == (Severity.WARN, "c1")
    assert finding.sentence == (
        "The standard invoice INV-202610-0001 comes to 28.68 USD and INV-202610-0001 to 29.28: "
        "line 1: baseamount is 12.00 instead of 12.30; "
        "line 1: extendedamount is 14.34 instead of 14.64; "
        "line 2: baseamount is 12.00 instead of 12.30 and 3 more."
    )
    assert "rounds unit prices to 0 decimals" in finding.hint
    assert shop.mark(document)[:2] == ("different", Decimal("28.68"))
    assert [row["ispricelocked"] for row in shop.invoices()] == [False]
    shop.environment.forget_requests()
    assert shop.catch_up() == [finding]
    assert [one for one in shop.environment.writes() if "batch" not in one] == []
    shop.organization(pricingdecimalprecision=2)
    for line in shop.lines():
        path = shop.client.id_path("invoicedetail", line["invoicedetailid"])
        body = {"priceperunit": Decimal("4.10"), "quantity": 3}
        shop.client.call("PATCH", path, body=body, headers={"If-Match": "*"})
    assert shop.catch_up() == []
    assert shop.mark(document)[:2] == ("locked", Decimal("29.28"))


def test_a_line_that_somebody_added_is_a_difference_even_at_no_charge(shop):
    shop.organization(pricingdecimalprecision=0)
    shop.issue(an_invoice())
    shop.catch_up()
    (row,) = shop.invoices()
    shop.client.create(
        "invoicedetail",
        {
            "isproductoverridden": True,
            "productdescription": "a present",
            "priceperunit": 0,
            "quantity": 1,
            "invoiceid@odata.bind": f"/invoices({row['invoiceid']})",
        },
    )
    projection = SalesProjection(shop.client)
    (finding,) = projection.catch_up(NOW)
    assert "and 4 more" in finding.sentence


def test_where_a_company_prices_itself_nothing_is_locked_and_its_setting_is_left_alone(shop):
    shop.organization(oobpricecalculationenabled=False)
    shop.issue(an_invoice())
    (finding,) = shop.catch_up()
    assert "comes to empty USD" in finding.sentence
    assert finding.hint.startswith("System pricing is off in this organisation")
    (row,) = shop.client.read(Query(table="organization", select=("oobpricecalculationenabled",)))
    assert row["oobpricecalculationenabled"] is False


def test_a_currency_without_a_price_list_is_told_once_for_all_its_documents(shop):
    path = shop.client.id_path("pricelevel", shop.prices)
    shop.client.call("PATCH", path, body={"statecode": 1, "statuscode": 100002})
    shop.issue(an_invoice())
    other = an_invoice(a_line(1, invoice_key="invoice/2"), key="invoice/2", number="INV-2")
    shop.issue(other)
    (finding,) = shop.catch_up()
    assert (finding.check, finding.customer_id) == ("projection.no_price_list", "")
    assert finding.sentence == (
        "Sales has no active price list in USD, so no document in USD is projected."
    )
    assert "Add a price list with currency USD" in finding.hint
    shop.add_price_list("USD")
    assert shop.catch_up() == []
    assert len(shop.invoices()) == 2


def test_a_document_without_an_account_is_told(shop):
    document = shop.issue(an_invoice(account_id="none"))
    (refused,) = shop.catch_up()
    assert refused.check == "projection.refused"
    row = external_key(document.key)
    shop.client.write("csp_invoice", row, {"csp_accountref": None}, version="*")
    (finding,) = shop.catch_up()
    assert (finding.check, finding.record) == ("projection.no_account", "document INV-202610-0001")


def test_without_sales_one_sentence_says_so():
    environment = new_environment()
    (finding,) = SalesProjection(environment.client()).catch_up(NOW)
    assert finding.check == "projection.unavailable"
    assert finding.sentence == (
        "No document can be projected to the standard invoices: "
        "the environment has no table invoice."
    )
    assert finding.hint == "Install Dynamics 365 Sales, or switch CSP_PROJECTION off."


def test_without_the_key_one_sentence_says_what_to_do():
    environment = new_environment()
    environment.emulator.dataverse.install_sales()
    shop = Shop(environment, environment.client().create("account", {"name": "Contoso"}), "")
    shop.issue(an_invoice())
    (finding,) = shop.catch_up()
    assert finding.check == "projection.unavailable"
    assert finding.hint.startswith("Run `provision --apply` with CSP_PROJECTION on")


def test_without_rights_one_sentence_says_which(shop):
    shop.issue(an_invoice())
    shop.environment.emulator.change_dataverse(deny=[("Create", "invoice")])
    (finding,) = shop.catch_up()
    assert finding.check == "projection.refused"
    assert "prvCreateInvoice" in finding.sentence
    shop.environment.emulator.change_dataverse(deny=[("Read", "pricelevel")])
    (finding,) = shop.catch_up()
    assert finding.check == "projection.unavailable"
    assert finding.hint == "Give the worker's application user the role CSP Billing projection."


@pytest.mark.parametrize("kind", ["drop_before", "stall_before"])
@pytest.mark.parametrize("skip", [0, 1, 2, 3])
def test_an_outage_is_raised_and_not_told_as_a_missing_table(shop, kind, skip):
    """It has no status either; the findings that stand are then left as they are."""
    shop.issue(an_invoice())
    shop.environment.fail(kind=kind, skip=skip, count=99)
    with pytest.raises(Unavailable):
        shop.catch_up()
    shop.environment.emulator.control.clear_faults()
    assert shop.catch_up() == []


def test_a_page_of_a_proxy_is_not_told_as_a_missing_table(shop):
    shop.issue(an_invoice())
    shop.environment.fail(kind="respond", status=200, body="<html>sign in</html>")
    with pytest.raises(ServiceError, match="not JSON"):
        shop.catch_up()


def test_what_a_person_added_to_our_table_by_hand_is_not_projected(shop):
    shop.issue(an_invoice())
    status = {"csp_name": "By hand", "csp_status": ISSUED}
    shop.client.create("csp_invoice", status)
    assert shop.catch_up() == []
    assert len(shop.invoices()) == 1


# --- the key on the standard table -----------------------------------------------------------------


def test_the_provisioner_adds_the_key_to_the_standard_table_only_when_asked():
    environment = new_environment()
    environment.emulator.dataverse.install_sales()
    assert not environment.provisioner().plan()
    wanted = environment.provisioner(tables=(*TABLES, SALES_INVOICE))
    assert [str(step) for step in wanted.plan().steps] == [
        "add column invoice.csp_externalkey Text(100)",
        "create key csp_SalesInvoice_ExternalKey on invoice",
        "publish",
    ]
    wanted.apply()
    assert not wanted.plan()


def test_the_provisioner_does_not_make_the_standard_table():
    environment = new_environment(provisioned=False)
    wanted = environment.provisioner(tables=(*TABLES, SALES_INVOICE))
    with pytest.raises(ConfigurationError) as caught:
        wanted.apply()
    assert str(caught.value) == (
        "The environment has no table invoice, which the projection writes to."
    )
    assert "switch CSP_PROJECTION off" in caught.value.hint
    assert environment.client().read(Query(table="account", select=("name",))) == []


# --- whatever dies ---------------------------------------------------------------------------------


class Mortal(DataverseClient):
    """A client whose process dies at its n-th request, before it is sent or after it was answered."""

    left = 10**9
    answered = False

    def call(self, method, path, **given):
        self.left -= 1
        if self.left == 0 and not self.answered:
            raise Crash
        answer = super().call(method, path, **given)
        if self.left == 0:
            raise Crash
        return answer


def test_a_crash_at_any_request_is_healed_by_the_next_run():
    undisturbed = new_shop()
    life(undisturbed)
    client = Mortal(undisturbed.environment.http())
    SalesProjection(client).catch_up(NOW)
    requests = 10**9 - client.left
    expected = outcome(undisturbed)
    assert requests > 8
    for answered in (False, True):
        for cut in range(1, requests + 1):
            shop = new_shop()
            life(shop)
            client = Mortal(shop.environment.http())
            client.left, client.answered = cut, answered
            with pytest.raises(Crash):
                SalesProjection(client).catch_up(NOW)
            assert shop.catch_up() == []
            assert outcome(shop) == expected, f"cut {cut}, answered {answered}"


def life(shop):
    """One document to project, and one that was projected and then made void."""
    shop.issue(an_invoice())
    other = an_invoice(a_line(1, invoice_key="invoice/2"), key="invoice/2", number="INV-2")
    other = shop.issue(other, DocumentStatus.APPROVED)
    only = replace(other, status=DocumentStatus.VOID)
    SalesProjection(shop.client).catch_up(NOW)
    for row in shop.client.read(Query(table="invoice", select=("invoicenumber",))):
        if row["invoicenumber"] != "INV-2":
            shop.client.call("DELETE", shop.client.id_path("invoice", row["invoiceid"]))
    key = external_key(an_invoice().key)
    blank = dict.fromkeys(("csp_projection", "csp_projectedon", "csp_projectedtotal"))
    shop.client.write("csp_invoice", key, blank, version="*")
    shop.store.settle_document(only)


def outcome(shop):
    rows = shop.invoices("invoicenumber")
    return (
        sorted((row["invoicenumber"], *(row[name] for name in EVERYTHING)) for row in rows),
        [line["baseamount"] for line in shop.lines()],
        [shop.mark(one)[:2] for one in shop.store.documents()],
    )


def test_an_answer_that_is_lost_does_not_make_a_second_invoice(shop):
    shop.issue(an_invoice())
    for path in ("$batch", "invoices*", "csp_invoices*"):
        shop.environment.fail(path=path, kind="drop_after", count=1)
    assert shop.catch_up() == []
    assert len(shop.invoices()) == 1
    assert len(shop.lines()) == 2


def test_an_outage_is_raised_and_the_next_run_goes_on(shop):
    shop.issue(an_invoice())
    shop.environment.fail(path="$batch", status=503, count=4)  # as often as it is tried
    with pytest.raises(Unavailable):
        shop.catch_up()
    assert shop.catch_up() == []
    assert len(shop.invoices()) == 1


FAULTS = st.lists(
    st.tuples(
        st.sampled_from(["respond", "respond_after", "drop_before", "drop_after", "drop_during"]),
        st.integers(0, 12),
        st.integers(1, 5),
    ),
    max_size=4,
)


@settings(max_examples=30, deadline=None)
@given(faults=FAULTS)
def test_any_faults_of_the_network_are_healed_in_the_end(shared, faults):
    """However requests fail, and as often as they are given up: one invoice each, right, locked."""
    shop, number = shared
    shop.organization(pricingdecimalprecision=2)
    before = {row["invoiceid"] for row in shop.invoices()}
    key = f"invoice/c1/2026-10/USD/{next(number)}"
    gone = f"invoice/c1/2026-10/USD/{next(number)}"
    lines = [a_line(1, invoice_key=key), a_line(2, "7.77", invoice_key=key)]
    kept = shop.issue(an_invoice(*lines, key=key, number=key))
    void = shop.issue(
        an_invoice(a_line(1, invoice_key=gone), key=gone, number=gone), DocumentStatus.APPROVED
    )
    shop.catch_up()
    mark = dict.fromkeys(("csp_projection", "csp_projectedon", "csp_projectedtotal"))
    shop.client.write("csp_invoice", external_key(key), mark, version="*")
    (written,) = [row for row in shop.invoices("invoicenumber") if row["invoicenumber"] == key]
    shop.client.call("DELETE", shop.client.id_path("invoice", written["invoiceid"]))
    shop.store.settle_document(replace(void, status=DocumentStatus.VOID))
    for kind, skip, count in faults:
        shop.environment.fail(kind=kind, skip=skip, count=count)
    for _ in range(12):
        with suppress(ServiceError):
            assert [one for one in shop.catch_up() if key in one.sentence] == []
    shop.environment.emulator.control.clear_faults()
    assert [one for one in shop.catch_up() if key in one.sentence] == []
    found = [row for row in shop.invoices("invoicenumber") if row["invoiceid"] not in before]
    assert sorted(
        (row["invoicenumber"], row["totalamount"], row["ispricelocked"], row["statecode"])
        for row in found
    ) == sorted([(key, kept.total.amount, True, 0), (gone, void.total.amount, True, 3)])
    assert shop.mark(kept)[:2] == ("locked", kept.total.amount)
    assert shop.mark(void)[0] == "cancelled"


class Overtaken(DataverseClient):
    """A client that another run overtakes between its reading and its writing."""

    meanwhile = staticmethod(lambda: None)

    def change(self, operations):
        act, self.meanwhile = self.meanwhile, lambda: None
        act()
        return super().change(operations)


def test_of_two_runs_at_once_one_writes_and_the_other_finds_it(shop):
    document = shop.issue(an_invoice())
    client = Overtaken(shop.environment.http())
    client.meanwhile = shop.catch_up
    assert list(SalesProjection(client).catch_up(NOW)) == []
    assert [row["totalamount"] for row in shop.invoices()] == [document.total.amount]
    assert len(shop.lines()) == 2


def test_a_document_of_many_lines_is_written_once_by_two_runs_too(shop):
    shop.issue(an_invoice(*(a_line(number) for number in range(1, 1001))))
    client = Overtaken(shop.environment.http())
    client.meanwhile = shop.catch_up
    assert list(SalesProjection(client).catch_up(NOW)) == []
    assert len(shop.invoices()) == 1
    assert len(shop.lines()) == 1000
