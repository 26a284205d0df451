"""Report how the vendor wrote a payload, where its manual leaves that open.

For `smspartner doctor`. What a reply means is decided in `codec`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

_MONEY: Final = frozenset({"text", "whole number", "number with decimals"})
_COUNT: Final = frozenset({"text", "whole number"})
EXPECTED_KINDS: Final = {
    "balance": _MONEY,
    "total": _MONEY,
    "unit price": _MONEY,
    "quantity": _COUNT,
    "volume": _COUNT,
    "post code": frozenset({"text"}),  # a number has lost its zero
}
AREA_TYPES: Final = frozenset({"CP", "cp", "DEP", "dep", "total"})
"""From the manual's samples, except for a department's, which is undocumented."""

_KINDS: Final = {
    type(None): "nothing",
    bool: "true or false",
    int: "whole number",
    Decimal: "number with decimals",
    str: "text",
    list: "list",
}


def kind_of(value: object) -> str:
    """Name the JSON type of a value in plain English."""
    return _KINDS.get(type(value), "object")


def credits_kinds(payload: object) -> dict[str, set[str]]:
    """Return how each amount in the answer to `credits` is written."""
    return {"balance": {kind_of(_at(payload, "credits", "balance"))}}


def quote_kinds(payload: object) -> dict[str, set[str]]:
    """Return how each amount and count in a quote is written."""
    rows = _rows(payload)
    return {
        "total": {kind_of(_at(payload, "cost", "total"))},
        "unit price": {kind_of(_at(payload, "cost", "cost_unity"))},
        "quantity": {kind_of(_at(payload, "cost", "quantity"))},
        "volume": {kind_of(row.get("Volume")) for row in rows},
        "post code": {kind_of(row.get("Localite")) for row in rows},
    }


def area_types(payload: object) -> set[str]:
    """Return the vendor's words for the types of a quote's areas, none longer than 20 letters."""
    return {str(row.get("Type"))[:20] for row in _rows(payload)}


def _rows(payload: object) -> list[dict[str, Any]]:
    rows = _at(payload, "datas")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _at(payload: object, *path: str) -> object:
    for name in path:
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload
