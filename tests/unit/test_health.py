"""The health page: an honest sentence, an equation that adds up, holds with what to do."""

import json
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.charge import Charge, ChargeType
from domain.money import Money
from domain.period import BillingCycle, Period, TermDuration
from domain.problems import Finding, Severity
from domain.renewal import AtEnd, Renewal, Terms
from domain.run import ControlTotal, Run, RunStatus
from invoice.document import DocumentKind, DocumentStatus, Invoice, InvoiceLine
from reports.health import HealthReport, _bar, page, summary, verdict

OCTOBER = Period.month("2026-10")


def a_document(customer, *amounts, number="", currency="USD", status="issued", kind="invoice"):
    key = f"invoice/{customer}/2026-10/{currency}/{number or 'draft'}"
    lines = tuple(
        InvoiceLine(
            key=f"{key}/{position}",
            invoice_key=key,
            position=position,
            tax_percent=Decimal(10),
            tax=Money.rounded(Fraction(Decimal(amount)) / 10, currency),
            charge=Charge(
                key=f"{key}/{position}",
                customer_id=customer,
                subscription_id="s1",
                type=ChargeType.CYCLE,
                name="Microsoft 365 E3",
                sku="CFQ7TTC0LFLX:0001",
                service=OCTOBER,
                full=OCTOBER,
                quantity=Decimal(1),
                unit_price=Decimal(amount),
                exact=Fraction(Decimal(amount)),
                amount=Money(Decimal(amount), currency),
            ),
        )
        for position, amount in enumerate(amounts or ("100.00",), start=1)
    )
    return Invoice(
        key=key,
        kind=DocumentKind(kind),
        number=number,
        status=DocumentStatus(status),
        customer_id=customer,
        customer_name=f"Name of {customer}",
        contract_key="c",
        account_name="A",
        account_id="a",
        period=OCTOBER,
        currency=currency,
        lines=lines,
    )


def a_finding(customer, check="agreement.missing", severity="hold", record="agreement", **more):
    return Finding(
        check=check,
        severity=Severity(severity),
        customer_id=customer,
        record=record,
        **{"sentence": "No agreement.", "hint": "attest it", **more},
    )


def a_total(currency="USD", residual="0.00", **parts):
    given_parts = {
        name: Decimal(parts.get(name, "0.00"))
        for name in ("billed", "credited", "held", "excluded", "sold")
    }
    known = sum((v for k, v in given_parts.items() if k != "sold"), Decimal(residual))
    return ControlTotal(currency=currency, microsoft=known, **given_parts)


def a_run(*totals, status=RunStatus.DONE, problem=""):
    return Run(
        key="bill/2026-10",
        kind="bill",
        scope="",
        window="2026-10",
        status=status,
        started_at=datetime(2026, 11, 9, 6, 0, tzinfo=UTC),
        finished_at=datetime(2026, 11, 9, 6, 0, 41, tzinfo=UTC),
        counts={"cost_lines": 1412},
        totals=totals,
        problem=problem,
    )


def a_report(**changes):
    documents = changes.get("documents", [a_document("t1", number="INV-202610-0001")])
    sold = sum((d.subtotal.amount for d in documents), Decimal("0.00"))
    values = {
        "partner": "Adatum",
        "mode": "cloud",
        "as_of": date(2026, 11, 9),
        "period": OCTOBER,
        "run": a_run(a_total(billed="80.00", sold=str(sold))),
        "documents": documents,
        "findings": [],
        "customers": {"t1": "Contoso"},
        "links": {},
    }
    return HealthReport(**(values | changes))


class _Balance(HTMLParser):
    """Open and close tags as a page's structure; keeps the text, the links and the tags."""

    _EMPTY = frozenset({"meta", "br", "rect", "path", "line", "circle"})

    def __init__(self, text):
        super().__init__()
        self.open, self.words, self.links, self.tags = [], [], [], Counter()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        if tag == "a":
            self.links.append(dict(attrs)["href"])
        if tag not in self._EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags[tag] += 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read(report):
    parsed = _Balance(page(report))
    assert parsed.open == []
    return parsed


# --- the verdict ---


