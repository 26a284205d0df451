"""The `smspartner` command: every operation of the client, a sandbox, and a demonstration.

Knows the commands and their exit codes: 0 for success alone, 1 for what went wrong, 2 for a command
line that is wrong, 130 after Ctrl-C. The options that several commands share are read in
`_options`; what a person sees is made in `_display`.

The API key comes from the environment alone: an argument would stand in the process list and in
the shell's history.
"""

import asyncio
import io
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

try:
    import typer
    from typer.core import TyperGroup

    from ._cli_batch import batch_app
    from ._cli_explain import add_explain
    from ._cli_store import add_worker
    from ._display import Display
    from ._interrupt import INTERRUPTED, first_interrupt_only
    from ._options import AsJson, Token, Wish, amount, keep_line, typed_line, with_wish
except ModuleNotFoundError:
    # Not in main(): whoever starts the command imports this module first.
    raise SystemExit(
        "Error: the command line needs the extra: pip install 'smspartner_async[cli]'"
    ) from None
except KeyboardInterrupt:  # it takes its time; nothing has been sent yet
    raise SystemExit(130) from None

from ._checks import check_price
from ._client import SMSPartnerClient
from ._errors import SMSPartnerError
from ._models import Rental
from ._polling import PollingPolicy

_T = TypeVar("_T")

_POLLING: Final = PollingPolicy()


