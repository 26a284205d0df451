"""Post codes and departments as users write them: split, and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeGuard, cast

from smspartner_async._redaction import repr_without_numbers

from .hints import CODES, code_hint


def is_int(value: object) -> TypeGuard[int]:
    """Whether it is a whole number; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def split_codes(value: str | Iterable[str]) -> tuple[str, ...]:
    """Turn one comma-separated text, or an iterable of texts, into a tuple without repetitions."""
    given: object = value
    if given is None:
        return ()
    if isinstance(given, str):
        parts: list[object] = [part for part in given.split(",") if part.strip()]
    elif isinstance(given, Iterable) and not isinstance(given, (bytes, bytearray, Mapping)):
        parts = sorted(given, key=str) if isinstance(given, (set, frozenset)) else list(given)
    else:
        return cast("tuple[str, ...]", given)
    tidy = (part.strip().upper() if isinstance(part, str) else part for part in parts)
    # Not a set: the order is the user's.  By type too: 1 and True are one key of a dict.
    distinct = tuple({(type(part), repr(part)): part for part in tidy}.values())
    return cast("tuple[str, ...]", distinct)


def wrong_codes(name: str, codes: object) -> Iterable[tuple[str, str]]:
    """Name what is wrong with the codes of `departments` or `zipcodes`."""
    pattern, _, example, _ = CODES[name]
    if not isinstance(codes, tuple):
        hint = code_hint(name, codes)
        if isinstance(codes, Mapping):
            hint = "; how many are wanted where goes into the volumes"
        yield name, f"must be texts such as {example}, not {repr_without_numbers(codes)}{hint}"
        return
    for code in codes:
        given, hint = repr_without_numbers(code), code_hint(name, code)
        if not isinstance(code, str):
            yield name, f"must be texts such as {example}; {given} is not text{hint}"
        elif not re.fullmatch(pattern, code):
            yield name, f"{given} is not of the form {example}{hint}"
