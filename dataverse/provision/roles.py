"""Who may do what: the security roles of the worker, of the people who bill, and of those who look.

All privileges are for all rows: a partner bills as one house. People get one of these beside the
environment's own `Basic User`, which lets them open an app at all. Roles know tables and not states:
the worker may delete documents because a draft that is billed anew goes; that it never deletes an
approved one is the rule of `documents.py`, and auditing would show it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dataverse.microsoft_tables import CUSTOMER
from dataverse.provision.screens import component_id
from dataverse.schema import Table
from dataverse.tables import (
    BILLING_CONTRACT,
    BILLING_RUN,
    EXCHANGE_RATE,
    FINDING,
    INVOICE,
    INVOICE_LINE,
    MARKUP_RULE,
    PRICE_LIST_ITEM,
    TABLES,
    TAX_PROFILE,
)
from dataverse.tax_tables import SELLER, TAX_CERTIFICATE, TAX_RATE, TAX_REGISTRATION
from dataverse.usage_tables import USAGE_ALERT, USAGE_BUDGET

DEPTH = "Global"
"""Of every privilege: the rows of the whole organisation."""

_KEEP = ("Create", "Read", "Write", "Append", "AppendTo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """One security role and the privileges that it must have at least."""

    key: str
    name: str
    description: str
    privileges: tuple[str, ...]
    people: bool = False
    """Whether who has the role may open the app: an application user opens none."""

    @property
    def id(self) -> str:
        """The id under which the role is created."""
        return component_id("role", self.key)


def privilege(right: str, table: Table) -> str:
    """Return the name of a privilege on one of our tables: `prvCreatecsp_Invoice`."""
    return f"prv{right}{table.schema_name}"


def _on(tables: Iterable[Table], *rights: str) -> Iterator[str]:
    for table in tables:
        for right in rights:
            yield privilege(right, table)


_LOOK = ("prvReadAccount", "prvReadTransactionCurrency", "prvReadOrganization")
# A link to a row needs AppendTo on its table. Definitions say what collections are called.
_LINK = ("prvAppendToAccount", "prvAppendToTransactionCurrency")
_DEFINITIONS = ("prvReadEntity", "prvReadAttribute", "prvReadRelationship")
_ENTERED = (
    BILLING_CONTRACT,
    PRICE_LIST_ITEM,
    MARKUP_RULE,
    TAX_PROFILE,
    SELLER,
    TAX_REGISTRATION,
    TAX_CERTIFICATE,
    TAX_RATE,
    EXCHANGE_RATE,
    USAGE_BUDGET,
)

WORKER = Role(
    key="worker",
    name="CSP Billing worker",
    description="The application user that synchronises and bills.",
    privileges=(
        *_on(TABLES, *_KEEP),
        *_on((INVOICE, INVOICE_LINE), "Delete"),
        *_LOOK,
        *_LINK,
        *_DEFINITIONS,
    ),
)

MANAGER = Role(
    key="manager",
    name="CSP Billing manager",
    description="Enters contracts and prices, maps accounts, settles findings, asks for runs.",
    privileges=(
        *_on(TABLES, "Read"),
        *_on(_ENTERED, "Create", "Write", "Append", "AppendTo"),
        *_on((CUSTOMER,), "Write", "Append", "AppendTo"),
        *_on((FINDING, USAGE_ALERT), "Write"),
        *_on((BILLING_RUN,), "Create", "Write", "Append"),  # a request may name a customer
        *_LOOK,
        *_LINK,
    ),
    people=True,
)

READER = Role(
    key="reader",
    name="CSP Billing reader",
    description="Sees every record of billing and changes none.",
    privileges=(*_on(TABLES, "Read"), *_LOOK),
    people=True,
)

ROLES: tuple[Role, ...] = (WORKER, MANAGER, READER)
