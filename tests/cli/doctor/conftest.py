"""What the tests of the doctor share: no pauses, and no proxies from outside."""

from __future__ import annotations

import pytest

from smspartner_async.cli._doctor import questions


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "PAUSE", 0)
    for name in questions._PROXIES:
        monkeypatch.delenv(name, raising=False)
