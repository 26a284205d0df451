"""The options that several commands share, and what they say: whom to reach, and how many."""

import inspect
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import wraps
from typing import Annotated, Any, Final

import typer
from attrs import frozen

from smspartner_async._errors import TargetingError
from smspartner_async._models import Targeting
from smspartner_async._validation import KEY_VARIABLE
from smspartner_async._values.volumes import checked_volumes, parse_volumes


def amount(text: str) -> Decimal:
    """Read an amount of money, or refuse it as typer does."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0:
        raise typer.BadParameter(f"{text!r} is not an amount of at least 0, such as 10.00.")
    return number


def rental_token(text: str) -> str:
    """Read a rental's token; the API key in its place is refused, before it is shown or stored."""
    if not text.strip():
        raise typer.BadParameter("a token is not blank.")
    if text.strip() == os.environ.get(KEY_VARIABLE, "").strip():
        raise typer.BadParameter("this is the API key, and not the token of a rental.")
    return text


def keep_line(ctx: Any, words: Sequence[str]) -> None:
    """Keep what was typed, for `typed_line`."""
    ctx.meta[WORDS] = tuple(words)


def keep_token(ctx: typer.Context, token: str) -> None:
    """Keep the token of a rental that is paid and has no file, for the end of the command."""
    ctx.meta[_PAID] = token.strip()


def forget_token(ctx: typer.Context) -> None:
    """Forget what `keep_token` kept: the file is here."""
    ctx.meta.pop(_PAID, None)


def kept_token(ctx: typer.Context) -> str | None:
    """Return what `keep_token` kept."""
    return ctx.meta.get(_PAID)


def typed_line(ctx: typer.Context) -> str:
    """Return what was typed, to be typed again."""
    return shlex.join(["smspartner", *ctx.meta[WORDS]])


def unwrap_help(*apps: typer.Typer) -> None:
    """Put each paragraph of the help on one line: it is wrapped for the terminal alone."""
    for command in (one for app in apps for one in app.registered_commands):
        paragraphs = (inspect.getdoc(command.callback) or "").split("\n\n")
        command.help = "\n\n".join(" ".join(text.split()) for text in paragraphs)


def _whom(text: str, metavar: str | None = None) -> Any:
    return typer.Option(metavar=metavar, help=text, rich_help_panel="Whom to reach")


AsJson = Annotated[bool, typer.Option("--json", help="Write one JSON document, for programs.")]
Token = Annotated[
    str, typer.Argument(parser=rental_token, metavar="TOKEN", help="What `rent` printed.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: spend the money.")]
WORDS: Final = "smspartner.words"
PAYING: Final = "smspartner.paying"
"""Set in the context of a command as soon as it may send a rent."""
_PAID: Final = "smspartner.paid"
_Codes = list[str] | None


@frozen
class Wish:
    """What a command asks for: a targeting and, maybe, volumes."""

    targeting: Targeting
    volumes: Mapping[str, int] | None


def _read_wish(
    *,
    gender: Annotated[str, _whom("Who they are.", "mixed|male|female")],
    min_age: Annotated[int, _whom("Youngest age, from 18 to 98.")],
    max_age: Annotated[int, _whom("Oldest age, from 18 to 98.")],
    interest: Annotated[int | None, _whom("Category id; this or --sub-interest.", "ID")] = None,
    sub_interest: Annotated[int | None, _whom("Subcategory id.", "ID")] = None,
    category: Annotated[str | None, _whom("Socio-professional category.", "csp+|csp-")] = None,
    department: Annotated[_Codes, _whom("Such as 02 or 2A,2B; repeatable.", "CODE")] = None,
    zipcode: Annotated[_Codes, _whom("Such as 02200,60200; repeatable.", "CODE")] = None,
    volume: Annotated[_Codes, _whom("Wanted, as 60200=20; repeatable.", "AREA=NUMBER")] = None,
) -> Wish:
    """Make a wish of the options, or name everything that is wrong with them at once."""
    targeting = volumes = None
    areas = {"departments": department, "zipcodes": zipcode}
    # As an unset variable in a shell leaves them: taken for nothing, they would mean everywhere.
    problems = [
        (name, "is empty; leave it out to reach every area")
        for name, codes in areas.items()
        if codes and not _pieces(codes)
    ]
    # Text is given where mypy sees members: the model turns it into them, or names it as wrong.
    texts: dict[str, Any] = {
        "gender": gender,
        "category": category,
        **{name: _pieces(codes) for name, codes in areas.items()},
    }
    try:
        targeting = Targeting(
            min_age=min_age, max_age=max_age, interest=interest, sub_interest=sub_interest, **texts
        )
    except TargetingError as error:
        problems += error.problems
    try:
        pieces = _pieces(volume)
        wanted = parse_volumes(",".join(pieces)) if pieces else {}  # refused: "is empty"
        volumes = checked_volumes(wanted if volume else None)
    except TargetingError as error:
        problems += error.problems
    if problems or targeting is None:
        raise TargetingError(tuple(problems))
    return Wish(targeting, volumes)


def _pieces(given: _Codes) -> list[str]:
    """Take apart what an option was given, once or repeatedly, with commas between."""
    return [piece for piece in ",".join(given or ()).split(",") if piece.strip()]


def with_wish(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of `_read_wish`, and their `Wish` as its argument `wish`."""
    # typer reads a command's signature: this one is put together instead of written three times.
    shared = dict(inspect.signature(_read_wish).parameters)
    for name in without:
        del shared[name]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = dict(inspect.signature(command).parameters)
        del own["wish"]

        @wraps(command)
        def run(**given: Any) -> None:
            command(wish=_read_wish(**{name: given.pop(name) for name in shared}), **given)

        parameters = shared | own
        run.__annotations__ = {name: one.annotation for name, one in parameters.items()}
        vars(run)["__signature__"] = inspect.Signature(list(parameters.values()))
        return run

    return decorate
