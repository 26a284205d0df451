"""What is logged: money at INFO, requests and checks at DEBUG, the unusual at WARNING."""

from __future__ import annotations

import ast
import asyncio
import io
import logging
import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import faults
import pytest
from fault_server import FaultServer
from paths import PACKAGE
from polls import GENERATING, KEY, READY, start
from renting import TARGETING, arrival, receipt

from smspartner_async import (
    ConfigurationError,
    PollingPolicy,
    RateLimitError,
    Rental,
    RentOutcomeUnknownError,
    ResponseError,
    RetryPolicy,
    SMSPartnerClient,
)
from smspartner_async._log import log, shown_by

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "0123456789abcdef"
QUICK = PollingPolicy(first_interval=0.01, max_interval=0.01, jitter=0)
BUILT_IN = {*vars(logging.makeLogRecord({})), "message", "asctime"}

Logged = list[tuple[str, str, dict[str, Any]]]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], Logged]:
    """Return level, text and extra fields of what this package has logged."""
    caplog.set_level(logging.DEBUG, "smspartner_async")

    def records() -> Logged:
        return [
            (
                one.levelname,
                one.getMessage(),
                {name: value for name, value in vars(one).items() if name not in BUILT_IN},
            )
            for one in caplog.records
            if one.name == "smspartner_async"
        ]

    return records


def client_of(server: FaultServer) -> SMSPartnerClient:
    retry = RetryPolicy(attempts=2, first_delay=0)
    return SMSPartnerClient(KEY, base_url=server.base_url, retry=retry, polling=QUICK)


async def test_a_rent_is_logged_at_info_with_its_whole_token(logged: Callable[[], Logged]) -> None:
    """A paid request: the token stands in the log in full, as text and as a field."""
    async with (
        FaultServer(default=faults.good(receipt(TOKEN))) as server,
        client_of(server) as client,
    ):
        await client.rent(TARGETING)
    info = [one for one in logged() if one[0] != "DEBUG"]
    fields = {"operation": "rent", "token": TOKEN, "total": Decimal("1.80")}
    assert info == [("INFO", f"rented: token {TOKEN}", fields)]


async def test_an_outcome_that_nobody_knows_is_an_error(logged: Callable[[], Logged]) -> None:
    """A rent that may have been charged is logged at ERROR, with the HTTP status it ended in."""
    async with FaultServer(default=faults.html(502)) as server, client_of(server) as client:
        with pytest.raises(RentOutcomeUnknownError):
            await client.rent(TARGETING)
    (error,) = [one for one in logged() if one[0] == "ERROR"]
    assert "may have been charged" in error[1]
    assert error[2] == {
        "operation": "rent",
        "token": None,
        "http_status": 502,
        "seen_token": None,
    }


async def test_requests_and_checks_are_logged_at_debug(logged: Callable[[], Logged]) -> None:
    """Each request and each check is a record at DEBUG, with the token cut short."""
    async with FaultServer(GENERATING, READY) as server, client_of(server) as client:
        await client.wait_until_ready(TOKEN)
    levels, texts, fields = zip(*logged(), strict=True)
    assert set(levels) == {"DEBUG"}
    assert not [text for text in texts if TOKEN in text]
    assert {one["token"] for one in fields} == {"01234567…"}
    assert {one["operation"] for one in fields} == {"status"}
    requests = [one for one in fields if "elapsed" in one]
    checks = [one for one in fields if "state" in one]
    assert [one["http_status"] for one in requests] == [200, 200]
    assert [(one["attempt"], one["state"]) for one in checks] == [(1, "GENERATING"), (2, "READY")]
    assert [one["delay"] for one in checks] == [pytest.approx(0.01, abs=0.005), None]


