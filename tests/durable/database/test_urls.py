"""The databases that people have: odd paths, options, poolers, old SQLite, disks that refuse."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from dbos import DBOS
from scripted import Vendor
from store_jobs import jobs_of
from store_work import at_work, end_of

from smspartner_async import ConfigurationError
from smspartner_async.durable import JobState, Store, StoreError
from smspartner_async.durable._database import urls
from smspartner_async.durable._database.urls import (
    connect_args,
    describe_failure,
    parse_store_url,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.durable_runs import Postgres
    from smspartner_async import SMSPartnerClient

ODD = ["sp ace", "why?", "a#b", "100%", "50%20off", "a+b", "\u00e9t\u00e9", "a&b=c", "x?mode=ro"]


@pytest.mark.parametrize("name", ODD)
async def test_a_path_behind_sqlite_is_taken_as_it_stands(tmp_path: Path, name: str) -> None:
    """No sign in it is syntax: a job comes to its file, and no other database is made."""
    folder = tmp_path / name
    folder.mkdir()
    async with Store(f"sqlite:///{folder}/rentals.db") as store, at_work(store, Vendor()):
        await store.submit(jobs_of(1, folder))
        assert (await end_of(store, "job-1")).state is JobState.DONE
    assert os.listdir(tmp_path) == [name]  # noqa: PTH208 - short, and nothing waits for it
    assert {"rentals.db", "rentals.db.journal", "1.csv"} <= {*os.listdir(folder)}  # noqa: PTH208 - short


def test_options_behind_a_path_are_refused(tmp_path: Path) -> None:
    """They were options once; taken for the path, they would name a new and empty store."""
    with pytest.raises(ConfigurationError, match=r"leave out '\?timeout=5'"):
        Store(f"sqlite:///{tmp_path}/rentals.db?timeout=5")


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("7", 7), ("none", None)])
def test_options_of_postgres_keep_their_types(text: str, value: int | None) -> None:
    """The driver takes a number, and compares text with one."""
    url = parse_store_url(f"postgresql://u@h/d?prepare_threshold={text}&connect_timeout=3")
    assert connect_args(url) == {"prepare_threshold": value}
    assert connect_args(parse_store_url("postgresql://u@h/d")) == {}


async def test_a_threshold_of_postgres_reaches_both_connections(
    postgres: Postgres, tmp_path: Path
) -> None:
    """The store's own, and that of DBOS."""
    async with Store(postgres.store("threshold") + "&prepare_threshold=none") as store:
        await store.submit(jobs_of(1, tmp_path))
        async with at_work(store, Vendor()):
            assert (await end_of(store, "job-1")).state is JobState.DONE


