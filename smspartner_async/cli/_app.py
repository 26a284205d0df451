"""The `smspartner` command: every operation of the client, a sandbox, and a demonstration.

Knows the commands; their exit codes stand in `_exit_codes`. The options that several commands share
are read in `_options`; what a person sees is made in `_display`.
"""

import asyncio
import io
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

try:
    import typer
    from typer.core import TyperGroup

    from ._batch.cleaning import batch_app
    from ._display import TO_RENT, Display
    from ._doctor.command import doctor
    from ._exit_codes import ExitCode, exit_code_of, gravest
    from ._explain import explain
    from ._interrupt import (
        first_interrupt_only,
        ignore_signals,
        keep_in_file,
        treat_signals_as_ctrl_c,
        without_interrupts,
    )
    from ._offline import demo, sandbox
    from ._options import (
        PAYING,
        WORDS,
        AsJson,
        Token,
        Wish,
        Yes,
        amount,
        forget_token,
        keep_line,
        keep_token,
        kept_token,
        typed_line,
        unwrap_help,
        with_wish,
    )
    from ._worker import worker
except ModuleNotFoundError:
    # Not in main(): whoever starts the command imports this module first.
    raise SystemExit(
        "Error: the command line needs the extra: pip install 'smspartner_async[cli]'. The sandbox "
        "works without it: python -m smspartner_async.sandbox"
    ) from None
except KeyboardInterrupt:  # it takes its time; nothing has been sent yet
    raise SystemExit(130) from None

from smspartner_async._client import SMSPartnerClient
from smspartner_async._errors import SMSPartnerError
from smspartner_async._models import Credits, Quote, Rental
from smspartner_async._policies import PollingPolicy
from smspartner_async._validation import check_price

_T = TypeVar("_T")

_POLLING: Final = PollingPolicy()
# Some releases of typer bring their own click, others use the one beside them.
_USAGE_ERROR: Final[type[Exception]] = typer.BadParameter.__bases__[0]


class _Commands(TyperGroup):
    """Every command's errors, as lines on stderr and an exit code."""

    def make_context(self, info_name: Any, args: Any, *more: Any, **extra: Any) -> Any:
        """Keep the line that was typed, to be shown where it is to be typed again."""
        words = [*args]
        try:
            context = super().make_context(info_name, args, *more, **extra)
        except _USAGE_ERROR as error:
            Display(as_json="--json" in words).error_document(error, ExitCode.USAGE)
            raise
        keep_line(context, words)
        return context

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        display = Display(as_json="--json" in ctx.meta[WORDS])
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except _USAGE_ERROR as error:
            display.error_document(error, ExitCode.USAGE)
            raise
        except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
            code = ExitCode.PAID_WITHOUT_FILE if kept_token(ctx) else ExitCode.INTERRUPTED
            with without_interrupts():
                # A rent that was under way has its end as the cause.
                with suppress(OSError):  # nothing can be written: the code still says it
                    if isinstance(interrupt.__cause__, SMSPartnerError):
                        code = gravest(code, exit_code_of(interrupt.__cause__))
                        display.error(interrupt.__cause__, code, kept_token(ctx))
                    else:
                        display.error_document(interrupt, code, kept_token(ctx))
                    display.note("Interrupted.")
                raise typer.Exit(code) from None
        except Exception as error:  # noqa: BLE001 - the last to handle it
            with without_interrupts():
                code = exit_code_of(error, kept_token(ctx))
                if not isinstance(error, SMSPartnerError | OSError | ValueError):  # a defect
                    traceback.print_exc()  # without local variables
                    if ctx.meta.get(PAYING) and code is ExitCode.FAILED:
                        code = ExitCode.MAYBE_PAID
                # Of a broken pipe, whoever reads the output has gone, and wants no error either.
                if not isinstance(error, BrokenPipeError):
                    with suppress(OSError):  # nothing can be written
                        display.error(error, code, kept_token(ctx))
                raise typer.Exit(code) from None


