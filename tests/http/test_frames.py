"""What an exception carries out of a call: no local variable of ours or aiohttp's with a secret."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from downloads import leave_behind
from fault_server import FaultServer
from faults import good, html, json_reply, stall_before_head, vendor_error
from renting import KEY, TARGETING, client_of, receipt

from smspartner_async import (
    DownloadInterruptedError,
    RetryPolicy,
    SMSPartnerClient,
    SMSPartnerError,
)
from smspartner_async._http.frames import clear_frames
from smspartner_async._operations import part_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NUMBER = "+33612345678"


def shown(error: BaseException) -> str:
    """All local variables along an exception's causes and contexts, as an error tracker sends."""
    found, left, seen = "", [error], set[int]()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if "/tests/" not in frame.f_code.co_filename:
                found += repr(frame.f_locals)
        left += [other for other in (one.__cause__, one.__context__) if other is not None]
    return found


async def call(client: SMSPartnerClient, name: str, path: Path) -> None:
    match name:
        case "status":
            await client.status("tok-1")
        case "price":
            await client.price(TARGETING)
        case "credits":
            await client.credits()
        case "rent":
            await client.rent(TARGETING)
        case _:
            await client.download("tok-1", path / "file")


@pytest.mark.parametrize("name", ["status", "price", "credits", "rent", "download"])
async def test_a_cancelled_call_carries_neither_url_nor_body(name: str, tmp_path: Path) -> None:
    """A secret: the frames of aiohttp that were waiting are empty."""
    options = {"request_timeout": 0.2, "retry": RetryPolicy(attempts=1)}
    server = FaultServer(default=stall_before_head(receipt(), 9))
    async with server, client_of(server, **options) as client:
        for limit in (0.05, 5):
            with pytest.raises((TimeoutError, SMSPartnerError)) as caught:
                async with asyncio.timeout(limit):
                    await call(client, name, tmp_path)
            assert KEY not in shown(caught.value)


@pytest.mark.parametrize("reply", [{"success": True}, {"success": True, "credits": 5}])
@pytest.mark.parametrize("name", ["status", "price", "credits"])
async def test_an_answer_that_is_none_leaves_nothing_of_itself(
    name: str, reply: dict[str, object], tmp_path: Path
) -> None:
    """A secret: the code that cattrs makes for a model holds the reply that it cannot read."""
    server = FaultServer(default=json_reply({**reply, "note": f"{KEY} {NUMBER}"}))
    async with server, client_of(server, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(SMSPartnerError) as caught:
            await call(client, name, tmp_path)
        assert KEY not in shown(caught.value)
        assert NUMBER not in shown(caught.value)


@pytest.mark.parametrize("name", ["status", "price", "credits", "rent", "download"])
@pytest.mark.parametrize("answer", [vendor_error(10, NUMBER), html(502), good(NUMBER.encode())])
async def test_a_refused_call_carries_neither_key_nor_reply(
    name: str, answer: object, tmp_path: Path
) -> None:
    """A secret: the frames that read the reply knew the key, to take it out."""
    server = FaultServer(default=answer)  # type: ignore[arg-type]
    async with server, client_of(server, retry=RetryPolicy(attempts=1)) as client:
        caught: BaseException | None = None
        try:
            await call(client, name, tmp_path)
        except SMSPartnerError as error:
            caught = error
    assert caught is not None or name == "download"
    variables = "" if caught is None else shown(caught)
    assert KEY not in variables
    assert NUMBER not in variables


class Tracker(logging.Handler):
    """Keeps what an error tracker sends of each logged exception, at the moment of its logging."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None and (error := record.exc_info[1]) is not None:
            assert error.__context__ is not None
            self.sent.append(shown(error))


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    log, handler = logging.getLogger("smspartner_async"), Tracker()
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


@pytest.mark.parametrize("name", ["status", "price", "rent", "download"])
async def test_what_a_listener_raises_is_chained_to_no_secret(
    name: str, tmp_path: Path, tracker: Tracker
) -> None:
    """A secret: it is logged with the failure of the request, whose frames are empty by then."""

    def fail(_: object) -> None:
        raise LookupError("a listener's own")

    server = FaultServer(default=json_reply({"note": f"{KEY} {NUMBER}"}, 502))
    options = {"retry": RetryPolicy(attempts=1), "on_exchange": fail}
    async with server, client_of(server, **options) as client:
        with pytest.raises(SMSPartnerError):
            await call(client, name, tmp_path)
    (sent,) = tracker.sent
    assert KEY not in sent
    assert NUMBER not in sent


@pytest.mark.parametrize(
    "wrong",
    [
        {"base_url": "http://example.org"},
        {"request_timeout": -1},
        {"proxy": "ftp://user:secret@host"},
        {"max_connections": 0},
    ],
    ids=str,
)
def test_a_client_that_cannot_be_made_carries_neither_key_nor_password(
    wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret: the frames of the constructor and of its checks are empty, and so of `from_env`."""
    monkeypatch.setenv("SMSPARTNER_API_KEY", KEY)
    for name, value in wrong.items():
        monkeypatch.setenv(f"SMSPARTNER_{name.upper()}", str(value))
    makers: list[Callable[[], object]] = [
        lambda: SMSPartnerClient(KEY, **wrong),
        SMSPartnerClient.from_env,
    ]
    for make in makers:
        try:
            raise LookupError("what the caller handles")  # noqa: TRY301 - its frame is the caller's
        except LookupError:
            name = next(iter(wrong)).replace("_", "[_ ]")
            with pytest.raises(ValueError, match=f"(?i){name}") as caught:
                make()
        variables = shown(caught.value)
        assert KEY not in variables
        assert "secret@host" not in variables


async def test_a_part_that_cannot_be_finished_carries_no_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret: nothing is sent for it, and its frames are as empty as those of a request."""
    data = f"{NUMBER}\n".encode() * 9
    reply = {"status": 200, "framing": "length", "length": len(data), "encoding": ""}
    leave_behind(tmp_path / "file.part", data, "tok-1", reply)

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(part_file, "give_name", fail)
    async with SMSPartnerClient(KEY) as client:
        with pytest.raises(DownloadInterruptedError) as caught:
            await client.download("tok-1", tmp_path / "file", overwrite=True)
    assert NUMBER not in shown(caught.value)
    assert (tmp_path / "file.part").read_bytes() == data


def test_frames_of_others_are_left_as_they_are() -> None:
    """A caller's own, or a callback's, belong to whoever wrote it."""

    def callback() -> None:
        kept = "the caller's own"
        raise ValueError(kept[:3])

    with pytest.raises(ValueError, match="the") as caught:
        callback()
    clear_frames(caught.value)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    assert frames[-1].f_locals["kept"] == "the caller's own"