def test_verdict_of_a_month_in_balance_with_holds():
    customers = {f"t{n}": f"Customer {n}" for n in range(25)}
    report = a_report(
        customers=customers,
        documents=[a_document(f"t{n}", number=f"INV-202610-{n:04d}") for n in range(18)],
        findings=[a_finding(f"t{n}") for n in range(18, 25)]
        + [a_finding("t18", check="gdap.missing"), a_finding("t1", severity="warn")],
        run=a_run(
            a_total("USD", billed="50000.05", held="12880.00", sold="1800.00"),
            a_total("EUR", billed="59300.00", credited="-35.77"),
        ),
    )
    assert verdict(report) == (
        "18 invoices for 25 customers; 7 customers on hold; every cent of Microsoft's "
        "62,880.05 USD and 59,264.23 EUR is accounted for: residual 0.00."
    )
    assert "In balance, with holds" in read(report).text


def test_verdict_of_one_invoice_and_no_hold():
    assert verdict(a_report()) == (
        "1 invoice for 1 customer; no customer on hold; "
        "every cent of Microsoft's 80.00 USD is accounted for: residual 0.00."
    )
    assert "In balance 1 invoice" in read(a_report()).text


def test_verdict_of_one_hold_counts_a_customer_once_and_those_without_a_document():
    report = a_report(
        findings=[a_finding("t2"), a_finding("t2", check="gdap.missing")],
        customers={"t1": "Contoso", "t2": "Fabrikam", "t3": "Proseware"},
    )
    assert "for 3 customers; 1 customer on hold, 1 more without a document; " in verdict(report)


def test_verdict_names_the_residual_of_each_currency_that_has_one():
    report = a_report(
        run=a_run(
            a_total("EUR", billed="1000.00", residual="-12.34"),
            a_total("JPY", billed="5000"),
            a_total("USD", billed="80.00", residual="0.004", sold="100.00"),
        )
    )
    said = verdict(report)
    assert "Microsoft's 987.66 EUR is not fully accounted for: residual -12.34; " in said
    assert "Microsoft's 80.004 USD is not fully accounted for: residual 0.004; " in said
    assert said.endswith("every cent of Microsoft's 5,000 JPY is accounted for: residual 0.")
    assert "Not in balance" in read(report).text


def test_verdict_does_not_praise_a_residual_whose_lines_cancel_out():
    lines = [
        a_finding("t1", check="reconcile.not_billed", severity="warn", record=f"cost line {n}")
        for n in range(2)
    ]
    report = a_report(findings=lines)
    assert verdict(report).endswith(
        "residual 0.00, but only in sum: no customer line answers 2 lines of it."
    )
    assert "Not in balance" in read(report).text


def test_verdict_without_a_run():
    bare = a_report(run=None, documents=[])
    assert verdict(bare) == (
        "Nothing is billed for October 2026 yet: there is no billing run; no customer on hold."
    )
    billed = a_report(run=None)
    assert verdict(billed) == (
        "1 invoice for 1 customer; no customer on hold; "
        "there is no billing run, so nothing is proven about Microsoft's bill."
    )
    text = read(bare).text
    for words in ("No run yet", "No totals yet", "There are no documents", "There is no run"):
        assert words in text


@pytest.mark.parametrize(
    ("run", "words", "state"),
    [
        (a_run(status=RunStatus.RUNNING), "the run has not ended, so nothing", "Run not ended"),
        (a_run(), "the run holds no totals, so nothing is proven", "Not proven"),
        (
            a_run(a_total(billed="80.00"), status=RunStatus.FAILED, problem="2 units <failed>"),
            "the run failed, so this is not the whole; every cent",
            "Run failed",
        ),
    ],
)
def test_verdict_of_a_run_that_proves_nothing(run, words, state):
    report = a_report(run=run)
    assert words in verdict(report)
    assert state in read(report).text
    assert run.problem in read(report).text


