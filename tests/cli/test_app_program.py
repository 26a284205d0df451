"""The command itself: its help, its start, and its end."""

import io
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import Shell, finished

from smspartner_async import cli
from smspartner_async.cli import _interrupt


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """`main` leaves a process that ignores signals."""
    before = {number: signal.getsignal(number) for number in _interrupt._SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_no_arguments_show_the_help(shell: Shell) -> None:
    """`smspartner` alone lists every command, within 80 columns."""
    text = shell.run().output
    commands = ("calculate", "price", "rent", "status", "wait", "download", "credits")
    for name in (*commands, "sandbox", "demo"):
        assert re.search(rf"^. {name} ", text, re.MULTILINE), name
    assert max(map(len, text.splitlines())) <= 80


def test_version(shell: Shell) -> None:
    """`--version` prints the version of the package."""
    assert re.fullmatch(r"smspartner \d+\.\d+\.\d+\S*\n", shell.run("--version").stdout)


@pytest.mark.parametrize("command", ["nope", "price --gender male", "wait --timeout -1 token"])
def test_usage_errors(shell: Shell, command: str) -> None:
    """A command line that is wrong ends with 2, and says so on stderr."""
    result = shell.run(*command.split())
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr


def test_without_the_extra() -> None:
    """Without typer, one line says what to install and what works without, and the code is 1."""
    program = "import sys; sys.modules['typer'] = None\nfrom smspartner_async.cli import main"
    code, out, err = finished("-c", program)
    assert (code, out) == (1, "")
    needs = "Error: the command line needs the extra: pip install 'smspartner_async[cli]'. "
    assert err == f"{needs}The sandbox works without it: python -m smspartner_async.sandbox\n"


def test_ctrl_c_before_a_command_has_begun() -> None:
    """While typer makes its commands, Ctrl-C is 130 as well, without a traceback."""
    program = """if True:
        from smspartner_async.cli import _app
        def interrupted(**_):
            raise KeyboardInterrupt
        _app.app = interrupted
        _app.main()
        """
    assert finished("-c", program) == (130, "", "")


def test_imports_are_lazy() -> None:
    """The package imports no command line, and the command line no sandbox until it is needed."""
    program = """if True:
        import sys, smspartner_async
        assert not {"typer", "rich", "smspartner_async.sandbox"} & set(sys.modules)
        import smspartner_async.cli
        assert "smspartner_async.sandbox" not in sys.modules
    """
    assert finished("-c", program) == (0, "", "")


@pytest.mark.parametrize("code_page", ["ascii", "cp1252", "cp850", "cp437"])
def test_main_writes_what_the_locale_cannot(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code_page: str
) -> None:
    """`main` ends with 0 when all went well, also where the output has no letter for a name."""
    token = shell.rent()
    shell.run("wait", token)
    screen = io.BytesIO()
    for name in ("SMSPARTNER_API_KEY", "SMSPARTNER_BASE_URL"):
        monkeypatch.setenv(name, str(shell.environment[name]))
    monkeypatch.setattr(
        sys, "argv", ["smspartner", "download", token, str(tmp_path / "\u8054.csv")]
    )
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(screen, code_page))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    assert rb"\u8054.csv" in screen.getvalue()


def test_main_logs_nothing_on_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`main` ends with the exit code, and lets no log line stand beside the one error."""
    monkeypatch.setattr(sys, "argv", ["smspartner", "credits"])
    monkeypatch.setenv("SMSPARTNER_API_KEY", "")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("Error: There is no API key.")
