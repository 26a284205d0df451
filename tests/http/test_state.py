"""What is known of a client and of one request: whose loop, whether closed, how far it has come."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from smspartner_async import ConfigurationError
from smspartner_async._http.state import ClientState, ResponseHead, SendState, copy_error


async def test_a_closed_client_is_refused_before_anything_is_sent() -> None:
    """After `close` every use is an error that says what became of the request: nothing."""
    state = ClientState()
    state.check_usable()
    state.close()
    with pytest.raises(ConfigurationError, match=r"^This client is closed.*Nothing was sent\.$"):
        state.check_usable()


def test_a_client_belongs_to_the_loop_of_its_first_use() -> None:
    """A second `asyncio.run` is refused, and the first loop can still use it."""
    state = ClientState()

    async def use() -> None:
        state.check_usable()
        state.check_usable()

    asyncio.run(use())
    with pytest.raises(ConfigurationError, match=r"another event loop.*Nothing was sent\.$"):
        asyncio.run(use())


@pytest.mark.looptime
async def test_a_sleep_lasts_as_long_as_asked_or_until_the_client_is_closed() -> None:
    """Neither a minute more nor a minute less; a sleep on a closed client is none."""
    state, loop = ClientState(), asyncio.get_running_loop()
    began = loop.time()
    await state.sleep_unless_closed(60)
    assert loop.time() - began == pytest.approx(60)
    loop.call_later(5, state.close)
    await state.sleep_unless_closed(60)
    assert loop.time() - began == pytest.approx(65)
    await state.sleep_unless_closed(60)
    assert loop.time() - began == pytest.approx(65)


def test_a_request_begins_with_nothing_sent() -> None:
    """Until something is written down, the vendor has seen nothing; one request, one state."""
    first, second = SendState(), SendState()
    assert (first.head_sent, first.reply_began, first.before_head, first.raw) == (
        False,
        False,
        None,
        None,
    )
    first.head_sent = True
    assert not second.head_sent


def test_a_head_is_kept() -> None:
    """Status and headers, from the moment when they came; then the callback is called."""
    calls: list[ResponseHead] = []
    head = ResponseHead(calls.append)
    assert (head.http_status, head.headers) == (None, {})
    response: Any = SimpleNamespace(status=429, headers={"Retry-After": "5"})
    head.take(response)
    assert (head.http_status, head.headers, calls) == (429, {"Retry-After": "5"}, [head])


def test_a_copy_says_what_it_is_closed_with() -> None:
    """Whoever closes a copy learns that it ends with the client that it was made from."""
    assert "closed together with the client that it was made from" in str(copy_error())
