"""A one-shot file to disk: what arrives is in the `.part` file before anyone looks at it.

The vendor may serve a file only once (undocumented), so it is asked for again only where no byte of
a reply can have come.
"""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import define

from ._checks import cancel_requests
from ._errors import (
    DownloadInterruptedError,
    RateLimitError,
    ResponseError,
    SMSPartnerError,
    TransportError,
)
from ._log import fields, log
from ._models import ContactFile
from ._partfile import DiskError, PartFile
from ._reply import Reply
from ._transport import FAILURES, Sending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    import aiohttp

    from ._transport import Head, Transport
    from ._wire import Request

_T = TypeVar("_T")

# An error of the vendor's is a hundred bytes; only the beginning of a file is looked at.
_BEGINNING: Final = 2**16


def may_ask_again(error: BaseException) -> bool:
    """Whether nothing can have been served: no byte of a reply came, or it was a 429."""
    return isinstance(error, RateLimitError) or (
        isinstance(error, TransportError) and not error.reply_began
    )


@define(eq=False, repr=False)
class Download:
    """One file of one rental, on its way to one path."""

    transport: Transport
    request: Request
    refusal: Callable[[Reply], SMSPartnerError | None]
    path: Path
    overwrite: bool
    on_progress: Callable[[int, int | None], Awaitable[object] | object] | None

    def __attrs_post_init__(self) -> None:
        self.path = self.path.absolute()  # the working directory may change meanwhile

    async def attempt(self, head: Head | None = None) -> ContactFile:
        """Ask once, and write down whatever comes.

        Raises:
            FileExistsError: the file exists and may not be replaced. Nothing was sent.
            OSError: the folder is missing or cannot be written to. Nothing was sent.
            SMSPartnerError: the vendor's error, or what broke the transfer.
        """
        part = PartFile(self.path, self.overwrite)
        # One thread for one file: its calls keep their order, also when a caller is cancelled in
        # the middle of one.
        with _Worker() as disk:
            try:
                try:
                    await disk(part.open)
                    return await self._fetch(part, disk, head)
                except BaseException:
                    await _to_its_end(disk(part.keep))
                    raise
            except asyncio.CancelledError as error:
                if part.size:
                    error.add_note(f"What arrived of the file is kept in {part.path}.")
                raise

    async def _fetch(self, part: PartFile, disk: _Worker, head: Head | None) -> ContactFile:
        sending = Sending()
        expected: int | None = None
        failure: SMSPartnerError | None = None
        reply: Reply | None = None
        loop = asyncio.get_running_loop()
        patience = self.transport.request_timeout
        try:
            async with (
                asyncio.timeout(patience) as stall,
                self.transport.alone(self.request, sending) as response,
            ):
                expected = _announced(response)
                if head is not None:
                    head.take(response)
                try:
                    while chunk := await _next_piece(response.content):
                        stall.reschedule(None)  # the server is not to blame for a slow disk
                        await disk(part.write, chunk)
                        await self._tell(part.size, expected)
                        stall.reschedule(loop.time() + patience)
                except asyncio.CancelledError:
                    if rest := _arrived(response.content):
                        with suppress(DiskError):  # cancelled it is all the same
                            await _to_its_end(disk(part.write, rest))
                    raise
                reply = Reply(response.status, response.headers, b"")
        except DiskError as error:
            failure = _interrupted(part, f"{error}.", expected)
        except FAILURES as error:
            failure = self.transport.explain(error, sending)
            if part.size:
                failure = _interrupted(part, str(failure), expected)
        if reply is not None:  # even if closing the connection failed or took too long
            return await disk(self._settle, part, reply, expected)
        assert failure is not None  # noqa: S101 - told to the type checker
        raise failure  # not inside the handlers: aiohttp's error would hang on as context

    def _settle(self, part: PartFile, reply: Reply, expected: int | None) -> ContactFile:
        """Tell a file from an error, by what is already on disk. Called in the worker's thread."""
        try:
            refusal = self.refusal(reply._replace(body=part.beginning(_BEGINNING)))
            if isinstance(refusal, ResponseError):
                if part.size:
                    refusal.add_note(f"What came is kept in {part.path}.")
                raise refusal
            if refusal is not None:
                part.discard()
                raise refusal
            chunked = "chunked" in reply.headers.get("Transfer-Encoding", "").lower()
            verified = chunked or part.size == expected
            part.finish(verified=verified)
        except DiskError as error:
            raise _interrupted(part, f"{error}.", expected) from error
        return ContactFile(path=self.path, size=part.size, sha256=part.sha256, verified=verified)

    async def _tell(self, received: int, expected: int | None) -> None:
        if self.on_progress is None:
            return
        requests = cancel_requests()
        try:
            told = self.on_progress(received, expected)
            if inspect.isawaitable(told):
                await told
        except (Exception, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and cancel_requests() > requests:
                raise
            # A file that may be served only once is worth more than a progress bar.
            log.exception(
                "on_progress failed; the download goes on without it",
                extra=fields("download", self.request.token),
            )
            self.on_progress = None


class _Worker(ThreadPoolExecutor):
    """One thread: `await worker(call, ...)`. A call is made even if its caller is cancelled."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="smspartner-download")

    def __call__(self, call: Callable[..., _T], *args: Any) -> asyncio.Future[_T]:
        loop = asyncio.get_running_loop()
        return asyncio.shield(loop.run_in_executor(self, partial(call, *args)))

    def __exit__(self, *_: object) -> None:
        self.shutdown(wait=False)


async def _to_its_end(work: asyncio.Future[None]) -> None:
    """Wait until `work` has ended, however often cancelled; pass that on afterwards."""
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait((work,))
        except asyncio.CancelledError as error:
            cancelled = error
    work.result()
    if cancelled is not None:
        raise cancelled


async def _next_piece(content: aiohttp.StreamReader) -> bytes:
    """Wait for what comes next; nothing at the end."""
    try:
        return await content.readany()
    except FAILURES:
        if rest := _arrived(content):  # the failure is raised at the next call
            return rest
        raise


def _arrived(content: aiohttp.StreamReader) -> bytes:
    """Take what came while the last piece was being written down."""
    # aiohttp has no public way to it once the connection is broken.
    return content._read_nowait(-1)  # noqa: SLF001 - as said above


def _announced(response: aiohttp.ClientResponse) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _interrupted(part: PartFile, problem: str, expected: int | None) -> DownloadInterruptedError:
    return DownloadInterruptedError(problem, path=part.path, received=part.size, expected=expected)
