"""`smspartner explain`: what a code or an error means, for whoever meets it in a log.

The meanings of codes stand in `_error_codes`, what an error means for money and file in its
docstring, and what to do next in its `advice`. Nothing of it is written here again.
"""

import difflib
import inspect
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

import typer

from smspartner_async._error_codes import (
    ALL_WENT_WELL,
    ALREADY_DOWNLOADED_CODE,
    CODE_MEANINGS,
    FAILED_CODE,
    TOO_MANY_REQUESTS,
)
from smspartner_async._errors import (
    AlreadyDownloadedError,
    APIError,
    RateLimitError,
    RentalFailedError,
    SMSPartnerError,
)
from smspartner_async._wire.envelope import CODE_CLASSES

from ._display import Display
from ._error_texts import advice_to_type
from ._options import AsJson

_CLASSES: Final[dict[int, type[SMSPartnerError]]] = {
    **dict.fromkeys(CODE_MEANINGS, APIError),
    **CODE_CLASSES,
    ALREADY_DOWNLOADED_CODE: AlreadyDownloadedError,
    FAILED_CODE: RentalFailedError,
    TOO_MANY_REQUESTS: RateLimitError,
}
_MEANINGS: Final = CODE_MEANINGS | {
    ALL_WENT_WELL: "all went well",
    TOO_MANY_REQUESTS: "an HTTP status, no code",
}


def _complete_explain(incomplete: str) -> list[str]:
    known = [*(str(code) for code, _, _ in codes()), *names()]
    return [one for one in known if one.lower().startswith(incomplete.lower())]


def explain(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE", help="Or the name of an error.", autocompletion=_complete_explain
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Explain what a code of the vendor's, or an error, means, and what to do next.

    Without CODE it lists all codes.
    """
    display = Display(as_json=as_json)
    if what is None:
        named = ("code", "meaning", "error")
        if as_json:
            display.document({"codes": [dict(zip(named, one, strict=True)) for one in codes()]})
        else:
            display.codes(codes())
        return
    found = explanation_of(what)
    if as_json:
        display.document(found)
        return
    facts = {
        "Code" if found["meaning"] else "Error": found["asked"],
        "Means": found["meaning"],
        "Raised as": found["error"] if found["meaning"] else None,
        "What": found["what"],
        "Codes": ", ".join(map(str, found["codes"])),
        "Next": advice_to_type(found["advice"]),
    }
    display.define((label, text) for label, text in facts.items() if text)


def codes() -> tuple[tuple[int, str, str], ...]:
    """List all codes that the vendor documents: code, meaning, name of the class."""
    return tuple((code, words, _CLASSES[code].__name__) for code, words in CODE_MEANINGS.items())


def names() -> dict[str, type[SMSPartnerError]]:
    """Find all errors of this package by their names."""
    # For their errors; no other command should pay for it.
    import smspartner_async.batch  # noqa: PLC0415
    import smspartner_async.cli._batch.folder  # noqa: PLC0415

    with suppress(ModuleNotFoundError):  # without the extra `durable`, its errors are not raised
        import smspartner_async.cli._batch.plan  # noqa: F401, PLC0415

    def below(cls: type[SMSPartnerError]) -> Iterator[type[SMSPartnerError]]:
        yield cls
        for one in cls.__subclasses__():
            yield from below(one)

    return {cls.__name__: cls for cls in below(SMSPartnerError)}


def explanation_of(asked: str) -> dict[str, Any]:
    """Explain a code such as `27`, or an error such as `WaitTimeoutError`, in any case.

    Returns:
        What was `asked`; the `meaning` of a code; the class that is raised as `error`; `what`
        happened to money or file; the `advice`; of a class, the vendor's `codes`.

    Raises:
        SMSPartnerError: there is no such thing; it says what is like it.
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
        raise SMSPartnerError(
            f"{asked!r} is neither a code of the vendor's nor an error of this package.{hint} "
            "All codes: smspartner explain"
        )
    raised_as = [code for code, _, one in codes() if one == name]
    return _explanation(name, known[name], codes=raised_as)


def _explain_code(code: int) -> dict[str, Any]:
    if code not in _MEANINGS:
        near = sorted(sorted(CODE_MEANINGS, key=lambda one: abs(one - code))[:3])
        raise SMSPartnerError(
            f"{code} is no code that the vendor documents for rentals (near it are "
            f"{', '.join(map(str, near))}). It is raised as APIError, with the vendor's own words. "
            f"{APIError.advice} All codes: smspartner explain"
        )
    return _explanation(str(code), _CLASSES.get(code), _MEANINGS[code])


def _explanation(
    asked: str,
    cls: type[SMSPartnerError] | None,
    meaning: str | None = None,
    codes: Sequence[int] = (),
) -> dict[str, Any]:
    text = "This is no error." if cls is None else inspect.getdoc(cls) or ""
    return {
        "asked": asked,
        "meaning": meaning,
        "error": cls and cls.__name__,
        "what": " ".join(text.partition("Attributes:")[0].replace("`", "").split()),
        "advice": "" if cls is None else cls.advice,
        "codes": codes,
    }
