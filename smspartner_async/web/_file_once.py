"""One download a rental, however often its file is asked for."""

from __future__ import annotations

import asyncio
import os
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Self

from attrs import define, field
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from smspartner_async._completion import anyio_shield
from smspartner_async._errors import ConfigurationError
from smspartner_async._log import log, short_token
from smspartner_async._validation import check_methods, checked_path, checked_token

if TYPE_CHECKING:
    from pathlib import Path

    from smspartner_async._client import SMSPartnerClient
    from smspartner_async._validation import HasToken

_CHECK_INTERVAL: Final = 1.0  # seconds, while another process of the service downloads the file
_CHECKS: Final = 600


def _folder(path: str | os.PathLike[str]) -> Path:
    return checked_path("folder", path).absolute()


@define(eq=False)
class FileOnce:
    """Downloads each rental's file once into a folder, and returns it from there afterwards.

    The vendor may serve a file only once. So a download belongs to the service and not to the
    request that starts it: it does not end when its caller is cancelled, other callers get the same
    file, and after a restart it is found in the folder. Use it as
    `async with FileOnce(client, "files") as files:` inside of the client's block: its end waits for
    the downloads in flight.

    The numbers are personal data: folder and files can be read by their owner only, and your
    service must delete them in time. Several processes on one machine may share a folder.

    >>> async with SMSPartnerClient() as client, FileOnce(client, "files") as files:
    ...     path = await files(token)

    Args:
        client: the service's one client.
        folder: where the files go. It is made where it is missing.

    Raises:
        TypeError: an argument of another type.
    """

    # Checkers other than mypy do not know that attrs takes the underscores away.
    _client: SMSPartnerClient = field(alias="client")
    _folder: Path = field(alias="folder", converter=_folder)
    _downloads: dict[Path, asyncio.Task[Path]] = field(factory=dict, init=False)
    _closed: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        check_methods("client", self._client, "SMSPartnerClient", "download")

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._folder.mkdir, 0o700, parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        with anyio_shield():  # a cancelled scope of anyio's would cancel the downloads, too
            await self.close()

    async def close(self) -> None:
        """Refuse new downloads, and wait for those in flight.

        For services that close their client before this block ends: `client.close()` would
        interrupt them.

        >>> files = FileOnce(client, "files")
        >>> await files.close()
        """
        self._closed = True
        await asyncio.gather(*self._downloads.values(), return_exceptions=True)

    async def __call__(self, token: str | HasToken) -> Path:
        """Return the path of a rental's file, downloading it where it is not yet there.

        The file's name is the SHA-256 of the token, since a token may hold what no file name can.

        Raises:
            ValueError: a blank token. Nothing was sent.
            ConfigurationError: the file is not there, and `close` was called. Nothing was sent.
            OSError: another process has been downloading the file for ten minutes; or the disk
                failed.
            SMSPartnerError: as `client.download`. The next call tries again.
        """
        known = checked_token(token)
        path = self._folder / f"{sha256(known.encode()).hexdigest()}.csv"
        if await asyncio.to_thread(os.path.lexists, path):
            return path
        download = self._downloads.get(path)
        if download is None or download.done():
            if self._closed:
                raise ConfigurationError(
                    "The service is stopping, and starts no download. Try again later."
                )
            download = self._downloads[path] = asyncio.create_task(self._download(known, path))
            download.add_done_callback(partial(self._forget, path))
        return await asyncio.shield(download)

    async def _download(self, token: str, path: Path) -> Path:
        async def attempt() -> Path:
            try:
                return (await self._client.download(token, path)).path
            except FileExistsError:  # of another process, which may still download it
                if await asyncio.to_thread(os.path.lexists, path):
                    return path
                raise

        until_other_process_ends = AsyncRetrying(
            retry=retry_if_exception_type(FileExistsError),
            wait=wait_fixed(_CHECK_INTERVAL),
            stop=stop_after_attempt(1 + _CHECKS),
            reraise=True,
        )
        try:
            return await until_other_process_ends(attempt)
        except Exception as error:
            # The caller may be gone, and the error says where the received bytes are.
            log.warning("the file of rental %s was not downloaded: %s", short_token(token), error)
            raise

    def _forget(self, path: Path, download: asyncio.Task[Path]) -> None:
        if self._downloads.get(path) is download:
            del self._downloads[path]
