"""The system of record as the use cases see it: customers, what was billed to them, what was done.

Satisfies `sync.ports.Store` by shape. How rows are written stands in `rows`, how documents are in
`documents`, findings in `findings`; here is what is read together, and the ledger in which every unit of
work is claimed under the version that was read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from dataverse.batch import Operation
from dataverse.bulk import CHUNK
from dataverse.client import (
    API,
    SERVICE,
    DataverseClient,
    Query,
    condition,
    etag,
    literal,
    one_of,
)
from dataverse.documents import OURS, Documents, documents_of, slices
from dataverse.findings import Findings
from dataverse.mapping import FORMATTED, domain_key, from_row, to_row
from dataverse.microsoft_tables import (
    AGREEMENT,
    COST_LINE,
    CUSTOMER,
    GDAP_RELATIONSHIP,
    SUBSCRIPTION,
    SUBSCRIPTION_EVENT,
)
from dataverse.rows import Rows, columns_of, query_of
from dataverse.schema import KEY, Row, Table, external_key
from dataverse.tables import (
    BILLING_CONTRACT,
    BILLING_RUN,
    EXCHANGE_RATE,
    INVOICE,
    INVOICE_LINE,
    MARKUP_RULE,
    PRICE_LIST_ITEM,
    TAX_PROFILE,
    UNIT_OF_WORK,
)
from dataverse.tax_rows import SELLER_LINK, tax_queries, tax_rows
from dataverse.tax_tables import TAX_NUMBER_CHECK
from dataverse.usage_tables import USAGE_ALERT, USAGE_BUDGET, USAGE_SUMMARY
from domain.contract import BillingContract, TaxProfile
from domain.customer import Account, Address, Agreement, Customer, DelegatedAdminRelationship
from domain.problems import Conflict, InputError, NotFound, ServiceError
from domain.run import Run, RunStatus, UnitOfWork, UnitStatus
from domain.subscription import CostLine, Subscription, UsageSummary
from domain.tax import TaxNumberCheck
from domain.usage_alert import AlertState, UsageAlert, UsageBudget
from invoice.file import CustomerFile, Saved

ENTERED_AT_ONCE = 100
"""Units in one transaction: Dataverse takes 1 000, and holds their locks meanwhile."""
TOO_MANY_TO_COUNT = "0x8004e023"
"""An aggregate of more than 50 000 rows [UNCONFIRMED]; any other refusal is raised."""
_OWN_RUNS = "csp_key ne null and not startswith(csp_key,'request/')"
"""Rows that ask for a run stand in the same table; they have no key before they are taken up."""
_BILLED = "csp_withdrawnon eq null"
"""Lines that the newest version of Microsoft's invoice has."""


_ACCOUNT = (
    "accountid",
    "name",
    "accountnumber",
    "address1_line1",
    "address1_line2",
    "address1_city",
    "address1_stateorprovince",
    "address1_postalcode",
    "address1_country",
    "_transactioncurrencyid_value",
    "statecode",
)
"""Columns of the standard account table; its first address is the one of invoices."""


