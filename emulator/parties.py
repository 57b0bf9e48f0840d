"""What the others do: customers, resellers and Microsoft, on demand of the control plane.

A program of the partner acts through the hosts, as at Microsoft. Here are the acts that no program
of the partner can do: a customer consents, leaves, comes back, signs or moves, an indirect reseller
signs or lapses, Microsoft vets; and what people of the partner do by hand at the portals to repair
a customer. Each is one method, and over HTTP one `act`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from emulator import wire
from emulator.authoring import ROLES
from emulator.control import Stage
from emulator.gdap import GdapError
from emulator.happenings import Happening
from emulator.history import CommerceError
from emulator.tenants import CUSTOMER_AGREEMENT, Agreement, Resource
from emulator.vies import Vies
from emulator.webhooks import Webhooks

_DAP = (
    "dap-admin-relationship-approved",
    "dap-admin-relationship-terminated",
    "dap-admin-relationship-terminated-by-microsoft",
)


class Parties:
    """The acts of the others, each by name; ValueError says what cannot be."""

    def __init__(self, stage: Stage, webhooks: Webhooks, vies: Vies) -> None:
        self._stage = stage
        self._webhooks = webhooks
        self._told = 0
        self._acts: dict[str, Callable[..., Resource]] = {
            "approve_relationship": self.approve_relationship,
            "end_relationship": self.end_relationship,
            "give_access": self.give_access,
            "assign_group": self.assign_group,
            "attest_agreement": self.attest_agreement,
            "leave": self.leave,
            "accept": self.accept,
            "sign_directly": self.sign_directly,
            "move": self.move,
            "change_registration_number": self.change_registration_number,
            "publish_agreement": self.publish_agreement,
            "vet": self.vet,
            "vet_account": self.vet_account,
            "sign_reseller_agreement": self.sign_reseller_agreement,
            "change_partner_of_record": self.change_partner_of_record,
            "correct_lines_partner": self.correct_lines_partner,
            "register_vat_number": vies.register,
            "deregister_vat_number": vies.deregister,
            "announce": self.announce,
        }

    @property
    def names(self) -> list[str]:
        """What can be asked for."""
        return list(self._acts)

    def act(self, what: str, **details: Any) -> Resource:
        """Do one thing and tell of it; ValueError for an unknown one or one that cannot be."""
        if what not in self._acts:
            raise ValueError(f"unknown act {what!r}; known: {', '.join(self._acts)}")
        return self._acts[what](**details)

    def _do(self, work: Callable[[], Any]) -> Resource:
        try:
            with self._stage.control.world_lock:
                done = work()
        except (CommerceError, GdapError) as error:
            raise ValueError(str(error)) from error
        self._webhooks.catch_up()
        return done if isinstance(done, dict) else {"done": True}

    @property
    def _pause(self) -> timedelta:
        return timedelta(seconds=self._stage.control.settings.gdap_seconds)

    # --- people of the partner, at the portals -------------------------------------------------------

    def give_access(
        self,
        customer_id: str,
        roles: Sequence[str] = ROLES,
        *,
        days: int = 730,
        extends: bool = True,
    ) -> Resource:
        """A new GDAP relationship from request to access, which the customer approves at once."""
        if self._stage.world.customer(customer_id) is None:
            raise ValueError(f"there is no customer {customer_id}")
        return self._do(
            lambda: self._stage.world.gdap.grant(
                customer_id, roles, days=days, extends=extends, pause=self._pause
            )
        )

    def assign_group(self, relationship_id: str, roles: Sequence[str]) -> Resource:
        """Put a security group with some of its roles into an active GDAP relationship."""
        self._told += 1
        group = wire.derived_guid("group of the portal", relationship_id, self._told)
        body = {
            "accessContainer": {"accessContainerId": group, "accessContainerType": "securityGroup"},
            "accessDetails": {"unifiedRoles": [{"roleDefinitionId": role} for role in roles]},
        }
        return self._do(
            lambda: self._stage.world.gdap.assign(relationship_id, body, pause=self._pause)
        )

    def attest_agreement(self, customer_id: str) -> Resource:
        """Confirm that the customer accepted the newest customer agreement today."""
        standing, partner = self._stage.world.standing, self._stage.world.partner
        newest = standing.agreement_versions(CUSTOMER_AGREEMENT)[-1]
        agreement = Agreement(
            kind=CUSTOMER_AGREEMENT,
            agreed=self._stage.clock.today(),
            template=newest["templateId"],
        )
        return self._do(lambda: standing.confirm_agreement(customer_id, agreement, partner.user_id))

    # --- the customer ----------------------------------------------------------------------------

    def approve_relationship(self, relationship_id: str, customer_id: str = "") -> Resource:
        """Consent to a GDAP relationship that was locked for approval; active by the clock."""
        return self._do(
            lambda: self._stage.world.gdap.approve(relationship_id, customer_id, pause=self._pause)
        )

    def end_relationship(self, relationship_id: str) -> Resource:
        """End a GDAP relationship; terminated by the clock."""
        return self._do(lambda: self._stage.world.gdap.end(relationship_id, pause=self._pause))

    def leave(self, customer_id: str) -> Resource:
        """End the reseller relationship, whatever is still active."""
        return self._do(lambda: self._stage.world.standing.leave(customer_id))

    def accept(self, customer_id: str) -> Resource:
        """Accept the partner's invitation: a reseller relationship again."""
        return self._do(lambda: self._stage.world.standing.accept(customer_id))

    def sign_directly(self, customer_id: str, *, signed: bool = True) -> Resource:
        """Sign the customer agreement with Microsoft, or have it end."""
        return self._do(
            lambda: self._stage.world.standing.change(customer_id, direct_signed=bool(signed))
        )

    def move(self, customer_id: str, **address: str) -> Resource:
        """Change the company's address: country, region, city, state, addressLine1, postalCode..."""
        return self._do(lambda: self._stage.world.standing.move(customer_id, address))

    def change_registration_number(self, customer_id: str, number: str | None) -> Resource:
        """Change the organisation's registration number in the company profile, or take it out."""
        return self._do(
            lambda: self._stage.world.standing.change(customer_id, registration_number=number)
        )

    # --- Microsoft and resellers -------------------------------------------------------------------

    def publish_agreement(self) -> Resource:
        """Publish another version of the customer agreement; who agreed to an older one still has."""
        return self._do(self._stage.world.standing.publish_agreement)

    def vet(self, customer_id: str, qualification: str, status: str, reason: str = "") -> Resource:
        """Decide on a qualification: Approved, InReview, Denied or a status that is to come."""
        return self._do(
            lambda: self._stage.world.standing.vet(customer_id, qualification, status, reason)
        )

    def vet_account(self, customer_id: str, status: str) -> Resource:
        """Decide on a tenant's account: Allowed, UnderReview, NotAllowed..."""
        return self._do(lambda: self._stage.world.standing.change(customer_id, validation=status))

    def sign_reseller_agreement(self, mpn_id: str, *, signed: bool = True) -> Resource:
        """An indirect reseller signs the partner agreement, or its own lapses."""
        return self._do(
            lambda: self._stage.world.standing.sign_reseller(mpn_id, signed=bool(signed))
        )

    def change_partner_of_record(
        self, customer_id: str, subscription_id: str, partner_id: str
    ) -> Resource:
        """Another partner of record on a subscription, from now on."""
        return self._do(
            lambda: self._stage.world.change_partner(customer_id, subscription_id, partner_id)
        )

    def correct_lines_partner(
        self, customer_id: str, mpn_id: str | None = None, reseller_id: str | None = None
    ) -> Resource:
        """Have Microsoft's lines of a customer name other partners, past ones too.

        Without `mpn_id` they name the partner's own id; `reseller_id` "0" names no reseller. Who
        has read an invoice learns of it when it is issued anew (`reissue`).
        """
        return self._do(
            lambda: self._stage.world.standing.change(
                customer_id, recon_mpn_id=mpn_id, recon_reseller_id=reseller_id
            )
        )

    def announce(self, event: str, customer_id: str = "", subscription_id: str = "") -> Resource:
        """Send an event that nothing in this world causes: those of DAP, fraud, an indirect reseller."""
        self._told += 1
        path = f"/v1/customers/{customer_id}"
        if event in _DAP:
            made = {"resource": "PartnerCustomerDap"}
        elif event == "indirect-reseller-relationship-accepted-by-customer":
            made = {"resource": "Customer", "path": path}
        elif event == "usagerecords-thresholdExceeded":
            made = {"resource": "usagerecords", "path": "/v1/customers/usagerecords"}
        elif event == "azure-fraud-event-detected":
            query = f"SubscriptionId={subscription_id}&EventStatus=Active"
            made = {"path": f"/v1/fraudEvents?{query}"}
        else:
            raise ValueError(f"event {event!r} is not announced here: something causes it")
        sent = self._webhooks.announce(
            Happening(
                key=("announced", self._told),
                at=self._stage.clock.now(),
                event=event,
                resource=made.get("resource"),
                path=made.get("path"),
            )
        )
        self._webhooks.catch_up()
        return {"queued": sent}
