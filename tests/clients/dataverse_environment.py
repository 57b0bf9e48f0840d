"""The product's Dataverse client and store over the emulated environment, and records to keep there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from dataverse.bulk import BulkWriter, Refused
from dataverse.client import GRANTED, DataverseClient
from dataverse.provision.provisioner import Provisioner
from dataverse.schema import Row
from dataverse.store import DataverseStore
from domain.charge import Charge, ChargeType, Reason
from domain.customer import Customer
from domain.money import Money
from domain.period import Period
from domain.subscription import CostKind, CostLine
from emulator import Emulator
from invoice.document import DocumentKind, DocumentStatus, Invoice, InvoiceLine
from transport.auth import CachedTokens, Registration, app_tokens
from transport.mounts import mount_wsgi, new_session
from transport.pace import Pace
from transport.redaction import Secret
from transport.session import Http, Patience

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
OCTOBER = Period(date(2026, 10, 1), date(2026, 11, 1))


@dataclass
class Environment:
    """An empty emulated partner with its Dataverse environment."""

    emulator: Emulator
    session: requests.Session
    tokens: CachedTokens
    waits: list[float] = field(default_factory=list)
    waited: float = 0.0

    def http(self, **options: Any) -> Http:
        return Http(
            self.emulator.base_urls["dataverse"],
            service="Dataverse",
            session=self.session,
            tokens=self.tokens,
            sleep=self.sleep,
            jitter=lambda: 0.0,
            now=self.emulator.clock.now,
            **{"patience": Patience(tries=4), **options},
        )

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.waited += seconds

    def pace(self, at_first: int = 8) -> Pace:
        """A pace whose time passes by waiting alone."""
        return Pace(GRANTED, at_first=at_first, clock=lambda: self.waited, sleep=self.sleep)

    def client(self) -> DataverseClient:
        return DataverseClient(self.http())

    def write(self, table: str, rows: Mapping[str, Row], **options: Any) -> list[Refused]:
        """Write rows in bulk, past the store."""
        return BulkWriter(self.client(), **options).write(table, rows.items())

    def store(self, **options: Any) -> DataverseStore:
        """A store as another process would have it: nothing remembered."""
        return DataverseStore(self.client(), **{"now": lambda: NOW, **options})

    def provisioner(self, **options: Any) -> Provisioner:
        return Provisioner(self.client(), **{"sleep": self.sleep, **options})

    def requests(self) -> list[str]:
        """The requests since the log was cleared, as `METHOD path`."""
        prefix = "/api/data/v9.2/"
        return [
            f"{entry['method']} {entry['path'].removeprefix(prefix)}"
            for entry in self.emulator.control.requests()
            if entry["system"] == "dataverse"
        ]

    def writes(self) -> list[str]:
        """The requests that may have changed a row; a batch of reads is one too many to count."""
        return [line for line in self.requests() if not line.startswith("GET")]

    def forget_requests(self) -> None:
        self.emulator.control.clear_log()

    def fail(self, **details: Any) -> None:
        """Let a next request fail; `path` is a pattern below the API root."""
        path = f"/api/data/v9.2/{details.pop('path', '')}".replace("$", "\\$")
        self.emulator.control.fail_next("dataverse", path=path, **details)


def new_environment(*, provisioned: bool = True) -> Environment:
    if not provisioned:
        return _environment(Emulator(scenario="empty"))
    copy = Path(_FOLDER.name) / f"{next(_NUMBERS)}.sqlite"
    shutil.copy(_provisioned_file(), copy)
    return _environment(Emulator(scenario="empty", dataverse_file=str(copy)))


@cache
def _provisioned_file() -> Path:
    """Provision once: it is some hundred operations, and every copy of the file has them done."""
    file = Path(_FOLDER.name) / "provisioned.sqlite"
    emulator = Emulator(scenario="empty", dataverse_file=str(file))
    _environment(emulator).provisioner().apply()
    emulator.close()
    return file


_FOLDER = TemporaryDirectory(prefix="csp-billing-", ignore_cleanup_errors=True)
_NUMBERS = count()


def _environment(emulator: Emulator) -> Environment:
    session = new_session()
    mount_wsgi(session, {emulator.base_urls[name]: app for name, app in emulator.apps.items()})
    given = emulator.credentials
    registration = Registration(
        tenant_id=given["tenant_id"],
        client_id=given["client_id"],
        client_secret=Secret(given["client_secret"]),
        login_url=emulator.base_urls["login"],
    )
    tokens = app_tokens(registration, session, now=emulator.clock.now)
    return Environment(emulator, session, tokens)


def a_customer(number: int = 1, **values: Any) -> Customer:
    return Customer(
        **{"id": f"c{number}", "name": f"Contoso {number}", "domain": "contoso.example", **values}
    )


def a_cost_line(number: int = 1, **values: Any) -> CostLine:
    return CostLine(
        **{
            "key": f"cost/G1/{number}",
            "invoice_id": "G1",
            "customer_id": "c1",
            "customer_name": "Contoso 1",
            "subscription_id": "s1",
            "product_id": "CFQ7TTC0LH18",
            "sku_id": "0001",
            "name": "Microsoft 365 Business Basic",
            "kind": CostKind.LICENCE,
            "charge_type": "cycleCharge",
            "charged": OCTOBER,
            "ordered_on": date(2026, 9, 3),
            "quantity": Decimal(10),
            "billable_quantity": Decimal(10),
            "unit_price": Decimal("4.8"),
            "effective_unit_price": Decimal("4.8"),
            "subtotal": Decimal("48.00"),
            "tax": Decimal("0.00"),
            "currency": "USD",
            **values,
        }
    )


def a_line(number: int = 1, amount: str = "12.30", **values: Any) -> InvoiceLine:
    charge = Charge(
        key=f"charge/s1/2026-10-01/cycle_charge/{number}",
        customer_id="c1",
        subscription_id="s1",
        type=ChargeType.CYCLE,
        name="Microsoft 365 Business Basic",
        sku="CFQ7TTC0LH18:0001",
        service=OCTOBER,
        full=OCTOBER,
        quantity=Decimal(3),
        unit_price=Decimal("4.1"),
        exact=Fraction(1230, 100),
        amount=Money(Decimal(amount), "USD"),
        unit_cost=Decimal("3.3333333333"),
        why="3 seats at 4.10 for October.",
        reasons=(Reason(rule="proration", inputs={"days": "31", "of": "31"}),),
        cost_lines=("cost/G1/1",),
    )
    return InvoiceLine(
        **{
            "key": charge.key,
            "invoice_key": "invoice/c1/2026-10/USD/1",
            "position": number,
            "charge": charge,
            "tax_percent": Decimal(19),
            "tax": Money(Decimal("2.34"), "USD"),
            **values,
        }
    )


def an_invoice(*lines: InvoiceLine, **values: Any) -> Invoice:
    return Invoice(
        **{
            "key": "invoice/c1/2026-10/USD/1",
            "kind": DocumentKind.INVOICE,
            "number": "",
            "status": DocumentStatus.DRAFT,
            "customer_id": "c1",
            "customer_name": "Contoso 1",
            "contract_key": "contract/c1",
            "account_name": "Contoso Account",
            "account_id": "",
            "period": OCTOBER,
            "currency": "USD",
            "lines": lines or (a_line(1), a_line(2)),
            **values,
        }
    )
