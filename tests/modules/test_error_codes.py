"""The words of a refusal: what was refused, by which code, and what that code means."""

from __future__ import annotations

import pytest

from smspartner_async._error_codes import refusal_text, seen_token_text


@pytest.mark.parametrize(
    ("operation", "code", "status", "text"),
    [
        ("rent", 11, 200, "refused to rent (code 11, the credit is insufficient; HTTP 200)."),
        (
            "price",
            28,
            200,
            "refused to price (code 28, the wanted volume exceeds the total; HTTP 200).",
        ),
        (
            "credits",
            10,
            401,
            "refused to return the credits (code 10, the API key is wrong; HTTP 401).",
        ),
        (
            "status",
            32,
            404,
            "refused to return the status (code 32, the rental was not found; HTTP 404).",
        ),
        (
            "download",
            34,
            200,
            "refused to send the file (code 34, the rental's file was already used; HTTP 200).",
        ),
        (
            "rent",
            77,
            200,
            "refused to rent (code 77, no reason that its manual documents; HTTP 200).",
        ),
        ("rent", None, 500, "refused to rent (no error code; HTTP 500)."),
        ("rent", 0, 500, "refused to rent (no error code; HTTP 500)."),
    ],
)
def test_a_refusal_names_operation_code_and_meaning(
    operation: str, code: int | None, status: int, text: str
) -> None:
    """A reader learns what the vendor refused and why, also where its manual gives no reason."""
    assert refusal_text(operation, code, status) == f"SMS Partner {text}"


def test_a_token_that_was_seen_comes_with_the_check_that_costs_nothing() -> None:
    """Whoever reads it asks for that token's status before renting again."""
    assert seen_token_text("t0k3n") == (
        "Its reply held 't0k3n', which may be its token: before you rent again, call "
        "status('t0k3n'). A rental that the vendor knows by it is yours."
    )
