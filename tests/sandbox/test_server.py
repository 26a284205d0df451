"""The sandbox over HTTP: the manual's own programs, keys and tokens, its start and its end."""

import asyncio
import http.client
import json
import shlex
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from sandbox_account import UNKNOWN_TOKEN, Account

from smspartner_async.sandbox import Sandbox


class TestErrors:
    """Who is refused, whatever is asked."""

    @pytest.mark.parametrize("path", ["/location/status", "/location/file/download"])
    @pytest.mark.parametrize(
        ("code", "params"),
        [
            (1, {"apiKey": "", "token": UNKNOWN_TOKEN}),
            (10, {"apiKey": "wrong", "token": UNKNOWN_TOKEN}),
            (31, {}),
            (31, {"token": " "}),
            (32, {"token": UNKNOWN_TOKEN}),
        ],
    )
    async def test_bad_get(
        self, account: Account, path: str, code: int, params: dict[str, str]
    ) -> None:
        """A status or a file needs the key and the token of a rental."""
        reply = await account.get(path, **params)
        assert (reply["success"], reply["code"]) == (False, code)

    @pytest.mark.parametrize(("code", "key"), [(1, ""), (10, "wrong")])
    async def test_credits_need_the_key(self, account: Account, code: int, key: str) -> None:
        """Credits are shown to the holder of the key alone."""
        assert (await account.get("/me", apiKey=key))["code"] == code

    @pytest.mark.parametrize("code", [20, 30, 40, 96])
    async def test_refused_account(self, session: aiohttp.ClientSession, code: int) -> None:
        """`refuse_with` refuses every operation, and a wrong key still comes first."""
        async with Sandbox(refuse_with=code) as sandbox:
            account = Account(sandbox, session)
            assert (await account.post(op="rent"))["code"] == code
            for path in ("/location/status", "/location/file/download", "/me"):
                assert (await account.get(path, token=UNKNOWN_TOKEN))["code"] == code
            assert (await account.get("/me", apiKey="wrong"))["code"] == 10
            assert sandbox.paid == 0


class TestFile:
    """The file that was rented."""

    @pytest.mark.looptime
    async def test_headers(self, account: Account) -> None:
        """A file comes with its length, its type and a name to save it under."""
        token = await account.rent(volumes={"60200": 20})
        await asyncio.sleep(9)
        async with account.session.get(
            f"{account.sandbox.base_url}/location/file/download",
            params={"token": token, "apiKey": account.sandbox.api_key},
        ) as response:
            assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
            assert response.headers["Content-Length"] == str(len(await response.read()))
            disposition = response.content_disposition
        assert disposition is not None
        assert disposition.filename == f"contacts-{token[:8]}.csv"


async def curl(command: str) -> Any:
    """Run one of the manual's curl commands and decode what it prints."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    process = await asyncio.create_subprocess_exec(
        *shlex.split(command),
        "--silent",
        "--noproxy",
        "*",
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return json.loads(output)


@pytest.fixture
async def manual(session: aiohttp.ClientSession) -> AsyncIterator[Account]:
    """Give a sandbox that takes the key of the manual's samples."""
    async with Sandbox(api_key="YOUR API KEY") as sandbox:
        yield Account(sandbox, session)