async def test_a_retry_is_a_warning(logged: Callable[[], Logged]) -> None:
    """A request that is sent again is logged at WARNING: what failed, and when it is sent."""
    async with FaultServer(faults.html(503), READY) as server, client_of(server) as client:
        await client.status(TOKEN)
    (warning,) = [one for one in logged() if one[0] == "WARNING"]
    assert warning[1].startswith("status of rental 01234567…: attempt 1 failed, the next one is in")
    assert "HTTP 503" in warning[1]
    assert warning[2] == {
        "operation": "status",
        "token": "01234567…",
        "attempt": 1,
        "delay": 0.0,
        "http_status": 503,
    }


async def test_a_check_that_failed_is_a_warning(logged: Callable[[], Logged]) -> None:
    """An error that does not end a wait is logged at WARNING."""
    async with FaultServer(faults.html(503), READY) as server, client_of(server) as client:
        await client.wait_until_ready(TOKEN)
    (warning,) = [one for one in logged() if one[0] == "WARNING"]
    assert warning[1].startswith("check 1 of rental 01234567…, the next one is in 0.0 s: ")
    assert not warning[1].endswith(" s"), "the error stands last: it is whole sentences"
    assert warning[2]["http_status"] == 503
    assert warning[2]["attempt"] == 1


async def test_only_the_beginning_of_trouble_is_a_warning(logged: Callable[[], Logged]) -> None:
    """Thousands of waits that meet the same trouble, or end with it, do not flood a log."""
    async with FaultServer(default=faults.busy(503)) as server, client_of(server) as client:
        with pytest.raises(ResponseError):
            await client.wait_until_ready(TOKEN)  # ten failures in a row
    checks = [level for level, text, _ in logged() if text.startswith("check")]
    assert checks == ["WARNING"] + ["DEBUG"] * 9


async def test_what_ends_a_wait_is_raised_and_no_warning(logged: Callable[[], Logged]) -> None:
    """A client that is closed leaves no warning for each of its waits."""
    async with FaultServer(GENERATING) as server:
        client = SMSPartnerClient(KEY, base_url=server.base_url)  # which asks once in two seconds
        heard = asyncio.Event()
        waiting = start(client.wait_until_ready(TOKEN, on_poll=lambda _: heard.set()))
        await heard.wait()
        await client.close()
        with pytest.raises(ConfigurationError):
            await waiting
    assert "WARNING" not in {level for level, _, _ in logged()}


async def test_a_pause_of_all_requests_is_a_warning(logged: Callable[[], Logged]) -> None:
    """A shared budget: a 429 that pauses the client is logged at WARNING, with its length."""
    async with FaultServer(default=faults.busy(429, "900")) as server, client_of(server) as client:
        with pytest.raises(RateLimitError):
            await client.credits()
    (warning,) = [one for one in logged() if one[0] == "WARNING"]
    assert "all requests of this client pause for 900.0 s" in warning[1]
    assert warning[2] == {"delay": 900.0, "http_status": 429}


async def test_the_fields_fit_a_structured_log(logged: Callable[[], Logged]) -> None:
    """Every field is a plain value, which a formatter for JSON can write."""
    async with (
        FaultServer(faults.html(503), faults.good(receipt(TOKEN)), default=READY) as server,
        client_of(server) as client,
    ):
        await client.status(TOKEN)
        await client.rent(TARGETING)
        await client.wait_until_ready(TOKEN)
    plain = (str, int, float, Decimal, type(None))
    assert {type(value) for _, _, fields in logged() for value in fields.values()} <= set(plain)


def _collide(monkeypatch: pytest.MonkeyPatch) -> None:
    make = logging.getLogRecordFactory()

    def record_of_a_service(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        record.operation = "checkout"  # a name that is among our extra fields
        return record

    monkeypatch.setattr(logging, "_logRecordFactory", record_of_a_service)


def _fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: logging.LogRecord) -> bool:
        raise RuntimeError("no room left")

    monkeypatch.setattr(logging.getLogger("smspartner_async"), "filters", [fail])


broken_logs = pytest.mark.parametrize(
    "break_the_log",
    [pytest.param(_collide, id="a record factory"), pytest.param(_fail, id="a filter")],
)


