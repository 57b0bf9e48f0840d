"""Tax as it was decided, the evidence that it was decided by, and the rates it was decided with.

Categories are those of EN 16931 (UNCL 5305), so that an electronic invoice needs no translation. A
record here says what somebody stated or a register answered; whether it suffices, `rules.tax` says.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from domain.addresses import town_and_country
from domain.charge import Reason
from domain.customer import Address
from domain.period import Period


class TaxTreatment(StrEnum):
    """What a tax profile says: the treatment that a person stated, or that the rules decide."""

    STANDARD = "standard"
    REVERSE_CHARGE = "reverse_charge"
    EXEMPT = "exempt"
    OUT_OF_SCOPE = "out_of_scope"
    BY_RULES = "by_rules"
    """From seller, registrations, buyer, evidence and the table of rates: `rules.tax`."""


class TaxCategory(StrEnum):
    """Why a line bears the tax that it bears."""

    STANDARD = "S"
    ZERO = "Z"
    EXEMPT = "E"
    REVERSE_CHARGE = "AE"
    EXPORT = "G"
    OUT_OF_SCOPE = "O"


class TaxRounding(StrEnum):
    """Where tax is rounded: each line, or once for all lines of one rate in a document."""

    LINE = "line"
    DOCUMENT = "document"


class TaxDecider(StrEnum):
    """Who says what tax a contract's documents bear."""

    RULES = "rules"
    """Our rules and the table of rates."""
    ENGINE = "engine"
    """An external tax engine that is asked before a draft is made."""
    ACCOUNTING = "accounting"
    """The accounting system, after the hand-off: our document states the amounts before tax."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxPart:
    """One tax among those on a line: GST beside QST, a state's beside a city's."""

    name: str
    """As it is printed: VAT, GST, QST, sales tax."""
    jurisdiction: str
    """ISO 3166, with the region where it is the region's: DE, CA-QC, US-TX."""
    percent: Decimal
    """The rate of the law."""
    taxable_percent: Decimal = Decimal(100)
    """How much of the charge is taxed: 80 for data processing in Texas."""

    @property
    def effective(self) -> Decimal:
        """Percent of the whole charge; exact."""
        return self.percent * self.taxable_percent / 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """Who sells or who buys, as a document prints it."""

    name: str
    address: Address
    tax_numbers: tuple[str, ...] = ()
    """With their prefix, in the order in which they are printed; the first one decides."""
    registration_number: str = ""
    email: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """The block as it is printed: name, address, tax numbers, registration."""
        at = self.address
        told = (
            self.name,
            ", ".join(filter(None, (at.line1, at.line2))),
            town_and_country(at),
            *(f"Tax number {number}" for number in self.tax_numbers),
            f"Registration number {self.registration_number}" if self.registration_number else "",
            self.email,
        )
        return tuple(filter(None, told))

    @property
    def text(self) -> str:
        """The block as one text."""
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxDecision:
    """What a document's lines bear, and the words and numbers that the document must carry."""

    category: TaxCategory
    parts: tuple[TaxPart, ...] = ()
    """Empty: no tax is charged. Their effective percentages add up."""
    note: str = ""
    """Wording that the treatment demands: reverse charge, the reason of an exemption."""
    seller_tax_id: str = ""
    """Where several taxes have numbers of their own, parted by a comma and a blank."""
    buyer_tax_id: str = ""
    decided_by: TaxDecider = TaxDecider.RULES
    reasons: tuple[Reason, ...] = ()
    pending: bool = False
    """Nobody has decided yet: for the question to who will, and never stored."""

    @property
    def percent(self) -> Decimal:
        """Percent of the charge, all parts together; exact."""
        return sum((part.effective for part in self.parts), Decimal(0))

    @property
    def treatment(self) -> TaxTreatment:
        """The category in the words of a tax profile."""
        match self.category:
            case TaxCategory.STANDARD:
                return TaxTreatment.STANDARD
            case TaxCategory.REVERSE_CHARGE:
                return TaxTreatment.REVERSE_CHARGE
            case TaxCategory.EXEMPT:
                return TaxTreatment.EXEMPT
            case _:
                return TaxTreatment.OUT_OF_SCOPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Seller:
    """A legal entity of the partner that sells; contracts name theirs, where there are several."""

    key: str
    """`seller/<name>`."""
    name: str
    address: Address
    registration_number: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxRegistration:
    """Where a seller is registered to charge tax, and since when."""

    key: str
    seller_key: str
    country: str
    region: str = ""
    """Empty: the whole country."""
    number: str = ""
    """As it is printed, with its prefix."""
    valid: Period


@dataclass(frozen=True, slots=True, kw_only=True)
class ExemptionCertificate:
    """A paper by which a customer is not charged a tax that others are."""

    key: str
    customer_id: str
    country: str
    region: str = ""
    """Empty: it counts in the whole country."""
    kind: str = ""
    """resale, government, nonprofit, education, ..."""
    number: str
    reason: str = ""
    """Printed on the invoice, with the law where it demands one."""
    issued_on: date | None = None
    valid: Period
    """FOREVER's end where it never ends."""
    document: str = ""
    """Where the paper is."""
    verified_by: str = ""
    verified_on: date | None = None


FORM_ONLY = "form and check digits"
"""The source of an answer that no register gave: the number is well-formed, and may be nobody's."""


