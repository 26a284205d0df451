"""The services of README as fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from services import FORETOLD, KEY, SECRET, Service, load_service, serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from smspartner_async import PollingPolicy


def starter(name: str, folder: Path, patch: pytest.MonkeyPatch) -> Any:
    """Make what starts one service for a vendor at some base URL."""
    patch.chdir(folder)
    patch.setenv("NOTIFICATION_SECRET", SECRET)
    patch.setenv("SMSPARTNER_API_KEY", KEY)

    def start(
        base_url: str, polling: PollingPolicy = FORETOLD, **options: Any
    ) -> AbstractAsyncContextManager[Service]:
        patch.setenv("SMSPARTNER_BASE_URL", base_url)
        return serve(name, load_service(name, folder, polling), **options)

    return start


@pytest.fixture(params=["aiohttp", "fastapi"])
def start(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., AbstractAsyncContextManager[Service]]:
    """Start either service."""
    make: Callable[..., AbstractAsyncContextManager[Service]] = starter(
        request.param, tmp_path, monkeypatch
    )
    return make


@pytest.fixture
def start_aiohttp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return starter("aiohttp", tmp_path, monkeypatch)


@pytest.fixture
def start_fastapi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    return starter("fastapi", tmp_path, monkeypatch)