async def test_sqlite_older_than_the_python_expects_works(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`unixepoch('subsec')`, which DBOS uses from Python 3.12 on, is supplied where missing."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 40, 1))
    engine = urls.create_dbos_engine(store.url)
    assert engine is not None
    with engine.connect() as connection:
        now = connection.exec_driver_sql("SELECT unixepoch('subsec')").scalar_one()
    engine.dispose()
    assert abs(now - time.time()) < 5
    assert now % 1


def test_a_connection_that_is_in_use_at_the_end_is_closed_when_it_is_given_back(
    tmp_path: Path,
) -> None:
    """Threads of DBOS outlive it: what they hold then is not left to the garbage collector."""
    engine = urls.create_dbos_engine(parse_store_url(f"sqlite:///{tmp_path}/rentals.db"))
    assert engine is not None
    in_use = engine.connect()
    raw: Any = in_use.connection.dbapi_connection
    urls.dispose_dbos_engine(engine)
    raw.execute("SELECT 1")
    in_use.close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        raw.execute("SELECT 1")
    with engine.connect() as later:  # such a thread takes another one
        raw = later.connection.dbapi_connection
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        raw.execute("SELECT 1")


@pytest.mark.parametrize("what", ["__init__", "launch"])
async def test_whatever_dbos_raises_at_its_launch_is_an_error_of_the_store(
    store: Store,
    client: SMSPartnerClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    """One sentence without a password, and the next worker of this process begins."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("migration 17\nand a long statement")

    with monkeypatch.context() as patch:
        if what == "launch":
            patch.setattr(DBOS, "launch", broken)
        else:
            from dbos import _sys_db  # noqa: PLC0415 - where it is broken

            patch.setattr(_sys_db.SystemDatabase, "__init__", broken)
        with pytest.raises(StoreError, match="cannot be used: migration 17") as caught:
            async with store.worker(client):
                pass
    assert "\n" not in str(caught.value)
    await store.submit(jobs_of(1, tmp_path))
    async with at_work(store, Vendor()):
        assert (await end_of(store, "job-1")).state is JobState.DONE


async def test_a_journal_that_cannot_be_written_is_an_error_of_the_store(
    store: Store, client: SMSPartnerClient, tmp_path: Path
) -> None:
    """Before anything is rented."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="journal"):
        async with store.worker(client, journal=tmp_path / "file"):
            pass


async def test_a_database_that_is_none_is_an_error_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of something else is not touched, and not kept open."""
    connections, connect = list[sqlite3.Connection](), sqlite3.connect

    def kept(*args: Any, **options: Any) -> sqlite3.Connection:
        connections.append(connect(*args, **options))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", kept)
    monkeypatch.setattr(sqlite3.dbapi2, "connect", kept)
    (tmp_path / "rentals.db").write_text("a letter, and no database at all" * 99)
    with pytest.raises(StoreError, match="not a database"):
        async with Store(f"sqlite:///{tmp_path}/rentals.db"):
            pass
    assert connections
    for connection in connections:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.total_changes  # noqa: B018 - of a closed one it cannot be read


async def test_another_store_of_the_same_process_leaves_the_locks_of_the_first(
    store: Store, tmp_path: Path
) -> None:
    """Without them, another process that ends deletes the write-ahead log that the first uses."""
    await store.submit(jobs_of(1, tmp_path))
    async with Store(f"sqlite:///{tmp_path}/rentals.db") as other:
        await other.records()
    program = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2])"
    program += ".fetchall(); db.close()"
    command = [sys.executable, "-c", program, str(tmp_path / "rentals.db")]
    command.append("SELECT * FROM smspartner_jobs")
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0
    assert (tmp_path / "rentals.db-wal").exists()


async def test_many_make_a_store_at_once_for_its_owner_alone(tmp_path: Path) -> None:
    """One file comes of it, and nothing else is left."""

    async def submit(number: int) -> None:
        async with Store(f"sqlite:///{tmp_path}/rentals.db") as store:
            await store.submit(jobs_of(number, tmp_path))

    await asyncio.gather(*map(submit, range(1, 9)))
    assert os.listdir(tmp_path) == ["rentals.db"]  # noqa: PTH208 - short, and nothing waits for it
    path = tmp_path / "rentals.db"
    assert os.name == "nt" or path.stat().st_mode & 0o777 == 0o600
    async with Store(f"sqlite:///{path}") as store:
        assert len(await store.records()) == 8


async def test_a_new_file_that_another_process_has_locked_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself refuses to change the mode of a file at once; many may make a store at once."""
    with closing(sqlite3.connect(tmp_path / "rentals.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        opening = asyncio.ensure_future(Store(f"sqlite:///{tmp_path}/rentals.db").__aenter__())
        done, _ = await asyncio.wait([opening], timeout=0.5)
        assert not done
        other.execute("COMMIT")
        store = await opening
    assert await store.records() == ()
    await store.__aexit__(None, None, None)


@pytest.mark.parametrize("what", ["folder", "FIFO", "read-only"])
async def test_a_path_that_cannot_be_a_store_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Nothing waits for it, and nothing is changed."""
    path = tmp_path / "rentals.db"
    if what == "folder":
        path.mkdir()
    elif what == "FIFO":
        if not hasattr(os, "mkfifo"):
            pytest.skip("Windows has no FIFOs")
        os.mkfifo(path)
    else:
        path.touch()
        monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anything
    with pytest.raises(StoreError, match=rf"{path} cannot be used: (This is a folder|Permission)"):
        async with Store(f"sqlite:///{path}"):
            pass


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("database or disk is full", " What was paid stays known. Make room on its disk, and"),
        ("disk I/O error", " What was paid stays known. Make room on its disk, and"),
        ("attempt to write a readonly database", " What was paid stays known. Make its file and"),
        ("Read-only file system", " What was paid stays known. Make its file and"),
        ("Permission denied", " What was paid stays known. Make its file and"),
        ("No space left on device", " What was paid stays known. Make room on its disk, and"),
        ('prepared statement "_pg3_0" already exists', " A pgbouncer in front of it has to be in"),
        ("unable to open database file", ""),
        ("unable to open database file\nSELECT a long statement", ""),
    ],
)
def test_why_a_store_cannot_be_used_is_one_sentence_with_its_own_advice(
    reason: str, advice: str
) -> None:
    """A batch: one clear error; what is to be done stands only where it helps."""
    text = describe_failure(parse_store_url("sqlite:////srv/rentals.db"), OSError(reason))
    before, _, after = text.partition(f" cannot be used: {reason.splitlines()[0]}.")
    assert before == "sqlite:////srv/rentals.db"
    assert after.startswith(advice)
    assert bool(after) is bool(advice)


# --- pgbouncer ------------------------------------------------------------------------------


@contextmanager
def pgbouncer(url: str, folder: Path, mode: str) -> Iterator[str]:
    """Run a pooler before a database; the URL that leads through it."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    postgres = parse_store_url(url)
    users = folder / "users"
    users.write_text('"smspartner" ""\n')
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host={postgres.query['host']}\n[pgbouncer]\nlisten_addr =\n"
        f"unix_socket_dir = {folder}\nauth_type = trust\nauth_file = {users}\n"
        f"pool_mode = {mode}\nmax_client_conn = 100\ndefault_pool_size = 40\n"
        f"ignore_startup_parameters = extra_float_digits\n"
    )
    user = None
    if os.geteuid() == 0:
        user = "postgres"
        for path in (folder, users, config):
            shutil.chown(path, user)
    with subprocess.Popen(  # noqa: S603 - the pooler itself
        [program, "-q", str(config)], user=user, stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(100):
                if (folder / ".s.PGSQL.6432").exists():
                    break
                time.sleep(0.05)
            yield f"postgresql://smspartner@/{postgres.database}?host={folder}&port=6432"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(10)


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket, and that another user may enter."""
    import tempfile  # noqa: PLC0415 - here alone
    from pathlib import Path  # noqa: PLC0415 - here alone

    folder = Path(tempfile.mkdtemp(prefix="pb-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


async def test_a_pooler_in_session_mode_works(
    postgres: Postgres, tmp_path: Path, socket_folder: Path
) -> None:
    """Jobs are rented and downloaded through pgbouncer."""
    with pgbouncer(postgres.store("session"), socket_folder, "session") as url:
        async with Store(url) as store:
            await store.submit(jobs_of(3, tmp_path))
            async with at_work(store, Vendor()):
                for number in (1, 2, 3):
                    assert (await end_of(store, f"job-{number}")).state is JobState.DONE


async def test_a_pooler_in_transaction_mode_is_one_error_before_any_money(
    postgres: Postgres, tmp_path: Path, socket_folder: Path
) -> None:
    """It says which mode is needed."""
    vendor = Vendor()
    with pgbouncer(postgres.store("transaction"), socket_folder, "transaction") as url:
        async with Store(url) as store:
            await store.submit(jobs_of(3, tmp_path))
            with pytest.raises(StoreError, match="session mode"):
                async with at_work(store, vendor):
                    await end_of(store, "job-1")
    assert vendor.wire == {}