@broken_logs
async def test_a_log_that_fails_costs_no_token(
    break_the_log: Callable[[pytest.MonkeyPatch], None],
    logged: Callable[[], Logged],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A paid request: whatever the application's logging does, the token arrives twice."""
    rented: list[Rental] = []
    break_the_log(monkeypatch)
    async with FaultServer(default=faults.good(receipt())) as server, client_of(server) as client:
        assert (await client.rent(TARGETING, on_rented=rented.append)).token == "tok-1"
    assert [rental.token for rental in rented] == ["tok-1"]
    assert logged() == []
    assert "Traceback" in capsys.readouterr().err


@broken_logs
async def test_a_log_that_fails_hides_no_unknown_outcome(
    break_the_log: Callable[[pytest.MonkeyPatch], None],
    logged: Callable[[], Logged],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A paid request: that it may have been charged is reported, even if it cannot be logged."""
    break_the_log(monkeypatch)
    async with FaultServer(default=faults.html(502)) as server, client_of(server) as client:
        with pytest.raises(RentOutcomeUnknownError):
            await client.rent(TARGETING)
    assert logged() == []


@broken_logs
async def test_a_log_that_fails_abandons_no_rent(
    break_the_log: Callable[[pytest.MonkeyPatch], None],
    logged: Callable[[], Logged],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A paid request: a rent that is cancelled runs to its answer, which is kept."""
    rented: list[Rental] = []
    break_the_log(monkeypatch)
    async with (
        FaultServer(default=faults.stall_before_head(receipt(), 0.1)) as server,
        client_of(server) as client,
    ):
        rent = asyncio.create_task(client.rent(TARGETING, on_rented=rented.append))
        await arrival(server)
        rent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await rent
    assert [rental.token for rental in rented] == ["tok-1"]
    assert logged() == []


async def test_a_record_names_where_it_was_written(caplog: pytest.LogCaptureFixture) -> None:
    """Each line of the log names the function that wrote it, and not what it went through."""
    caplog.set_level(logging.DEBUG, "smspartner_async")
    async with FaultServer(default=faults.good(receipt())) as server, client_of(server) as client:
        await client.rent(TARGETING)
    written = {one.filename for one in caplog.records if one.name == "smspartner_async"}
    assert written == {"rent.py", "exchange.py"}


@pytest.mark.parametrize("stderr", [None, io.TextIOWrapper(io.BytesIO())], ids=["none", "closed"])
def test_a_log_that_fails_needs_no_stderr(
    stderr: io.TextIOWrapper | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service whose stderr is closed, or that has none, gets no exception from a log line."""
    if stderr is not None:
        stderr.close()
    _fail(monkeypatch)
    monkeypatch.setattr(sys, "stderr", stderr)
    log.warning("paid: %s", TOKEN)


def test_all_of_the_package_logs_through_the_logger_that_never_raises() -> None:
    """No module makes another logger: that one would raise what the application's log raises.

    Loggers that are only given a handler are excepted.
    """
    loggers = {
        f"{file.relative_to(PACKAGE).as_posix()}: {ast.unparse(node)}"
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger")
    }
    assert loggers <= {
        "_log.py: logging.getLogger(__package__)",
        "cli/_app.py: logging.getLogger('smspartner_async')",
        "cli/_batch/run.py: logging.getLogger('smspartner_async')",
        "cli/_worker.py: logging.getLogger('smspartner_async')",
        "durable/_worker.py: logging.getLogger('dbos')",
    }


def test_a_handler_shows_the_log_until_the_block_ends() -> None:
    """Records from its level on come to it; afterwards the logger is as it was."""
    seen = io.StringIO()
    before = log.logger.level, [*log.logger.handlers]
    with shown_by(logging.StreamHandler(seen), logging.INFO):
        log.info("a job is done")
        log.debug("a request")
    log.info("a job is done again")
    assert seen.getvalue() == "a job is done\n"
    assert (log.logger.level, log.logger.handlers) == before
