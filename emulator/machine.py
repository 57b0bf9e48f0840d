"""The whole emulator: one world, every host over it as a WSGI app, one control plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emulator.clock import Clock
from emulator.control import PUBLIC_URLS, Control, ControlPlane
from emulator.dataverse import DataverseApp
from emulator.entra import Entra
from emulator.exports import Exports
from emulator.graph import Graph
from emulator.identity import Identity
from emulator.key_vault import KeyVault
from emulator.parties import Parties
from emulator.partner_center import PartnerCenter
from emulator.partner_webhooks import Certificates
from emulator.prices import Prices
from emulator.principals import Principals
from emulator.server import Loopback
from emulator.tokens import Tokens
from emulator.vies import Vies
from emulator.webhooks import Webhooks
from emulator.world import NOW, World, build_world

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Emulator:
    """One emulated world and the hosts that show it; the same seed gives the same bytes.

    `base_urls` starts with the public names; absolute links in answers are made from it.
    """

    def __init__(
        self,
        *,
        seed: int = 1,
        scenario: str = "partner-month",
        dataverse_file: str = ":memory:",
    ) -> None:
        self.seed = seed
        self.scenario = scenario
        self.clock = Clock(NOW)
        self.world: World = build_world(seed=seed, scenario=scenario, clock=self.clock)
        self.base_urls = dict(PUBLIC_URLS)
        self.control = Control(self)
        self._tokens = Tokens(self)
        self.principals = Principals(self)
        self._entra = Entra(self, self._tokens, self.principals)
        self._identity = Identity(self, self._tokens, self.principals)
        self.vault = KeyVault(self, self._tokens)
        self.webhooks = Webhooks(self)
        self.vies = Vies(self)
        self.parties = Parties(self, self.webhooks, self.vies)
        self.clock.watchers.append(self.webhooks.catch_up)
        self._partner_center = PartnerCenter(self, self._tokens, self.webhooks)
        self._exports = Exports(self)
        self._graph = Graph(self, self._tokens, self._exports)
        self.dataverse = DataverseApp(
            file=dataverse_file,
            clock=self.clock,
            application_id=self.world.partner.client_id,
            base_url=lambda: self.base_urls["dataverse"],
            check_token=lambda token, audience: self._tokens.check(
                token, audience.rstrip("/"), PUBLIC_URLS["dataverse"]
            ),
        )
        wrap = self.control.wrap
        self.apps: dict[str, WSGIApplication] = {
            "login": wrap("login", self._entra),
            "partner_center": wrap("partner_center", self._partner_center),
            "price": wrap("price", Prices(self, self._tokens)),
            "graph": wrap("graph", self._graph),
            "blob": wrap("blob", self._exports),
            "certificates": wrap("certificates", Certificates(), serial=False),
            "dataverse": wrap("dataverse", self.dataverse, serial=False),
            "vies": wrap("vies", self.vies),
            "vault": wrap("vault", self.vault),
            "identity": wrap("identity", self._identity),
            "control": ControlPlane(self, self.control),
        }

    @property
    def credentials(self) -> dict[str, str]:
        """What a person would type into the settings; the refresh token is signed anew."""
        partner = self.world.partner
        return {
            "tenant_id": partner.tenant_id,
            "client_id": partner.client_id,
            "client_secret": partner.client_secret,
            "refresh_token": self.issue_refresh_token(),
        }

    @property
    def identity_environment(self) -> dict[str, str]:
        """What Azure sets for an app with a managed identity: variables by name."""
        return self._identity.environment

    def rebuild(self, *, seed: int, scenario: str) -> None:
        """Build another world, its clock at the start, and forget what the hosts remember.

        Called by `Control.reset`, which also clears faults and settings.
        """
        world = build_world(seed=seed, scenario=scenario, clock=self.clock)
        self.seed, self.scenario, self.world = seed, scenario, world
        self.webhooks.reset()
        self.clock.set(NOW)
        for host in (
            self._entra,
            self.principals,
            self.vault,
            self._partner_center,
            self._exports,
            self._graph,
            self.dataverse,
            self.vies,
        ):
            host.reset()

    def close(self) -> None:
        """Close the Dataverse file."""
        self.dataverse.close()

    def stories(self) -> list[dict[str, Any]]:
        """What is awkward where in this scenario, for a reader and for tests."""
        return self.world.stories()

    def change_dataverse(
        self,
        *,
        deny: Sequence[tuple[str, str]] | None = None,
        duplicate_rules: Sequence[tuple[str, str]] | None = None,
        fail_next: Mapping[str, Any] | None = None,
        sales: bool = False,
        **switches: float,
    ) -> None:
        """Turn switches of the Dataverse host; ValueError for an unknown one or a wrong type.

        `deny` lists (privilege, table) pairs and `duplicate_rules` (table, column) pairs,
        `fail_next` takes kind, count and path; `sales` installs the tables of Dynamics 365 Sales.
        """
        if sales:
            self.dataverse.install_sales()
        settings = self.dataverse.settings
        for name, value in switches.items():
            current = getattr(settings, name, None)
            if not isinstance(current, int | float):
                raise ValueError(f"unknown switch: {name}")  # noqa: TRY004 - a fault of the name
            if isinstance(current, bool) is not isinstance(value, bool):
                raise ValueError(
                    f"{name} is {'true or false' if isinstance(current, bool) else 'a number'}"
                )
        for name, value in switches.items():
            setattr(settings, name, value)
        if deny is not None:
            settings.deny = {(privilege, table) for privilege, table in deny}
        if duplicate_rules is not None:
            settings.duplicate_rules = {(table, column) for table, column in duplicate_rules}
        if fail_next is not None:
            settings.fail_next(**fail_next)

    def reissue(self, invoice_id: str, *, change: str = "", customer_id: str = "") -> int:
        """Issue an invoice anew (void and rebill); its new version number.

        With a `change` (more, less or gone) one meter's consumption is another one on it, see
        `World.correct`; without, it says the same as before.
        """
        if change:
            self.world.correct(invoice_id, change, customer_id)
        return self._exports.reissue(invoice_id)

    def issue_refresh_token(self, *, mfa: bool = True) -> str:
        """Sign the partner's user in, with or without a second factor."""
        return self._tokens.refresh_token(["pwd", "mfa"] if mfa else ["pwd"])

    def revoke_refresh_tokens(self) -> None:
        """End every session of the partner's user."""
        self._tokens.revoke()


def serve(
    emulator: Emulator, *, host: str = "127.0.0.1", port: int = 0, tls: bool = False
) -> Loopback:
    """Answer on loopback: `port` for the control plane and the next ones for the others; 0: any.

    With `tls` every host but the control plane answers over TLS; clients trust `ca_bundle`.
    """
    return Loopback(emulator, host=host, port=port, tls=tls).start()
