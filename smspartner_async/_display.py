"""What a person sees on a terminal: results, live lines, questions and errors.

Knows rich and the models; knows no command, no network, and no key. How a result itself looks
stands in `_display_results`.
"""

from __future__ import annotations

import io
import math
import re
import shlex
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from rich.box import ROUNDED
from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ._display_results import (
    as_json,
    elapsed_time,
    money,
    print_facts,
    print_result,
    printable,
    state_name,
    to_plain,
)
from ._errors import RentOutcomeUnknownError, TargetingError, WaitTimeoutError
from ._jobs import JobFileError
from ._models import RentalState

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
    from decimal import Decimal

    from rich.console import ConsoleRenderable, RichCast

    from ._display_results import Result
    from ._models import Quote
    from ._polling import PollEvent

_LISTED: Final = 20  # problems of a file of jobs
# Redirected, even what belongs on stdout would end up on stderr.
_LIVE: Final[dict[str, Any]] = {
    "transient": True,
    "redirect_stdout": False,
    "redirect_stderr": False,
}
# What the client's messages tell a program to do, and what a person does in its place.
_IN_A_SHELL: Final = {
    "Pass api_key, or set": "Set",
    "pass overwrite=True": "give --overwrite",
    "wait_until_ready()": "`smspartner wait`",
    "credits()": "`smspartner credits`",
    "rent()": "`smspartner rent`",
    "download()": "`smspartner download`",
    "base_url": "--base-url",
    ", or set max_requests_per_minute on the client": "",
}
# These are options of a command, and columns of a file of jobs.
_OPTIONS: Final = {
    "max_total": "--max-total",
    "(volumes)": "(--volume)",
    "min_age": "--min-age",
    "sub_interest": "--sub-interest",
}


