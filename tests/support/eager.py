"""Tasks that begin inside of `create_task`, as Python 3.12 and newer offer them."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

needs_eager_tasks = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="Python 3.12 brought eager tasks"
)


def begin_tasks_at_once() -> None:
    """Let every task of the running loop run to its first suspension when it is made."""
    eager: Any = vars(asyncio)["eager_task_factory"]
    asyncio.get_running_loop().set_task_factory(eager)
