"""What the tests of a paid request share: a targeting, a receipt, a client, and loop turns."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Protocol

from smspartner_async import RetryPolicy, SMSPartnerClient, Targeting

if TYPE_CHECKING:
    from fault_server import FaultServer, Received

KEY = "rent-test-key"
TARGETING = Targeting(gender="mixed", min_age=25, max_age=35, interest=12)


class Served(Protocol):
    """A server with an address for a client."""

    @property
    def base_url(self) -> str: ...


def receipt(token: str = "tok-1") -> bytes:  # noqa: S107 - made up
    """The body of a good reply to rent, which reads as a good status too."""
    cost = {"quantity": 20, "total": "1.80", "cost_unity": 0.09}
    return json.dumps({"success": True, "token": token, "status": 2, "cost": cost}).encode()


def client_of(server: Served, **options: Any) -> SMSPartnerClient:
    """A client that tries again without a pause, unless the test says otherwise."""
    options = {"base_url": server.base_url, "retry": RetryPolicy(first_delay=0), **options}
    return SMSPartnerClient(KEY, **options)


def interest_of(received: Received) -> int:
    """The interest that was rented: a test that makes it unique counts by it."""
    return int(json.loads(received.body)["parameters"]["interest"])


def now() -> float:
    """The loop's time, in seconds."""
    return asyncio.get_running_loop().time()


async def turns(count: int) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def arrival(server: FaultServer) -> None:
    """Wait until a request has arrived."""
    end = time.monotonic() + 120  # of the machine's clock: the loop's may be virtual
    while not server.received:
        assert time.monotonic() < end, "no request has arrived"
        await asyncio.sleep(0)
