"""The mutants that tests have to notice: each change, and nothing that only people read."""

from __future__ import annotations

from mutation.mutants import mutants_of

SOURCE = '''
"""A text: 1 < 2."""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    DEBUG = True

def pay(limit: int | None = 5) -> bool:
    """Another: not True."""
    log.info("paid %d", 1)
    if limit is None or not wanted:
        raise ValueError(f"é {limit + 1}")
    self.paid = min(limit, wanted) + 0.5
    return limit > wanted
'''

CHANGES = [
    ("def pay(limit: int | None = 5) -> bool:", "def pay(limit: int | None = 6) -> bool:"),
    ("if limit is None or not wanted:", "if ((limit is None) and (not wanted)):"),
    ("if limit is None or not wanted:", "if (limit is not None) or not wanted:"),
    ("if limit is None or not wanted:", "if limit is None or (wanted):"),
    ("if limit is None or not wanted:", "if not (limit is None or not wanted):"),
    ('raise ValueError(f"é {limit + 1}")', "pass"),
    ("self.paid = min(limit, wanted) + 0.5", "pass"),
    ("self.paid = min(limit, wanted) + 0.5", "self.paid = (min(limit, wanted) - 0.5)"),
    ("self.paid = min(limit, wanted) + 0.5", "self.paid = max(limit, wanted) + 0.5"),
    ("self.paid = min(limit, wanted) + 0.5", "self.paid = min(limit, wanted) + 1.5"),
    ("return limit > wanted", "return (limit >= wanted)"),
    ("return limit > wanted", "return None"),
]


def test_every_change_is_made_and_no_other() -> None:
    """Comparisons, conditions, numbers, calls and statements; no texts, types, logs."""
    assert sorted((mutant.before, mutant.after) for mutant in mutants_of(SOURCE)) == sorted(CHANGES)


def test_a_mutant_is_the_module_with_one_line_changed() -> None:
    """Letters of several bytes shift nothing."""
    for mutant in mutants_of(SOURCE):
        changed = [
            (old.strip(), new.strip())
            for old, new in zip(SOURCE.splitlines(), mutant.source.splitlines(), strict=True)
            if old != new
        ]
        assert changed == [(mutant.before, mutant.after)]
        compile(mutant.source, "mutant", "exec")
