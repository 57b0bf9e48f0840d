"""The lists of tax: profiles, selling companies, registrations, certificates, rates, number checks."""

from __future__ import annotations

from dataverse.provision.listing import find_view, main_view, view
from dataverse.tax_tables import (
    SELLER,
    TAX_CERTIFICATE,
    TAX_NUMBER_CHECK,
    TAX_RATE,
    TAX_REGISTRATION,
)

_CERTIFICATE = (
    "customerid 200, country 90, region 110, kind 110, number 160, validfrom 110, validuntil 130, "
    "verifiedby 150"
)
_CHECKED = (
    "number 170, country 90, state 100, checkedat 150, registeredname 240, source 160, "
    "reference 160, failedat 150, problem 300"
)
TAX = (
    main_view(SELLER, "name 240, city 150, country 90, registrationnumber 160", order="name"),
    main_view(
        TAX_REGISTRATION,
        "sellerid 240, country 90, region 130, number 180, validfrom 110, validuntil 130",
        order="country, region",
    ),
    view(
        TAX_REGISTRATION,
        "of_seller",
        "Registrations of a company",
        "As the form of the selling company shows them.",
        "country 90, region 130, number 180, validfrom 110, validuntil 130",
        order="country, region",
    ),
    main_view(TAX_CERTIFICATE, _CERTIFICATE, order="customerid, validuntil"),
    find_view(TAX_CERTIFICATE, "number kind reason tenantid", _CERTIFICATE),
    view(
        TAX_CERTIFICATE,
        "ending",
        "Certificates that end",
        "Exemption certificates that are not valid any more within 60 days: ask for new ones.",
        _CERTIFICATE,
        ("validuntil", "next-x-days", "60"),
        order="validuntil",
    ),
    view(
        TAX_CERTIFICATE,
        "of_customer",
        "Certificates of a customer",
        "As the customer's form shows them.",
        "country 90, region 110, kind 110, number 160, validfrom 110, validuntil 130",
        order="validuntil desc",
    ),
    main_view(
        TAX_RATE,
        "country 90, region 150, locality 150, tax 130, validfrom 110, ratepercent 100, "
        "taxablepercent 110, source 200",
        order="country, region, locality, validfrom desc",
    ),
    main_view(TAX_NUMBER_CHECK, _CHECKED, order="checkedat desc"),
    find_view(TAX_NUMBER_CHECK, "number registeredname reference", _CHECKED),
    view(
        TAX_NUMBER_CHECK,
        "open",
        "Tax numbers without a good answer",
        "Numbers that are not valid, or that no register has answered about.",
        _CHECKED,
        ("state", "ne", "valid"),
        order="checkedat",
    ),
)