def test_verdict_counts_credit_notes_and_drafts_but_not_what_is_void():
    documents = [
        a_document("t1", number="INV-202610-0001"),
        a_document("t2", number="INV-202610-0002", status="void"),
        a_document("t3", "-5.00", number="CN-202610-0001", kind="credit_note"),
        a_document("t4", status="draft"),
        a_document("t5", status="draft"),
    ]
    said = verdict(a_report(documents=documents))
    assert said.startswith("3 invoices and 1 credit note (2 still drafts) for")
    assert "(1 still a draft)" in verdict(a_report(documents=documents[:4]))
    assert "2 invoices (all still drafts)" in verdict(a_report(documents=documents[3:]))


def test_verdict_names_what_concerns_the_partner_as_a_whole():
    report = a_report(findings=[a_finding("", check="import.incomplete", severity="block")])
    assert "no customer on hold, 1 open point of the partner as a whole; " in verdict(report)
    text = read(report).text
    assert "The partner as a whole 1 finding Nobody can release this. No agreement." in text


# --- the page ---


def test_page_shows_the_equation_the_margin_and_a_bar_that_can_be_read_aloud():
    total = a_total(
        billed="51223.90", credited="-1204.05", held="12860.20", excluded="7.00", sold="60144.00"
    )
    text = read(a_report(run=a_run(total))).text
    for row in (
        "Microsoft billed 62,887.05 USD",
        "Billed Passed on to customers, at your cost 51,223.90",
        "Credited Credits from Microsoft, passed on to customers -1,204.05",
        "Held Waiting: the customer is on hold, or billed later by contract 12,860.20",
        "Excluded Not passed on, by agreement 7.00",
        "Residual Not found again; it should be zero 0.00",
        "Microsoft billed The sum of the five lines above 62,887.05",
        "Sold What the documents ask of customers, before tax 60,144.00",
        "Margin Sold, less billed and credited; 16.8 % of what was sold 10,124.15",
        "Where 62,887.05 USD went Billed 51,223.90, Credited -1,204.05, Held 12,860.20, Excluded",
        "Excluded 7.00, Residual 0.00. Negative parts stand left of the line.",
    ):
        assert row in text


def test_page_without_sales_shows_no_percentage():
    text = read(a_report(documents=[], run=a_run(a_total(held="5.00")))).text
    assert "Sold, less billed and credited 0.00" in text


def test_page_says_where_run_and_documents_disagree():
    report = a_report(
        documents=[
            a_document("t1", "100.00", number="1"),
            a_document("t2", "20.00", number="2", currency="GBP"),
        ],
        run=a_run(a_total("USD", billed="80.00", sold="90.00")),
    )
    text = read(report).text
    assert "The run says that 90.00 USD was sold, the documents add up to 100.00 USD" in text
    assert "The documents ask for 20.00 GBP before tax, a currency in which Microsoft" in text
    assert "The run says that" not in read(a_report()).text


def test_page_groups_holds_by_customer_worst_first_and_folds_warnings():
    report = a_report(
        customers={"t1": "Alpha", "t2": "Beta", "t3": "Gamma"},
        findings=[
            a_finding("t1", sentence="Alpha has one."),
            a_finding("t2", sentence="Beta has two.", hint="settle the first"),
            a_finding("t2", check="tax.lapsed", sentence="Beta has this too."),
            a_finding("t3", severity="block", sentence="Gamma blocks."),
            a_finding("t1", severity="warn", sentence="Only a warning."),
            a_finding("unknown-tenant", severity="warn", sentence="Nobody knows me."),
        ],
    )
    text = read(report).text
    places = [
        text.index(words)
        for words in (
            "Gamma 1 finding Nobody can release this. Gamma blocks.",
            "Beta 2 findings Beta has two. To do: Settle the first.",
            "Beta has this too.",
            "Alpha 1 finding Alpha has one.",
            "2 warnings",
            "Only a warning.",
            "unknown-tenant 1 finding Nobody knows me.",
        )
    ]
    assert places == sorted(places)
    html = page(report)
    folded = html[html.index("<details>") : html.index("</details>")]
    assert "Only a warning." in folded
    assert "Beta has two." not in folded
    assert "<details>" not in page(a_report())


