"""The class that pickles in users' stores name: workers of two releases read the same store."""

from __future__ import annotations

import base64
import pickle
from enum import StrEnum

from smspartner_async._rental import StepFailedError

# pickle.dumps(error, 4) by release 0.1, of the error below.
BY_0_1 = (
    "gASVqQAAAAAAAACMGHNtc3BhcnRuZXJfYXN5bmMuX2Vycm9yc5SMCF9yZWJ1aWxklJOUjBhzbXNwYXJ0bmVyX2FzeW5j"
    "Ll9yZW50YWyUjA9TdGVwRmFpbGVkRXJyb3KUk5SMCk5vIGNyZWRpdC6UhZSGlFKUfZQojAVzdGF0ZZSMBmZhaWxlZJSM"
    "BWFnYWlulIiMBWZhY3RzlH2UKIwFZXJyb3KUaAaMBGNvZGWUSwt1dWIu"
)


class State(StrEnum):
    """Of a job."""

    FAILED = "failed"


def test_it_pickles_byte_for_byte_as_that_of_0_1() -> None:
    """Without its cause and notes, which an older worker could not read."""
    error = StepFailedError(State.FAILED, again=True, error="No credit.", code=11)
    error.__cause__ = ValueError("no matter")
    error.add_note("no matter")
    assert base64.b64encode(pickle.dumps(error, 4)).decode() == BY_0_1


def test_one_that_0_1_stored_is_read() -> None:
    """With all that it carries."""
    error = pickle.loads(base64.b64decode(BY_0_1))  # noqa: S301 - written down above
    assert isinstance(error, StepFailedError)
    assert str(error) == "No credit."
    assert (error.state, error.again) == ("failed", True)
    assert error.facts == {"error": "No credit.", "code": 11}
