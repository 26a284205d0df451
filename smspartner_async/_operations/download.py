"""Download a file that may be served once: every byte is in the `.part` file before it is judged.

The vendor may serve a file only once (undocumented), so a request is repeated only where no byte of
a reply can have come, or where the reply is from a server in front of the vendor's, or too busy.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import define, field

from smspartner_async._callbacks import call_or_log
from smspartner_async._completion import run_to_completion
from smspartner_async._errors import (
    APIError,
    DownloadInterruptedError,
    RateLimitError,
    ResponseError,
    SMSPartnerError,
    TransportError,
)
from smspartner_async._http.frames import clear_frames
from smspartner_async._http.state import SendState
from smspartner_async._http.transport import TRANSPORT_ERRORS
from smspartner_async._log import log, log_fields
from smspartner_async._validation import check_callback, check_type, checked_path, checked_token
from smspartner_async._wire.broken_reply import NO_STATUS
from smspartner_async._wire.contact_file import ASKED_AGAIN, Verdict
from smspartner_async._wire.envelope import is_success
from smspartner_async._wire.reply import Reply

from .disk_errors import DiskError
from .part_file import PartFile
from .reserved_room import LEAST_ROOM
from .sidecar import ReplyFacts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import aiohttp

    from smspartner_async._http.pipeline import RequestPipeline
    from smspartner_async._http.state import ResponseHead
    from smspartner_async._models import ContactFile, RentalStatus
    from smspartner_async._validation import HasToken
    from smspartner_async._wire.codec import Request, Wire

_T = TypeVar("_T")

_BYTES_A_NUMBER: Final = 32
_KEPT_IN_MEMORY: Final = 2**26  # bytes of a reply whose head aiohttp refuses, until it has ended
_MOST_NUMBERS: Final = 10**8  # a count beyond it is an error, and reserves nothing


def _absolute(path: str | os.PathLike[str]) -> Path:
    # The working directory may change before the file is there.
    return checked_path("path", path).absolute()


@define(eq=False, repr=False)
class Download:
    """One file of one rental, on its way to one path.

    Attributes:
        ask_status: asks the vendor where a rental stands, by its token.
        rental: its token, or its status, which has the count of its numbers.
    """

    pipeline: RequestPipeline
    codec: Wire
    ask_status: Callable[[str], Awaitable[RentalStatus]]
    rental: str | HasToken
    path: Path = field(converter=_absolute)
    overwrite: bool
    on_progress: Callable[[int, int | None], Awaitable[object] | object] | None
    token: str = field(init=False)
    request: Request = field(init=False)
    _numbers: int | None = field(init=False)
    _reported: set[Path] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        check_type("overwrite", self.overwrite, bool)
        check_callback("on_progress", self.on_progress, "the bytes received", "the bytes expected")
        self.token = checked_token(self.rental)
        self.request = self.codec.download_request(self.token)
        self._numbers = getattr(self.rental, "phone_numbers", None)

    def may_repeat(self, error: BaseException) -> bool:
        """Return whether no byte of a reply came, or it was a 408, 429, 502, 503 or 504.

        A documented error code is final, whatever the HTTP status.
        """
        if isinstance(error, TransportError):
            return not error.reply_began
        if isinstance(error, ResponseError) or type(error) is APIError:
            return error.http_status in ASKED_AGAIN
        return isinstance(error, RateLimitError)

    async def run(self) -> ContactFile:
        """Finish a whole part of an earlier process, or else download the file."""
        if (found := await self.resume()) is not None:
            return found
        return await self.pipeline.run_priority(self.request, self.attempt, self.may_repeat)

    async def resume(self) -> ContactFile | None:
        """Finish a whole part of an earlier process; `None` where there is none. Sends nothing.

        Raises:
            OSError: as `attempt`.
            DownloadInterruptedError: the disk failed.
        """
        outer = sys.exception()
        part = PartFile(self.path, self.token, self.overwrite)
        try:
            # Most often there is none: a thread that is there already looks for it.
            look = run_to_completion(asyncio.to_thread(part.resume))
            with _Worker() as disk:
                return await self._bring(part, disk, look, None)
        except BaseException as error:
            if part.is_refused and isinstance(error, SMSPartnerError):
                return None  # it was no file: download again
            clear_frames(error, outer)  # they hold phone numbers
            raise

    async def attempt(self, head: ResponseHead) -> ContactFile:
        """Request the file once, and write whatever comes to the disk.

        Raises:
            FileExistsError: the file exists and may not be replaced. Nothing was sent.
            OSError: the folder is missing or cannot be written to, or there is no room. Nothing
                was sent.
            SMSPartnerError: the vendor's error, or what broke the transfer.
        """
        part = PartFile(self.path, self.token, self.overwrite)
        try:
            with _Worker() as disk:
                file = await self._bring(part, disk, disk(part.open, self._room()), head)
        except SMSPartnerError as error:
            self._report_leftovers(part, error)
            raise
        assert file is not None  # noqa: S101 - for the type checker
        return file

    async def _bring(
        self,
        part: PartFile,
        disk: _Worker,
        opening: Awaitable[ContactFile | None],
        head: ResponseHead | None,
    ) -> ContactFile | None:
        try:
            try:
                if (file := await opening) is not None:
                    return file
                if part.reply is not None:  # left whole by an earlier process
                    reply = Reply(part.reply.status, {}, b"")
                    return await self._settle(part, disk, part.reply, reply)
                return await self._fetch(part, disk, head) if part.is_open else None
            except BaseException:
                await run_to_completion(disk(part.keep))
                raise
        except asyncio.CancelledError as error:
            if part.received:
                error.add_note(f"What arrived of the file is kept in {part.path}.")
            if part.rest is not None:
                error.add_note(_where_the_rest_is(part))
            raise

    def _room(self) -> int:
        numbers = self._numbers or 0
        return max(LEAST_ROOM, _BYTES_A_NUMBER * numbers if numbers <= _MOST_NUMBERS else 0)

    async def _fetch(self, part: PartFile, disk: _Worker, head: ResponseHead | None) -> ContactFile:
        sending = SendState()
        sending.raw_limit = _KEPT_IN_MEMORY
        facts: ReplyFacts | None = None
        failure: SMSPartnerError | None = None
        came: Reply | None = None
        reply: Reply | None = None
        try:
            async with (
                asyncio.timeout(self.pipeline.transport.request_timeout) as stall,
                self.pipeline.transport.open_unpooled(self.request, sending) as response,
            ):
                if head is not None:
                    head.take(response)
                came = Reply(response.status, response.headers, b"")
                facts = ReplyFacts.of(came.status, came.headers)
                await self._receive(part, disk, response.content, facts, stall)
                if rest := _excess(sending, facts):
                    await disk(part.write, rest)
                    words = "The reply is longer than its head announced."
                    failure = TransportError(words, maybe_sent=True)
                else:
                    reply = came
        except DiskError:
            pass  # in `part.failure`
        except TRANSPORT_ERRORS as error:
            failure = self.pipeline.transport.explain(error, sending)
            if reply is None:
                facts, reply = await self._keep_refused(part, disk, sending, facts)
        except asyncio.CancelledError:
            await self._keep_refused(part, disk, sending, facts)
            raise
        if came is not None and came.status in ASKED_AGAIN:
            reply = came  # whole or not, it is no file, unless there are numbers in it
        # Outside the handlers: aiohttp's error would be the context of what is raised.
        if part.failure is None and reply is not None and facts is not None:
            # Even if closing the connection failed or took too long.
            return await self._settle(part, disk, facts, reply)
        if part.received:
            await disk(part.keep)
            raise _interrupted(part, facts, failure) from part.failure
        assert failure is not None  # noqa: S101 - for the type checker
        raise failure

    async def _receive(
        self,
        part: PartFile,
        disk: _Worker,
        content: aiohttp.StreamReader,
        facts: ReplyFacts,
        stall: asyncio.Timeout,
    ) -> None:
        """Write a body to the disk as it comes. `stall` bounds the time between two pieces."""
        loop = asyncio.get_running_loop()
        timeout = self.pipeline.transport.request_timeout
        write_first: Callable[[bytes], None] = partial(part.write_first, facts)
        writes = chain([write_first], repeat(part.write))
        try:
            while chunk := await _next_piece(content):
                stall.reschedule(None)  # the time of a slow disk does not count
                await disk(next(writes), chunk)
                await self._report(part.received, facts.length)
                stall.reschedule(loop.time() + timeout)
            if not part.received:
                await disk(next(writes), b"")
        except asyncio.CancelledError:
            if rest := _arrived(content):
                with suppress(DiskError):  # the cancellation is raised instead
                    await run_to_completion(disk(next(writes), rest))
            raise

    async def _keep_refused(
        self, part: PartFile, disk: _Worker, sending: SendState, facts: ReplyFacts | None
    ) -> tuple[ReplyFacts | None, Reply | None]:
        """Write what aiohttp refuses of a reply to the part: the rest of a body, or all of it.

        All of it only if it may be the file. Return what its head says, and the reply itself if its
        length proves it whole.
        """
        if sending.raw is None:
            return facts, None
        if facts is not None:
            if rest := bytes(sending.raw.rest):
                with suppress(DiskError):  # in `part.failure`
                    await run_to_completion(disk(part.write, rest))
            return facts, None
        came = sending.raw.read()
        is_file = came.status == NO_STATUS or is_success(came)
        if not (came.body and (is_file or self.codec.judge_file(self.token, came).is_kept)):
            return None, None
        facts = ReplyFacts.of(came.status, came.headers)
        with suppress(DiskError):  # in `part.failure`
            await run_to_completion(disk(part.write_first, facts, came.body))
        is_whole = facts.framing == "length" and facts.proves(part.size)
        return facts, came._replace(body=b"") if is_whole else None

    async def _settle(
        self, part: PartFile, disk: _Worker, facts: ReplyFacts, reply: Reply
    ) -> ContactFile:
        """Judge what is on the disk, and finish it where it is the contact file."""
        try:
            verdict, file = await disk(self._finish_if_good, part, facts, reply)
            if file is None and verdict.is_empty_list and await self._has_no_numbers():
                file = await disk(part.finish, facts.proves(part.size), facts.encoding)
            if file is None:
                assert verdict.error is not None  # noqa: S101 - for the type checker
                await disk(part.refuse, verdict.is_kept)
                if verdict.is_kept:
                    verdict.error.add_note(f"What came is kept in {part.path}.")
                raise verdict.error
        except DiskError as error:
            part.failure = error
            raise _interrupted(part, facts, None) from error
        return file

    def _finish_if_good(
        self, part: PartFile, facts: ReplyFacts, reply: Reply
    ) -> tuple[Verdict, ContactFile | None]:
        """Judge a part, and finish it if it is certainly the file. Runs in the part's thread."""
        body = part.beginning(facts.encoding)
        verdict = self.codec.judge_file(self.token, reply._replace(body=body))
        if verdict.error is not None:
            return verdict, None
        return verdict, part.finish(facts.proves(part.size), facts.encoding)

    async def _has_no_numbers(self) -> bool:
        if self._numbers is None:
            with suppress(SMSPartnerError):
                self._numbers = (await self.ask_status(self.token)).phone_numbers
        return self._numbers == 0

    def _report_leftovers(self, part: PartFile, error: SMSPartnerError) -> None:
        """Report what earlier downloads left: once in the log, and as a note of each error."""
        for leftover in part.leftovers:
            if leftover.token in {None, self.token} and os.path.lexists(leftover.path):
                note = leftover.described()
                error.add_note(note)
                if leftover.path not in self._reported:
                    log.warning("%s", note, extra=log_fields("download", self.token))
                    self._reported.add(leftover.path)

    async def _report(self, received: int, expected: int | None) -> None:
        if self.on_progress is None:
            return
        # Not raised: the file may be served only once.
        succeeded = await call_or_log(
            self.on_progress,
            received,
            expected,
            failed="on_progress failed; it is not called again during this download",
            extra=log_fields("download", self.token),
        )
        if not succeeded:
            self.on_progress = None


