"""What all tests share."""

from __future__ import annotations

import asyncio

import pytest


def pytest_sessionstart() -> None:
    """Start without an event loop: looptime would leak the one that it finds."""
    asyncio.set_event_loop(None)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the developer's own key and URL away from the tests."""
    monkeypatch.delenv("SMSPARTNER_API_KEY", raising=False)
    monkeypatch.delenv("SMSPARTNER_BASE_URL", raising=False)
