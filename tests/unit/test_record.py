"""Records that are stored plainly are the same as those that are made in the ordinary way."""

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from domain.charge import Charge, charge_of, reason_of
from tests.builders import a_charge


def made():
    known = a_charge()
    return known, charge_of(**{f.name: getattr(known, f.name) for f in fields(Charge)})


def test_a_charge_that_is_stored_plainly_is_a_charge():
    known, plain = made()
    assert type(plain) is Charge
    assert plain == known
    assert repr(plain) == repr(known)
    assert replace(plain, key="other").key == "other"


def test_it_cannot_be_changed_and_has_no_other_fields():
    _, plain = made()
    with pytest.raises(FrozenInstanceError):
        plain.key = "other"
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        plain.unknown = 1


def test_what_is_left_out_has_its_default_and_what_must_be_said_is_asked_for():
    known, _ = made()
    said = ("key", "customer_id", "subscription_id", "type", "name", "sku", "service", "full")
    said += ("quantity", "unit_price", "exact", "amount")
    plain = charge_of(**{name: getattr(known, name) for name in said})
    assert (plain.unit_cost, plain.why, plain.reasons, plain.answers) == (None, "", (), "")
    with pytest.raises(TypeError, match="inputs"):
        reason_of(rule="price.test")