class _Commands(TyperGroup):
    """Every command's errors, as lines on stderr and an exit code."""

    def make_context(self, info_name: Any, args: Any, *more: Any, **extra: Any) -> Any:
        """Keep the line that was typed, for those who tell how to go on."""
        words = [*args]
        context = super().make_context(info_name, args, *more, **extra)
        keep_line(context, words)
        return context

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # whoever reads our output has gone: typer ends quietly
        except (SMSPartnerError, OSError, ValueError) as error:
            Display().error(error)
            raise typer.Exit(1) from None
        except (KeyboardInterrupt, asyncio.CancelledError) as interrupt:
            # A rent that was under way tells its end as the cause.
            if isinstance(interrupt.__cause__, SMSPartnerError):
                Display().error(interrupt.__cause__)
            Display().note("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None


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
    """Run one operation on a client of its own."""

    async def asked() -> _T:
        async with SMSPartnerClient(base_url=ctx.obj, polling=_POLLING) as client:
            return await question(client)

    return asyncio.run(asked())


_EXAMPLE: Final = "--gender female --min-age 25 --max-age 40 --interest 12"


@app.command(epilog=f"Example: smspartner calculate {_EXAMPLE}", no_args_is_help=True)
@with_wish("volume")
def calculate(*, ctx: typer.Context, wish: Wish, as_json: AsJson = False) -> None:
    """Count the contacts of a targeting, and tell what they cost. Free."""
    Display(as_json=as_json).show(_ask(ctx, lambda client: client.calculate(wish.targeting)))


@app.command(
    epilog=f"Example: smspartner price {_EXAMPLE} --zipcode 60200 --volume 60200=20",
    no_args_is_help=True,
)
@with_wish()
def price(*, ctx: typer.Context, wish: Wish, as_json: AsJson = False) -> None:
    """Tell what a targeting costs, wanted volumes included. Free."""
    quote = _ask(ctx, lambda client: client.price(wish.targeting, wish.volumes))
    Display(as_json=as_json).show(quote)


@app.command(
    epilog=f"Example: smspartner rent {_EXAMPLE} --zipcode 60200 --max-total 10.00",
    no_args_is_help=True,
)
@with_wish()
def rent(
    *,
    ctx: typer.Context,
    wish: Wish,
    max_total: Annotated[
        Decimal | None,
        typer.Option(parser=amount, metavar="AMOUNT", help="Refuse to rent above this price."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask: spend the money.")] = False,
    as_json: AsJson = False,
) -> None:
    """Rent contacts: costs money, so it shows the price and asks.

    Prints the token of the rental: all that `wait`, `status` and `download` need. Keep it.
    """
    display = Display(as_json=as_json)
    if not yes:
        max_total = _agreed_price(ctx, display, wish, max_total)

    rented: list[Rental] = []

    def keep(rental: Rental) -> None:
        rented.append(rental)
        # The money is spent: the token is told now, and even if stdout goes nowhere.
        display.note(f"Rented. Token: {rental.token}")

    async def work(client: SMSPartnerClient) -> None:
        with first_interrupt_only(display):
            await client.rent(wish.targeting, wish.volumes, max_total=max_total, on_rented=keep)

    try:
        _ask(ctx, work)
    finally:
        for rental in rented:
            display.show(rental)


def _agreed_price(
    ctx: typer.Context, display: Display, wish: Wish, max_total: Decimal | None
) -> Decimal | None:
    """Ask a person, and return the most that may be paid: what that person said yes to."""
    if not display.can_ask:
        raise SMSPartnerError(
            "renting costs money, and there is no terminal to ask on. Nothing was rented. "
            "Give --yes to rent without a question, and --max-total to limit the price."
        )
    quote = _ask(ctx, lambda client: client.price(wish.targeting, wish.volumes))
    if max_total is not None:
        check_price(quote, max_total)
    try:
        agreed = display.confirm(quote)
    except KeyboardInterrupt:
        display.note(" Nothing was rented.")  # behind the ^C
        raise
    if not agreed:
        display.note("Nothing was rented.")
        raise typer.Exit(1)
    return quote.cost.total if quote.cost is not None else None


@app.command(epilog="Example: smspartner status 41ddfc6cfa3cd0df", no_args_is_help=True)
def status(ctx: typer.Context, token: Token, *, as_json: AsJson = False) -> None:
    """Tell where a rental stands."""
    Display(as_json=as_json).show(_ask(ctx, lambda client: client.status(token)))


@app.command(
    epilog="Example: smspartner wait 41ddfc6cfa3cd0df --timeout 3600",
    no_args_is_help=True,
)
def wait(
    ctx: typer.Context,
    token: Token,
    *,
    timeout: Annotated[
        int, typer.Option(min=0, metavar="SECONDS", help="Give up after; 0 looks just once.")
    ] = 900,
    as_json: AsJson = False,
) -> None:
    """Wait until the file of a rental is ready.

    Ctrl-C stops the waiting, not the rental: wait again with the same token.
    """
    display = Display(as_json=as_json)

    async def work(client: SMSPartnerClient) -> None:
        with display.waiting() as heard:
            ready = await client.wait_until_ready(token, timeout=timeout, on_poll=heard)
        display.show(ready)

    try:
        _ask(ctx, work)
    except KeyboardInterrupt:
        display.note("Interrupted. The rental goes on. To go on waiting:")
        display.note(f"  {typed_line(ctx)}")
        raise typer.Exit(INTERRUPTED) from None


@app.command(
    epilog="Example: smspartner download 41ddfc6cfa3cd0df contacts.csv",
    no_args_is_help=True,
)
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

    async def work(client: SMSPartnerClient) -> None:
        with display.downloading() as progress:
            file = await client.download(token, path, overwrite=overwrite, on_progress=progress)
        display.show(file)

    try:
        _ask(ctx, work)
    except KeyboardInterrupt as interrupt:
        for note in getattr(interrupt.__context__, "__notes__", ()):
            display.note(note)  # where what arrived is kept
        raise


@app.command(epilog="Example: smspartner credits --json")
def credits(ctx: typer.Context, *, as_json: AsJson = False) -> None:  # noqa: A001 - the operation
    """Tell the balance of the account."""
    Display(as_json=as_json).show(_ask(ctx, lambda client: client.credits()))


@app.command(epilog="Example: smspartner sandbox --port 8080 --speed 4")
def sandbox(
    *,
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    speed: Annotated[float, typer.Option(help="How many times faster rentals move.")] = 1.0,
    balance: Annotated[
        Decimal, typer.Option(parser=amount, metavar="AMOUNT", help="Euros to begin with.")
    ] = Decimal(1000),
    fail_every: Annotated[
        int | None, typer.Option(metavar="N", help="Let every Nth rental fail.")
    ] = None,
) -> None:
    """Run a stand-in for the vendor's API, until Ctrl-C."""
    from .sandbox import Sandbox, run  # noqa: PLC0415 - no other command should pay for it

    try:
        stand_in = Sandbox(port=port, speed=speed, balance=balance, fail_every=fail_every)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    raise typer.Exit(run(stand_in))


@app.command(epilog="Example: smspartner demo --out contacts.csv")
def demo(
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The file to write; else one in a new folder."),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", hidden=True, help="Keep a picture of what was shown."),
    ] = None,
) -> None:
    """Show the whole path in seconds: no account, no network, no cost."""
    if record is not None:
        from ._demo import recorded  # noqa: PLC0415 - as above

        picture = asyncio.run(recorded())
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(picture, "utf-8", newline="\n")
        return
    if out is None:
        out = Path(tempfile.mkdtemp(prefix="smspartner-demo-"), "smspartner-demo.csv")
    elif out.exists():
        raise FileExistsError(f"{out} exists; choose another file.")
    from ._demo import demonstrate  # noqa: PLC0415 - as above

    asyncio.run(demonstrate(Display(together=True), out))


# Last, since help lists the commands in the order in which they come: one rental goes first.
app.add_typer(batch_app, name="batch")
add_worker(app)
add_explain(app)


def main() -> None:
    """Run the command line: the entry point of `smspartner`."""
    # What went wrong is told once, by us; the log is for programs.
    logging.getLogger(__package__).addHandler(logging.NullHandler())
    # What was paid for or saved must not look failed because its name has an odd letter.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="smspartner")


if __name__ == "__main__":
    main()