def test_page_lists_documents_by_number_links_them_and_adds_them_up():
    documents = [
        a_document("t3", status="draft"),
        a_document("t2", "1000.00", "234.56", number="INV-202610-0002"),
        a_document("t1", "1.00", number="INV-202610-0001"),
        a_document("t4", "50.00", number="INV-202610-0003", status="void"),
    ]
    links = {
        documents[0].key: "invoices/draft of t3.html",
        documents[1].key: "invoices/INV-202610-0002.html",
        documents[3].key: 'javascript:alert("1")',
    }
    parsed = read(a_report(documents=documents, links=links))
    assert parsed.links == [
        "invoices/INV-202610-0002.html",
        "javascript%3Aalert%28%221%22%29",
        "invoices/draft%20of%20t3.html",
    ]
    text = parsed.text
    assert "INV-202610-0001 Name of t1 Issued 1 1.00 0.10 1.10 USD" in text
    assert "INV-202610-0002 Name of t2 Issued 2 1,234.56 123.46 1,358.02 USD" in text
    assert "Draft Name of t3 Draft 1 100.00 10.00 110.00 USD" in text
    assert "All documents in USD 4 1,335.56 133.56 1,469.12 USD" in text


def test_page_escapes_everything_and_needs_nothing_from_outside():
    bad = "<script>alert('&')</script>"
    document = replace(a_document("t1", number=bad), customer_name=bad)
    report = a_report(
        partner=bad,
        mode=bad,
        documents=[document],
        findings=[
            a_finding("t1", check=bad, record=bad, sentence=bad, hint=bad),
            a_finding(bad, severity="warn", sentence=bad),
        ],
        customers={"t1": bad},
        links={document.key: bad},
        run=replace(a_run(a_total(billed="1.00"), problem=bad), key=bad, counts={bad: 1}),
    )
    parsed = read(report)
    assert parsed.text.count(bad) >= 12
    assert not {"script", "link", "img", "iframe"} & set(parsed.tags)
    html = page(report)
    assert "http" not in html
    assert "@import" not in html


def test_page_tells_invented_data_from_real():
    words = "All data on this page is invented"
    assert f"{words} (embedded mode)" in read(a_report(mode="embedded")).text
    assert f"{words} (emulator mode)" in read(a_report(mode="emulator")).text
    assert words not in read(a_report(mode="cloud")).text


def test_page_ends_with_the_run_and_is_the_same_each_time():
    report = a_report()
    text = read(report).text
    assert "Run bill/2026-10 Status Done Started 2026-11-09 06:00:00 UTC" in text
    assert text.endswith("Ended 2026-11-09 06:00:41 UTC Cost lines 1,412")
    assert page(report) == page(report)


def test_page_of_a_period_that_is_no_month_names_its_days():
    report = a_report(period=Period(date(2026, 10, 5), date(2026, 11, 5)))
    assert "Billing health, 2026-10-05 to 2026-11-04" in read(report).text
    assert summary(report)["period"] == "2026-10-05 to 2026-11-04"


cents = st.decimals(-(10**9), 10**9, places=2)


@given(cents, cents, cents, cents, cents)
def test_bar_shows_every_part_that_is_not_zero_and_fills_its_width(b, c, h, e, r):
    total = a_total(billed=b, credited=c, held=h, excluded=e, residual=r)
    parts, zero = _bar(total)
    assert [part.amount for part in parts] == [b, c, h, e, r]
    assert sum(part.width for part in parts) == (1000 if any((b, c, h, e, r)) else 0)
    assert all((part.width > 0) == bool(part.amount) for part in parts)
    assert all((part.x < zero) == (part.amount < 0) for part in parts if part.amount)
    drawn = sorted((part for part in parts if part.width), key=lambda part: part.x)
    assert [part.x for part in drawn] == [
        sum(part.width for part in drawn[:n]) for n in range(len(drawn))
    ]


# --- the plain data ---