app: typer.Typer = typer.Typer(
    name="smspartner",
    cls=_Commands,
    no_args_is_help=True,
    # A traceback with local variables would show the API key.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with one positional flag
    if wanted:
        typer.echo(f"smspartner {version('smspartner_async')}")
        raise typer.Exit


@app.callback(
    epilog="Start with `smspartner demo`: it needs no account, no network, and costs nothing."
)
def _smspartner(
    ctx: typer.Context,
    base_url: Annotated[
        str | None,
        typer.Option(
            envvar="SMSPARTNER_BASE_URL", metavar="URL", help="Where the API is, if elsewhere."
        ),
    ] = None,
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Rent contacts from SMS Partner: calculate, price, rent, wait, download.

    The API key is read from the environment variable SMSPARTNER_API_KEY and nowhere else.
    An argument would show in the process list and stay in the shell's history.
    """
    ctx.obj = base_url


def _ask(ctx: typer.Context, question: Callable[[SMSPartnerClient], Awaitable[_T]]) -> _T:
    """Run one operation on a new client."""

    async def asked() -> _T:
        async with SMSPartnerClient(base_url=ctx.obj, polling=_POLLING) as client:
            return await question(client)

    return asyncio.run(asked())


@with_wish("volume")
def calculate(*, ctx: typer.Context, wish: Wish, as_json: AsJson = False) -> None:
    """Count the contacts of a targeting, and show what they cost. Free."""
    Display(as_json=as_json).show(_ask(ctx, lambda client: client.calculate(wish.targeting)))


@with_wish()
def price(*, ctx: typer.Context, wish: Wish, as_json: AsJson = False) -> None:
    """Show what a targeting costs, wanted volumes included. Free."""
    quote = _ask(ctx, lambda client: client.price(wish.targeting, wish.volumes))
    Display(as_json=as_json).show(quote)


@with_wish()
def rent(
    *,
    ctx: typer.Context,
    wish: Wish,
    max_total: Annotated[
        Decimal | None,
        typer.Option(parser=amount, metavar="AMOUNT", help="Refuse to rent above this price."),
    ] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Rent contacts: costs money, so it shows the price and asks.

    Prints the token of the rental: all that `wait`, `status` and `download` need. Keep it. When the
    terminal is closed meanwhile, the token is in a file smspartner-rental-….json in this folder.
    """
    display = Display(as_json=as_json)
    if not yes:
        max_total = _agreed_price(ctx, display, wish, max_total)

    rented: list[Rental] = []

    def keep(rental: Rental) -> None:
        rented.append(rental)
        keep_token(ctx, rental.token)
        # The money is spent: the token is shown now, and even if stdout goes nowhere.
        try:
            display.note(f"Rented. Token: {rental.token}")
        except OSError:  # the terminal is closed
            keep_in_file(rental)

    async def work(client: SMSPartnerClient) -> None:
        with first_interrupt_only(display):
            await client.rent(wish.targeting, wish.volumes, max_total=max_total, on_rented=keep)

    ctx.meta[PAYING] = True
    try:
        _ask(ctx, work)
    except BaseException:
        if rented and not as_json:  # for programs, the token is in the error
            display.show(rented[0])
        raise
    display.show(rented[0])


def _agreed_price(
    ctx: typer.Context, display: Display, wish: Wish, max_total: Decimal | None
) -> Decimal | None:
    """Ask a person, and return the most that may be paid: what that person said yes to."""
    display.check_can_ask(*TO_RENT)

    async def price_and_balance(client: SMSPartnerClient) -> tuple[Quote, Credits | None]:
        quote = await client.price(wish.targeting, wish.volumes)
        if max_total is not None:
            check_price(quote, max_total)
        with suppress(SMSPartnerError):  # the question can do without
            return quote, await client.credits()
        return quote, None

    quote, account = _ask(ctx, price_and_balance)
    display.confirm(quote, account)
    return quote.total


def status(ctx: typer.Context, token: Token, *, as_json: AsJson = False) -> None:
    """Show the state of a rental."""
    Display(as_json=as_json).show(_ask(ctx, lambda client: client.status(token)))


def wait(
    ctx: typer.Context,
    token: Token,
    *,
    timeout: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="Give up after; 0 checks just once.")
    ] = 900,
    as_json: AsJson = False,
) -> None:
    """Wait until the file of a rental is ready.

    Ctrl-C stops the waiting, not the rental: wait again with the same token.
    """
    display = Display(as_json=as_json)
    keep_token(ctx, token)

    async def work(client: SMSPartnerClient) -> None:
        with display.waiting() as heard:
            ready = await client.wait_until_ready(token, timeout=timeout, on_poll=heard)
        display.show(ready)

    try:
        _ask(ctx, work)
    except KeyboardInterrupt:
        display.note("The rental continues. To wait for it again:")
        display.command(typed_line(ctx))
        raise


