"""The pytest plugin, as its users meet it: in their own directory, in its own process."""

from __future__ import annotations

import pytest
from _pytest.assertion.rewrite import AssertionRewriter
from paths import PACKAGE
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

import smspartner_async

pytest_plugins = ["pytester"]


# One and the same suite, under whatever runs it. It uses its own fixture in between, as a
# service under test does, and proves that sandbox, fixture and test are on one event loop.
SUITE = """
import asyncio, os
from decimal import Decimal
import pytest
from smspartner_async import RentOutcomeUnknownError, SMSPartnerClient, Targeting

{header}

PEOPLE = Targeting(gender="female", min_age=25, max_age=35, interest=12, zipcodes="06200")

class Service:
    def __init__(self, client):
        self.client = client
        self.loop = asyncio.get_running_loop()

{fixture}
async def service(smspartner_sandbox):
    async with SMSPartnerClient() as client:  # from the environment
        assert (await client.credits()).balance == smspartner_sandbox.balance
        yield Service(client)

{mark}
async def test_loop_is_shared(service, smspartner_sandbox):
    await service.client.credits()
    smspartner_sandbox.assert_requests(credits=2)
    assert asyncio.get_running_loop() is service.loop
    tasks = " ".join(repr(task) for task in asyncio.all_tasks())
    assert "RequestHandler.start" in tasks  # the sandbox's end of the connection

{mark}
async def test_whole_way(smspartner_sandbox, smspartner_client, tmp_path):
    rental = await smspartner_client.rent(PEOPLE, {{"06200": 20}})
    await smspartner_client.wait_until_ready(rental)
    await smspartner_client.download(rental, tmp_path / "contacts.csv")
    smspartner_sandbox.assert_paid("1.80")
    smspartner_sandbox.assert_requests(rent=1, download=1)

@pytest.mark.smspartner_sandbox(balance=Decimal(7), api_key="my-key")
@pytest.mark.smspartner_client(request_timeout=0.05)
class TestMarks:
    {mark}
    async def test_of_the_class(self, smspartner_sandbox, smspartner_client):
        smspartner_sandbox.delay_next_reply("rent")
        with pytest.raises(RentOutcomeUnknownError):
            await smspartner_client.rent(PEOPLE, {{"06200": 20}})
        smspartner_sandbox.assert_paid("1.80")
        assert os.environ["SMSPARTNER_API_KEY"] == smspartner_sandbox.api_key == "my-key"

    {mark}
    @pytest.mark.smspartner_sandbox(balance=Decimal(8))
    async def test_the_closest_has_the_last_word(self, smspartner_sandbox):
        assert (smspartner_sandbox.balance, smspartner_sandbox.api_key) == (8, "my-key")
        assert not smspartner_sandbox.rentals

def test_settings_are_taken_back():
    assert not [name for name in os.environ if name.startswith("SMSPARTNER_")]
"""
ANYIO = """
@pytest.fixture
def anyio_backend():
    return "asyncio"
"""
STRICT = "asyncio_default_fixture_loop_scope=function"
ONE_LOOP_FOR_ALL = """
asyncio_default_test_loop_scope=session
asyncio_default_fixture_loop_scope=session
"""

STRICTLY_ASYNCIO = {
    "mark": "@pytest.mark.asyncio",
    "fixture": "import pytest_asyncio\n@pytest_asyncio.fixture",
}
ONE_LOOP_FOR_A_MODULE = {
    "mark": "@pytest.mark.asyncio(loop_scope='module')",
    "fixture": "import pytest_asyncio\n@pytest_asyncio.fixture(loop_scope='module')",
}
ON_ANYIO = {"header": ANYIO, "mark": "@pytest.mark.anyio"}