class _Worker(ThreadPoolExecutor):
    """One thread, so calls keep their order: `await worker(call, ...)`. None is ever cancelled."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="smspartner-download")

    def __call__(self, call: Callable[..., _T], *args: Any) -> asyncio.Future[_T]:
        loop = asyncio.get_running_loop()
        return asyncio.shield(loop.run_in_executor(self, partial(call, *args)))

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=False)


def _excess(sending: SendState, facts: ReplyFacts) -> bytes:
    """Return the bytes behind the announced end of a body, which prove the length wrong."""
    if sending.raw is None or facts.length is None:
        return b""
    return sending.raw.excess(facts.length)


async def _next_piece(content: aiohttp.StreamReader) -> bytes:
    """Return the next piece of a body, and `b""` at its end."""
    try:
        return await content.readany()
    except TRANSPORT_ERRORS:
        if rest := _arrived(content):  # the failure is raised at the next call
            return rest
        raise


def _arrived(content: aiohttp.StreamReader) -> bytes:
    """Return what came while the last piece was being written to the disk."""
    # An empty body has no buffer; and once the connection is broken, there is no public way.
    return b"" if content.at_eof() else content._read_nowait(-1)  # noqa: SLF001


def _where_the_rest_is(part: PartFile) -> str:
    return (
        f"The first {part.size} bytes are in {part.path}, and the {part.rest_size} that came after "
        f"them in {part.rest}: append those to it."
    )


def _interrupted(
    part: PartFile, facts: ReplyFacts | None, failure: SMSPartnerError | None
) -> DownloadInterruptedError:
    words = str(failure) if part.failure is None else f"{part.failure}."
    if part.rest is not None:
        words = f"{words} {_where_the_rest_is(part)}"
    if part.lost:
        came = "What came afterwards" if part.size else "What came"
        words = f"{words} {came} could not be kept anywhere ({part.lost})."
    return DownloadInterruptedError(
        words,
        path=part.path,
        received=part.received,
        expected=None if facts is None else facts.length,
    )