def download(
    ctx: typer.Context,
    token: Token,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The file to write.")],
    *,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Download the numbers of a rental that is ready.

    The vendor may serve a file only once: what arrives is kept, even when it breaks off. The
    numbers are personal data: only you may read the file.
    """
    display = Display(as_json=as_json)
    keep_token(ctx, token)

    async def work(client: SMSPartnerClient) -> None:
        with display.downloading() as progress:
            file = await client.download(token, path, overwrite=overwrite, on_progress=progress)
        forget_token(ctx)
        display.show(file)

    try:
        _ask(ctx, work)
    except KeyboardInterrupt as interrupt:
        for note in getattr(interrupt.__context__, "__notes__", ()):
            display.note(note)  # where what arrived is kept
        raise


def credits(ctx: typer.Context, *, as_json: AsJson = False) -> None:  # noqa: A001 - the operation
    """Show the balance of the account."""
    Display(as_json=as_json).show(_ask(ctx, lambda client: client.credits()))


_WOMEN: Final = "--gender female --min-age 25 --max-age 40 --interest 12"
# Help lists the commands in this order: one rental goes first.
_EXAMPLES: Final[dict[Callable[..., None], str]] = {
    calculate: f"calculate {_WOMEN}",
    price: f"price {_WOMEN} --zipcode 60200 --volume 60200=20",
    rent: f"rent {_WOMEN} --zipcode 60200 --max-total 10.00",
    status: "status 41ddfc6cfa3cd0df",
    wait: "wait 41ddfc6cfa3cd0df --timeout 3600",
    download: "download 41ddfc6cfa3cd0df contacts.csv",
    credits: "credits --json",
    worker: "worker --store postgresql://rentals@db/rentals",
    doctor: "doctor --report report.json",
    explain: "explain 27, smspartner explain RentOutcomeUnknownError",
    sandbox: "sandbox --port 8080 --speed 4",
    demo: "demo --out contacts.csv",
}
_WORK_ALONE: Final = {credits, doctor, explain, sandbox, demo}
for _command, _example in _EXAMPLES.items():
    app.command(
        epilog=f"Example: smspartner {_example}", no_args_is_help=_command not in _WORK_ALONE
    )(_command)
app.add_typer(batch_app, name="batch")
unwrap_help(app, batch_app)


def main() -> None:
    """Run the command line: the entry point of `smspartner`."""
    # An error is shown once, by us; the log is for programs.
    logging.getLogger("smspartner_async").addHandler(logging.NullHandler())
    # What was paid for or saved must not look failed because its name has an odd letter.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    treat_signals_as_ctrl_c()
    try:
        app(prog_name="smspartner")
    except KeyboardInterrupt:  # typer makes its commands: nothing has begun
        raise SystemExit(ExitCode.INTERRUPTED) from None
    finally:
        ignore_signals()
