"""`smspartner batch run` as a process that dies at an exact place, and is typed again."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field
from fault_server import FaultServer
from processes import SENDING, TOKEN, TOKEN_KEPT, Place, start
from shell import KEY, posix_only
from shop import FILE, Shop

from .test_run import QUICKLY, write_jobs
from .test_run_stops import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from forked import Forked

pytest.importorskip("dbos")
resource: Any = pytest.importorskip("resource")
pytestmark = posix_only

RUN = ("batch", "run", "jobs.csv", "--yes", "--concurrency", "1", *QUICKLY)
PARTS = "smspartner_async._operations.part_file"
RENAMING = Place(PARTS, "", "give_name")
RENAMED = Place(PARTS, "", "give_name", after=True)


@define
class Lab:
    """A folder, and a vendor that counts."""

    folder: Path
    url: str
    shop: Shop = field(factory=Shop)

    def run(self, trap: tuple[Place, int] | None = None, out: str = "out") -> Forked:
        env = {"SMSPARTNER_API_KEY": KEY, "SMSPARTNER_BASE_URL": self.url}
        return start(self.folder, *RUN, "--out", out, env=env, trap=trap)

    def stopped_at(self, where: Place | tuple[str, int], number: int) -> tuple[int, str, str]:
        """Run until a place in the code, or a request that comes; there the signal comes."""
        if isinstance(where, Place):
            return self.run((where, number)).end()
        running: list[Forked] = []
        begun = threading.Event()

        def stop(_: int) -> None:
            begun.wait()
            running[0].send_signal(number)

        self.shop.at[where] = stop
        running.append(self.run())
        begun.set()
        return running[0].end()

    def jobs(self) -> dict[str, tuple[str, str | None]]:
        """State and token of each job."""
        with closing(sqlite3.connect(self.folder / "out" / "batch.db")) as database:
            rows = database.execute("SELECT id, state, token FROM smspartner_jobs").fetchall()
        return {row[0]: (row[1], row[2]) for row in rows}

    def files(self) -> list[str]:
        return sorted(path.stem for path in (self.folder / "out").glob("job?.csv"))

    def paid_for(self) -> list[int]:
        return sorted(charge.number for charge in self.shop.charges)


@pytest.fixture
def lab(tmp_path: Path, in_background: Callable[[Any], Any]) -> Iterator[Lab]:
    folder = tmp_path / "work"
    folder.mkdir()
    shop = Shop()
    server = FaultServer(default=shop)
    in_background(server.__aenter__())
    write_jobs(folder, 1, 2)
    yield Lab(folder, server.base_url, shop)
    in_background(server.__aexit__(None, None, None))


# Price 1 is the question's, and 2 the worker's, which asks for the credit as it begins, too.
@pytest.mark.parametrize(
    ("where", "charged", "doubts"),
    [
        pytest.param(("price", 1), 0, [], id="before the question"),
        pytest.param(("price", 2), 0, [], id="at the worker's price"),
        pytest.param(("credits", 3), 0, [], id="between price and claim"),
        pytest.param(SENDING, 0, ["job1"], id="between claim and sending"),
        pytest.param(("rent", 1), 1, ["job1"], id="between sending and answer"),
        pytest.param(TOKEN, 1, ["job1"], id="between answer and journal"),
        pytest.param(TOKEN_KEPT, 1, [], id="between journal and store"),
        pytest.param(("status", 1), 1, [], id="in the wait"),
        pytest.param(RENAMING, 1, [], id="before the rename"),
        pytest.param(RENAMED, 1, [], id="after the rename"),
    ],
)
def test_killed_at_this_place_nothing_is_paid_twice_or_forgotten(
    lab: Lab, where: Place | tuple[str, int], charged: int, doubts: list[str]
) -> None:
    """Typed again, it leaves alone what may be paid, finishes what is paid, and rents the rest."""
    write_jobs(lab.folder, 1)
    assert lab.stopped_at(where, signal.SIGKILL)[0] == -signal.SIGKILL
    assert len(lab.shop.charges) == charged, "it was killed at another place"
    write_jobs(lab.folder, 1, 2)
    code, _, _ = lab.run().end()
    jobs = lab.jobs()
    assert [name for name, (state, _) in jobs.items() if state == "needs_attention"] == doubts
    assert code == (4 if doubts else 0)
    assert lab.paid_for() in ([1, 2], [2]), "each once"
    assert lab.files() == sorted({"job1", "job2"} - {*doubts})
    for charge in lab.shop.charges:
        token = jobs[f"job{charge.number}"][1]
        assert token == charge.token or f"job{charge.number}" in doubts


@pytest.mark.parametrize(
    ("where", "number", "code"),
    [
        pytest.param(("price", 3), signal.SIGINT, 130, id="Ctrl-C before anything is paid"),
        pytest.param(SENDING, signal.SIGINT, 3, id="Ctrl-C as the rent is sent"),
        pytest.param(SENDING, signal.SIGHUP, 3, id="SIGHUP as the rent is sent"),
        pytest.param(TOKEN, signal.SIGTERM, 3, id="SIGTERM as the token comes"),
        pytest.param(("status", 1), signal.SIGINT, 3, id="Ctrl-C in the wait"),
    ],
)
def test_stopped_by_a_signal_at_this_place_it_says_what_is_paid(
    lab: Lab, where: Place | tuple[str, int], number: int, code: int
) -> None:
    """The token is in the store at the end, and typed again nothing is paid twice."""
    lab.shop.state = 1
    ended, _, err = lab.stopped_at(where, number)
    assert ended == code, err
    tokens = [token for _, token in lab.jobs().values() if token]
    assert tokens == [charge.token for charge in lab.shop.charges]
    assert all(f"token {token}" in err for token in tokens)
    lab.shop.state = 2
    assert lab.run().end()[0] == 0
    assert lab.paid_for() == [1, 2]


def test_two_runs_at_once_are_one(lab: Lab) -> None:
    """The second one says so, sends nothing, and the first continues."""
    second: list[tuple[int, str, str]] = []

    def run_another() -> None:
        second.append(lab.run().end())

    def while_one_pays(_: int) -> None:
        other = threading.Thread(target=run_another)
        other.start()
        other.join()

    lab.shop.at["rent", 1] = while_one_pays
    first = lab.run().end()
    assert first[0] == 0
    assert "Another run works in" in second[0][2]
    assert second[0][0] == 1
    assert lab.paid_for() == [1, 2]


def test_one_lost_answer_leaves_the_other_rows_alone(lab: Lab) -> None:
    """They have their files; the run names the one in doubt, what settles it, and ends with 4."""
    write_jobs(lab.folder, *range(1, 13))
    lab.shop.loses = {7}
    code, out, err = lab.run().end()
    assert code == 4
    assert "12: 11 done, 1 perhaps paid for" in out
    assert "smspartner batch resolve job7 --not-charged --out out" in err
    assert lab.paid_for() == [*range(1, 13)]
    assert len(lab.shop.served) == 11


def test_ctrl_c_shows_what_is_kept_of_a_file(lab: Lab) -> None:
    """A file that stops in its middle is kept as a part; the screen says where."""
    write_jobs(lab.folder, 1)
    lab.shop.halves = True
    part = lab.folder / "out" / "job1.csv.part"
    running = lab.run()
    until(lambda: part.exists() and part.stat().st_size > 0)
    running.send_signal(signal.SIGINT)
    code, _, err = running.end()
    assert code == 3
    assert "job1  token tok00001" in err
    assert f"job1.csv.part  {len(FILE) // 2} bytes" in err


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux alone limits other processes")
def test_a_disk_that_takes_nothing_more_ends_the_run_with_one_sentence(lab: Lab) -> None:
    """As a quota does, in the middle of a run; typed again, nothing is paid twice."""
    write_jobs(lab.folder, 1, 2, 3, 4)
    running: list[Forked] = []
    begun = threading.Event()

    def limit(_: int) -> None:
        begun.wait()
        resource.prlimit(running[0].pid, resource.RLIMIT_FSIZE, (60_000, 60_000))

    lab.shop.at["rent", 2] = limit
    running.append(lab.run())
    begun.set()
    code, _, err = running[0].end()
    assert code in {3, 4}
    assert "What was paid stays known. Make room on its disk" in err
    assert "Traceback" not in err
    assert lab.run().end()[0] == 0
    assert lab.paid_for() == [1, 2, 3, 4]


@pytest.mark.skipif(sys.platform == "win32", reason="a folder in use cannot be removed there")
def test_a_folder_that_is_removed_takes_no_token_along(lab: Lab) -> None:
    """Its disk may have been unmounted: what is paid is shown with its tokens, which alone help."""
    write_jobs(lab.folder, 1)
    lab.shop.state = 1
    lab.shop.at["status", 1] = lambda _: shutil.rmtree(lab.folder / "out")
    code, _, err = lab.run().end()
    assert code == 3
    assert "Traceback" not in err
    assert "batch.db is gone" in err
    assert "  job1  token tok00001\n" in err


def test_a_copy_of_a_folder_with_paid_rows_pays_for_none_of_them(lab: Lab) -> None:
    """One of the two gets the files; the other one says what is paid and has none."""
    lab.shop.state = 1
    assert lab.stopped_at(("status", 1), signal.SIGINT)[0] == 3
    lab.shop.state = 2
    paid = lab.paid_for()
    write_jobs(lab.folder, *paid)
    shutil.copytree(lab.folder / "out", lab.folder / "copy")
    assert lab.run(out="copy").end()[0] == 0
    assert lab.run().end()[0] == 3
    assert lab.paid_for() == paid
    assert len([*(lab.folder / "copy").glob("job?.csv")]) == len(paid)
