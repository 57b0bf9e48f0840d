"""The steps that make the security roles: a role that has less than declared is extended.

What a role has beyond that stays: an administrator may have had a reason. The operations are those
of Microsoft's documentation (`AddPrivilegesRole`, `RetrieveRolePrivilegesRole`); they have not been
tried against the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dataverse.client import SERVICE
from dataverse.provision.environment import Environment
from dataverse.provision.metadata import CRM
from dataverse.provision.plan import IN_SOLUTION, Part, Step
from dataverse.provision.roles import DEPTH, Role
from dataverse.schema import PREFIX
from domain.problems import ServiceError


def plan_roles(environment: Environment, roles: Sequence[Role]) -> tuple[list[Step], list[str]]:
    """Return the steps, and what is left out because the environment does not have it."""
    if not roles:
        return [], []
    steps: list[Step] = []
    known = environment.privileges({name for role in roles for name in role.privileges})
    there = environment.roles(role.id for role in roles)
    for role in roles:
        held: set[str] = set()
        if role.id in there:
            held = environment.held(role.id)
        else:
            steps.append(
                Step(
                    part=Part.ROLES,
                    sentence=f"create role {role.name}",
                    path="roles",
                    body=_role_body(role),
                    headers=IN_SOLUTION,
                )
            )
        missing = [name for name in role.privileges if known.get(name) not in held]
        wanted = [name for name in missing if name in known or _is_ours(name)]
        if wanted:
            steps.append(
                Step(
                    part=Part.ROLES,
                    sentence=f"grant {len(wanted)} privileges to role {role.name}",
                    path=f"roles({role.id})/{CRM}AddPrivilegesRole",
                    body=_grant_body(wanted),
                )
            )
    unknown = {name for role in roles for name in role.privileges} - known.keys()
    notes = [
        f"privilege {name} is not known here and is left out of the roles"
        for name in sorted(unknown)
        if not _is_ours(name)
    ]
    return steps, notes


def _is_ours(name: str) -> bool:
    """Say whether a privilege comes with one of our tables, and so will be there."""
    return PREFIX in name


def _role_body(role: Role) -> Any:
    def make(environment: Environment) -> dict[str, Any]:
        return {
            "roleid": role.id,
            "name": role.name,
            "businessunitid@odata.bind": f"/businessunits({environment.root_unit()})",
        }

    return make


def _grant_body(names: Iterable[str]) -> Any:
    wanted = tuple(names)

    def make(environment: Environment) -> dict[str, Any]:
        ids = environment.privileges(wanted)
        lacking = [name for name in wanted if name not in ids]
        if lacking:
            msg = f"the privilege {lacking[0]} is not there yet"
            raise ServiceError(msg, service=SERVICE, hint="Apply again later; it continues.")
        given = [{"PrivilegeId": ids[name], "Depth": DEPTH} for name in wanted]
        return {"Privileges": given}

    return make
