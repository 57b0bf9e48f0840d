"""Makes an environment have what is declared: reads what is there, adds what is missing.

Additive and resumable. Each step is planned from what the environment shows now, so a crash
anywhere is healed by applying again; the version on the solution is written last, and until it
stands there the plan is not empty. Nothing is ever removed or changed in type: what stands in the
way is refused with a sentence that says what is and what should be. One call at a time, because
Dataverse locks customisation; things are created by plain POST, which is never repeated unseen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dataverse.client import SERVICE, DataverseClient, Query
from dataverse.provision.environment import Environment, FoundTable, definition
from dataverse.provision.finance_app import FINANCE_APP
from dataverse.provision.plan import STRONG, Part, Plan, Step, not_there, refusal
from dataverse.provision.plan_roles import plan_roles
from dataverse.provision.plan_screens import ScreenPlan, plan_screens
from dataverse.provision.plan_tables import conflicts, publishing, table_steps
from dataverse.provision.roles import ROLES, Role
from dataverse.provision.screens import App
from dataverse.schema import PREFIX, Table
from dataverse.tables import PUBLISHER, SCHEMA_VERSION, SOLUTION, TABLES
from domain.problems import ConfigurationError, Finding, ServiceError

_LOCKED = "0x80071151"
"""Somebody else customises: the request was refused as a whole, so it can be sent again."""
_TRIES = 5
_TABLE_PARTS = (
    Part.TABLES,
    Part.COLUMNS,
    Part.CHOICES,
    Part.AUDITING,
    Part.RELATIONSHIPS,
    Part.KEYS,
)


class Provisioner:
    """Plans and applies the tables, screens and roles of one environment."""

    def __init__(
        self,
        client: DataverseClient,
        *,
        tables: Sequence[Table] = TABLES,
        app: App | None = FINANCE_APP,
        roles: Sequence[Role] = ROLES,
        sleep: Callable[[float], None] = time.sleep,
        patience: float = 600.0,
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`patience` is how many seconds of waiting the building of keys may take in all."""
        self._client = client
        self._environment = Environment(client)
        self._tables = tables
        self._app = app
        self._roles = roles
        self._sleep = sleep
        self._patience = patience
        self._progress = progress

    def plan(self) -> Plan:
        """Say what is missing; reads only."""
        environment = self._environment
        publisher, solution = environment.publisher(), environment.solution()
        refusals: list[Finding] = []
        if publisher and publisher["customizationprefix"] != PREFIX.rstrip("_"):
            refusals.append(
                refusal(
                    f"publisher {PUBLISHER}",
                    f"prefix {publisher['customizationprefix']}",
                    f"prefix {PREFIX.rstrip('_')}",
                )
            )
        of_tables: list[Step] = []
        there: dict[str, FoundTable] = {}
        for table in self._tables:
            found = environment.table(table)
            if found is None and not table.name.startswith(PREFIX):
                refusals.append(not_there(table.name))  # never made by us, only added to
                continue
            of_tables += table_steps(table, found)
            if found is not None:
                there[table.name] = found
                refusals += conflicts(table, found)
        roles, notes = plan_roles(environment, self._roles)
        screens = ScreenPlan()
        if self._app is not None:
            screens = plan_screens(environment, self._app, self._tables, there, self._roles)
        if any(table.audited for table in self._tables) and not environment.is_audited():
            notes.append(
                "auditing is off for the organisation: nothing is kept until it is switched on"
            )
        steps = [
            *publishing(publisher, solution),
            # All tables first, then all columns: a relationship needs both of its ends.
            *(step for part in _TABLE_PARTS for step in of_tables if step.part is part),
            *screens.views,
            *screens.forms,
            *roles,
            *screens.app,
        ]
        behind = _numbers(solution["version"] if solution else "") < _numbers(SCHEMA_VERSION)
        unseen = behind or screens.drafts
        if self._app is not None and (unseen or any(step.part is Part.APP for step in steps)):
            steps.append(self._check_app(self._app))
        if steps or unseen:
            steps.append(self._publish())
        if behind:
            steps.append(_record_version())
        return Plan(steps=tuple(steps), notes=(*screens.notes, *notes), refusals=tuple(refusals))

    def apply(self) -> Plan:
        """Add what is missing and wait until it can be used; returns what was done.

        ConfigurationError when something stands in the way: then nothing is touched.
        """
        plan = self.plan()
        if plan.refusals:
            raise ConfigurationError(
                " ".join(one.sentence for one in plan.refusals),
                hint=plan.refusals[0].hint,
            )
        first = [step for step in plan.steps if step.part in (Part.SOLUTION, *_TABLE_PARTS)]
        self._do_all(first)
        self._wait_for_keys()
        if plan.steps:
            self._wait_for_columns()
        if first:
            # With a table the platform makes views and privileges, which the rest builds on.
            plan = self.plan()
        self._do_all(plan.steps)
        return replace(plan, steps=(*first, *plan.steps))

    def _do_all(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self._progress(step.sentence)
            try:
                self._do(step)
            except ServiceError as problem:
                # Also where somebody else provisions at the same time: the next plan sees it.
                problem.hint = f"while it should {step.sentence}; apply again, it continues"
                raise

    def _do(self, step: Step) -> None:
        body = step.body(self._environment) if callable(step.body) else step.body
        path = step.path
        if path == "solutions" and step.method == "PATCH":
            path = f"solutions({(self._environment.solution() or {})['solutionid']})"
        answer = self._call_when_unlocked(step.method, path, body, step.headers)
        if path.startswith("ValidateApp"):
            _refuse_invalid(answer.json()["AppValidationResponse"])

    def _call_when_unlocked(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> Any:
        wait = 5.0
        for left in reversed(range(_TRIES)):
            try:
                return self._client.call(method, path, body=body, headers=headers)
            except ServiceError as fault:
                if fault.code != _LOCKED or not left:
                    raise
            self._progress("wait for other customisations to end")
            self._sleep(wait)
            wait *= 2
        raise AssertionError  # pragma: no cover - the last try returns or raises

    # Waiting -------------------------------------------------------------------------------------

    def _wait_for_keys(self) -> None:
        """Wait until every key is Active: upserts before that may fail."""
        for table in self._tables:

            def active(table: Table = table) -> bool:
                keys = self._environment.read(f"{definition(table)}/Keys")["value"]
                states = {key["SchemaName"].lower(): key["EntityKeyIndexStatus"] for key in keys}
                state = states.get(table.key_name.lower())
                if state == "Failed":
                    msg = f"the key {table.key_name} of {table.name} could not be built"
                    hint = "Remove rows with the same external key, then apply again."
                    raise ServiceError(msg, service=SERVICE, hint=hint)
                return bool(state == "Active")

            self._until(active, f"the key {table.key_name} of {table.name} to become active")

    def _wait_for_columns(self) -> None:
        """Wait until rows can be read with every column: the data API caches metadata for 30 s."""
        for table in self._tables:
            columns = [column.name for column in table.columns]
            columns += [lookup.value_property for lookup in table.lookups]
            query = Query(table=table.name, select=columns, top=1)

            def readable(query: Query = query) -> bool:
                try:
                    self._client.read(query)
                except ServiceError as fault:
                    if fault.status in (400, 404):
                        return False
                    raise
                return True

            self._until(readable, f"the columns of {table.name} to be seen")

    def _until(self, ready: Callable[[], bool], what: str) -> None:
        waited, wait = 0.0, 1.0
        while not ready():
            if waited + wait > self._patience:
                msg = f"gave up waiting for {what} after {waited:.0f} s"
                raise ServiceError(msg, service=SERVICE, hint="Apply again later; it continues.")
            self._progress(f"wait for {what}")
            self._sleep(wait)
            waited += wait
            wait = min(2 * wait, 15.0)

    # The last steps ------------------------------------------------------------------------------

    def _check_app(self, app: App) -> Step:
        return Step(
            part=Part.APP,
            sentence=f"check app {app.name}",
            method="GET",
            path=f"ValidateApp(AppModuleId={app.id})",
            headers=STRONG,
        )

    def _publish(self) -> Step:
        parts = ["<entities>", *(f"<entity>{t.name}</entity>" for t in self._tables), "</entities>"]
        if self._app is not None:
            parts += (
                f"<sitemaps><sitemap>{self._app.site_map_id}</sitemap></sitemaps>",
                f"<appmodules><appmodule>{self._app.id}</appmodule></appmodules>",
            )
        xml = f"<importexportxml>{''.join(parts)}</importexportxml>"
        return Step(
            part=Part.PUBLISHING,
            sentence="publish",
            path="PublishXml",
            body={"ParameterXml": xml},
        )


def _record_version() -> Step:
    return Step(
        part=Part.PUBLISHING,
        sentence=f"record version {SCHEMA_VERSION} on solution {SOLUTION}",
        method="PATCH",
        path="solutions",
        body={"version": SCHEMA_VERSION},
        headers={"If-Match": "*"},
    )


def _refuse_invalid(validation: Mapping[str, Any]) -> None:
    if validation.get("ValidationSuccess") is False:
        issues = validation.get("ValidationIssueList") or [{}]
        words = "; ".join(str(one.get("Message")) for one in issues)
        raise ServiceError(f"the app is not valid: {words}", service=SERVICE)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in str(version).split(".") if part)
