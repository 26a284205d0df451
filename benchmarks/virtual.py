"""The real client in virtual time, against the status endpoint on the same loop.

Requests go over real sockets and take no virtual time, so lateness is all the schedule's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import looptime

from smspartner_async import PollingPolicy, SMSPartnerClient

from .peers import KEY
from .schedules import Outcome
from .server import Rentals, StatusProtocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .schedules import Job

_QUIET_ROUNDS: Final = 12
"""Turns of the loop without any I/O after which time moves on."""


def play_client(
    jobs: Sequence[Job], *, policy: PollingPolicy, per_minute: float | None = None
) -> Outcome:
    """Wait for all rentals with one client."""

    def new_loop() -> asyncio.AbstractEventLoop:
        return looptime.new_event_loop(start=0, noop_cycles=_QUIET_ROUNDS)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_play(jobs, policy, per_minute))


async def _play(jobs: Sequence[Job], policy: PollingPolicy, per_minute: float | None) -> Outcome:
    loop = asyncio.get_running_loop()
    rentals = Rentals(clock=loop.time)
    server = await loop.create_server(lambda: StatusProtocol(rentals), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with SMSPartnerClient(
        KEY,
        base_url=f"http://127.0.0.1:{port}/v1",
        polling=policy,
        max_requests_per_minute=per_minute,
    ) as client:
        began = loop.time()

        async def lateness(number: int, job: Job) -> float:
            await asyncio.sleep(job.start)
            await client.wait_until_ready(f"at-{began + job.ready:.6f}-{number}", timeout=None)
            return loop.time() - began - job.ready

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(lateness(number, job)) for number, job in enumerate(jobs)]
    server.close()
    return Outcome(rentals.requests, [task.result() for task in tasks])
