"""A list in a sentence names the first, and counts the others."""

from __future__ import annotations

import pytest

from smspartner_async._values.listing import listed


@pytest.mark.parametrize(
    ("texts", "most", "sentence"),
    [
        ([], 2, ""),
        (["a"], 2, "a"),
        (["a", "b"], 2, "a, b"),
        (["a", "b", "c"], 2, "a, b and 1 more"),
        (["a"] * 1_002, 1, "a and 1,001 more"),
    ],
)
def test_a_list_names_the_first_and_counts_the_others(
    texts: list[str], most: int, sentence: str
) -> None:
    """What is beyond the bound is a number."""
    assert listed(texts, most) == sentence


def test_a_list_names_ten() -> None:
    """So many fit into a message."""
    assert listed(list("abcdefghij")) == "a, b, c, d, e, f, g, h, i, j"
    assert listed(list("abcdefghijk")).endswith("i, j and 1 more")
