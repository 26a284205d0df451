"""`FileOnce` by itself: one download a rental, whoever comes, leaves, and comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from downloads import FILE, contents, mode
from eager import begin_tasks_at_once, needs_eager_tasks
from fault_server import FaultServer
from faults import good, stall_within_body, vendor_error
from renting import client_of

from smspartner_async import (
    AuthenticationError,
    ConfigurationError,
    FileNotReadyError,
    SMSPartnerClient,
)
from smspartner_async.web import FileOnce, _file_once

if TYPE_CHECKING:
    from pathlib import Path

SLOW = stall_within_body(FILE, 0.3)
NOT_YET = vendor_error(35, "Le fichier est en cours de téléchargement")


async def test_all_who_ask_get_the_one_file(tmp_path: Path) -> None:
    """A double-click is one download; the file and its new folder are their owner's alone."""
    folder = tmp_path / "new" / "files"
    async with (
        FaultServer(SLOW) as server,
        client_of(server) as client,
        FileOnce(client, folder) as files,
    ):
        paths = await asyncio.gather(*(files("tok-1") for _ in range(5)))
        assert await files("tok-1") == paths[0]
        assert server.count("download") == 1
    assert {*paths} == {folder / next(iter(contents(folder)))}
    assert contents(folder) == {paths[0].name: FILE}
    assert (mode(folder), mode(paths[0])) == (0o700, 0o600)


async def test_a_download_continues_when_its_caller_leaves(tmp_path: Path) -> None:
    """A closed tab breaks nothing off: whoever comes next gets the whole file."""
    async with (
        FaultServer(SLOW) as server,
        client_of(server) as client,
        FileOnce(client, tmp_path) as files,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(files("tok-1"), 0.1)
        path = await files("tok-1")
        assert server.count("download") == 1
    assert contents(tmp_path) == {path.name: FILE}


async def test_its_end_waits_for_the_downloads_in_flight(tmp_path: Path) -> None:
    """Callers may be gone: when the block ends, the file is whole."""
    async with FaultServer(SLOW) as server, client_of(server) as client:
        async with FileOnce(client, tmp_path) as files:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(files("tok-1"), 0.1)
        assert [*contents(tmp_path).values()] == [FILE]


async def test_its_end_in_a_cancelled_scope_of_anyios_waits_for_them_too(tmp_path: Path) -> None:
    """A file: a scope of anyio's, which cancels in every turn of the loop, breaks nothing off."""
    async with FaultServer(SLOW) as server, client_of(server) as client:
        with anyio.move_on_after(0.1) as scope:
            async with FileOnce(client, tmp_path) as files:
                await files("tok-1")
        assert scope.cancelled_caught
    assert [*contents(tmp_path).values()] == [FILE]


async def test_a_download_that_fails_at_the_end_is_its_callers_error(tmp_path: Path) -> None:
    """It does not end the block with an error that somebody else gets already."""
    refused = vendor_error(10, "Clé inconnue")
    async with FaultServer(refused) as server, client_of(server) as client:
        async with FileOnce(client, tmp_path) as files:
            caller = asyncio.create_task(files("tok-1"))
            while not files._downloads:  # noqa: ASYNC110 - its first turns
                await asyncio.sleep(0)
        with pytest.raises(AuthenticationError):
            await caller


async def test_a_closed_one_only_hands_out_what_is_there(tmp_path: Path) -> None:
    """After `close` no download begins that the end of the client would break off."""
    async with (
        FaultServer(good(FILE)) as server,
        client_of(server) as client,
        FileOnce(client, tmp_path) as files,
    ):
        path = await files("tok-1")
        await files.close()
        assert await files("tok-1") == path
        with pytest.raises(ConfigurationError, match="starts no download"):
            await files("tok-2")
        assert server.count("download") == 1


async def test_after_a_restart_the_file_is_found(tmp_path: Path) -> None:
    """Another object, such as that of the next process, asks the vendor for nothing."""
    async with FaultServer(good(FILE)) as server, client_of(server) as client:
        async with FileOnce(client, tmp_path) as files:
            path = await files("tok-1")
        async with FileOnce(client, f"{tmp_path}") as files:
            assert await files("tok-1") == path
        assert server.count("download") == 1


async def test_a_refusal_is_for_those_who_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All who wait get the error; the next one tries again. The log has it, too."""
    async with (
        FaultServer(NOT_YET, good(FILE)) as server,
        client_of(server) as client,
        FileOnce(client, tmp_path) as files,
    ):
        errors = await asyncio.gather(*(files("tok-1") for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in errors] == [FileNotReadyError] * 3
        assert "the file of rental tok-1 was not downloaded" in caplog.text
        assert (await files("tok-1")).exists()


async def test_another_process_downloads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that share a folder download a file once, and both have it."""
    monkeypatch.setattr(_file_once, "_CHECK_INTERVAL", 0.05)
    async with (
        FaultServer(SLOW) as server,
        client_of(server) as client,
        FileOnce(client, tmp_path) as one,
        FileOnce(client, tmp_path) as other,
    ):
        paths = await asyncio.gather(one("tok-1"), other("tok-1"))
        assert paths[0] == paths[1]
        assert server.count("download") == 1
    assert contents(tmp_path) == {paths[0].name: FILE}


async def test_what_another_process_never_ends_is_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ten minutes of waiting for another's download, the error says so."""
    monkeypatch.setattr(_file_once, "_CHECK_INTERVAL", 0)

    class Busy(SMSPartnerClient):
        """A client beside another that never ends."""

        looks = 0

        async def download(self, *_: Any, **__: Any) -> Any:
            self.looks += 1
            raise FileExistsError("another download is writing it")

    client = Busy("key", base_url="http://127.0.0.1:1")
    async with client, FileOnce(client, tmp_path) as files:
        with pytest.raises(FileExistsError, match="another download"):
            await files("tok-1")
    assert client.looks == 601


async def test_tokens_are_no_paths(tmp_path: Path) -> None:
    """Whatever a token holds, its file is in the folder, and no other token's."""
    async with (
        FaultServer(default=good(FILE)) as server,
        client_of(server) as client,
        FileOnce(client, tmp_path) as files,
    ):
        found = {(await files(token)) for token in ("../up", "a/b", "Ab", "aB", "C:", "." * 200)}
        assert server.count("download") == 6
    assert len({path.name.casefold() for path in found}) == 6
    assert {path.parent for path in found} == {tmp_path}


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("client must be", ("key", "files")),
        ("client must be", (SMSPartnerClient, "files")),
        ("folder must be", (None, 5)),
    ],
)
async def test_it_is_not_made_of_what_would_fail_later(
    words: str, arguments: tuple[Any, Any]
) -> None:
    """Wrong arguments are refused when it is made."""
    client, folder = arguments
    usual = SMSPartnerClient("key", base_url="http://127.0.0.1:1")
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        FileOnce(usual if client is None else client, folder)


@needs_eager_tasks
async def test_eager_tasks(tmp_path: Path) -> None:
    """A download whose task begins at once is still one download."""
    begin_tasks_at_once()
    async with (
        FaultServer(NOT_YET, SLOW) as server,
        client_of(server) as client,
        FileOnce(client, tmp_path) as files,
    ):
        with pytest.raises(FileNotReadyError):
            await files("tok-1")
        paths = await asyncio.gather(*(files("tok-1") for _ in range(3)))
        assert len({*paths}) == 1
        assert server.count("download") == 2
