"""The API key and people's numbers show nowhere, whatever goes wrong, and whoever listens."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faults
import pytest
from eavesdropping import ECHOES, KEY, NUMBERS, Eavesdropper, eavesdropping
from exchanges import OPERATIONS
from fault_server import Close, FaultServer, Reply, Send
from fault_table import FAULTS

from smspartner_async import (
    PollingPolicy,
    ResponseError,
    RetryPolicy,
    SMSPartnerClient,
    SMSPartnerError,
)

ECHO = {"apiKey": KEY, "numbers": NUMBERS, "comment": f"{KEY}: {', '.join(NUMBERS)}"}
ANSWERS: dict[str, dict[str, object]] = {
    "calculate": {"success": True, "cost": {"total": "2.52"}},
    "credits": {"success": True, "credits": {"balance": "1.5"}},
    "rent": {"success": True, "token": "tok-1"},
    "status": {"success": True, "status": 2},
}
ANSWERS |= {"price": ANSWERS["calculate"], "wait_until_ready": ANSWERS["status"]}
PAYLOADS = {name: json.dumps(answer | ECHO).encode() for name, answer in ANSWERS.items()}
PAYLOADS |= {
    "download": "\n".join((*NUMBERS * 20, KEY, "")).encode(),
}


def client_of(base_url: str, *, wait: float = 2, **options: Any) -> SMSPartnerClient:
    """A client that tries everything twice, without waiting in between."""
    return SMSPartnerClient(
        KEY,
        base_url=base_url,
        request_timeout=0.15,
        retry=RetryPolicy(attempts=2, first_delay=0),
        polling=PollingPolicy(first_interval=0.01, timeout=wait, max_consecutive_errors=2),
        **options,
    )


async def listen_to(
    ear: Eavesdropper, operation: str, client: SMSPartnerClient, path: Path
) -> SMSPartnerError | None:
    """Do it, and keep all that is said of it."""
    failure: SMSPartnerError | None = None
    async with client:
        try:
            await OPERATIONS[operation](client, path)
        except SMSPartnerError as error:
            ear.hear(error)
            failure = error
        inner = (client, client._pipeline.transport, client._wire, client._wire.credits_request())
        ear.heard += map(repr, (*inner, *client._pipeline.transport._own))
    return failure


# --- whatever the server does ----------------------------------------------------------------


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("operation", "debug"),
    [
        *((operation, False) for operation in PAYLOADS),
        # The ways in which asyncio sees a request: paid, repeated, polled, read in pieces.
        *((operation, True) for operation in ("rent", "credits", "wait_until_ready", "download")),
    ],
)
async def test_no_fault_lets_a_secret_slip(operation: str, debug: bool, tmp_path: Path) -> None:  # noqa: FBT001
    """A secret: under every fault, no log, warning, error or repr shows the key or a number."""

    async def one(number: int, reply: Reply) -> None:
        async with FaultServer(reply) as server:
            await listen_to(ear, operation, client_of(server.base_url), tmp_path / str(number))

    replies = [fault.make(PAYLOADS[operation]) for fault in FAULTS.values()]
    with eavesdropping(debug=debug) as ear:
        await asyncio.gather(*(one(*item) for item in enumerate(replies)))
    assert len(ear.heard) > len(FAULTS)
    assert ear.slips() == []


@pytest.mark.parametrize("name", ["stall before head", "stall within body"])
async def test_a_cancellation_shows_nothing(name: str, tmp_path: Path) -> None:
    """A secret: a caller's own time limit ends in a chain of errors that shows neither."""

    async def hurried(operation: str) -> None:
        async with (
            FaultServer(FAULTS[name].make(PAYLOADS[operation])) as server,
            client_of(server.base_url) as client,
        ):
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.05):
                    await OPERATIONS[operation](client, tmp_path / "file")
        ear.hear(caught.value)

    with eavesdropping(debug=True) as ear:
        await asyncio.gather(*map(hurried, PAYLOADS))
    assert ear.slips() == []


def page(text: str, status: int = 200, kind: str = "text/html") -> Reply:
    body = text.encode()
    lines = (f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    return Reply((Send(faults.head(status, *lines) + body),))


def echoes() -> Iterator[Reply]:
    """Replies that give the request back, key and all, in places that end up in messages."""
    text = " ".join((*NUMBERS, *sorted(ECHOES)))
    yield from (faults.vendor_error(10, text), faults.vendor_error(77, text, 500))
    yield page(f"<result><entry>false</entry><entry>10</entry><entry>{text}</entry></result>")
    for status in (200, 403, 502):
        yield page(f"<html>GET /v1/me?apiKey={text}</html>", status)
        yield page(f'{{"error": "{text}"}}', status, "application/json")
    for line in (f"Location: /v1/me?apiKey={text}", f"Set-Cookie: {KEY}=1", f"X: {text}"):
        yield Reply((Send(faults.head(302, line, "Content-Length: 0")),))
        yield Reply((Send(faults.head(302, line)[:-3]), Close()))
    yield Reply((Send(f"HTTP/1.1 403 {text}\r\nContent-Length: 0\r\n\r\n".encode()),))
    yield Reply((Send(f"{text}\r\n\r\n".encode()), Close()))


@pytest.mark.parametrize("operation", PAYLOADS)
async def test_a_reply_that_echoes_secrets_is_not_passed_on(operation: str, tmp_path: Path) -> None:
    """A secret: what the vendor or a proxy writes back is cleaned before it is in any message."""
    with eavesdropping() as ear:
        async with FaultServer(*echoes()) as server:
            for number, reply in enumerate(echoes()):
                server.play(reply)
                client = client_of(server.base_url, wait=0.02)
                await listen_to(ear, operation, client, tmp_path / str(number))
    assert ear.slips() == []


async def test_nothing_of_what_may_be_a_file_is_shown(tmp_path: Path) -> None:
    """A secret: what came in place of a contact file may hold people's names: it is not shown."""
    async with FaultServer(page("<html>Jeanne Dupont, Rouen</html>")) as server:
        with eavesdropping() as ear:
            failure = await listen_to(
                ear, "download", client_of(server.base_url), tmp_path / "file"
            )
    assert isinstance(failure, ResponseError)
    assert not [text for text in ear.heard if "Dupont" in text]


@pytest.mark.parametrize("status", [1, 3, 5, f"{KEY} {NUMBERS[0]}"])
async def test_an_error_that_carries_a_status_shows_nothing_of_its_payload(
    status: object, tmp_path: Path
) -> None:
    """A secret: an error may be logged, or stored by pickling; the vendor's payload stays out."""
    with eavesdropping() as ear:
        async with FaultServer(
            faults.json_reply({"success": True, "status": status} | ECHO)
        ) as server:
            client = client_of(server.base_url, wait=0.02)
            failure = await listen_to(ear, "wait_until_ready", client, tmp_path)
    assert failure is not None
    assert ear.slips() == []
