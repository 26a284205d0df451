"""What a code of the vendor's, or an error of this package, means: found where it is defined.

The meanings of codes stand in `_codes`, what an error means for money and file in its docstring,
and what to do next in its `advice`. Nothing of it is written here again.
"""

from __future__ import annotations

import difflib
import inspect
from typing import TYPE_CHECKING

from attrs import frozen

# Imported for their errors, which are found below.
from . import _batch_run, _batch_store, batch
from ._codes import (
    ALL_WENT_WELL,
    ALREADY_DOWNLOADED_CODE,
    CODE_MEANINGS,
    FAILED_CODE,
    TOO_MANY_REQUESTS,
)
from ._errors import (
    CODE_CLASSES,
    AlreadyDownloadedError,
    APIError,
    RateLimitError,
    RentalFailedError,
    SMSPartnerError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Explanation", "codes", "explain", "names"]

_ROOMS = (_batch_run, _batch_store, batch)


@frozen(kw_only=True)
class Explanation:
    """What there is to say of a code, or of an error.

    Attributes:
        asked: the code, or the name of the error.
        meaning: of a code, in plain English.
        error: the name of the class that it is raised as; `None` for what is no error.
        what: what happened, and what it means for the money or the file.
        advice: what to do next.
        codes: of the vendor's, that are raised as this class.
    """

    asked: str
    meaning: str | None = None
    error: str | None = None
    what: str = ""
    advice: str = ""
    codes: tuple[int, ...] = ()


def class_of(code: int) -> type[SMSPartnerError]:
    """Tell which class a code is raised as."""
    beside: dict[int, type[SMSPartnerError]] = {
        ALREADY_DOWNLOADED_CODE: AlreadyDownloadedError,
        FAILED_CODE: RentalFailedError,
        TOO_MANY_REQUESTS: RateLimitError,
    }
    return beside.get(code) or CODE_CLASSES.get(code, APIError)


def codes() -> tuple[tuple[int, str, str], ...]:
    """List all codes that the vendor documents: code, meaning, name of the class."""
    return tuple(
        (code, meaning, class_of(code).__name__) for code, meaning in CODE_MEANINGS.items()
    )


def names() -> dict[str, type[SMSPartnerError]]:
    """Find all errors of this package by their names."""

    def below(cls: type[SMSPartnerError]) -> Iterator[type[SMSPartnerError]]:
        yield cls
        for one in cls.__subclasses__():
            yield from below(one)

    return {cls.__name__: cls for cls in below(SMSPartnerError)}


def explain(asked: str) -> Explanation:
    """Explain a code such as `27`, or an error such as `WaitTimeoutError`, in any case.

    Raises:
        LookupError: there is no such thing; it says what is like it.
    """
    asked = asked.strip()
    if asked.isascii() and asked.isdigit():
        return _explain_code(int(asked))
    known = names()
    found = {name.lower(): name for name in known}
    name = found.get(asked.lower()) or found.get(f"{asked.lower()}error")
    if name is None:
        near = difflib.get_close_matches(asked.lower(), found, 2, 0.6)
        hint = f" Did you mean {' or '.join(found[one] for one in near)}?" if near else ""
        raise LookupError(
            f"{asked!r} is neither a code of the vendor's nor an error of this package.{hint}"
        )
    raised_as = [code for code, _, one in codes() if one == name]
    return _explain_class(known[name], asked=name, codes=tuple(raised_as))


def _explain_code(code: int) -> Explanation:
    if code == ALL_WENT_WELL:
        return Explanation(asked=str(code), meaning="all went well", what="This is no error.")
    if code == TOO_MANY_REQUESTS:
        return _explain_class(RateLimitError, asked=str(code), meaning="an HTTP status, no code")
    meaning = CODE_MEANINGS.get(code)
    if meaning is None:
        near = sorted(sorted(CODE_MEANINGS, key=lambda one: abs(one - code))[:3])
        raise LookupError(
            f"{code} is no code that the vendor documents for rentals (near it are "
            f"{', '.join(map(str, near))}). It is raised as APIError, with the vendor's own words. "
            f"{APIError.advice}"
        )
    return _explain_class(class_of(code), asked=str(code), meaning=meaning)


def _explain_class(
    cls: type[SMSPartnerError],
    *,
    asked: str,
    meaning: str | None = None,
    codes: tuple[int, ...] = (),
) -> Explanation:
    text = inspect.getdoc(cls) or ""
    what = " ".join(text.partition("Attributes:")[0].replace("`", "").split())
    return Explanation(
        asked=asked,
        meaning=meaning,
        error=cls.__name__,
        what=what,
        advice=cls.advice,
        codes=codes,
    )
