"""The sandbox can be as odd as the vendor may be: in types, head, status and framing."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any
from urllib.parse import urlsplit

import pytest

from smspartner_async import (
    RentalNotFoundError,
    RentOutcomeUnknownError,
    RetryPolicy,
    SMSPartnerClient,
    Targeting,
)
from smspartner_async.sandbox import Sandbox

TARGETING = Targeting(gender="female", min_age=25, max_age=35, interest=12, zipcodes="06200")
ONCE = pytest.mark.smspartner_client(retry=RetryPolicy(attempts=1))


PHP = b"<br>Warning: {x} in y.php\n"
ODD: dict[str, dict[str, Any]] = {
    "a length that is too long": {"headers": {"Content-Length": "5000"}},
    "the same, and an open connection": {
        "headers": {"Content-Length": "5000"},
        "keep_open": True,
    },
    "a length that is too short": {"headers": {"Content-Length": "5"}},
    "no length, and an open connection": {
        "framing": "close",
        "headers": {"Connection": "keep-alive"},
        "keep_open": True,
    },
    "two framings": {"framing": "chunked", "headers": {"Content-Length": "5"}},
    "no last chunk": {"framing": "chunked", "cut_after": 2**20},
    "bytes behind it": {"trailing": b"HTTP/1.1 junk\r\n\r\n"},
    "warnings before it": {"rewrite": lambda body: PHP + body},
    "a list": {"rewrite": lambda body: b"[" + body + b"]"},
    "a megabyte behind it": {"rewrite": lambda body: body + b" " * 2**21},
    "a cut gzip": {"compressed": True, "cut_after": 200},
    "a long header": {"headers": {"X": "a" * 9000}},
    "many headers": {"headers": [("X-A", "b")] * 150},
    "a second server": {"headers": [("Server", "a"), ("Server", "b")]},
    "a status that is none": {"rewrite_all": lambda reply: reply.replace(b"200 OK", b"2OO OK", 1)},
    "a line without a colon": {
        "rewrite_all": lambda reply: reply.replace(b"\r\n", b"\r\nno colon\r\n", 1)
    },
    "no head": {"rewrite_all": lambda reply: reply.partition(b"\r\n\r\n")[2]},
    "an error's status": {"status": 504},
    "a refusal's status": {"status": 400},
    "a limit's status": {"status": 429},
    "a page's media type": {"media_type": "text/html"},
    "XML's media type": {"media_type": "application/xml"},
}
"""What the vendor, or a machine between, may make of the reply to a rent that it has charged."""


async def credits_reply(sandbox: Sandbox) -> tuple[list[bytes], bytes]:
    """The lines of the head, and what follows them, as they come over the wire."""
    url = urlsplit(sandbox.base_url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    line = f"GET {url.path}/me?apiKey={sandbox.api_key} HTTP/1.1"
    writer.write(f"{line}\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.split(b"\r\n"), body


def short(_: bytes) -> bytes:
    return b"abc"


@pytest.mark.parametrize(
    ("altered", "line", "body"),
    [
        ({"status": 503}, b"HTTP/1.1 503 Service Unavailable", b"abc"),
        ({"status": 299}, b"HTTP/1.1 299 Odd", b"abc"),
        ({"media_type": "text/html"}, b"Content-Type: text/html", b"abc"),
        ({"headers": {"Retry-After": "30"}}, b"Retry-After: 30", b"abc"),
        ({"headers": [("Server", "one"), ("Server", "two")]}, b"Server: two", b"abc"),
        ({"headers": {"content-length": "2"}}, b"content-length: 2", b"abc"),
        ({}, b"Content-Length: 3", b"abc"),
        ({"framing": "chunked"}, b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
        ({"framing": "close"}, b"Connection: close", b"abc"),
        ({"compressed": True}, b"Content-Encoding: gzip", None),
        ({"cut_after": 2}, b"Content-Length: 3", b"ab"),
        ({"framing": "chunked", "cut_after": 4}, b"Transfer-Encoding: chunked", b"3\r\na"),
        ({"framing": "chunked", "cut_after": 99}, b"Transfer-Encoding: chunked", b"3\r\nabc\r\n"),
        ({"trailing": b"more"}, b"Content-Length: 3", b"abcmore"),
        ({"rewrite_all": lambda reply: reply + b"!"}, b"Content-Length: 3", b"abc!"),
    ],
)
async def test_a_reply_is_altered(
    sandbox: Sandbox, altered: dict[str, Any], line: bytes, body: bytes | None
) -> None:
    """Status, head, framing and bytes are those that were asked for, and all others as usual."""
    sandbox.alter_next_reply("credits", rewrite=short, **altered)
    head, came = await credits_reply(sandbox)
    assert line in head
    assert came == body if body is not None else gzip.decompress(came) == b"abc"
    names = [one.partition(b":")[0].lower() for one in head[1:]]
    assert b"date" in names
    assert len(names) == len(set(names)) or names.count(b"server") == 2
    head, came = await credits_reply(sandbox)
    assert came.startswith(b'{"success": true')


@ONCE
async def test_a_rent_whose_reply_is_altered_is_charged(
    sandbox: Sandbox, client: SMSPartnerClient
) -> None:
    """What is asked is done all the same: a rent under 500 is paid, and its outcome unknown."""
    sandbox.alter_next_reply("rent", status=500, rewrite=lambda _: b"sorry")
    with pytest.raises(RentOutcomeUnknownError):
        await client.rent(TARGETING, {"06200": 20})
    sandbox.assert_requests(rent=1)
    sandbox.assert_paid("1.80")


@pytest.mark.smspartner_client(retry=RetryPolicy(attempts=1), request_timeout=1.0)
@pytest.mark.parametrize("altered", ODD.values(), ids=list(ODD))
async def test_each_odd_reply_to_a_rent_can_be_played(
    sandbox: Sandbox, client: SMSPartnerClient, altered: dict[str, Any]
) -> None:
    """Whatever breaks in a reply, a service can be tested against it: the token comes out."""
    sandbox.alter_next_reply("rent", **altered)
    rental = await client.rent(TARGETING, {"06200": 20})
    assert [paid.token for paid in sandbox.rentals] == [rental.token]
    sandbox.assert_requests(rent=1)


async def test_a_connection_that_is_kept_open_ends_with_the_sandbox() -> None:
    """A reply without an end is left open for the client, and does not outlive the sandbox."""
    async with Sandbox() as sandbox:
        url = urlsplit(sandbox.base_url)
        sandbox.alter_next_reply("credits", rewrite=short, keep_open=True)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        line = f"GET {url.path}/me?apiKey={sandbox.api_key} HTTP/1.1"
        writer.write(f"{line}\r\nHost: localhost\r\n\r\n".encode())
        assert (await reader.readuntil(b"abc")).endswith(b"\r\n\r\nabc")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(end := asyncio.ensure_future(reader.read())), 0.2)
    assert await asyncio.wait_for(end, 120) == b""
    writer.close()


@ONCE
async def test_a_refusal_is_altered_too(sandbox: Sandbox, client: SMSPartnerClient) -> None:
    """A vendor's error may come under any status: code 32 with 404 here, and then with 200."""
    with pytest.raises(RentalNotFoundError) as usual:
        await client.status("nobodys")
    sandbox.alter_next_reply("status", status=200, count=2)
    with pytest.raises(RentalNotFoundError) as altered:
        await client.status("nobodys")
    assert (usual.value.http_status, altered.value.http_status) == (404, 200)
    with pytest.raises(AssertionError, match=r"not played: alter_next_reply \(status\)"):
        sandbox.assert_paid(1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"status": 199}, "status must be an HTTP status from 200 to 599, not 199"),
        ({"status": 600}, "status must be an HTTP status from 200 to 599, not 600"),
        ({"framing": "none"}, "framing must be one of length, chunked, close, not 'none'"),
        ({"cut_after": -1}, "cut_after must be at least 0, not -1"),
        ({"count": 0}, "count must be at least 1, not 0"),
    ],
)
def test_an_alteration_that_cannot_be_is_refused(wrong: dict[str, Any], message: str) -> None:
    """Bad input: what could never be sent is refused when it is planned."""
    with pytest.raises(ValueError, match=message):
        Sandbox().alter_next_reply("credits", **wrong)
