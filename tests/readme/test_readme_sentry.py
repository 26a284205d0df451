"""What the Security section says of Sentry: its lines keep the key out of what is sent."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from paths import PACKAGE

README = (PACKAGE / "README.md").read_text("utf-8")
FUNCTIONS = re.findall(
    r"^```python\n([^`]*def crumb_without_query.*?)^```$", README, re.MULTILINE | re.DOTALL
)
OPTIONS = re.findall(r"`sentry_sdk\.init\((include_local_variables=.*?)\)`", README, re.DOTALL)
KEY = "key-that-nobody-may-see-0123456789"

PROGRAM = """
import asyncio
import sentry_sdk
from smspartner_async import RetryPolicy, SMSPartnerClient

{functions}

sent = []

class Wire(sentry_sdk.transport.Transport):
    def capture_envelope(self, envelope):
        sent.append(envelope.serialize())

async def answer(reader, writer):
    await reader.readuntil(b"\\r\\n\\r\\n")
    writer.write(b"HTTP/1.1 500 No\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    writer.close()

async def work():
    key = "{key}"
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = "http://127.0.0.1:%d" % server.sockets[0].getsockname()[1]
    async with SMSPartnerClient(key, base_url=url, retry=RetryPolicy(attempts=1)) as client:
        with sentry_sdk.start_transaction(name="work"):
            try:
                await client.credits()
            except Exception as error:
                sentry_sdk.capture_exception(error)
    server.close()

where = dict(dsn="http://key@127.0.0.1:1/1", transport=Wire, traces_sample_rate=1.0)
sentry_sdk.init(send_default_pii=True, **where, {options})
asyncio.run(work())
sentry_sdk.flush()
assert len(sent) >= 2, "an error and a transaction"
print(sum(envelope.count(b"{key}") for envelope in sent))
"""


def keys_sent(functions: str, options: str) -> int:
    """Run a program that sends an error and its trace to Sentry; count the keys in that."""
    source = PROGRAM.format(functions=functions, options=options, key=KEY)
    command = [sys.executable, "-c", source]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


def test_sentry_gets_no_key_with_the_lines_of_the_security_section() -> None:
    """A secret: neither locals, breadcrumbs nor spans hold the key; without the lines they do."""
    pytest.importorskip("sentry_sdk", reason="sentry-sdk is in the extra test")
    (functions,), (options,) = FUNCTIONS, OPTIONS
    assert keys_sent(functions, options) == 0
    assert keys_sent("", "") > 0
