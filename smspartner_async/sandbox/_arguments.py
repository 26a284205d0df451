"""What the sandbox's own arguments must be."""

from __future__ import annotations


def check(
    fits: object, name: str, wanted: str, given: object, error: type[Exception] = ValueError
) -> None:
    """Raise an error that says what the argument `name` must be, unless what was given fits."""
    if not fits:
        raise error(f"{name} must be {wanted}, not {given!r}.")
