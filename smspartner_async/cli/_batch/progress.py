"""What a batch looks like while it runs: how many jobs stand where, money, requests, time left.

The count is a pure value that is shown each record that changed; the table is as high for ten
thousand jobs as for ten.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from attrs import define, field
from rich.box import ROUNDED
from rich.table import Table
from rich.text import Text

from smspartner_async.cli._formats import elapsed_time, money
from smspartner_async.durable import JobState

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Iterator

    from smspartner_async.durable import JobRecord

_LABELS: Final = {
    JobState.QUEUED: "to do",
    JobState.RENTING: "renting",
    JobState.WAITING: "being made by the vendor",
    JobState.DONE: "done",
    JobState.FAILED: "failed",
    JobState.NEEDS_ATTENTION: "perhaps paid: outcome unknown",
    JobState.GIVEN_UP: "given up",
}
_ALWAYS: Final = frozenset({JobState.QUEUED, JobState.RENTING, JobState.WAITING, JobState.DONE})
_SAME_AFTER: Final = 60.0  # seconds
_STYLES: Final = {
    JobState.DONE: "green",
    JobState.FAILED: "red",
    JobState.NEEDS_ATTENTION: "bold red",
}


@define
class RepeatedTrouble:
    """A filter of log records: what makes many requests wait is shown once a minute.

    Without the network each request of each job fails, again and again, with the same error.
    """

    clock: Callable[[], float] = time.monotonic
    _shown: dict[str, float] = field(factory=dict, init=False)

    def __call__(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be shown; what is not about a next attempt always is."""
        if getattr(record, "delay", None) is None or not isinstance(record.args, tuple):
            return True
        trouble, now = str(record.args[-1]), self.clock()
        if now - self._shown.get(trouble, -math.inf) < _SAME_AFTER:
            return False
        self._shown[trouble] = now
        return True


@define
class Progress:
    """How far the jobs of one run have got.

    Attributes:
        jobs: how many there are to do in this run.
        agreed: what all of them cost at most; `None` where the vendor gave no price.
        requests: returns the number of requests sent so far.
        paid: the jobs whose price is not to be counted (again), by their ids.
        spent: what was paid in this run, as far as its prices are known.
        is_spent_known: whether they all are.
        states: how many of the jobs that have begun are in each state.
    """

    jobs: int
    agreed: Decimal | None
    requests: Callable[[], int]
    paid: set[str] = field(factory=set)
    clock: Callable[[], float] = time.monotonic
    spent: Decimal = field(default=Decimal(0), init=False)
    is_spent_known: bool = field(default=True, init=False)
    states: Counter[JobState] = field(factory=Counter, init=False)
    _states: dict[str, JobState] = field(factory=dict, init=False)
    _began: dict[str, float] = field(factory=dict, init=False)
    _last_began: float = field(default=0.0, init=False)
    _took: float = field(default=0.0, init=False)
    _started: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._started = self.clock()

    def update(self, record: JobRecord) -> None:
        """Count a job in the state of its record, and its price once it has a token."""
        before = self._states.get(record.id)
        if record.state in {JobState.QUEUED, before}:
            return
        if before is None:
            self._began[record.id] = self._last_began = self.clock()
        else:
            self.states[before] -= 1
        self._states[record.id] = record.state
        self.states[record.state] += 1
        if record.token is not None and record.id not in self.paid:
            self.paid.add(record.id)
            self.spent += record.price or 0
            self.is_spent_known &= record.price is not None
        if not record.state.is_open and record.id in self._began:
            self._took += self.clock() - self._began.pop(record.id)

    @property
    def ended(self) -> int:
        """How many jobs have ended."""
        return sum(count for state, count in self.states.items() if not state.is_open)

    @property
    def to_do(self) -> int:
        """How many jobs have not begun."""
        return self.jobs - len(self._states)

    def left(self) -> float | None:
        """Estimate the seconds to the end: `None` before the first job has ended.

        That is the time until the last job begins, at the pace so far, and the time that a job
        takes.
        """
        if not self.ended:
            return None
        begun = len(self._states)
        pace = (self._last_began - self._started) / begun
        last_begins = self._last_began + pace * self.to_do
        return max(0.0, last_begins + self._took / self.ended - self.clock())

    def line(self) -> str:
        """Return all of it in one line, for a log."""
        facts = ", ".join(f"{label} {value}" for label, value in self._facts())
        return f"{self.ended:,} of {self.jobs:,} jobs ended, {facts}"

    def _facts(self) -> Iterator[tuple[str, str]]:
        of = "" if self.agreed is None else f" of {money(self.agreed)}"
        yield "spent", f"{'' if self.is_spent_known else 'at least '}{money(self.spent)}{of}"
        yield "requests", f"{self.requests():,}"
        yield "time so far", elapsed_time(self.clock() - self._started)
        left = self.left()
        yield "time left", "not known yet" if left is None else f"about {elapsed_time(left)}"

    def __rich__(self) -> Table:
        table = Table(box=ROUNDED, show_header=False)
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True, overflow="ellipsis")
        for state, label in _LABELS.items():
            count = self.to_do if state is JobState.QUEUED else self.states[state]
            if count or state in _ALWAYS:
                style = _STYLES.get(state, "") if count else "dim"
                table.add_row(Text(label, style), Text(f"{count:,}", style))
        table.add_section()
        for label, value in self._facts():
            table.add_row(label, value)
        return table
