"""The partner whose world is emulated: who it is, how its app and its user sign in; all invented."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """The signed-in partner; the client secret is an obviously invented constant."""

    tenant_id: str
    mpn_id: str
    name: str
    domain: str
    country: str
    user_id: str
    upn: str
    client_id: str
    client_secret: str
    # Where it is registered for VAT in the Union, by its European branch.
    vat_number: str
    other_vat_numbers: tuple[str, ...]


PARTNER = Partner(
    tenant_id="a1b2c3d4-0000-4000-8000-00000000c5b1",
    mpn_id="4391507",
    name="Contoso Cloud Distribution",
    domain="contosocloud.onmicrosoft.com",
    country="US",
    user_id="a1b2c3d4-0000-4000-8000-0000000ad317",
    upn="admin.agent@contosocloud.onmicrosoft.com",
    client_id="a1b2c3d4-0000-4000-8000-0000000a9911",
    client_secret="emulator-not-a-secret",
    vat_number="BE0000000097",
    other_vat_numbers=("DE100000024",),
)
