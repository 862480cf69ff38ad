"""Every text becomes one that both databases store and return unchanged."""

import re

from hypothesis import given
from sqlalchemy import Text, cast, literal, select

from shared.db.engine import Database
from shared.texts import PRINTABLE, STORABLE, storable
from tests.support.hostile_texts import TEXTS


@given(TEXTS)
def test_a_storable_text_has_no_nul_and_can_be_encoded(text: str) -> None:
    made = storable(text, 50)
    assert len(made) <= 50
    assert "\x00" not in made
    made.encode()
    assert storable(made, 50) == made


@given(TEXTS)
def test_a_text_that_can_be_stored_is_not_changed(text: str) -> None:
    clean = storable(text, 10**6)
    assert storable(clean, 10**6) == clean
    assert len(clean) == len(text)


def test_what_cannot_be_stored_is_replaced_and_the_end_of_a_long_text_is_cut() -> None:
    assert storable("a\x00b\ud800c") == "a?b?c"
    assert storable("0123456789", 8) == "01234..."


def test_databases_return_a_storable_text_unchanged(database: Database) -> None:
    text = storable("\x00\ud800\udfff\ufffe\uffff\U0010ffff\x1b\x7f\u2028")
    assert database.read(lambda session: session.scalar(select(cast(literal(text), Text)))) == text


def test_the_patterns_refuse_a_nul() -> None:
    assert not re.match(STORABLE, "a\x00")
    assert re.match(STORABLE, "a\nb")
    assert not re.match(PRINTABLE, "a\nb")