def run(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run pytest as a stranger would: a new process that finds the plugin by its entry point."""
    # Hypothesis would be imported for nothing, which takes as long as all else.
    without = ("-pno:cacheprovider", "-pno:hypothesispytest")
    return pytester.runpytest_subprocess("-Werror", *without, *options)


def suite(*, header: str = "", mark: str = "", fixture: str = "@pytest.fixture") -> str:
    return SUITE.format(header=header, mark=mark, fixture=fixture)


@pytest.mark.parametrize(
    ("ini", "options", "suites"),
    [
        (STRICT, (), [STRICTLY_ASYNCIO, ONE_LOOP_FOR_A_MODULE, ON_ANYIO]),
        (f"asyncio_mode=auto\n{STRICT}", (), [{}]),
        (f"asyncio_mode=auto\n{ONE_LOOP_FOR_ALL}", (), [{}]),
        ("", ("-pno:asyncio", "-pno:looptime_plugin"), [ON_ANYIO]),
    ],
    ids=["strict", "asyncio, auto", "asyncio, one loop for all", "anyio alone"],
)
def test_it_works_under_every_runner(
    ini: str, options: tuple[str, ...], suites: list[dict[str, str]], pytester: pytest.Pytester
) -> None:
    """The fixtures run on the test's own loop, with marks and settings, and without a warning."""
    pytester.makeini(f"[pytest]\nstrict_markers=true\n{ini}")
    pytester.makepyfile(**{f"test_{number}": suite(**texts) for number, texts in enumerate(suites)})
    run(pytester, *options).assert_outcomes(passed=5 * len(suites))


@pytest.mark.parametrize(
    "names",
    [
        "asyncio,smspartner",
        "smspartner,pytest_asyncio",
        "smspartner_async.testing,pytest_asyncio.plugin",
    ],
)
def test_it_works_where_plugins_are_named(
    names: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Distributions load no plugin by itself, and name pytest-asyncio as its package is named."""
    pytester.makeini(f"[pytest]\n{STRICT}")
    pytester.makepyfile(suite(**STRICTLY_ASYNCIO))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    run(pytester, *(f"-p{name}" for name in names.split(","))).assert_outcomes(passed=5)


@pytest.mark.parametrize("options", [(), ("-pno:asyncio", "-pno:looptime_plugin")])
def test_it_works_where_it_is_named_as_its_package_is(
    options: tuple[str, ...], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the environment, too, and where pytest loads it by itself besides."""
    pytester.makepyfile("def test_it(smspartner_sandbox): smspartner_sandbox.assert_paid(0)")
    monkeypatch.setenv("PYTEST_PLUGINS", "smspartner_async.testing")
    if not options:
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    run(pytester, *options).assert_outcomes(passed=1)


def test_a_plain_test_has_its_sandbox_in_a_thread(pytester: pytest.Pytester) -> None:
    """Code under test that runs its own loop, as a web framework's test client does, works."""
    pytester.makepyfile("""
        import asyncio, threading
        import pytest
        from smspartner_async import SMSPartnerClient, SMSPartnerError, Targeting
        from smspartner_async.testing import QUICK_POLLING

        PEOPLE = Targeting(gender="mixed", min_age=25, max_age=35, interest=12, zipcodes="06200")

        async def serve(path):
            async with SMSPartnerClient(polling=QUICK_POLLING) as client:
                rental = await client.rent(PEOPLE, {"06200": 20})
                await client.wait_until_ready(rental)
                await client.download(rental, path)

        def test_service(smspartner_sandbox, tmp_path):
            asyncio.run(serve(tmp_path / "contacts.csv"))
            smspartner_sandbox.fail_next_rental()
            with pytest.raises(SMSPartnerError):
                asyncio.run(serve(tmp_path / "more.csv"))
            smspartner_sandbox.assert_paid("3.60")
            assert [rental.state for rental in smspartner_sandbox.rentals] == [5, 3]

        def test_nothing_is_left():
            assert not [t for t in threading.enumerate() if "smspartner" in t.name]

        @pytest.mark.smspartner_sandbox(host="192.0.2.1")
        def test_bad_option(smspartner_sandbox):
            pass

        def test_no_loop(smspartner_client):
            pass
        """)
    # Without the plugins that leave an event loop of theirs open behind a plain test.
    result = run(pytester, "-pno:asyncio", "-pno:looptime_plugin")
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["*binds to loopback only*", "*needs an `async def` test*"])


def test_virtual_time(pytester: pytest.Pytester) -> None:
    """Under looptime nothing is sped up, and hours take no time; a `False` mark is none."""
    pytester.makeini(f"[pytest]\nasyncio_mode=auto\n{STRICT}")
    pytester.makepyfile("""
        import asyncio
        import pytest
        from smspartner_async import Targeting, WaitTimeoutError

        PEOPLE = Targeting(gender="mixed", min_age=25, max_age=35, interest=12, zipcodes="06200")

        @pytest.mark.looptime
        async def test_virtual(smspartner_sandbox, smspartner_client, looptime):
            rental = await smspartner_client.rent(PEOPLE, {"06200": 20})
            await smspartner_client.wait_until_ready(rental)
            assert 8 <= looptime < 20  # the third check, or with much jitter the fourth
            smspartner_sandbox.make_generating(rental)
            with pytest.raises(WaitTimeoutError):
                await smspartner_client.wait_until_ready(rental, timeout=3600)

        @pytest.mark.looptime(False)
        async def test_sped_up(smspartner_sandbox, smspartner_client):
            rental = await smspartner_client.rent(PEOPLE, {"06200": 20})
            await smspartner_client.wait_until_ready(rental, timeout=5)
        """)
    run(pytester).assert_outcomes(passed=2)
    run(pytester, "--looptime").assert_outcomes(passed=2)


def test_anyio_on_another_loop_is_refused(pytester: pytest.Pytester) -> None:
    """The client is for asyncio: a test on trio fails, and says what to write."""
    pytester.makeini(f"[pytest]\n{STRICT}")
    pytester.makepyfile("""
        import pytest

        @pytest.fixture
        def anyio_backend():
            return "trio", {}

        @pytest.mark.anyio
        async def test_it(smspartner_client):
            pass
        """)
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*runs on asyncio, not on trio*return 'asyncio'*"])


# looptime asks for an event loop where there is none, of which Python 3.12 warns.
@pytest.mark.parametrize("options", [(), ("-pno:asyncio", "-pno:anyio")])
def test_a_run_that_does_not_use_it_pays_nothing(
    pytester: pytest.Pytester, options: tuple[str, ...]
) -> None:
    """Registered in every run, the plugin imports nothing, says nothing and changes nothing."""
    pytester.makeini(f"[pytest]\n{STRICT if not options else ''}")
    pytester.makepyfile("""
        import os, sys

        def test_it(request):
            assert request.config.pluginmanager.hasplugin("smspartner")
            loaded = {name.partition(".")[0] for name in sys.modules}
            assert not loaded & {"aiohttp", "attr", "attrs", "cattrs", "tenacity"}
            ours = {name for name in sys.modules if name.startswith("smspartner_async")}
            assert ours == {
                "smspartner_async",
                "smspartner_async.testing",
                "smspartner_async.testing._plugin",
            }
            assert not [name for name in os.environ if name.startswith("SMSPARTNER_")]
        """)
    run(pytester, "-pno:looptime_plugin", *options).assert_outcomes(passed=1)


def test_a_program_that_starts_pytest_is_not_warned_of_an_early_import() -> None:
    """Pytest would rewrite the package's asserts, and warns of a package that it finds imported.

    It asks for that only of an installed wheel, so what is tested is what turns it off.
    """
    assert AssertionRewriter.is_rewrite_disabled(smspartner_async.__doc__ or "")


def test_the_readmes_test_runs(pytester: pytest.Pytester) -> None:
    """README's test of a service passes as it stands, in a directory that holds nothing else."""
    blocks = (
        Sybil(parsers=[PythonCodeBlockParser()]).parse(PACKAGE / "testing" / "README.md").examples()
    )
    (text,) = [str(block.parsed) for block in blocks if "lose_next_reply" in str(block.parsed)]
    pytester.makepyfile(text)
    pytester.makeini(f"[pytest]\n{STRICT}")
    run(pytester).assert_outcomes(passed=1)
    # A service that rents again on its own does not get past it.
    twice = "    with suppress(RentOutcomeUnknownError):\n        await client.rent(everyone, {})\n"
    pytester.makepyfile(
        "from contextlib import suppress\n"
        + text.replace("    return await", f"{twice}    return await").replace(
            "{}", '{"06200": 20}'
        )
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*DID NOT RAISE*RentOutcomeUnknownError*"])