class Display:
    """One command's two outputs: the result on stdout, and all talk about it on stderr.

    Args:
        as_json: write the result as one JSON document instead of tables.
        together: write the talk on stdout too, in its place between the results.
        unseen: write nothing, and keep it for `picture`.
    """

    def __init__(
        self, *, as_json: bool = False, together: bool = False, unseen: bool = False
    ) -> None:
        self.as_json: bool = as_json
        plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
        if unseen:  # the same on every machine, whatever its terminal
            plain |= {"file": io.StringIO(), "record": True, "width": 80, "no_color": False}
            plain |= {"force_terminal": True, "force_interactive": False}
            plain |= {"color_system": "truecolor", "legacy_windows": False}
        self._out = Console(**plain)
        self._err = self._out if together else Console(stderr=True, **plain)

    @property
    def can_ask(self) -> bool:
        """Whether there is a person who can see a question and answer it."""
        return sys.stdin.isatty() and self._err.is_terminal

    @property
    def is_live(self) -> bool:
        """Whether lines that move make sense: on a terminal, and not where NO_COLOR is set."""
        return self._err.is_interactive and not self._err.no_color

    def show(self, result: Result) -> None:
        """Write a result: the only thing of a command that goes to stdout."""
        if self.as_json:
            self.document(to_plain(result))
        else:
            print_result(self._out, result)

    def picture(self, title: str, code_format: str) -> str:
        """Make an SVG of all that was written unseen."""
        return self._out.export_svg(title=title, code_format=code_format, unique_id="demo")

    def say(self, text: str) -> None:
        """Tell the story of a demonstration, on stdout."""
        self._out.print(Text(text), soft_wrap=True)

    def step(self, call: str, purpose: str) -> None:
        """Begin a step of a demonstration: the call, and what it is for."""
        self._out.print()
        self._out.rule(Text(f"await client.{call}", "bold"), align="left")
        self.say(purpose)

    def note(self, text: str) -> None:
        """Tell something beside the result, on stderr."""
        _print_text(self._err, Text(printable(text)))

    def command(self, text: str) -> None:
        """Tell on stderr what to type: never broken by us, so that it can be copied."""
        self._err.print(Text(f"  {printable(text)}", "bold"), soft_wrap=True)

    def facts(self, facts: Iterable[tuple[str, str]], *, beside: bool = False) -> None:
        """Write facts with their labels, as results are written; or beside the result."""
        print_facts(self._err if beside else self._out, facts)

    def doubt(
        self,
        facts: Iterable[tuple[str, str]],
        words: str,
        commands: Iterable[str],
        *,
        beside: bool,
    ) -> None:
        """Tell what is known of something that a person must settle, and what to type for it."""
        console = self._err if beside else self._out
        console.print()
        print_facts(console, facts)
        _print_text(console, Text(words))
        for command in commands:
            console.print(Text(f"  {printable(command)}", "bold"), soft_wrap=True)

    def define(self, facts: Iterable[tuple[str, str]]) -> None:
        """Write facts whose text is long, broken between words beside their labels."""
        said = [(label, _reworded(text, _IN_A_SHELL | _OPTIONS)) for label, text in facts]
        if not self._out.is_terminal:
            print_facts(self._out, said)
            return
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column()
        for label, text in said:
            grid.add_row(label, printable(text))
        self._out.print(grid)

    def codes(self, codes: Iterable[tuple[int, str, str]]) -> None:
        """Write a table of codes: code, meaning, class."""
        table = Table(box=ROUNDED)
        table.add_column("Code", justify="right")
        table.add_column("Means")
        table.add_column("Raised as")
        for code, meaning, error in codes:
            table.add_row(f"{code}", meaning, error)
        self._out.print(table)

    def states(self, states: Mapping[str, Mapping[str, Any]], paid: Decimal) -> None:
        """Write how many jobs stand where, and what was paid for them."""
        table = Table(box=ROUNDED, show_footer=True, footer_style="bold")
        total = sum(state["jobs"] for state in states.values())
        table.add_column("State", "All")
        table.add_column("Jobs", f"{total:,}", justify="right")
        table.add_column("Paid", money(paid), justify="right")
        for state, stand in states.items():
            table.add_row(state.replace("_", " "), f"{stand['jobs']:,}", money(stand["paid"]))
        self._out.print(table)

    def document(self, document: Mapping[str, Any]) -> None:
        """Write one JSON document, for programs."""
        self._out.file.write(as_json(document) + "\n")
        self._out.file.flush()

    def error(self, error: Exception) -> None:
        """Tell what went wrong and what to do: one line, and one for each problem or next step."""
        of_a_file = isinstance(error, JobFileError)
        self._trouble("Error", error, _IN_A_SHELL if of_a_file else _IN_A_SHELL | _OPTIONS)

    def job_failed(self, id: str, error: Exception) -> None:  # noqa: A002 - what it is
        """Tell what went wrong with one job of many."""
        self._trouble(id, error, _IN_A_SHELL)

    def _trouble(self, what: str, error: Exception, words: Mapping[str, str]) -> None:
        first, *more = (_reworded(line, words) for line in _explained(error))
        label = (f"{printable(what)}: ", "bold red")
        _print_text(self._err, Text.assemble(label, printable(first)))
        for line in (*more, *getattr(error, "__notes__", ())):
            self._err.print(Text(f"  {printable(line)}"), soft_wrap=True)  # to copy a token

    def confirm(self, quote: Quote) -> bool:
        """Show a price and ask whether to pay it."""
        print_result(self._err, quote)
        total = quote.cost.total if quote.cost is not None else None
        return self.ask(
            "The vendor gave no price. Rent all the same?"
            if total is None
            else f"Rent these contacts for {money(total)}?"
        )

    def ask(self, question: str) -> bool:
        """Ask, on stderr; anything but yes is no. A Ctrl-C passes on as `KeyboardInterrupt`."""
        self._err.print()
        try:
            answer = self._err.input(Text(f"{question} [y/N] ", "bold"))
        except EOFError:
            answer = ""
            self._err.print()
        return answer.strip().lower() in {"y", "yes"}

    @contextmanager
    def waiting(self) -> Generator[Callable[[PollEvent], None], None, None]:
        """Show a wait: a line for each change of state, and on a terminal a live line below them.

        Yields what to call with every `PollEvent`.
        """
        wait = _Wait(self._err)
        with self.live(wait):
            yield wait.heard

    @contextmanager
    def live(self, moving: ConsoleRenderable | RichCast) -> Generator[None, None, None]:
        """On a terminal, show what moves below all lines that are written meanwhile."""
        if not self.is_live:
            yield
            return
        with Live(moving, console=self._err, refresh_per_second=8, **_LIVE):
            yield

    @contextmanager
    def downloading(self) -> Generator[Callable[[int, int | None], None], None, None]:
        """Show a download as a bar on a terminal, and nothing elsewhere.

        Yields what to call with the bytes received and, where it is known, expected.
        """
        if not self.is_live:
            yield lambda _received, _expected: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with Progress(*columns, TransferSpeedColumn(), console=self._err, **_LIVE) as bars:
            bar = bars.add_task("Downloading", total=None)
            yield lambda received, expected: bars.update(bar, completed=received, total=expected)

    @contextmanager
    def counting(self, what: str, total: int) -> Generator[Callable[[], object], None, None]:
        """Show how far something free has got, as a bar on a terminal; yields what counts one."""
        if not self.is_live:
            self.note(f"{what} {total:,} jobs.")
            yield lambda: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=self._err, **_LIVE) as bars:
            bar = bars.add_task(what, total=total)
            yield lambda: bars.advance(bar)


