"""How a payload is written, for `smspartner doctor`: kinds and words, and never a value."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from smspartner_async._wire.inspection import (
    area_types,
    credits_kinds,
    kind_of,
    quote_kinds,
)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "nothing"),
        (True, "true or false"),
        (1, "whole number"),
        (Decimal("1.0"), "number with decimals"),
        ("1", "text"),
        ([1], "list"),
        ({"1": 1}, "object"),
    ],
)
def test_kinds(value: object, kind: str) -> None:
    """Each type of JSON has its name; a bool is no number."""
    assert kind_of(value) == kind


def test_how_a_quote_is_written() -> None:
    """Each amount by its own kind; the rows of areas together."""
    quote = {
        "datas": [
            {"Type": "CP", "Localite": "06200", "Volume": 28},
            {"Type": "total", "Localite": "total", "Volume": "28"},
            "no row",
        ],
        "cost": {"quantity": 28, "total": Decimal("2.52"), "cost_unity": "0.090"},
    }
    assert quote_kinds(quote) == {
        "total": {"number with decimals"},
        "unit price": {"text"},
        "quantity": {"whole number"},
        "volume": {"whole number", "text"},
        "post code": {"text"},
    }
    assert area_types(quote) == {"CP", "total"}


@pytest.mark.parametrize("payload", [None, [], "text", {}, {"datas": None, "cost": []}])
def test_what_is_missing_is_nothing(payload: Any) -> None:
    """Bad input: a payload of any form has kinds."""
    assert quote_kinds(payload)["total"] == {"nothing"}
    assert quote_kinds(payload)["volume"] == set()
    assert credits_kinds(payload) == {"balance": {"nothing"}}
    assert area_types(payload) == set()


def test_the_balance_and_a_word_of_any_length() -> None:
    """The kind of the balance; of a word, 20 letters, for it may be anything."""
    assert credits_kinds({"credits": {"balance": "12.50"}}) == {"balance": {"text"}}
    assert area_types({"datas": [{"Type": "x" * 50}]}) == {"x" * 20}