class TestManual:
    """The request samples of the manual, with only host, path and quotes put right."""

    async def test_curl_price(self, manual: Account) -> None:
        """The manual's curl command for a price is answered."""
        reply = await curl(
            f'curl -X POST {manual.sandbox.base_url}/location/optin -H "Content-Type:'
            ' application/json" -d \'{"apiKey":"YOUR API KEY","op":"price","parameters":'
            '{"sexe":"f","minAge":25,"maxAge":35,"zipcode":"06200","interest":"12",'
            '"subInterest":"29","category":103}}\''
        )
        assert reply["datas"][0] == {"Type": "CP", "Localite": "06200", "Volume": 362}

    async def test_curl_without_headers(self, manual: Account) -> None:
        """A body that curl labels as a form is read as JSON all the same."""
        reply = await curl(
            f"curl {manual.sandbox.base_url}/location/optin"
            ' -d \'{"apiKey":"YOUR API KEY","op":"calcul","parameters":{"sexe":"f",'
            '"minAge":25,"maxAge":35,"zipcode":"06200","interest":"12"}}\''
        )
        assert reply["success"] is True

    async def test_curl_status(self, session: aiohttp.ClientSession) -> None:
        """The manual's curl command for a status, JSON content type included, is answered."""
        async with Sandbox(api_key="xxx") as sandbox:
            token = await Account(sandbox, session).rent()
            reply = await curl(
                'curl -H  "Content-Type: application/json" -X GET '
                f" '{sandbox.base_url}/location/status?apiKey=xxx&token={token}'"
            )
        assert reply["token"] == token

    async def test_http_client(self, manual: Account) -> None:
        """The manual's `http.client` program gets a price, with a volume for an untargeted area."""
        host = urlsplit(manual.sandbox.base_url).netloc

        def sample() -> str:
            conn = http.client.HTTPConnection(host)
            payload = (
                '{"apiKey":"YOUR API KEY","op":"price","parameters":{"sexe":"f","minAge":25,'
                '"maxAge":35,"zipcode":"06200","interest":12,"subInterest":29,"category":103},'
                '"volumes":{"60200":20}}'
            )
            headers = {"Content-Type": "application/json"}
            conn.request("POST", "/v1/location/optin", payload, headers)
            res = conn.getresponse()
            data = res.read()
            conn.close()
            return data.decode("utf-8")

        reply = json.loads(await asyncio.to_thread(sample))
        assert reply["cost"]["quantity"] == 362

    async def test_requests(self, manual: Account) -> None:
        """The manual's `requests` program gets the status of a rental."""
        requests = pytest.importorskip("requests")
        token = await manual.rent()

        def sample() -> Any:
            url = (
                manual.sandbox.base_url
                + "/location/status?apiKey="
                + "YOUR API KEY"
                + "&token="
                + token
            )
            with requests.Session() as session:
                session.trust_env = False  # no proxy between this test and its sandbox
                return session.get(url).json()

        reply = await asyncio.to_thread(sample)
        assert reply.get("success") is True
        assert reply["token"] == token

    async def test_php(self, manual: Account) -> None:
        """What the manual's PHP program sends - text, a form's type, volumes - is answered."""
        status, reply = await manual.exchange(
            data=b'{"apiKey":"YOUR API KEY","op":"calcul","parameters":{"sexe":"m",'
            b'"minAge":"25","maxAge":"35","zipcode":"60200","interest":14,"subInterest":35},'
            b'"volumes":{"60200":20}}',
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert status == 200
        assert reply["cost"]["quantity"] == 266

    async def test_visual_basic(self, manual: Account) -> None:
        """Objects quoted as text, as in the manual's Visual Basic program, are understood."""
        parameters = '{"sexe":"m","minAge":"25","maxAge":"35","zipcode":"60200","interest":14}'
        reply = await manual.post(op="price", parameters=parameters, volumes='{"60200":20}')
        assert reply["cost"]["quantity"] == 20


class TestLife:
    """Starting, closing, and what a sandbox reports to the test that owns it."""

    @pytest.mark.parametrize("host", ["10.0.0.1", "::", "192.0.2.1", "example.com", ""])
    def test_loopback_only(self, host: str) -> None:
        """A host that others could reach is refused, and the message names those that do."""
        with pytest.raises(ValueError, match=r"loopback only: host must be 127\.0\.0\.1"):
            Sandbox(host=host)

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
    async def test_every_loopback_address(self, session: aiohttp.ClientSession, host: str) -> None:
        """`localhost` and other loopback addresses are served."""
        sandbox = Sandbox(host=host)
        try:
            await sandbox.start()
        except OSError as error:
            pytest.skip(f"this machine has no {host}: {error}")
        try:
            assert (await Account(sandbox, session).get("/me"))["success"] is True
        finally:
            await sandbox.close()

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("api_key", {"api_key": " "}),
            ("balance", {"balance": Decimal(-1)}),
            ("balance", {"balance": Decimal("NaN")}),
            ("speed", {"speed": 0}),
            ("speed", {"speed": float("inf")}),
            ("port", {"port": 65536}),
            ("fail_every", {"fail_every": 0}),
            ("refuse_with", {"refuse_with": 10}),
        ],
    )
    def test_bad_option(self, name: str, options: dict[str, Any]) -> None:
        """An option that makes no sense is refused by name."""
        with pytest.raises(ValueError, match=f"^{name} must"):
            Sandbox(**options)

    async def test_start_and_close(self, session: aiohttp.ClientSession) -> None:
        """A sandbox keeps its account over a restart, and says when it is not running."""
        sandbox = Sandbox()
        with pytest.raises(RuntimeError, match="not running"):
            _ = sandbox.base_url
        assert sandbox.rentals == ()
        await sandbox.start()
        with pytest.raises(RuntimeError, match="already running"):
            await sandbox.start()
        token = await Account(sandbox, session).rent()
        await sandbox.close()
        await sandbox.close()
        with pytest.raises(RuntimeError, match="not running"):
            _ = sandbox.base_url
        async with sandbox:
            reply = await Account(sandbox, session).get("/location/status", token=token)
        assert reply["token"] == token

    async def test_requests_are_counted_by_operation(self, account: Account) -> None:
        """Every request is counted under its operation, refused ones included."""
        for op in ("calcul", "price", "price", "rent", "steal"):
            await account.post(op=op)
        await account.post(op="rent", apiKey="wrong")
        await account.get("/me")
        await account.get("/location/status")
        await account.get("/location/file/download")
        assert account.sandbox.requests == Counter(
            calculate=1, price=2, rent=2, status=1, download=1, credits=1, unknown=1
        )

    async def test_port_in_use(self, sandbox: Sandbox) -> None:
        """A taken port is an `OSError` that says which port and what to do."""
        port = urlsplit(sandbox.base_url).port
        assert port is not None
        with pytest.raises(OSError, match=f"port {port}: .*Choose another port"):
            await Sandbox(port=port).start()

    async def test_unnumbered_failure_to_listen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A failure to listen that has no number is raised in its own words."""

        async def fail(site: web.TCPSite) -> None:
            raise OSError("could not bind on any address")

        monkeypatch.setattr(web.TCPSite, "start", fail)
        with pytest.raises(OSError, match="could not bind on any address"):
            await Sandbox().start()
