"""`smspartner sandbox` and `smspartner demo`: what needs no account and no network."""

import asyncio
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ._display import Display
from ._options import AsJson, amount

if TYPE_CHECKING:
    from smspartner_async.sandbox import Sandbox


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
    as_json: AsJson = False,
) -> None:
    """Run a stand-in for the vendor's API, until Ctrl-C."""
    # No other command should pay for it.
    from smspartner_async.sandbox import Sandbox, run  # noqa: PLC0415
    from smspartner_async.sandbox._command import serve_and_call  # noqa: PLC0415

    try:
        stand_in = Sandbox(port=port, speed=speed, balance=balance, fail_every=fail_every)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if not as_json:
        raise typer.Exit(run(stand_in))

    def started(running: "Sandbox") -> None:
        known = {"base_url": running.base_url, "api_key": running.api_key}
        Display(as_json=True).document(known)

    asyncio.run(serve_and_call(started, stand_in))


def demo(
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The file to write; else one in a new folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the whole path in seconds: no account, no network, no cost."""
    if out is None:
        out = Path(tempfile.mkdtemp(prefix="smspartner-demo-"), "smspartner-demo.csv")
    elif out.exists():
        raise FileExistsError(f"{out} exists; choose another file.")
    from ._demo import demonstrate  # noqa: PLC0415 - no other command should pay for it

    file = asyncio.run(demonstrate(Display(together=True, unseen=as_json), out))
    if as_json:
        Display(as_json=True).show(file)
