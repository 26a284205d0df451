"""The processes of the durability proofs: a vendor that counts, and workers that are killed.

    python -m benchmarks.durable_processes vendor <options as JSON>
    python -m benchmarks.durable_processes worker <options as JSON>

The vendor prints its URL, and answers each line on its standard input with all that it knows, as
one line of JSON. It ends when its standard input closes. A worker ends when no job is open; on
SIGTERM it drains.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import signal
import sys
import time
from decimal import Decimal
from typing import Any, Final

from aiohttp import web

from smspartner_async import PollingPolicy, RetryPolicy, SMSPartnerClient
from smspartner_async.durable import Store
from smspartner_async.sandbox import Sandbox
from smspartner_async.sandbox._replies import contact_file

KEY: Final = "durability-proof-key"


class Vendor(Sandbox):
    """The sandbox, with a rent that takes its time on both sides of the payment."""

    def __init__(self, *, delay: float, **options: Any) -> None:
        super().__init__(api_key=KEY, balance=Decimal(10**9), **options)
        self.delay = delay
        self.times: list[float] = []

    def report(self) -> dict[str, Any]:
        """Tell all rentals, and when requests came."""
        rentals = [
            {
                "token": rental.token,
                "job": int(rental.order.parameters["interest"]),
                "sha256": hashlib.sha256(_file(rental)).hexdigest(),
            }
            for rental in self._account._rentals.values()  # noqa: SLF001 - the books themselves
        ]
        return {"rentals": rentals, "times": self.times}

    def _application(self) -> web.Application:
        application = super()._application()
        application.middlewares.append(self._count)
        return application

    @web.middleware
    async def _count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.times.append(time.monotonic())
        reply: web.StreamResponse = await handler(request)
        return reply

    async def _optin(self, request: web.Request) -> web.Response:
        if not self.delay or b'"rent"' not in await request.read():
            return await super()._optin(request)
        await asyncio.sleep(random.uniform(0, self.delay))  # noqa: S311 - no secret
        reply = await super()._optin(request)
        await asyncio.sleep(random.uniform(0, self.delay))  # noqa: S311 - no secret
        return reply


def _file(rental: Any) -> bytes:
    return contact_file(rental.first_number, rental.order.contacts)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _vendor(options: dict[str, Any]) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with Vendor(**options) as vendor:
        _say(vendor.base_url)
        while await reader.readline():
            _say(json.dumps(vendor.report()))


async def _worker(options: dict[str, Any]) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with (
        SMSPartnerClient(
            KEY,
            base_url=options["vendor"],
            polling=PollingPolicy(first_interval=0.1, max_interval=0.5),
            retry=RetryPolicy(attempts=2, first_delay=0.05),
        ) as client,
        Store(options["store"]) as store,
        store.worker(client, journal=options["journal"], **options["worker"]),
    ):
        _say("at work")

        async def watch() -> None:
            while not await store.records():  # noqa: ASYNC110 - nothing to do yet
                await asyncio.sleep(0.1)
            async for _ in store.watch(interval=0.3):
                pass

        tasks = {asyncio.create_task(watch()), asyncio.create_task(stopped.wait())}
        _, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in others:
            task.cancel()


if __name__ == "__main__":
    _program = {"vendor": _vendor, "worker": _worker}[sys.argv[1]]
    asyncio.run(_program(json.loads(sys.argv[2])))
