"""The measurements of `instructions`, each in a fork of one process that cachegrind counts.

Imports take nearly all the time under cachegrind, so they are made once, before the forks.

Run as `python -m benchmarks.instructions_process <base URL> <requests> <what>...`; writes a line
for each fork: its process id, how many requests it made, and what of.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from smspartner_async import Gender, PollingPolicy, SMSPartnerClient, Targeting

from .peers import KEY
from .server import DOWNLOAD_PATH, OPTIN_PATH, STATUS_PATH

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_PAUSE: Final = 0.001
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30)
_WARM_UP: Final = 15
_REPEATS: Final = 3
_TARGETING: Final = Targeting(
    gender=Gender.FEMALE, min_age=31, max_age=49, interest=12, zipcodes="60200"
)
_PARAMETERS: Final = {
    "sexe": "f",
    "minAge": 31,
    "maxAge": 49,
    "interest": 12,
    "zipcode": "60200",
}


class _Bare:
    """What one would write oneself over aiohttp: JSON, a timeout, and nothing else."""

    def __init__(self, base: str, folder: Path) -> None:
        self._base, self._folder = base, folder
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT)

    async def status(self, token: str) -> Any:
        params = {"apiKey": KEY, "token": token}
        async with self._session.get(self._base + STATUS_PATH, params=params) as reply:
            return json.loads(await reply.read())

    async def poll(self, count: int) -> None:
        for _ in range(count - 1):
            await self.status("1")
            await asyncio.sleep(_PAUSE)
        await self.status("1")

    async def price(self, _: str) -> Any:
        return await self._post(self._session, "price")

    async def rent(self, _: str) -> Any:
        """Over a new connection, as the client does it."""
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            return await self._post(session, "rent")

    async def download(self, token: str) -> None:
        params = {"apiKey": KEY, "token": token}
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.get(self._base + DOWNLOAD_PATH, params=params) as reply,
        ):
            with (self._folder / token).open("xb") as file:
                async for chunk in reply.content.iter_any():
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())

    async def _post(self, session: aiohttp.ClientSession, operation: str) -> Any:
        body = {"apiKey": KEY, "op": operation, "parameters": _PARAMETERS}
        async with session.post(self._base + OPTIN_PATH, json=body) as reply:
            return json.loads(await reply.read())


class _Client:
    """This client."""

    def __init__(self, base: str, folder: Path) -> None:
        policy = PollingPolicy(first_interval=_PAUSE, max_interval=_PAUSE, jitter=0)
        self._client = SMSPartnerClient(KEY, base_url=f"{base}/v1", polling=policy)
        self._folder = folder
        self.status = self._client.status

    async def poll(self, count: int) -> None:
        await self._client.wait_until_ready(f"polls-{count - 1}-{count}")

    async def price(self, _: str) -> Any:
        return (await self._client.price(_TARGETING)).cost

    async def rent(self, _: str) -> Any:
        return await self._client.rent(_TARGETING)

    async def download(self, token: str) -> Any:
        return await self._client.download(token, self._folder / token)


async def _one_after_another(call: Callable[[str], Awaitable[object]], count: int) -> None:
    for number in range(count):
        await call(f"{count}-{number}")


async def _run(what: str, base: str, count: int) -> None:
    who, _, operation = what.partition(" ")
    with tempfile.TemporaryDirectory() as folder:
        contender = (_Bare if who == "bare" else _Client)(base, Path(folder))
        call = getattr(contender, operation)
        for number in (_WARM_UP, count):
            # The garbage collector comes when it wants: not in the middle of a count.
            gc.collect()
            gc.disable()
            await (call(number) if operation == "poll" else _one_after_another(call, number))


def _main(base: str, requests: int, whats: list[str]) -> None:
    for what in whats:
        for count in (requests, 2 * requests) * _REPEATS:
            process = os.fork()
            if process == 0:
                try:
                    asyncio.run(_run(what, base, count))
                except BaseException:  # noqa: BLE001 - a fork must not continue the loop
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)  # without the end of the interpreter
            if os.waitpid(process, 0)[1]:
                sys.exit(f"{what} failed")
            sys.stdout.write(f"{process} {count} {what}\n")


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
