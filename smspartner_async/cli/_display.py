"""What a person sees on a terminal: results, live lines, questions and errors.

Knows rich and the models; knows no command, no network, and no key. How a result itself looks
stands in `_formats`, what an error says in `_error_texts`.
"""

from __future__ import annotations

import io
import math
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import typer
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
from rich.table import Column, Table
from rich.text import Text

from smspartner_async._errors import SMSPartnerError

from ._error_texts import explained
from ._exit_codes import ExitCode, money_of
from ._formats import (
    as_json,
    beginning,
    elapsed_time,
    jobs_text,
    money,
    paid_text,
    print_facts,
    print_result,
    printable,
    state_name,
    to_plain,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    from rich.console import ConsoleRenderable, RichCast

    from smspartner_async._models import Credits, Quote, RentalState
    from smspartner_async._operations.status_poller import PollEvent

    from ._formats import Result

TO_RENT: Final = (
    "renting costs money",
    "Nothing was rented.",
    "rent without a question, and --max-total to limit the price",
)
"""What `check_can_ask` says before a rent."""

# Redirected, even what belongs on stdout would end up on stderr.
_LIVE: Final[dict[str, Any]] = {
    "transient": True,
    "redirect_stdout": False,
    "redirect_stderr": False,
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # noqa: PLE0704 - rich would exit with 1, which says that nothing is paid


class Display:
    """One command's two outputs: the result on stdout, and all talk about it on stderr.

    Args:
        as_json: write the result as one JSON document instead of tables.
        together: write the talk on stdout too, in its place between the results.
        unseen: write nothing.
    """

    def __init__(
        self, *, as_json: bool = False, together: bool = False, unseen: bool = False
    ) -> None:
        self.as_json: bool = as_json
        plain: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
        if unseen:
            plain["file"] = io.StringIO()
        self._out: Console = _Console(**plain)
        self._err: Console = self._out if together else _Console(stderr=True, **plain)

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

    def say(self, text: str) -> None:
        """Print the text of a demonstration, on stdout."""
        self._out.print(Text(text), soft_wrap=True)

    def step(self, call: str, purpose: str) -> None:
        """Begin a step of a demonstration: the call, and what it is for."""
        self._out.print()
        self._out.rule(Text(f"await client.{call}", "bold"), align="left")
        self.say(purpose)

    def note(self, text: str) -> None:
        """Print something beside the result, on stderr."""
        _print_text(self._err, Text(printable(text)))

    def command(self, text: str) -> None:
        """Print on stderr what to type: never broken by us, so that it can be copied."""
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
        """Show what is known of something that a person must settle, and what to type for it."""
        console = self._err if beside else self._out
        console.print()
        print_facts(console, facts)
        _print_text(console, Text(words))
        for command in commands:
            console.print(Text(f"  {printable(command)}", "bold"), soft_wrap=True)

    def define(self, facts: Iterable[tuple[str, str]]) -> None:
        """Write facts whose text is long, broken between words beside their labels."""
        if not self._out.is_terminal:
            print_facts(self._out, facts)
            return
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column()
        for label, text in facts:
            grid.add_row(label.rstrip(), printable(text))
        self._out.print(grid)

    def codes(self, codes: Iterable[tuple[int, str, str]]) -> None:
        """Write a table of codes: code, meaning, class."""
        table = Table(Column("Code", justify="right"), "Means", "Raised as", box=ROUNDED)
        for code, meaning, error in codes:
            table.add_row(f"{code}", meaning, error)
        self._out.print(table)

    def states(self, states: Mapping[str, Mapping[str, Any]], total: Mapping[str, Any]) -> None:
        """Write how many jobs stand where, and what was paid for them."""
        table = Table(box=ROUNDED, show_footer=True, footer_style="bold")
        table.add_column("State", "All")
        table.add_column("Jobs", f"{total['jobs']:,}", justify="right")
        table.add_column("Paid", paid_text(total), justify="right")
        for state, stand in states.items():
            table.add_row(state.replace("_", " "), f"{stand['jobs']:,}", paid_text(stand))
        self._out.print(table)

    def document(self, document: Mapping[str, Any]) -> None:
        """Write one JSON document, for programs."""
        self._out.file.write(as_json(document) + "\n")
        self._out.file.flush()

    def error_document(
        self, error: BaseException, code: ExitCode, token: str | None = None
    ) -> None:
        """Write an error as the one JSON document of a command, if programs read its output."""
        if self.as_json:
            token = token or getattr(error, "token", None)
            # A usage error of click's: only so does it name the option.
            message = getattr(error, "format_message", error.__str__)()
            names = {"class": type(error).__name__, "message": message, "token": token}
            with suppress(OSError):  # stdout takes nothing: stderr and the code still say it
                self.document(
                    {"error": {**names, "exit_code": code, "money": money_of(error, code)}}
                )

    def error(
        self, error: BaseException, code: ExitCode = ExitCode.FAILED, token: str | None = None
    ) -> None:
        """Write what went wrong and what to do: one line, and one for each problem or next step.

        `token` is that of a paid rental without a file, where the error itself has none.
        """
        self.error_document(error, code, token)
        self.failed("Error", error)

    def failed(self, what: str, error: BaseException) -> None:
        """Show what went wrong, with one job of many for instance."""
        first, *more = explained(error)
        label = (f"{printable(what)}: ", "bold red")
        _print_text(self._err, Text.assemble(label, printable(first)))
        for line in (*more, *getattr(error, "__notes__", ())):
            self._err.print(Text(f"  {printable(line)}"), soft_wrap=True)  # to copy a token

    def jobs_failed(self, failures: Sequence[tuple[str, BaseException]]) -> None:
        """Show what went wrong with the first of some jobs, and how many more there are."""
        shown, more = beginning(failures)
        for id, error in shown:  # noqa: A001 - what it is
            self.failed(id, error)
        if more:
            self.note(more)

    def listed(self, lines: Sequence[str]) -> None:
        """Write the first of some lines on stderr, and how many more there are."""
        shown, more = beginning(lines)
        for line in shown:
            self.command(line)
        if more:
            self.note(more)

    def check_can_ask(self, why: str, no: str, with_yes: str) -> None:
        """Raise an `SMSPartnerError` where nobody can be asked, and `--yes` is needed."""
        if not self.can_ask:
            raise SMSPartnerError(
                f"{why}, and there is no terminal to ask on. {no} Give --yes to {with_yes}."
            )

    def confirm(self, quote: Quote, account: Credits | None) -> None:
        """Show a price, and the balance where it is known, and ask whether to pay it."""
        print_result(self._err, quote)
        if account is not None:
            self.facts([("Balance", money(account.balance, account.currency))], beside=True)
        total = quote.total
        self.ask(
            "The vendor gave no price. Rent all the same?"
            if total is None
            else f"Rent these contacts for {money(total)}?",
            no="Nothing was rented.",
        )

    def ask(self, question: str, *, no: str, is_last: bool = True) -> None:
        """Ask, on stderr; anything but yes ends the command with 1, and says `no`.

        A Ctrl-C passes on as `KeyboardInterrupt`. Where more than this follows (not `is_last`),
        programs are given no document of the error.
        """
        self._err.print()
        try:
            answer = self._err.input(Text(f"{question} [y/N] ", "bold"))
        except EOFError:
            answer = ""
            self._err.print()
        except KeyboardInterrupt:
            self.note(f" {no}")  # behind the ^C
            raise
        if answer.strip().lower() not in {"y", "yes"}:
            self.note(no)
            if is_last:
                self.error_document(SMSPartnerError(no), ExitCode.FAILED)
            raise typer.Exit(ExitCode.FAILED)

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
            self.note(f"{what} {jobs_text(total)}.")
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
            self._print(state_name(self._state))
        trouble = "" if event.error is None else str(event.error)
        # Shown once, not at every check with the same error; the last one is the outcome.
        if trouble and trouble != self._trouble and event.next_delay is not None:
            self._print(f"check failed: {trouble}")
        self._trouble = trouble

    def _print(self, text: str) -> None:
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


def _print_text(console: Console, text: Text) -> None:
    # A person reads lines broken between words; a program, and a log, one line.
    console.print(text, soft_wrap=not console.is_terminal)
