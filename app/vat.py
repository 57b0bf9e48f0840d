"""VAT and GST numbers by form and check digits, offline (python-stdnum).

Limit: no register is asked, so a well-formed number may belong to nobody.
"""

from __future__ import annotations

_OTHERS = frozenset({"AU", "CA", "CH", "GB", "IS", "NO", "NZ"})
"""Countries outside of the EU whose number for VAT or GST is the one that python-stdnum knows; that
of JP, SG and others is another one than the number printed for the tax."""


def valid_vat(country: str, number: str) -> bool | None:
    """Tell whether a number is one of a country (ISO 3166); None where no check is known.

    A number of an EU country carries its prefix (EL or GR for Greece); one of the United Kingdom may
    carry GB or XI, others theirs.
    """
    from stdnum.eu import vat as european
    from stdnum.util import get_cc_module

    number = number.strip().upper()
    if not number.isascii():
        return False
    if country.lower() in european.MEMBER_STATES - {"xi"}:
        own = {"GR": ("EL", "GR")}.get(country, (country,))
        return number.startswith(own) and european.is_valid(number)
    module = get_cc_module(country, "vat") if country in _OTHERS else None
    if module is None:
        return None
    # The Swiss number holds its letters; the others are known without a prefix.
    prefixes = {"CH": (), "GB": ("GB", "XI")}.get(country, (country,))
    found = next((prefix for prefix in prefixes if number.startswith(prefix)), "")
    return module.is_valid(number.removeprefix(found))
