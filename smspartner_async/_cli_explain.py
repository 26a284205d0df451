"""`smspartner explain`: what a code or an error means, for whoever meets it in a log."""

from typing import Annotated

import typer
from attrs import asdict

from ._display import Display
from ._errors import SMSPartnerError
from ._options import AsJson


def _complete_explain(incomplete: str) -> list[str]:
    from ._explain import codes, names  # noqa: PLC0415 - nothing else needs it

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
    """Tell what a code of the vendor's, or an error, means, and what to do next.

    Without CODE it lists all codes.
    """
    from . import _explain  # noqa: PLC0415 - no other command should pay for it

    display = Display(as_json=as_json)
    if what is None:
        named = ("code", "meaning", "error")
        if as_json:
            display.document(
                {"codes": [dict(zip(named, one, strict=True)) for one in _explain.codes()]}
            )
        else:
            display.codes(_explain.codes())
        return
    try:
        found = _explain.explain(what)
    except LookupError as error:
        raise SMSPartnerError(f"{error.args[0]} All codes: smspartner explain") from None
    if as_json:
        display.document(asdict(found))
        return
    facts = {
        "Code" if found.meaning else "Error": found.asked,
        "Means": found.meaning,
        "Raised as": found.error if found.meaning else None,
        "What": found.what,
        "Codes": ", ".join(map(str, found.codes)),
        "Next": found.advice,
    }
    display.define((label, text) for label, text in facts.items() if text)


def add_explain(app: typer.Typer) -> None:
    """Give the program the command `explain`."""
    app.command(
        epilog="Examples: smspartner explain 27, smspartner explain RentOutcomeUnknownError"
    )(explain)
