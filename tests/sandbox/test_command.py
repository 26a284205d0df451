"""The sandbox as a program."""

import asyncio
import errno
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from smspartner_async.sandbox import Sandbox, run, serve
from smspartner_async.sandbox._command import main


class TestCommand:
    """The sandbox as a program."""

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot ask a program to end")
    def test_program(self) -> None:
        """The program prints a URL and a key that work, and ends with 0 on SIGTERM."""
        options = ["--speed", "1000", "--balance", "50", "--api-key", "mine", "--fail-every", "2"]
        with subprocess.Popen(  # noqa: S603 - this very interpreter, with options of ours
            [sys.executable, "-m", "smspartner_async.sandbox", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stderr is not None
                settings = {}
                for line in process.stdout:
                    if "export" in line:
                        name, _, value = line.split()[1].partition("=")
                        settings[name] = value
                    if "Ctrl-C" in line:
                        break
                base = urlsplit(settings["SMSPARTNER_BASE_URL"])
                connection = http.client.HTTPConnection(base.netloc)
                connection.request("GET", f"{base.path}/me?apiKey={settings['SMSPARTNER_API_KEY']}")
                reply = json.loads(connection.getresponse().read())
                connection.close()
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=120) == 0
                assert process.stderr.read() == ""
            finally:
                process.kill()
        assert reply["credits"]["balance"] == "50.000"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    async def test_serve_ends_on_signals(
        self, capsys: pytest.CaptureFixture[str], number: signal.Signals
    ) -> None:
        """Ctrl-C and SIGTERM end serving, and mean afterwards what they meant before."""
        before = signal.getsignal(number)
        sandbox = Sandbox(api_key="my key")
        serving = asyncio.create_task(serve(sandbox))
        printed = ""
        async with asyncio.timeout(120):
            while "Ctrl-C" not in printed:
                await asyncio.sleep(0.001)
                printed += capsys.readouterr().out
            assert f"export SMSPARTNER_BASE_URL={sandbox.base_url}\n" in printed
            assert "export SMSPARTNER_API_KEY='my key'\n" in printed
            signal.raise_signal(number)
            await serving
        assert signal.getsignal(number) is before
        with pytest.raises(RuntimeError, match="not running"):
            _ = sandbox.base_url

    def test_run_ends_with_0(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A sandbox that was served and stopped cleanly gives exit code 0."""

        class Interrupted(Sandbox):
            async def start(self) -> None:
                await super().start()
                asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)

        assert run(Interrupted()) == 0
        assert "SMSPARTNER_BASE_URL" in capsys.readouterr().out

    def test_port_in_use(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A taken port gives one clear line on stderr and exit code 1."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            assert main(["--port", str(port)]) == 1
        output = capsys.readouterr()
        assert output.out == ""
        assert output.err == (
            f"The sandbox cannot listen on 127.0.0.1 port {port}: {os.strerror(errno.EADDRINUSE)}."
            " Choose another port, or 0 for a free one.\n"
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--host", "192.0.2.1"], "loopback only"),
            (["--balance", "much"], "'much' is not an amount"),
            (["--speed", "0"], "speed must be"),
            (["--refuse-with", "10"], "refuse_with must be"),
        ],
    )
    def test_bad_option(
        self, capsys: pytest.CaptureFixture[str], options: list[str], message: str
    ) -> None:
        """An option that makes no sense is a usage error."""
        with pytest.raises(SystemExit) as caught:
            main(options)
        assert caught.value.code == 2
        assert message in capsys.readouterr().err