class DataverseStore(Documents, Findings):
    """One environment as the store of the use cases; safe for threads."""

    def __init__(
        self,
        client: DataverseClient,
        now: Callable[[], datetime],
        *,
        chunk: int = CHUNK,
        tell: Callable[[Run | UnitOfWork], None] = lambda _: None,
    ) -> None:
        """`now` is aware UTC; `chunk` is how many rows go into one bulk request at most.

        `tell` hears of each run and unit that was written.
        """
        super().__init__(Rows(client, now, chunk=chunk))
        self._tell = tell

    def save(self, records: Sequence[object]) -> Saved:
        """Upsert records by their keys; equal rows are not written again (see `Rows.save`)."""
        saved = self._rows.save(records)
        if saved.created or saved.updated:
            for record in records:
                if isinstance(record, Run):
                    self._tell(record)
        return saved

    # Customers -----------------------------------------------------------------------------------

    def customers(self) -> Sequence[Customer]:
        """Read every stored customer, by name."""
        found: list[Customer] = self._read(CUSTOMER)
        return sorted(found, key=lambda customer: (customer.name.casefold(), customer.id))

    def customer(self, customer_id: str) -> Customer | None:
        """Read one stored customer."""
        found = self._read(CUSTOMER, f"csp_tenantid eq {literal(customer_id)}")
        return found[0] if found else None

    def customer_names(self, customer_ids: Collection[str]) -> dict[str, str]:
        """Read the names of stored customers by their ids; one that is not stored has none."""
        found: dict[str, str] = {}
        for some in slices(sorted(filter(None, customer_ids))):
            stored: list[Customer] = self._read(CUSTOMER, one_of("csp_tenantid", some))
            found |= {one.id: one.name for one in stored}
        return found

    def agreements(self, customer_id: str) -> Sequence[Agreement]:
        """Read the stored agreements of a customer, by key."""
        rows = self._client.read(query_of(AGREEMENT, f"csp_tenantid eq {literal(customer_id)}"))
        return _records(AGREEMENT, rows)

    def subscriptions(self, customer_id: str) -> Sequence[Subscription]:
        """Read the stored subscriptions of a customer, by key."""
        where = f"csp_tenantid eq {literal(customer_id)}"
        return _records(SUBSCRIPTION, self._client.read(query_of(SUBSCRIPTION, where)))

    def relationships(self, customer_id: str = "") -> Sequence[DelegatedAdminRelationship]:
        """Read the stored GDAP relationships, or those of one customer, by key."""
        where = f"csp_tenantid eq {literal(customer_id)}" if customer_id else ""
        return _records(GDAP_RELATIONSHIP, self._client.read(query_of(GDAP_RELATIONSHIP, where)))

    def customer_file(self, customer_id: str, on: date | None = None) -> CustomerFile:
        """Read all that decides one customer's bill in one round trip (two, where pages follow).

        The account is that of the contract, else the one that the customer is mapped to. Of several
        contracts the one that starts last counts, of those that have begun by the day `on` if any
        has, else the one that begins next. NotFound when the customer is not stored.
        """
        own = f"csp_tenantid eq {literal(customer_id)}"
        shared = f"({own} or csp_tenantid eq null)"
        profile = f"csp_TaxProfileId($select={','.join(columns_of(TAX_PROFILE))})"
        account = f"csp_AccountId($select={','.join(_ACCOUNT)})"
        queries = [
            replace(
                query_of(CUSTOMER, own, "_csp_accountid_value", CUSTOMER.primary_id),
                names=True,
                expand=account,
            ),
            query_of(AGREEMENT, own),
            query_of(GDAP_RELATIONSHIP, own),
            query_of(SUBSCRIPTION, own),
            query_of(SUBSCRIPTION_EVENT, own),
            query_of(COST_LINE, f"{own} and {_BILLED}"),
            replace(
                query_of(BILLING_CONTRACT, own, "_csp_accountid_value", SELLER_LINK),
                names=True,
                expand=f"{profile},{account}",
            ),
            query_of(PRICE_LIST_ITEM, shared),
            query_of(MARKUP_RULE, shared),
            query_of(EXCHANGE_RATE, ""),
            *tax_queries(own),
            query_of(INVOICE, f"{own} and {OURS}"),
            query_of(INVOICE_LINE, f"{own} and {OURS}"),
        ]
        answers = iter(self._client.read_together(queries))
        customers = next(answers)
        if not customers:
            msg = f"customer {customer_id} is not stored"
            raise NotFound(msg, service=SERVICE, hint="Run `sync` first.")
        tables = (AGREEMENT, GDAP_RELATIONSHIP, SUBSCRIPTION, SUBSCRIPTION_EVENT, COST_LINE)
        agreements, relationships, subscriptions, events, lines = (
            _records(table, next(answers)) for table in tables
        )
        rows = next(answers)
        row = _counting(rows, on)
        contract, tax_profile, account_row = self._contract(customers[0], row)
        prices, rules, rates = (
            _records(table, next(answers))
            for table in (PRICE_LIST_ITEM, MARKUP_RULE, EXCHANGE_RATE)
        )
        mapped = customers[0].get("csp_AccountId")
        taxing = tax_rows(answers, customers[0], customer_id, row)
        return CustomerFile(
            customer=from_row(CUSTOMER, customers[0]),
            agreements=agreements,
            relationships=relationships,
            subscriptions=subscriptions,
            events=events,
            cost_lines=lines,
            contract=contract,
            contracts=_records(BILLING_CONTRACT, rows),
            account=self._account(account_row) if account_row else None,
            mapped_account=self._account(mapped) if mapped else None,
            tax_profile=tax_profile,
            seller=taxing.seller,
            registrations=taxing.registrations,
            certificates=taxing.certificates,
            number_checks=self._checks_of(tax_profile),
            tax_rates=taxing.rates,
            tax_faults=taxing.faults,
            price_list=prices,
            rules=rules,
            rates=rates,
            documents=documents_of(next(answers), next(answers)),
        )

    def _contract(
        self, customer: Row, row: Row | None
    ) -> tuple[BillingContract | None, Any, Row | None]:
        """Return the contract that counts, its tax profile, and the row of the account it bills."""
        if row is None:
            return None, None, customer.get("csp_AccountId")
        contract: BillingContract = from_row(BILLING_CONTRACT, row)
        account = row.get("csp_AccountId")
        if not contract.account_id:
            contract = replace(
                contract,
                account_id=customer["_csp_accountid_value"] or "",
                account_name=customer.get("_csp_accountid_value" + FORMATTED) or "",
            )
            account = customer.get("csp_AccountId")
        linked = row.get("csp_TaxProfileId")
        if linked is None and contract.tax_profile_key:
            # Stored after the contract: the text knows it, the link does not yet.
            key = external_key(contract.tax_profile_key)
            linked = next(
                iter(self._client.read_keyed(TAX_PROFILE.name, columns_of(TAX_PROFILE), (key,))),
                None,
            )
        if linked is None:
            return contract, None, account
        profile = from_row(TAX_PROFILE, linked)
        return replace(contract, tax_profile_key=profile.key), profile, account

    def _checks_of(self, profile: TaxProfile | None) -> tuple[TaxNumberCheck, ...]:
        if profile is None or not profile.check_key:
            return ()
        key = external_key(profile.check_key)
        table = TAX_NUMBER_CHECK
        return _records(table, self._client.read_keyed(table.name, columns_of(table), (key,)))

    def contracts(self) -> Sequence[BillingContract]:
        """Read every billing contract, by key; what is wrong with others, their customer's file tells."""
        query = replace(query_of(BILLING_CONTRACT, "", "_csp_accountid_value"), names=True)
        found = [one for _, one in _readable(BILLING_CONTRACT, self._client.read(query))]
        return tuple(sorted(found, key=lambda contract: contract.key))

    def taxed_contracts(self) -> Sequence[tuple[BillingContract, TaxProfile]]:
        """Read every billing contract that has a tax profile, by key, with it.

        What a person linked counts, else the key that the contract's row has as text.
        """
        rows = self._client.read(query_of(TAX_PROFILE, "", TAX_PROFILE.primary_id))
        profiles = {row[TAX_PROFILE.primary_id]: one for row, one in _readable(TAX_PROFILE, rows)}
        by_key = {profile.key: profile for profile in profiles.values()}
        link = "_csp_taxprofileid_value"
        query = query_of(BILLING_CONTRACT, "", "_csp_accountid_value", link)
        found = []
        contracts = self._client.read(replace(query, names=True))
        for row, contract in _readable(BILLING_CONTRACT, contracts):
            profile = profiles.get(row[link]) or by_key.get(contract.tax_profile_key)
            if profile is not None:
                found.append((contract, profile))
        return sorted(found, key=lambda pair: pair[0].key)

    def number_checks(self) -> Sequence[TaxNumberCheck]:
        """Read what is known of tax numbers, by key."""
        found: list[TaxNumberCheck] = self._read(TAX_NUMBER_CHECK)
        return sorted(found, key=lambda check: check.key)

    def accounts(self) -> Sequence[Account]:
        """Read the accounts that customers can be mapped to, by name."""
        query = Query(table="account", select=_ACCOUNT, order="name")
        return [self._account(row) for row in self._client.read(query)]

    def _account(self, row: Row) -> Account:
        return Account(
            id=row["accountid"],
            name=row["name"] or "",
            number=row["accountnumber"] or "",
            address=Address(
                country=row["address1_country"] or "",
                region=row["address1_stateorprovince"] or "",
                city=row["address1_city"] or "",
                line1=row["address1_line1"] or "",
                line2=row["address1_line2"] or "",
                postal_code=row["address1_postalcode"] or "",
            ),
            currency=self._rows.currency_code(row["_transactioncurrencyid_value"] or ""),
            active=not row["statecode"],
        )

    def map_account(self, customer_id: str, account_id: str) -> None:
        """Map a stored customer to an account; NotFound when either is not there."""
        key = external_key(f"customer/{customer_id}")
        path = self._client.id_path("account", account_id)
        self._client.write(
            CUSTOMER.name, key, {"csp_AccountId@odata.bind": f"/{path}"}, version="*"
        )

    def cost_lines(
        self, invoice_ids: Sequence[str], *, withdrawn: bool = False
    ) -> Sequence[CostLine]:
        """Read the stored lines of Microsoft's invoices, by key; or those it has `withdrawn`."""
        which = "csp_withdrawnon ne null" if withdrawn else _BILLED
        found: list[CostLine] = []
        for some in slices(invoice_ids):
            found += self._read(COST_LINE, f"{one_of('csp_microsoftinvoice', some)} and {which}")
        return sorted(found, key=lambda line: line.key)

    # Usage ---------------------------------------------------------------------------------------

    def usage_summaries(
        self, currency: str, since: date, customer_ids: Sequence[str]
    ) -> Iterator[UsageSummary]:
        """Yield the billed usage of customers from a day on, in no order."""
        wanted = f"csp_currency eq {literal(currency)} and csp_day ge {literal(since)}"
        for some in slices(customer_ids):
            query = query_of(USAGE_SUMMARY, f"{wanted} and {one_of('csp_tenantid', some)}")
            for row in self._client.read(query):
                yield from_row(USAGE_SUMMARY, row)

    def has_usage(self, azure_subscription_id: str) -> bool:
        """Say whether usage of this Azure subscription was ever billed."""
        where = f"csp_entitlementref eq {literal(azure_subscription_id)}"
        return any(self._client.read(replace(query_of(USAGE_SUMMARY, where), top=1)))

    def usage_budgets(self) -> Sequence[UsageBudget]:
        """Read every usage budget, by key."""
        found: list[UsageBudget] = self._read(USAGE_BUDGET)
        return sorted(found, key=lambda budget: budget.key)

    def usage_alerts(self, since: date | None = None) -> Sequence[UsageAlert]:
        """Read the usage alerts that are not closed, and those that lasted to a day or longer."""
        closed = USAGE_ALERT.column("csp_state").option(AlertState.CLOSED)
        where = f"csp_state ne {closed}"
        if since is not None:
            where = f"({where} or csp_lastday ge {literal(since)})"
        found: list[UsageAlert] = self._read(USAGE_ALERT, f"{where} and csp_key ne null")
        return sorted(found, key=lambda alert: alert.key)

    # The ledger ----------------------------------------------------------------------------------

    def run(self, key: str) -> Run | None:
        """Read one run."""
        rows = self._client.read_keyed(
            BILLING_RUN.name, columns_of(BILLING_RUN), (external_key(key),)
        )
        return from_row(BILLING_RUN, rows[0]) if rows else None

    def runs(
        self,
        limit: int = 50,
        *,
        kind: str = "",
        after: tuple[datetime, str] | None = None,
        among: Collection[RunStatus] = (),
        scope: str | None = None,
    ) -> Sequence[Run]:
        """Read the latest runs, newest first; `after` a run's start and key: those that follow it.

        `among` leaves those that stand there, `scope` those of one customer, or of all (empty).
        """
        own = _OWN_RUNS
        if kind:
            own += f" and csp_runkind eq {literal(kind)}"
        if among:
            own += f" and ({_standing(BILLING_RUN, among)})"
        if scope is not None:
            own += f" and csp_scope eq {literal(scope or None)}"
        if after is not None:
            begun = after[0].astimezone(UTC).isoformat().replace("+00:00", "Z")
            key = literal(after[1])
            own += (
                f" and (csp_startedat lt {begun} or csp_startedat eq {begun} and csp_key gt {key})"
            )
        query = replace(query_of(BILLING_RUN, own), order="csp_startedat desc,csp_key", top=limit)
        return [from_row(BILLING_RUN, row) for row in self._client.read(query)]

    def first_run(self) -> Run | None:
        """Read the run that began before all others."""
        query = replace(query_of(BILLING_RUN, _OWN_RUNS), order="csp_startedat,csp_key", top=1)
        return next((from_row(BILLING_RUN, row) for row in self._client.read(query)), None)

    def units(self, run_key: str) -> Sequence[UnitOfWork]:
        """Read the units of work of a run, by key."""
        found: list[UnitOfWork] = self._read(UNIT_OF_WORK, f"csp_runkey eq {literal(run_key)}")
        return sorted(found, key=lambda unit: unit.key)

    def unit_counts(
        self, run_key: str, among: Collection[UnitStatus] = tuple(UnitStatus)
    ) -> Mapping[UnitStatus, int] | None:
        """Count the units of a run by status, in one request however many they are.

        None where they are more than Dataverse counts at once (50 000).
        """
        status = UNIT_OF_WORK.column("csp_status")
        options = {status.option(one.value): one for one in among}
        where = f"csp_runkey eq {literal(run_key)}"
        if len(options) < len(UnitStatus):
            where += f" and ({_standing(UNIT_OF_WORK, among)})"
        apply = f"filter({where})/groupby((csp_status),aggregate($count as units))"
        try:
            rows = self._client.aggregate(UNIT_OF_WORK.name, apply)
        except ServiceError as fault:
            if fault.code == TOO_MANY_TO_COUNT:
                return None
            raise
        return {options[row["csp_status"]]: int(row["units"]) for row in rows}

    def unit(self, key: str) -> tuple[UnitOfWork, str] | None:
        """Read a unit and its version for `put_unit`."""
        rows = self._client.read_keyed(
            UNIT_OF_WORK.name, columns_of(UNIT_OF_WORK), (external_key(key),)
        )
        return (from_row(UNIT_OF_WORK, rows[0]), etag(rows[0])) if rows else None

    def enter_units(self, units: Sequence[UnitOfWork]) -> Sequence[UnitOfWork]:
        """Write the units that are not there yet; returns those that were there, as they stand.

        Many go in one request, all or none of them: where one is there already, or the answer to our
        own write was lost, each is asked for by itself.
        """
        there: list[UnitOfWork] = []
        for start in range(0, len(units), ENTERED_AT_ONCE):
            some = units[start : start + ENTERED_AT_ONCE]
            rows = [to_row(UNIT_OF_WORK, unit) for unit in some]
            self._rows.settle_links(rows)
            made = [
                Operation(
                    method="PATCH",
                    path=API + self._client.row_path(UNIT_OF_WORK.name, row.key),
                    headers=condition(None),
                    body=self._rows.body(UNIT_OF_WORK, row),
                )
                for row in rows
            ]
            try:
                self._client.change(made)
            except Conflict:
                there += [found for unit in some if (found := self._entered(unit)) is not None]
            except NotFound:
                self._rows.forget_links()
                raise
            else:
                for unit in some:
                    self._tell(unit)
        return there

    def _entered(self, unit: UnitOfWork) -> UnitOfWork | None:
        """Write a unit, or return the one that is there."""
        try:
            self.put_unit(unit, None)
        except Conflict:
            found = self.unit(unit.key)
            return found[0] if found else None
        return None

    def put_unit(self, unit: UnitOfWork, version: str | None) -> str:
        """Write a unit if it still has that version (None: must not exist); returns the new version.

        Conflict when somebody else was faster, and also when the answer to our own write was lost:
        two workers may write the same words, so what stands there is no proof that we wrote it.
        The claim is then free again when its lease ends.
        """
        row = to_row(UNIT_OF_WORK, unit)
        self._rows.settle_links([row])
        try:
            written = self._client.write(
                UNIT_OF_WORK.name,
                row.key,
                self._rows.body(UNIT_OF_WORK, row),
                version=version,
                returning=UNIT_OF_WORK.primary_id,
            )
        except NotFound:
            self._rows.forget_links()
            raise
        self._tell(unit)
        return etag(written)

    def _read(self, table: Table, where: str = "") -> list[Any]:
        return [from_row(table, row) for row in self._client.read(query_of(table, where))]


