"""An argument that does not fit is an error that says what it must be."""

from __future__ import annotations

import pytest

from smspartner_async.sandbox._arguments import check


def test_what_fits_passes_and_all_else_is_an_error() -> None:
    """Bad input: the error has the name, what is wanted, and what was given."""
    check(fits=True, name="count", wanted="at least 1", given=1)
    with pytest.raises(ValueError, match=r"^count must be at least 1, not 0\.$"):
        check(fits="", name="count", wanted="at least 1", given=0)
    with pytest.raises(TypeError, match=r"^host must be text, not 8\.$"):
        check(isinstance(8, str), "host", "text", 8, TypeError)
