"""The sandbox as a program: `python -m smspartner_async.sandbox`."""

import argparse
import asyncio
import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from typing import Final

from ._server import Sandbox

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def serve(sandbox: Sandbox) -> None:
    """Start a sandbox, print how to use it on stdout, and close it on Ctrl-C or SIGTERM.

    Call it from the main thread. Raises `OSError` when the port is taken.
    """
    await serve_and_call(_print_exports, sandbox)


async def serve_and_call(started: Callable[[Sandbox], object], sandbox: Sandbox) -> None:
    """Do what `serve` does, and call `started` in place of printing."""
    stopped = asyncio.Event()
    async with sandbox:
        with _on_signals(stopped):
            started(sandbox)
            await stopped.wait()


def _print_exports(sandbox: Sandbox) -> None:
    sys.stdout.write(
        "A stand-in for SMS Partner's contact rental: nothing here costs money.\n"
        "\n"
        f"    export SMSPARTNER_BASE_URL={sandbox.base_url}\n"
        f"    export SMSPARTNER_API_KEY={shlex.quote(sandbox.api_key)}\n"
        "\n"
        "Press Ctrl-C to stop.\n"
    )
    # Whoever started it may read from a pipe, and waits for these lines.
    sys.stdout.flush()


def run(sandbox: Sandbox) -> int:
    """Serve until Ctrl-C or SIGTERM, and return the exit code of a program that does so.

    0 after a clean end; 1 when the sandbox cannot listen, which one line on stderr explains.
    """
    try:
        asyncio.run(serve(sandbox))
    except OSError as error:
        sys.stderr.write(f"{error.strerror}\n")
        return 1
    return 0


def _money(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount") from None


_OPTIONS: Final[dict[str, tuple[Callable[[str], object], str]]] = {
    "host": (str, "loopback address to listen on (127.0.0.1)"),
    "port": (int, "port; 0 takes a free one (default)"),
    "speed": (float, "how many times faster rentals move (default 1)"),
    "balance": (_money, "euros to begin with (default 1000)"),
    "api-key": (str, "key to accept (sandbox-key)"),
    "fail-every": (int, "let every rental whose number is a multiple of this end in state 3"),
    "refuse-with": (int, "refuse with code 20, 30, 40 or 96"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    # What is not given is left to the sandbox's own defaults.
    parser = argparse.ArgumentParser(
        prog="python -m smspartner_async.sandbox",
        description="A stand-in for SMS Partner's contact rental on localhost.",
        argument_default=argparse.SUPPRESS,
    )
    for name, (kind, text) in _OPTIONS.items():
        parser.add_argument(f"--{name}", type=kind, help=text)
    options = vars(parser.parse_args(arguments))
    try:
        sandbox = Sandbox(**options)
    except ValueError as error:
        parser.error(str(error))
    return run(sandbox)


@contextlib.contextmanager
def _on_signals(stopped: asyncio.Event) -> Iterator[None]:
    """Set an event on the signals that end a program, and put their handlers back afterwards."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stopped.set))
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # one that Python did not set, and cannot put back
                signal.signal(number, handler)