def printed_number(number: str) -> str:
    """Return a tax number as checks are kept under it: letters, digits, + and * (Ireland) alone.

    Greece's ISO code in front becomes the prefix that its numbers are printed with.
    """
    plain = "".join(c for c in number.upper() if c.isalnum() or c in "+*")
    return f"EL{plain[2:]}" if plain.startswith("GR") else plain


_TAXED_AS = {"EL": "GR", "UK": "GB", "XI": "GB", "IM": "GB", "MC": "FR"}
"""Other codes of a country, and countries in another's VAT area (Directive 2006/112/EC, art. 7).
Northern Ireland is inside the EU's for goods alone; its services follow the United Kingdom's rules."""


def vat_country(code: str) -> str:
    """Return the country (ISO 3166) by whose VAT rules a place is taxed, and whose numbers it has."""
    code = code.strip().upper()
    return _TAXED_AS.get(code, code)


def number_key(country: str, number: str) -> str:
    """Return the key of what is known of a number of a country."""
    return f"taxnumber/{vat_country(country)}/{number}"


class NumberState(StrEnum):
    """What is known of a tax number."""

    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"
    """Nobody could be asked: the register is down, or there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxNumberCheck:
    """The last answer about a tax number that says something, and when it was given."""

    number: str
    """In the form that is printed: letters and digits, with the prefix of its country."""
    country: str
    state: NumberState
    checked_at: datetime | None
    """Of the answer (aware UTC); None: never answered."""
    source: str
    """Who answered: VIES, form and check digits."""
    reference: str = ""
    """The register's own number of the inquiry: the proof that it was asked."""
    name: str = ""
    """Whose number it is, where the register tells."""
    address: str = ""
    failed_at: datetime | None = None
    """The latest attempt that got no answer since; None: the last attempt was answered."""
    problem: str = ""
    """Why it got none."""

    @property
    def key(self) -> str:
        """Identity from meaning."""
        return number_key(self.country, self.number)

    @property
    def by_register(self) -> bool:
        """Say whether a register gave the answer, and not the form of the number alone."""
        return self.checked_at is not None and self.source != FORM_ONLY


class NumberProof(StrEnum):
    """What a tax number must have passed before a document rests on it."""

    REGISTER = "register"
    """The answer of a register: the number is somebody's."""
    FORM = "form"
    """Its form and check digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxPolicy:
    """What the partner asks of evidence."""

    number_proof: NumberProof = NumberProof.REGISTER
    number_days: int = 30
    """Days for which a register's answer about a number counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedLine:
    """One charge, as an external tax engine is asked about it."""

    key: str
    kind: str
    """The charge type: new, cycle_charge, usage, ..."""
    sku: str
    name: str
    amount: Decimal
    """Before tax, in the currency of the question; negative in a credit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxQuestion:
    """What an external tax engine is asked before a draft is made."""

    customer_id: str
    """Whom a refusal holds; the engine is not told."""
    seller: Party
    buyer: Party
    currency: str
    tax_point: date
    lines: tuple[AskedLine, ...]

    @property
    def digest(self) -> str:
        """Identity from meaning: equal questions have equal digests (SHA-256, hexadecimal)."""
        told = [
            *(
                [one.name, *map(str, _parts_of(one.address)), *one.tax_numbers]
                for one in (self.seller, self.buyer)
            ),
            [self.currency, str(self.tax_point)],
            *([one.key, one.kind, one.sku, one.name, str(one.amount)] for one in self.lines),
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _parts_of(address: Address) -> tuple[str, ...]:
    return (
        address.country,
        address.region,
        address.city,
        address.line1,
        address.line2,
        address.postal_code,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TaxRate:
    """What one tax comes to in one place from one day on; several taxes of a place add up.

    As somebody wrote it down, even where it cannot be meant: `rules.tax_rates.rate_fault` says so.
    """

    country: str
    """ISO 3166 code."""
    region: str = ""
    """Names of one region, parted by `|`, its code first; empty: the whole country."""
    locality: str = ""
    """Names of one city or county likewise; empty: the whole region."""
    tax: str
    """What it is called: VAT, GST, QST, sales tax."""
    starts: date
    """First day; the rate ends where the next one of the same place and tax starts."""
    percent: Decimal | None = None
    """None: the place has rules of its own that are not decided here."""
    taxable_percent: Decimal | None = None
    """How much of the charge is taxed; None: as much as the shipped rows of the tax say, or all."""
    regional: bool = False
    """The region's own tax: charged only by who is registered in the region."""
    local_taxes: bool = False
    """Cities or counties of the place add taxes of theirs: the customer's must have a row."""
    source: str
    note: str = ""

    @property
    def taxed_part(self) -> Decimal:
        """Percent of the charge that is taxed."""
        return Decimal(100) if self.taxable_percent is None else self.taxable_percent

    @property
    def regions(self) -> tuple[str, ...]:
        """All names of the region."""
        return tuple(name.strip() for name in self.region.split("|") if name.strip())

    @property
    def localities(self) -> tuple[str, ...]:
        """All names of the locality."""
        return tuple(name.strip() for name in self.locality.split("|") if name.strip())

    @property
    def key(self) -> str:
        """Identity from meaning."""
        place = "/".join(filter(None, (self.country, *self.regions[:1], *self.localities[:1])))
        return f"taxrate/{place}/{self.tax}/{self.starts}"
