"""Where things are in this repository."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
PACKAGE: Final = ROOT / "smspartner_async"
README: Final = ROOT / "README.md"
TESTS: Final = ROOT / "tests"
READMES: Final = (  # in the order in which somebody reads them
    README,
    *(PACKAGE / part / "README.md" for part in ("batch", "durable", "web", "otel", "cli")),
    *(PACKAGE / part / "README.md" for part in ("sandbox", "testing")),
    PACKAGE / "README.md",
    ROOT / "benchmarks" / "README.md",
    TESTS / "README.md",
)
