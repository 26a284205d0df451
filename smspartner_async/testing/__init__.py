"""Fixtures for the tests of your service: a sandbox for each test, and a client on it.

pytest finds `smspartner_sandbox` and `smspartner_client` by itself wherever this package is
installed. They work in async tests of pytest-asyncio (any mode, any loop scope) and of anyio (on
asyncio), where sandbox, client and test share one event loop; and in plain tests, where the sandbox
runs in a thread.

A rental is ready after 80 ms. In virtual time (pytest-asyncio with looptime, and its mark) nothing
is sped up: sandbox and client have their usual pace, and waiting takes no time at all. A download
writes to a real disk, for which virtual time does not wait: test it without.

Options of `Sandbox` and `SMSPartnerClient` are given by marks, on a test, a class or a module:

    @pytest.mark.smspartner_sandbox(balance=Decimal(5))
    @pytest.mark.smspartner_client(request_timeout=0.2)

It asserts nothing, so pytest need not be the first to import it: PYTEST_DONT_REWRITE
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from ._fixtures import QUICK_POLLING, QUICK_RETRY, SPEED

__all__ = ["QUICK_POLLING", "QUICK_RETRY", "SPEED"]


def pytest_addoption(pluginmanager: "pytest.PytestPluginManager") -> None:
    """Load the plugin where this package is named as one: `-p smspartner_async.testing`."""
    from . import _plugin  # noqa: PLC0415 - it needs pytest

    if not pluginmanager.hasplugin("smspartner"):
        pluginmanager.register(_plugin, "smspartner")


if not TYPE_CHECKING:  # so that to a type checker a misspelt name is an error

    def __getattr__(name: str) -> object:
        """Import what is asked for: pytest loads the plugin in this folder in every run."""
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from . import _fixtures  # noqa: PLC0415 - as said above

        return getattr(_fixtures, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