def test_summary_is_json_with_money_as_text():
    documents = [
        a_document("t1", "1234.50", "0.06", number="INV-202610-0001"),
        a_document("t2", "-5.00", number="CN-202610-0001", kind="credit_note"),
        a_document("t3", "7.00", number="INV-202610-0002", status="void"),
    ]
    report = a_report(
        documents=documents,
        customers={"t1": "Contoso", "t2": "Fabrikam", "t3": "Proseware"},
        links={documents[0].key: "invoices/INV-202610-0001.html"},
        findings=[
            a_finding("t3", sentence="No.", hint="do it"),
            a_finding("t3", check="gdap.missing", severity="block"),
            a_finding("t1", severity="warn"),
        ],
        run=a_run(a_total(billed="1000.00", credited="-4.00", residual="0.50", sold="1229.56")),
    )
    told = json.loads(json.dumps(summary(report)))
    assert {name: told[name] for name in list(told)[:10]} == {
        "partner": "Adatum",
        "mode": "cloud",
        "as_of": "2026-11-09",
        "period": "2026-10",
        "customers": 3,
        "invoices": 1,
        "credit_notes": 1,
        "charges": 3,
        "held_customers": 1,
        "findings": {"hold": 2, "released": 0, "warn": 1},
    }
    assert told["totals"] == [
        {
            "currency": "USD",
            "microsoft": "996.50",
            "billed": "1000.00",
            "credited": "-4.00",
            "held": "0.00",
            "excluded": "0.00",
            "residual": "0.50",
            "sold": "1229.56",
        }
    ]
    assert [d["number"] for d in told["documents"]] == [
        "CN-202610-0001",
        "INV-202610-0001",
        "INV-202610-0002",
    ]
    assert told["documents"][1] == {
        "number": "INV-202610-0001",
        "key": documents[0].key,
        "customer": "Name of t1",
        "kind": "invoice",
        "status": "issued",
        "currency": "USD",
        "subtotal": "1234.56",
        "tax": "123.46",
        "total": "1358.02",
        "lines": 2,
        "file": "invoices/INV-202610-0001.html",
    }
    assert told["documents"][0]["file"] is None
    mine = report.findings[0]
    assert told["holds"][1] == {
        "customer": "Proseware",
        "finding": mine.id,
        "check": "agreement.missing",
        "since": None,
        "sentence": "No.",
        "hint": "do it",
        "link": "",
    }
    assert told["holds"][0]["check"] == "gdap.missing"


def test_holds_tell_what_they_are_worth_since_when_and_where_to_put_them_right():
    link = "https://partner.microsoft.com/dashboard"
    report = a_report(
        customers={"t1": "Alpha", "t2": "Beta", "t3": "Gamma"},
        findings=[
            a_finding("t1", since=date(2026, 11, 2), hint="sign it", link=link),
            a_finding("t2", since=date(2026, 11, 3), link="javascript:alert(1)"),
            a_finding("t2", check="gdap.missing"),
            a_finding("t3", release_note="Anna released it. The release ended."),
        ],
        held={"t1": {"EUR": Decimal("1234.5"), "USD": Decimal(-3)}, "t2": {"EUR": Decimal(9)}},
    )
    text, html = read(report).text, page(report)
    assert "1,234.50 EUR of Microsoft's bill waits" in text
    assert "-3.00 USD of Microsoft's bill waits" in text
    assert "Since 2026-11-02." in text
    assert f'<a href="{link}" rel="noreferrer">Open the page</a>' in html
    assert "javascript:" not in html
    assert "The release ended." in text
    assert text.index("Alpha") < text.index("Beta") < text.index("Gamma")  # by worth
    told = summary(report)
    assert told["held"] == [
        {"customer": "Alpha", "amount": "1234.5", "currency": "EUR"},
        {"customer": "Alpha", "amount": "-3", "currency": "USD"},
        {"customer": "Beta", "amount": "9", "currency": "EUR"},
    ]
    assert told["holds"][0]["since"] == "2026-11-02"


def test_released_findings_stand_apart_with_who_why_and_until_when():
    released = a_finding(
        "t1",
        sentence="Not signed.",
        released_by="Anna <b>",
        released_on=date(2026, 11, 4),
        released_until=date(2026, 11, 30),
        released_reason="on paper",
    )
    report = a_report(customers={"t1": "Alpha"}, findings=[released])
    assert "no customer on hold" in verdict(report)
    text = read(report).text
    assert "No customer is on hold." in text
    assert text.index("Billed in spite of a finding") < text.index("Not signed.")
    assert "Released by Anna <b> on 2026-11-04, until 2026-11-30: on paper" in text
    told = summary(report)
    assert told["findings"] == {"hold": 0, "released": 1, "warn": 0}
    assert (told["holds"], told["held_customers"]) == ([], 0)
    (one,) = told["released"]
    assert (one["by"], one["on"], one["until"], one["reason"]) == (
        "Anna <b>",
        "2026-11-04",
        "2026-11-30",
        "on paper",
    )
    assert "Billed in spite of a finding" not in read(a_report()).text