class _Wait:
    """A wait as far as it has got: prints what changes, and is the live line below it."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._started = clock()
        self._next_check: float | None = None
        self._state: RentalState | None = None
        self._trouble = ""
        self._spinner = Spinner("dots" if console.encoding.startswith("utf") else "line")

    def heard(self, event: PollEvent) -> None:
        """Take in what one check brought."""
        self._next_check = None
        if event.next_delay is not None:
            self._next_check = self._clock() + event.next_delay
        if event.status is not None and event.status.state is not self._state:
            self._state = event.status.state
            self._tell(state_name(self._state))
        trouble = "" if event.error is None else str(event.error)
        # Told once, not at every check that meets the same trouble; the last one is the outcome.
        if trouble and trouble != self._trouble and event.next_delay is not None:
            self._tell(f"check failed: {trouble}")
        self._trouble = trouble

    def _tell(self, text: str) -> None:
        moment = elapsed_time(self._clock() - self._started)
        _print_text(self._console, Text(f"{moment:>7}  {printable(text)}"))

    def __rich__(self) -> Spinner:
        state = "asking" if self._state is None else state_name(self._state)
        now = self._clock()
        check = "checking now"
        if self._next_check is not None and self._next_check > now:
            check = f"next check in {math.ceil(self._next_check - now)} s"
        line = f"{state}, {elapsed_time(now - self._started)} elapsed, {check}"
        self._spinner.update(text=Text(line, no_wrap=True, overflow="ellipsis"))
        return self._spinner


def _reworded(text: str, words: Mapping[str, str]) -> str:
    for call, command in words.items():
        word = rf"(?<![/\\]){re.escape(call)}(?![\w/\\]|\.\w)"  # no part of a path
        text = re.sub(word, command, text)
    return text


def _explained(error: Exception) -> Iterator[str]:
    """Say in the terms of the command line what an error says in those of the client."""
    match error:
        case TargetingError():
            yield "this targeting cannot be sent."
            for field, problem in error.problems:
                # The options that may be repeated are named in the singular.
                yield f"--{field.removesuffix('s').replace('_', '-')}: {problem}"
        case JobFileError():
            yield f"{str(error).partition(' nothing was sent.')[0]} nothing was sent."
            for line, column, problem in error.problems[:_LISTED]:
                yield f"line {line}{', ' * bool(column)}{column}: {problem}"
            if (more := len(error.problems) - _LISTED) > 0:
                yield f"... and {more:,} more"
        case WaitTimeoutError():
            state = RentalState.UNKNOWN if error.last_status is None else error.last_status.state
            what = str(error).partition(" It goes on at the vendor's")[0]
            yield what.replace(state.name, state_name(state))
            yield f"It goes on; wait again with: smspartner wait {shlex.quote(error.token)}"
        case RentOutcomeUnknownError():
            yield str(error)
            yield "Check first: is the balance lower (smspartner credits)?"
            yield "Check too: does the vendor's web interface show a rental of that time?"
        case OSError() if error.strerror:
            where = f": {error.filename}" if error.filename else ""
            yield f"{error.strerror}{where}"
        case _:
            yield str(error) or type(error).__name__


def _print_text(console: Console, text: Text) -> None:
    # A person reads lines broken between words; a program, and a log, one line.
    console.print(text, soft_wrap=not console.is_terminal)
