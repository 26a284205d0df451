"""What a batch looks like while it runs: how many jobs stand where, money, requests, time left.

The count is a pure value that hears of events; the table is as high for ten thousand jobs as for
ten.
"""

from __future__ import annotations

import time
from collections import Counter
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Final

from attrs import define, field
from rich.box import ROUNDED
from rich.table import Table
from rich.text import Text

from ._display_results import elapsed_time, money
from ._errors import RentOutcomeUnknownError
from ._models import RentalState
from ._rental_job import JobStep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._rental_job import JobEvent


class Stage(Enum):
    """Where a job stands."""

    TO_DO = "to do"
    RENTING = "renting"
    AT_VENDOR = "being made by the vendor"
    READY = "ready, downloading"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "perhaps paid: outcome unknown"


_ENDS: Final = frozenset({Stage.DONE, Stage.FAILED, Stage.UNKNOWN})
_ALWAYS: Final = frozenset({Stage.TO_DO, Stage.RENTING, Stage.AT_VENDOR, Stage.DONE})
_STYLES: Final = {Stage.DONE: "green", Stage.FAILED: "red", Stage.UNKNOWN: "bold red"}


@define
class Tally:
    """How far a batch has got.

    Attributes:
        jobs: how many there are to do in this run.
        agreed: what all of them cost at most; `None` where the vendor gave no price.
        spent: what was paid in this run.
        requests: tells the number of requests so far.
    """

    jobs: int
    agreed: Decimal | None
    requests: Callable[[], int]
    clock: Callable[[], float] = time.monotonic
    spent: Decimal = field(default=Decimal(0), init=False)
    stages: Counter[Stage] = field(factory=Counter, init=False)
    _where: dict[str, Stage] = field(factory=dict, init=False)
    _began: dict[str, float] = field(factory=dict, init=False)
    _last_began: float = field(default=0.0, init=False)
    _took: float = field(default=0.0, init=False)
    _started: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._started = self.clock()

    def heard(self, event: JobEvent, price: Decimal | None = None) -> None:
        """Take note of a step of a job; `price` is what a rental costs."""
        self.moved(event.job.id, _stage(event), price if event.step is JobStep.RENTED else None)

    def moved(self, job: str, stage: Stage, paid: Decimal | None = None) -> None:
        """Take note of where a job stands now, and of what was just paid for it."""
        before = self._where.get(job)
        if stage is before:
            return
        if before is None:
            self._began[job] = self._last_began = self.clock()
        else:
            self.stages[before] -= 1
        self._where[job] = stage
        self.stages[stage] += 1
        self.spent += paid or 0
        if stage in _ENDS and before not in _ENDS:
            self._took += self.clock() - self._began.pop(job)

    @property
    def ended(self) -> int:
        """How many jobs have ended."""
        return sum(self.stages[stage] for stage in _ENDS)

    @property
    def to_do(self) -> int:
        """How many jobs have not begun."""
        return self.jobs - len(self._where)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return self.clock() - self._started

    def left(self) -> float | None:
        """Estimate the seconds to the end: `None` before the first job has ended.

        That is the time until the last job begins, at the pace so far, and the time that a job
        takes.
        """
        if not self.ended:
            return None
        begun = len(self._where)
        pace = (self._last_began - self._started) / begun
        last_begins = self._last_began + pace * self.to_do
        return max(0.0, last_begins + self._took / self.ended - self.clock())

    def line(self) -> str:
        """Tell it in one line."""
        facts = ", ".join(f"{label} {value}" for label, value in self._facts())
        return f"{self.ended:,} of {self.jobs:,} jobs ended, {facts}"

    def _facts(self) -> Iterator[tuple[str, str]]:
        of = "" if self.agreed is None else f" of {money(self.agreed)}"
        yield "spent", f"{money(self.spent)}{of}"
        yield "requests", f"{self.requests():,}"
        yield "time so far", elapsed_time(self.elapsed)
        left = self.left()
        yield "time left", "not known yet" if left is None else f"about {elapsed_time(left)}"

    def __rich__(self) -> Table:
        table = Table(box=ROUNDED, show_header=False)
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True, overflow="ellipsis")
        for stage in Stage:
            count = self.to_do if stage is Stage.TO_DO else self.stages[stage]
            if count or stage in _ALWAYS:
                style = _STYLES.get(stage, "") if count else "dim"
                table.add_row(Text(stage.value, style), Text(f"{count:,}", style))
        table.add_section()
        for label, value in self._facts():
            table.add_row(label, value)
        return table


def _stage(event: JobEvent) -> Stage:
    match event.step:
        case JobStep.PRICED:
            return Stage.RENTING
        case JobStep.DOWNLOADED:
            return Stage.DONE
        case JobStep.FAILED | JobStep.SKIPPED:
            unknown = isinstance(event.error, RentOutcomeUnknownError)
            return Stage.UNKNOWN if unknown else Stage.FAILED
        case JobStep.STATE if event.status is not None and event.status.state is RentalState.READY:
            return Stage.READY
        case _:
            return Stage.AT_VENDOR
