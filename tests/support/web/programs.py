"""README's services as separate programs, started and stopped as README says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from attrs import frozen
from services import KEY, ORDER, SECRET, SOURCES, write_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@frozen
class Program:
    """A service that runs in a separate process."""

    process: asyncio.subprocess.Process
    base_url: str

    async def rent(self) -> int | None:
        """Rent; return the HTTP status, or `None` when the service hung up."""
        headers = {"Idempotency-Key": "k-1"}
        with contextlib.suppress(aiohttp.ServerDisconnectedError):
            async with (
                aiohttp.ClientSession(self.base_url) as session,
                session.post("/rentals", json=ORDER, headers=headers) as reply,
            ):
                return reply.status
        return None


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@asynccontextmanager
async def running(name: str, folder: Path, vendor: str) -> AsyncIterator[Program]:
    """Start a service by the command in its first line, on a port that is free."""
    program = write_service(name, folder)
    port = _free_port()
    command = shlex.split(SOURCES[name].splitlines()[0].partition("start it with: ")[2])
    if command[0] == "python":
        local = 'run_app(app, host="127.0.0.1", '
        assert local in SOURCES[name]
        source = SOURCES[name].replace(local, f"{local}port={port}, ")
        program.write_text(source, "utf-8")
        command = command[1:]
    else:
        command = ["-m", *command, "--port", str(port)]
    settings = {
        "SMSPARTNER_API_KEY": KEY,
        "SMSPARTNER_BASE_URL": vendor,
        "NOTIFICATION_SECRET": SECRET,
        "PYTHONUNBUFFERED": "1",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *command,
        cwd=folder,
        env=os.environ | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        await _answers(port, process)
        yield Program(process, f"http://127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _answers(port: int, process: asyncio.subprocess.Process) -> None:
    for _ in range(600):
        assert process.returncode is None, await process.communicate()
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the service does not answer")