def _standing(table: Table, among: Collection[UnitStatus] | Collection[RunStatus]) -> str:
    """Write the filter that runs or units stand in one of some ways."""
    status = table.column("csp_status")
    return " or ".join(f"csp_status eq {status.option(one.value)}" for one in among)


def _readable(table: Table, rows: Iterable[Row]) -> Iterator[tuple[Row, Any]]:
    """Yield the rows that are records: one that a person left half entered stops nobody else."""
    for row in rows:
        with suppress(InputError):
            yield row, from_row(table, row)


def _counting(contracts: Sequence[Row], on: date | None) -> Row | None:
    """Return the contract that counts: of those begun on a day the one that starts last.

    Where none has begun it is the one that begins next.
    """
    lasting = [r for r in contracts if not r["csp_ends"] or r["csp_ends"] > (r["csp_starts"] or "")]
    begun = [r for r in lasting if on is None or (r["csp_starts"] or "") <= on.isoformat()]

    def order(row: Row) -> tuple[str, str]:
        return row["csp_starts"] or "", row[KEY] or ""

    return max(begun, key=order) if begun else min(lasting or contracts, key=order, default=None)


def _records(table: Table, rows: Iterable[Row]) -> tuple[Any, ...]:
    """Translate rows in the order of their keys, so that every reading gives the same."""
    found = [from_row(table, row) for row in rows]
    return tuple(sorted(found, key=lambda record: domain_key(table, record)))
