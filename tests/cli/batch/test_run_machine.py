"""`smspartner batch run` as a state machine: whatever is done in whatever order, no money is lost.

The runs are processes that really die, the store is a file, and the vendor counts what it charges.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from attrs import frozen
from fault_server import FaultServer
from forked import Forked
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)
from processes import SENDING, TOKEN, TOKEN_KEPT, Place, start
from shell import KEY, posix_only
from shop import Shop

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("dbos")

from smspartner_async.durable import JobState, Store

HEADER = "id,gender,min_age,max_age,interest,zipcodes,volumes,max_total\n"
RUN = ("batch", "run", "jobs.csv", "--out", "out", "--yes", "--json")
QUICKLY = ("--max-requests-per-minute", "60000")

# The first credit is read before the question, the second by the worker as it begins, when all is
# agreed to, and the third between a job's own price and its claim.
AGREED, CLAIMING = ("credits", 2), ("credits", 3)
MOMENTS = [
    ("rent", 1),
    ("rent", 2),
    AGREED,
    CLAIMING,
    ("status", 1),
    ("download", 1),
    ("credits", 1),
]
PLACES = [SENDING, TOKEN, TOKEN_KEPT]
NUMBERS = st.integers(1, 9)
PRICES = st.sampled_from([Decimal("1.00"), Decimal("2.00"), Decimal("3.00")])
Rows: TypeAlias = Mapping[int, Decimal | None]


@frozen
class Stop:
    """A signal at a moment of a run, or at a place in its code."""

    moment: tuple[str, int] | None
    place: Place | None
    number: signal.Signals


@frozen
class Move:
    """Another price of the first row, or of the last one, at a moment of a run."""

    moment: tuple[str, int]
    which: int
    by: Decimal


@frozen
class Withdraw:
    """Somebody withdraws the first job, or the last one, at a moment of a run."""

    moment: tuple[str, int]
    which: int


ENDS = st.sampled_from([0, -1])
MORE, LESS = Decimal("1.00"), Decimal("-0.50")
SIGNALS = st.sampled_from([*[signal.SIGKILL] * 3, signal.SIGINT, signal.SIGTERM])
STOPS = st.builds(Stop, st.sampled_from(MOMENTS), st.none(), SIGNALS)
STOPS |= st.builds(Stop, st.none(), st.sampled_from(PLACES), SIGNALS)
# A vendor that charges more than it said a moment ago cannot be helped; it may charge less.
MOVES = st.builds(Move, st.just(AGREED), ENDS, st.sampled_from([MORE, LESS]))
MOVES |= st.builds(Move, st.just(CLAIMING), ENDS, st.just(LESS))
WITHDRAWALS = st.builds(Withdraw, st.sampled_from([AGREED, CLAIMING, ("rent", 1)]), ENDS)


BEGINNINGS = {
    "killed when all is agreed to": Stop(AGREED, None, signal.SIGKILL),
    "killed as a rent is answered": Stop(("rent", 2), None, signal.SIGKILL),
    "killed with a token in the journal": Stop(None, TOKEN_KEPT, signal.SIGKILL),
    "killed as a file is served": Stop(("download", 1), None, signal.SIGKILL),
    "interrupted in a wait": Stop(("status", 1), None, signal.SIGINT),
}


class Batch(RuleBasedStateMachine):
    """A person with a list, a folder and a vendor."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.shop = Shop()
        self.server = FaultServer(default=self.shop)
        self._in_background(self.server.__aenter__())
        self.folder = Path(tempfile.mkdtemp(), "work")
        self.folder.mkdir()
        self.rows: Rows = {}
        self.given_up: set[int] = set()
        self.doubtful: set[int] = set()
        """The jobs whose rent was cut off, or whose answer was lost."""
        self.in_doubt: set[int] = set()
        self.withdrawn: set[int] = set()
        self.is_whole = True

    def teardown(self) -> None:
        try:
            if self.is_whole and self.store.exists():
                self._bring_to_an_end()
        finally:
            self._in_background(self.server.__aexit__(None, None, None))
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join()
            self.loop.close()
            shutil.rmtree(self.folder.parent)

    # --- runs -------------------------------------------------------------------------------------

    @rule(
        rows=st.dictionaries(NUMBERS, st.none() | PRICES, min_size=1, max_size=4),
        prices=st.dictionaries(NUMBERS, PRICES, max_size=2),
        most=st.sampled_from([None, None, Decimal("2.50")]),
        refused=st.none() | NUMBERS,
    )
    def run_to_the_end(
        self, rows: Rows, prices: Mapping[int, Decimal], most: Decimal | None, refused: int | None
    ) -> None:
        self.shop.prices.update(prices)
        self.shop.refuses = set() if refused is None else {refused}
        self._run(rows, most)
        self.shop.refuses = set()

    @rule(
        rows=st.dictionaries(NUMBERS, st.none(), min_size=1, max_size=3),
        event=STOPS | STOPS | MOVES | WITHDRAWALS,
        at_a_time=st.sampled_from([1, 10]),
    )
    def run_with_an_event(self, rows: Rows, event: Stop | Move | Withdraw, at_a_time: int) -> None:
        self._run(rows, None, event, at_a_time)

    @rule(rows=st.dictionaries(NUMBERS, st.none(), min_size=1, max_size=3), file=st.booleans())
    def run_without_an_answer(self, rows: Rows, file: bool) -> None:  # noqa: FBT001 - as given
        """The vendor loses the answer of the first rent, or the first file cannot be had now."""
        (self.shop.withholds if file else self.shop.loses).add(min(rows))
        self._run(rows, None)
        self.shop.withholds.clear()
        self.shop.loses.clear()

    # --- a person ------------------------------------------------------------------------------

    @precondition(lambda self: self.in_doubt)
    @rule(give_up=st.booleans())
    def settle_what_is_in_doubt(self, give_up: bool) -> None:  # noqa: FBT001 - hypothesis gives it
        charged = {f"job{charge.number}": charge.token for charge in self.shop.charges}

        async def settle(store: Store) -> None:
            for record in await store.records(JobState.NEEDS_ATTENTION):
                if give_up:
                    await store.resolve(record.id, give_up=True)
                    self.given_up.add(int(record.id[3:]))
                elif record.id in charged:
                    await store.resolve(record.id, token=charged[record.id])
                else:
                    await store.resolve(record.id, not_charged=True)

        self._in_store(settle)
        self.in_doubt = set()

    # --- what always holds ------------------------------------------------------------------

    @property
    def store(self) -> Path:
        return self.folder / "out" / "batch.db"

    def _run(
        self,
        rows: Rows,
        most: Decimal | None,
        event: Stop | Move | Withdraw | None = None,
        at_a_time: int = 10,
    ) -> None:
        """Run the batch; something happens at a moment of it. Then look at everything."""
        shop, command, begun = self.shop, list[Forked](), threading.Event()
        self.rows, self.withdrawn, self.is_whole = rows, set(), False
        self._write_list()
        before, lost = len(shop.charges), {*shop.loses}
        shop.at.clear()
        shop.came.clear()
        shop.first_prices.clear()
        trap = None
        if isinstance(event, Stop) and event.place is not None:
            trap = event.place, event.number
        if event is not None and event.moment is not None:

            def act(_: int) -> None:
                begun.wait()
                self._act(event, command[0].pid)

            shop.at[event.moment] = act
        limits = () if most is None else ("--max-total", str(most))
        env = {"SMSPARTNER_API_KEY": KEY, "SMSPARTNER_BASE_URL": self.server.base_url}
        options = (*limits, *QUICKLY, "--concurrency", str(at_a_time))
        command.append(start(self.folder, *RUN, *options, env=env, trap=trap))
        begun.set()
        code, out, err = command[0].end()
        assert "Traceback" not in err, err
        new = shop.charges[before:]
        for charge in new:
            assert charge.number in rows, "not in the list of this run"
            assert charge.number not in self.withdrawn, "withdrawn, and paid all the same"
            assert charge.price <= shop.first_prices[charge.number], "above what was agreed"
            limit = rows[charge.number]
            assert limit is None or charge.price <= limit, "above the limit of its row"
        assert most is None or sum(charge.price for charge in new) <= most, "above --max-total"
        self.doubtful |= {*rows} if code < 0 else lost
        self._look_at_the_store(code)
        if code in {0, 1, 3} and out:
            self._check_the_summary(json.loads(out))
        self.is_whole = True

    def _act(self, event: Stop | Move | Withdraw, pid: int) -> None:
        if isinstance(event, Stop):
            os.kill(pid, event.number)
            return
        number = sorted(self.rows)[event.which]
        if isinstance(event, Move):
            self.shop.prices[number] = self.shop.price_of(number) + event.by
        else:
            self._withdraw(number)

    def _look_at_the_store(self, code: int) -> None:
        """Compare the store, the folder and the exit code with what the vendor has charged."""
        numbers = [charge.number for charge in self.shop.charges]
        assert len(numbers) == len({*numbers}), "paid twice"
        records = {}
        if self.store.exists():
            records = {int(one.id[3:]): one for one in self._in_store(Store.records)}
        unfinished = unread = False
        for charge in self.shop.charges:
            record = records[charge.number]
            if charge.number in self.given_up:
                continue
            is_open = record.state in {JobState.RENTING, JobState.NEEDS_ATTENTION}
            assert record.token == charge.token or is_open, "what is paid is forgotten"
            unfinished = unfinished or not self._file(charge.number).exists()
            unread = unread or record.token is None
        self.in_doubt = {
            number for number, record in records.items() if record.state is JobState.NEEDS_ATTENTION
        }
        assert self.in_doubt <= self.doubtful, "what is clear is in doubt"
        if code < 0:
            return
        assert not self._agreed(), "an agreement outlives its run"
        gravest = 4 if self.in_doubt else 3 if unfinished else None
        # A run that rents nothing reads no journal: what a killed one was paid for may be paid.
        known = {code, 3} if unread and code == 4 else {code}
        assert gravest in {None, *known}, f"exit code {code} forgets what is paid"
        assert gravest or code in {0, 1, 130}, f"exit code {code} reports what is not there"

    def _agreed(self) -> list[str]:
        """Return the jobs that the next worker would pay for."""
        if not self.store.exists():
            return []
        with closing(sqlite3.connect(self.store)) as database:
            unpaid = "SELECT id FROM smspartner_jobs WHERE token IS NULL AND facts = '{}'"
            return database.execute(f"{unpaid} AND state IN ('queued', 'renting')").fetchall()

    def _check_the_summary(self, end: dict[str, Any]) -> None:
        """The sum of all jobs of the list, and of those that are open, is what was charged."""
        if "paid" not in end:
            return  # an error: nothing was done
        known = {int(one.id[3:]): one for one in self._in_store(Store.records)}
        counted = {n: one for n, one in known.items() if n in self.rows or one.state.is_open}
        counted |= {n: one for n, one in known.items() if one.token and not one.file}
        tokens = {one.token for one in counted.values() if one.token}
        charged = sum(charge.price for charge in self.shop.charges if charge.token in tokens)
        assert Decimal(end["paid"]) == charged, "another sum than was charged"

    def _bring_to_an_end(self) -> None:
        """Type it once more: whatever is paid and was not served has its file in the end."""
        self._run(self.rows, None)
        if self.in_doubt:
            self.settle_what_is_in_doubt(give_up=False)
            self._run(self.rows, None)
        for charge in self.shop.charges:
            if charge.number not in self.given_up and not self.shop.served[charge.token]:
                assert self._file(charge.number).exists(), "paid for, and never fetched"

    # --- tools ----------------------------------------------------------------------------------

    def _file(self, number: int) -> Path:
        return self.folder / "out" / f"job{number}.csv"

    def _write_list(self) -> None:
        rows = (
            f"job{n},mixed,25,35,{n},60200,60200:20,{'' if limit is None else limit}\n"
            for n, limit in self.rows.items()
        )
        (self.folder / "jobs.csv").write_text(HEADER + "".join(rows))

    def _withdraw(self, number: int) -> None:
        """Withdraw a job, unless it is too late."""

        async def withdraw(store: Store) -> None:
            await store.withdraw(f"job{number}")

        with suppress(LookupError, ValueError):
            self._in_store(withdraw)
            self.withdrawn.add(number)

    def _in_store(self, work: Callable[[Store], Any]) -> Any:
        async def within() -> Any:
            async with Store(f"sqlite:///{self.store}") as store:
                return await work(store)

        # In a thread: it may be called in the vendor's, whose loop runs.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, within()).result()

    def _in_background(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()


@posix_only
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_after_a_run_that_was_stopped_no_money_is_lost(beginning: str) -> None:
    """The next runs have another list, a price that rises, one that falls, and too low a limit."""
    one, one_at_a_time = Batch(), 1
    try:
        one._run(dict.fromkeys((1, 2, 3)), None, BEGINNINGS[beginning], one_at_a_time)
        one._run(dict.fromkeys((1, 4, 5)), None, Move(AGREED, -1, MORE))
        one.shop.withholds = {6}
        one._run({6: None}, Decimal("1.50"), Move(CLAIMING, 0, LESS))
        one.shop.withholds = set()
        one._run(dict.fromkeys((7, 8)), Decimal("1.50"))
    finally:
        one.teardown()


@posix_only
def test_whatever_is_done_in_whatever_order_no_money_is_lost() -> None:
    """Six histories of up to five acts, the same each time."""
    run_state_machine_as_test(
        Batch,
        settings=settings(
            max_examples=6,
            stateful_step_count=5,
            derandomize=True,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=[*HealthCheck],
        ),
    )
