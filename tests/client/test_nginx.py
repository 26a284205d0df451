"""The client against a real web server: TLS, a rate limit, and connections that nginx ends."""

import asyncio
import random
import shutil
import ssl
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from relay import Authority, port_of, unused_port

from smspartner_async import (
    PollingPolicy,
    RentalState,
    RetryPolicy,
    SMSPartnerClient,
    Targeting,
    TransportError,
)
from smspartner_async.sandbox import Sandbox

# Debian puts it where only root looks.
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
pytestmark = [
    pytest.mark.skipif(
        NGINX is None, reason="nginx is not installed (Debian: apt-get install nginx-light)"
    ),
    pytest.mark.smspartner_sandbox(speed=50, balance=Decimal(10**6)),
]

TARGETING = Targeting(gender="mixed", min_age=25, max_age=35, interest=14, zipcodes="60200")
IDLE = 0.02  # seconds after which nginx closes an idle connection of the impatient server

# One process, which stays where it was started: it can be ended by its id, by root and others.
CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    ssl_certificate {folder}/chain.pem;
    ssl_certificate_key {folder}/key.pem;
    gzip on;
    gzip_proxied any;
    gzip_types *;
    gzip_min_length 1;
    limit_req_zone $server_port zone=some:64k rate=50r/s;
    limit_req_status 429;
    server {{
        listen 127.0.0.1:{plain} ssl;
        location / {{ proxy_pass http://127.0.0.1:{sandbox}; }}
    }}
    server {{
        listen 127.0.0.1:{limited} ssl;
        limit_req zone=some burst=5 nodelay;
        location / {{ proxy_pass http://127.0.0.1:{sandbox}; }}
    }}
    server {{
        listen 127.0.0.1:{polite} ssl;
        limit_req zone=some burst=5 nodelay;
        error_page 429 @wait;
        location / {{ proxy_pass http://127.0.0.1:{sandbox}; }}
        location @wait {{ add_header Retry-After 1 always; return 429; }}
    }}
    server {{
        listen 127.0.0.1:{impatient} ssl;
        keepalive_requests 3;
        keepalive_timeout {idle}ms;
        location / {{ proxy_pass http://127.0.0.1:{sandbox}; }}
    }}
}}
"""


@frozen
class Nginx:
    """A running nginx in front of a sandbox, with a port for each of its tempers."""

    sandbox: Sandbox
    trust: ssl.SSLContext
    ports: dict[str, int]
    _log: Path

    @property
    def refusals(self) -> int:
        """How many requests were answered with 429."""
        return self._log.read_text().count("limiting requests")

    def client(self, server: str, *, host: str = "127.0.0.1", **options: Any) -> SMSPartnerClient:
        return SMSPartnerClient(
            self.sandbox.api_key,
            base_url=f"https://{host}:{self.ports[server]}/v1",
            **{"ssl": self.trust, "request_timeout": 5, **options},
        )


@pytest.fixture
async def nginx(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Nginx]:
    assert NGINX is not None
    authority = Authority()
    certificate = authority.certificate("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(tmp_path / "chain.pem", append=True)
    ports = {name: unused_port() for name in ("plain", "limited", "polite", "impatient")}
    sandbox_port = port_of(sandbox.base_url)
    (tmp_path / "nginx.conf").write_text(
        CONFIGURATION.format(folder=tmp_path, idle=int(IDLE * 1000), sandbox=sandbox_port, **ports)
    )
    process = await asyncio.create_subprocess_exec(
        *(NGINX, "-p", tmp_path, "-c", tmp_path / "nginx.conf", "-e", tmp_path / "error.log")
    )
    try:
        assert await _listens(process, ports["impatient"]), _text(tmp_path / "error.log")
        yield Nginx(sandbox, authority.client(), ports, tmp_path / "error.log")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _listens(process: asyncio.subprocess.Process, port: int) -> bool:
    async with asyncio.timeout(120):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return True
    return False


def _text(log: Path) -> str:
    return log.read_text() if log.exists() else "nginx did not start"


async def test_the_whole_path_works_through_tls(nginx: Nginx, tmp_path: Path) -> None:
    """Price, rent, wait and download behind a web server with TLS and compression end in a file."""
    async with nginx.client("plain", polling=PollingPolicy(first_interval=0.05)) as client:
        quote = await client.price(TARGETING)
        rental = await client.rent(TARGETING)
        status = await client.wait_until_ready(rental)
        file = await client.download(rental, tmp_path / "contacts.csv")
        after = await client.status(rental)
    assert quote.cost is not None
    assert nginx.sandbox.paid == quote.cost.total
    assert (status.state, after.state) == (RentalState.READY, RentalState.DOWNLOADED)
    assert (file.path, file.verified) == (tmp_path / "contacts.csv", True)


@pytest.mark.parametrize("attempts", [1, 4])
@pytest.mark.parametrize("operation", ["rent", "credits"])
async def test_an_untrusted_certificate_is_named_and_nothing_is_sent(
    nginx: Nginx, operation: str, attempts: int
) -> None:
    """A paid request: without TLS that can be trusted, no byte leaves, however often tried."""
    retry = RetryPolicy(attempts=attempts, first_delay=0.01)
    async with nginx.client("plain", ssl=None, retry=retry) as client:
        with pytest.raises(TransportError, match=r"TLS with 127\.0\.0\.1 failed: .*certificate"):
            await (client.rent(TARGETING) if operation == "rent" else client.credits())
    assert nginx.sandbox.requests.total() == 0


async def test_a_certificate_of_another_host_is_refused(nginx: Nginx) -> None:
    """A paid request: a trusted certificate for another name is none, and nothing is sent."""
    async with nginx.client("plain", host="localhost", retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(TransportError, match=r"TLS with localhost failed: .*mismatch"):
            await client.rent(TARGETING)
    assert nginx.sandbox.requests.total() == 0


async def test_a_rate_limit_is_lived_with(nginx: Nginx) -> None:
    """A shared budget: a crowd of calls that meets 429s gets through, and each rent rents once."""
    crowd = 25
    retry = RetryPolicy(attempts=50, first_delay=0.05, max_delay=0.4)
    async with nginx.client("limited", retry=retry) as client:
        rentals = await asyncio.gather(*(client.rent(TARGETING) for _ in range(crowd)))
        statuses = await asyncio.gather(*map(client.status, rentals))
    assert len({rental.token for rental in rentals}) == crowd == len(nginx.sandbox.rentals)
    assert nginx.sandbox.requests == {"rent": crowd, "status": crowd}
    assert [status.token for status in statuses] == [rental.token for rental in rentals]
    assert nginx.refusals


async def test_waits_live_with_a_rate_limit(nginx: Nginx) -> None:
    """A poll: many waits that meet 429s all end with a file that is ready."""
    polling = PollingPolicy(first_interval=0.1, max_interval=0.5, timeout=8)
    retry = RetryPolicy(attempts=50, first_delay=0.05, max_delay=0.4)
    async with nginx.client("limited", polling=polling, retry=retry) as client:
        rentals = await asyncio.gather(*(client.rent(TARGETING) for _ in range(10)))
        statuses = await asyncio.gather(*map(client.wait_until_ready, rentals))
    assert {status.state for status in statuses} == {RentalState.READY}
    assert nginx.refusals


async def test_a_wait_that_a_rate_limit_asks_for_is_waited(nginx: Nginx) -> None:
    """A shared budget: a 429 with Retry-After pauses all calls, and then all get through."""
    async with nginx.client("polite") as client:
        rentals = await asyncio.gather(*(client.rent(TARGETING) for _ in range(12)))
    assert len({rental.token for rental in rentals}) == 12 == len(nginx.sandbox.rentals)
    assert nginx.refusals


async def test_the_end_of_idle_connections_costs_no_rent(nginx: Nginx) -> None:
    """A paid request: rents around the idle timeout, and behind the last request of a pool."""
    moments = random.Random(1)
    rounds = 30

    async def keep_asking(client: SMSPartnerClient) -> list[str]:
        tokens = []
        for _ in range(rounds):
            await client.credits()
            await asyncio.sleep(IDLE * moments.uniform(0.9, 1.1))
            tokens.append((await client.rent(TARGETING)).token)
        return tokens

    async with nginx.client("impatient", retry=RetryPolicy(first_delay=0.01)) as client:
        tokens = await asyncio.gather(*(keep_asking(client) for _ in range(4)))
    assert len({*chain(*tokens)}) == 4 * rounds == len(nginx.sandbox.rentals)
    assert nginx.sandbox.requests["rent"] == 4 * rounds