def test_summary_without_a_run_has_no_totals():
    told = summary(a_report(run=None, documents=[]))
    assert (told["totals"], told["documents"], told["invoices"]) == ([], [], 0)


# --- renewals ahead ------------------------------------------------------------------------------


def a_renewal(customer="t1", difference="120.00", **changes):
    now = Terms(
        sku="p:1",
        quantity=10,
        term=TermDuration.YEAR,
        billing_cycle=BillingCycle.MONTHLY,
        unit_price=Decimal("12.0000000000"),
    )
    values = {
        "customer_id": customer,
        "subscription_id": "s1",
        "name": "Microsoft 365 E3",
        "on": date(2027, 2, 15),
        "at_end": AtEnd.RENEWS,
        "now": now,
        "then": replace(now, unit_price=Decimal("13.0000000000")),
        "change_by": datetime(2027, 2, 15, tzinfo=UTC),
        "return_by": datetime(2027, 2, 22, tzinfo=UTC),
        "months": 12,
        "difference": None if difference is None else Money(Decimal(difference), "USD"),
        "sentence": "10 seats <renew> at 13.00.",
        "hint": "Change it before then.",
    }
    return Renewal(**(values | changes))


def a_month(**changes):
    month = Terms(
        sku="p:1", quantity=1, term=TermDuration.MONTH, billing_cycle=BillingCycle.MONTHLY
    )
    return a_renewal(difference="0.00", now=month, then=month, months=1, **changes)


def test_renewals_are_listed_with_days_money_and_what_needs_a_decision():
    extends = a_renewal(
        "t2", difference=None, at_end=AtEnd.EXTENDS, return_by=None, sentence="Renewal is off."
    )
    text = page(a_report(renewals=[a_renewal(), extends, a_month()]))
    structure = _Balance(text)
    assert structure.open == []
    section = text[text.index("Renewals ahead") : text.index("<h2>Documents</h2>")]
    assert "10 seats &lt;renew&gt; at 13.00." in section
    assert section.index("2027-02-15") < section.index("Contoso") < section.index("2027-02-22")
    assert "120.00 USD" in section
    assert section.count("To decide.") == 1
    assert "Any day" in section
    assert "Not known" in section
    assert "1 monthly term goes on unchanged." in section


def test_nothing_ahead_is_said_and_what_nobody_looked_at_is_left_out():
    nothing = page(a_report(renewals=[]))
    assert "No monthly terms go on unchanged; no other term ends." in nothing
    assert "Renewals ahead" not in page(a_report())
    assert summary(a_report())["renewals"] == []


def test_the_summary_tells_every_renewal_the_routine_ones_too():
    gone = a_renewal(at_end=AtEnd.CANNOT_RENEW, then=None, difference=None, return_by=None)
    report = a_report(renewals=[a_renewal(), a_month(), gone])
    first, month, last = json.loads(json.dumps(summary(report)["renewals"]))
    assert first == {
        "customer": "Contoso",
        "subscription": "s1",
        "name": "Microsoft 365 E3",
        "on": "2027-02-15",
        "at_end": "renews",
        "routine": False,
        "quantity": 10,
        "quantity_then": 10,
        "unit_price": "12",
        "unit_price_then": "13",
        "difference": "120.00",
        "difference_months": 12,
        "currency": "USD",
        "change_by": "2027-02-15T00:00:00+00:00",
        "return_by": "2027-02-22T00:00:00+00:00",
        "sentence": "10 seats <renew> at 13.00.",
        "hint": "Change it before then.",
    }
    assert (month["routine"], month["unit_price"], month["difference"]) == (True, None, "0.00")
    assert (last["quantity_then"], last["unit_price_then"], last["currency"]) == (0, None, None)
