"""The class that pickles in users' stores name by this module. It is defined here for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._errors import SMSPartnerError, _rebuild

if TYPE_CHECKING:
    from enum import Enum


class StepFailedError(SMSPartnerError):
    """Why a step failed. DBOS pickles it by its module and name: neither may ever change."""

    def __init__(self, state: Enum, *, again: bool = False, **facts: Any) -> None:
        super().__init__(facts["error"])
        self.state = state.value
        self.again = again  # nothing was rented, and it may go well a little later
        self.facts = facts

    def __reduce__(self) -> tuple[Any, ...]:
        # As release 0.1 wrote it, and nothing more: no cause, no notes.
        state = {"state": self.state, "again": self.again, "facts": self.facts}
        return _rebuild, (type(self), self.args), state
