"""A worker's journal: whose it is, what it keeps, and when that is on the disk."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from smspartner_async import (
    ConfigurationError,
)
from smspartner_async.durable._journal import Journal

if TYPE_CHECKING:
    from pathlib import Path


def test_each_living_worker_of_a_machine_has_its_own_id_and_keeps_it(tmp_path: Path) -> None:
    """Ids are held by a lock that ends with the process; after a restart they are the same."""
    one, two = Journal.open(tmp_path, None), Journal.open(tmp_path, None)
    assert one.worker_id != two.worker_id
    one.close()
    again = Journal.open(tmp_path, None)
    assert again.worker_id == one.worker_id
    with pytest.raises(ConfigurationError, match="running already"):
        Journal.open(tmp_path, again.path.stem)
    named = Journal.open(tmp_path, "named")
    assert named.worker_id == "named"
    for journal in (again, two, named):
        journal.close()


async def test_a_journal_that_was_cut_short_continues(tmp_path: Path) -> None:
    """After a power cut in the middle of a line, neither the lines before nor after are lost."""
    journal = Journal.open(tmp_path, None)
    journal.write(nonce="aa", token="tok-1")
    await journal.flush()
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b'{"nonce": "bb", "tok')
    journal = Journal.open(tmp_path, None)
    for n in range(20):
        journal.write(nonce=f"c{n}", token=f"tok-{n}")
    await asyncio.gather(*(journal.flush() for _ in range(20)))
    assert journal.token("aa") == "tok-1"
    assert journal.token("bb") is None
    assert [journal.token(f"c{n}") for n in range(20)] == [f"tok-{n}" for n in range(20)]
    journal.close()


async def test_a_journal_without_its_first_line_keeps_the_others(tmp_path: Path) -> None:
    """Where the line that names the worker is damaged, it gets another id; no token is lost."""
    journal = Journal.open(tmp_path, None)
    journal.write(nonce="aa", token="tok-1")
    journal.close()
    first, _, others = journal.path.read_bytes().partition(b"\n")
    journal.path.write_bytes(b"\0" * len(first) + b"\n" + others)
    assert not Journal.has_ended(journal.path, journal.worker_id)
    again = Journal.open(tmp_path, None)
    assert (again.path, again.token("aa")) == (journal.path, "tok-1")
    assert again.worker_id != journal.worker_id
    again.close()
    assert Journal.has_ended(again.path, again.worker_id)
    once_more = Journal.open(tmp_path, None)
    assert once_more.worker_id == again.worker_id
    once_more.close()


async def test_a_full_disk_spoils_no_line_that_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is written in part fails, and the next one stands on its own."""
    journal, write = Journal.open(tmp_path, None), os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda fd, data: write(fd, data[:20]))
        with pytest.raises(OSError, match="No space left"):
            journal.write(nonce="aa", token="tok-1")
    journal.write(nonce="aa", token="tok-2")
    assert journal.token("aa") == "tok-2"
    journal.close()


async def test_a_token_is_made_safe_while_the_database_is_away(tmp_path: Path) -> None:
    """Calls to a database that does not answer keep no token from the journal's disk."""
    journal = Journal.open(tmp_path, None)
    away, loop = threading.Event(), asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as only:
        loop.set_default_executor(only)
        blocked = loop.run_in_executor(None, away.wait)
        try:
            journal.write(token="tok-1", nonce="n")
            async with asyncio.timeout(120):
                await journal.flush()
        finally:
            away.set()
            await blocked
            journal.close()
        loop.set_default_executor(ThreadPoolExecutor())


async def test_the_lines_of_one_claim_are_found_in_all_journals(tmp_path: Path) -> None:
    """Whoever wrote them; a file that cannot be read hides no other."""
    one, two = Journal.open(tmp_path, "one"), Journal.open(tmp_path, "two")
    one.write(nonce="aa", job="job-1", sending="now")
    two.write(nonce="aa", token="tok-1")
    two.write(nonce="bb", token="tok-2")
    (tmp_path / "a-folder.jsonl").mkdir()
    assert [line.get("token") for line in one.lines("aa")] == [None, "tok-1"]
    assert (one.token("aa"), one.token("bb"), one.token("cc")) == ("tok-1", "tok-2", None)
    for journal in (one, two):
        journal.close()


async def test_a_line_is_on_the_disk_when_flush_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that began before the line does not do: another one follows it."""
    journal, synced, fsync = Journal.open(tmp_path, None), list[int](), os.fsync

    def slow(number: int) -> None:
        size = os.fstat(number).st_size
        time.sleep(0.1)
        fsync(number)
        synced.append(size)

    monkeypatch.setattr(os, "fsync", slow)
    journal.write(nonce="aa", token="tok-1")
    first = asyncio.create_task(journal.flush())
    await asyncio.sleep(0.02)
    journal.write(nonce="bb", token="tok-2")
    await journal.flush()
    assert synced[-1] == journal.path.stat().st_size
    await first
    journal.close()


def test_whose_journal_shows_that_its_worker_has_ended(tmp_path: Path) -> None:
    """Its lock is free; another worker's file, no file and no journal prove nothing."""
    journal = Journal.open(tmp_path, "me")
    assert not Journal.has_ended(journal.path, "me")
    journal.close()
    assert Journal.has_ended(journal.path, "me")
    assert not Journal.has_ended(journal.path, "another")
    assert not Journal.has_ended(tmp_path / "none.jsonl", "me")
    (tmp_path / "empty.jsonl").touch()
    assert not Journal.has_ended(tmp_path / "empty.jsonl", "me")


def test_a_new_journal_is_on_the_disk_with_its_id_and_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line that names the worker is synced, and then the folder that names the file."""
    events, fsync = list[str](), os.fsync

    def sync(fd: int) -> None:
        is_folder = os.path.samestat(os.fstat(fd), tmp_path.stat())
        events.append("folder" if is_folder else (tmp_path / "me.jsonl").read_text())
        fsync(fd)

    monkeypatch.setattr(os, "fsync", sync)
    Journal.open(tmp_path, "me").close()
    assert events == ['{"worker": "me"}\n', "folder"]
