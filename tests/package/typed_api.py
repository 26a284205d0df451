"""What a type checker makes of the public API. Checked by mypy and pyright, and never run.

A line that is wrong on purpose says so with an ignore for mypy, which reports one that is not
needed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

from smspartner_async import (
    APIError,
    AreaVolume,
    ContactFile,
    Cost,
    Credits,
    Exchange,
    Gender,
    PollEvent,
    PollingPolicy,
    Quote,
    Rental,
    RentalState,
    RentalStatus,
    RentOutcomeUnknownError,
    RetryPolicy,
    SMSPartnerClient,
    SMSPartnerError,
    SocioProfessionalCategory,
    Targeting,
    TargetingError,
    WaitTimeoutError,
)
from smspartner_async.batch import JobEvent, JobOutcome, RentalJob, read_jobs, run_batch
from smspartner_async.otel import traced
from smspartner_async.sandbox import Sandbox
from smspartner_async.web import RentOnce

if TYPE_CHECKING:
    import aiohttp


def clients(session: aiohttp.ClientSession) -> None:
    """The client is made with what it is documented to take."""
    SMSPartnerClient()
    SMSPartnerClient("key", base_url="https://example.org", session=session, proxy=None, ssl=None)
    SMSPartnerClient(request_timeout=10, retry=RetryPolicy(attempts=1))
    SMSPartnerClient(polling=PollingPolicy(timeout=None), max_requests_per_minute=300)
    SMSPartnerClient("key", "https://example.org")  # type: ignore[call-arg]
    SMSPartnerClient(request_timeout="10")  # type: ignore[arg-type]


def copies(client: SMSPartnerClient) -> None:
    """A client from the environment, a copy and a traced one are clients like any other."""

    def callback(exchange: Exchange) -> int | None:
        return exchange.http_status

    assert_type(SMSPartnerClient.from_env(on_exchange=callback), SMSPartnerClient)
    assert_type(client.with_options(request_timeout=5, on_exchange=callback), SMSPartnerClient)
    assert_type(client.with_options(polling=PollingPolicy()), SMSPartnerClient)
    assert_type(traced(client), SMSPartnerClient)
    client.with_options(max_connections=5)  # type: ignore[call-arg]
    client.with_options(on_exchange=len)  # type: ignore[arg-type]


def targetings() -> None:
    """Members or their values, and areas in any documented form."""
    made = Targeting(gender=Gender.MIXED, min_age=25, max_age=35, interest=14)
    Targeting(gender="female", min_age=25, max_age=35, sub_interest=35, category="csp+")
    Targeting(gender="male", min_age=25, max_age=35, interest=1, zipcodes="60200,06200")
    Targeting(gender="male", min_age=25, max_age=35, interest=1, departments={"2A", "02"})
    Targeting(gender="mixed", min_age=25, max_age=35, interest=1, zipcodes=["60200"], category=None)
    Targeting(
        gender=Gender.MALE,
        min_age=25,
        max_age=35,
        sub_interest=35,
        category=SocioProfessionalCategory.CSP_MINUS,
        zipcodes=(code for code in ("60200", "06200")),
    )
    assert_type(made.gender, Gender)
    assert_type(made.category, SocioProfessionalCategory | None)
    assert_type(made.zipcodes, tuple[str, ...])
    made.interest = 12  # type: ignore[misc]


async def operations(client: SMSPartnerClient, targeting: Targeting) -> None:
    """Each operation gives its model."""
    async with client as entered:
        assert_type(entered, SMSPartnerClient)
    quote = await client.calculate(targeting)
    assert_type(quote, Quote)
    assert_type(quote.areas, tuple[AreaVolume, ...])
    assert_type(quote.cost, Cost | None)
    assert_type(await client.price(targeting, {"06200": 20}), Quote)
    rental = await client.rent(targeting, {"06200": 20}, max_total=Decimal(2), on_rented=print)
    assert_type(rental, Rental)
    assert_type(rental.token, str)
    assert_type(await client.status(rental), RentalStatus)
    assert_type(await client.wait_until_ready(rental.token, timeout=None), RentalStatus)
    assert_type(client.watch(rental, timeout=5), AsyncGenerator[RentalStatus, None])
    assert_type(client.notify("token"), bool)
    assert_type(await client.download(rental, "contacts.csv", overwrite=True), ContactFile)
    assert_type((await client.credits()).balance, Decimal)
    assert_type(await client.credits(), Credits)
    await client.rent(targeting, max_total=2)
    await client.rent(targeting, max_total=1.5)  # type: ignore[arg-type]
    await client.status(12)  # type: ignore[arg-type]


async def callbacks(client: SMSPartnerClient, targeting: Targeting) -> None:
    """A callback may be plain or async, and may return anything."""

    async def callback(event: PollEvent) -> None:
        assert_type(event.status, RentalStatus | None)
        assert_type(event.error, SMSPartnerError | None)
        assert_type(event.next_delay, float | None)

    async def rented(rental: Rental) -> int:
        return len(rental.token)

    def progress(received: int, expected: int | None) -> None: ...

    def wrong(token: str) -> None: ...

    await client.wait_until_ready("token", on_poll=callback)
    await client.wait_until_ready("token", on_poll=lambda event: event.attempt)
    await client.rent(targeting, on_rented=rented)
    await client.download("token", Path("contacts.csv"), on_progress=progress)
    await client.rent(targeting, on_rented=wrong)  # type: ignore[arg-type]


def errors(error: SMSPartnerError) -> None:
    """An error has what its class documents."""
    if isinstance(error, APIError):
        assert_type(error.code, int | None)
        assert_type(error.http_status, int)
        assert_type(error.retry_after, float | None)
    if isinstance(error, TargetingError):
        assert_type(error.problems, tuple[tuple[str, str], ...])
    if isinstance(error, RentOutcomeUnknownError):
        assert_type(error.cause, SMSPartnerError)
    if isinstance(error, WaitTimeoutError):
        assert_type(error.last_status, RentalStatus | None)
    assert_type(RentalState.READY.is_terminal, bool)


async def batches(client: SMSPartnerClient) -> None:
    """A batch takes jobs and gives outcomes."""

    async def on_event(event: JobEvent) -> None:
        assert_type(event.rental, Rental | None)

    jobs = read_jobs("jobs.csv", "out")
    assert_type(jobs, tuple[RentalJob, ...])
    outcomes = run_batch(client, jobs, concurrency=5, on_event=on_event)
    assert_type(outcomes, AsyncGenerator[JobOutcome, None])


async def limits(client: SMSPartnerClient, targeting: Targeting, path: Path) -> None:
    """What a rent may cost is exact: a `Decimal`, or a whole number."""
    for limit in (Decimal("1.50"), 2):
        RentOnce(client=client, max_total=limit, on_rented=print)
        job = RentalJob(id="a", targeting=targeting, max_total=limit, path=path)
        assert_type(job.max_total, Decimal | None)
    RentOnce(client, max_total=1.5)  # type: ignore[arg-type]


async def sandboxes() -> None:
    """A sandbox says what a client needs, and what was paid."""
    async with Sandbox(speed=50) as sandbox:
        SMSPartnerClient(sandbox.api_key, base_url=sandbox.base_url)
        assert_type(sandbox.paid, Decimal)
