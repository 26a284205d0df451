"""The sandbox answers as the vendor's manual says, and accounts for every cent.

It is driven with plain HTTP, never with this project's client.
"""

import asyncio
import errno
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree as ET

import aiohttp
import pytest
from aiohttp import web

from smspartner_async.sandbox import Sandbox, SandboxRental, run, serve
from smspartner_async.sandbox._command import main

ABSENT: Any = object()
PARAMETERS = {
    "sexe": "f",
    "minAge": 31,
    "maxAge": 49,
    "zipcode": "60200",
    "interest": 12,
    "category": 103,
}
UNKNOWN_TOKEN = "0" * 40


class Account:
    """A user of one sandbox, over plain HTTP."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession) -> None:
        self.sandbox = sandbox
        self.session = session

    async def post(self, **body: Any) -> Any:
        """POST a body (the usual targeting unless told) and return the decoded reply."""
        body = {"apiKey": self.sandbox.api_key, "parameters": PARAMETERS} | body
        body = {name: value for name, value in body.items() if value is not ABSENT}
        return (await self.exchange(json=body))[1]

    async def exchange(self, **request: Any) -> tuple[int, Any]:
        """POST anything and return the HTTP status with the decoded reply."""
        async with self.session.post(
            f"{self.sandbox.base_url}/location/optin", **request
        ) as response:
            return response.status, await response.json()

    async def get(self, path: str, **params: str) -> Any:
        """GET with the right key and return the decoded reply."""
        query = {"apiKey": self.sandbox.api_key} | params
        url = f"{self.sandbox.base_url}{path}"
        async with self.session.get(url, params=query) as response:
            return await response.json()

    async def rent(self, **body: Any) -> str:
        """Rent the usual targeting and return the token."""
        reply = await self.post(op="rent", **body)
        token: str = reply["token"]
        return token

    async def download(self, token: str) -> str:
        """Download a file that is ready."""
        async with self.session.get(
            f"{self.sandbox.base_url}/location/file/download",
            params={"apiKey": self.sandbox.api_key, "token": token},
        ) as response:
            assert response.content_type == "text/csv"
            return await response.text()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def account(sandbox: Sandbox, session: aiohttp.ClientSession) -> Account:
    return Account(sandbox, session)


class TestQuotes:
    """`calcul` and `price`."""

    async def test_first_quote_is_the_manuals_sample(self, account: Account) -> None:
        """The first quote has the keys, the layout and the types of the manual's sample."""
        parameters = PARAMETERS | {"zipcode": "06200"}
        reply = await account.post(op="price", parameters=parameters, volumes={"06200": 28})
        assert reply == {
            "success": True,
            "op": "price",
            "datas": [
                {"Type": "CP", "Localite": "06200", "Volume": 28},
                {"Type": "total", "Localite": "total", "Volume": 28},
            ],
            "cost": {"quantity": 28, "total": 2.52, "cost_unity": 0.09},
        }

    async def test_calculate_counts_every_area(self, account: Account) -> None:
        """A calculation lists departments and post codes once each, with the documented volumes."""
        areas = {"department": "02, 2a,02", "zipcode": "60200,06200"}
        reply = await account.post(op="calcul", parameters=PARAMETERS | areas)
        assert reply["op"] == "calcul"
        assert [(row["Type"], row["Localite"], row["Volume"]) for row in reply["datas"]] == [
            ("DEP", "02", 520),
            ("DEP", "2A", 700),
            ("CP", "60200", 266),
            ("CP", "06200", 362),
            ("total", "total", 1848),
        ]
        assert reply["cost"] == {"quantity": 1848, "total": 166.32, "cost_unity": 0.09}

    @pytest.mark.parametrize("zipcode", [ABSENT, None, "", " , "])
    async def test_no_area_is_the_whole_country(self, account: Account, zipcode: object) -> None:
        """A targeting without an area is answered with the total of the country alone."""
        parameters = {
            name: value
            for name, value in (PARAMETERS | {"zipcode": zipcode}).items()
            if value is not ABSENT
        }
        reply = await account.post(op="price", parameters=parameters)
        assert reply["datas"] == [{"Type": "total", "Localite": "total", "Volume": 9000}]
        assert reply["cost"]["total"] == 810

    @pytest.mark.parametrize("volumes", [{}, [], None, "", {"75001": 20}])
    async def test_volumes_that_name_no_targeted_area_change_nothing(
        self, account: Account, volumes: object
    ) -> None:
        """A wish for an area that is not targeted is no error, as in the manual's sample."""
        reply = await account.post(op="price", volumes=volumes)
        assert reply["cost"]["quantity"] == 266

    async def test_calculate_ignores_volumes(self, account: Account) -> None:
        """Volumes sent along with a calculation are not looked at."""
        reply = await account.post(op="calcul", volumes={"60200": -1})
        assert reply["cost"]["quantity"] == 266

    async def test_quotes_cost_nothing(self, account: Account) -> None:
        """Neither a calculation nor a price touches the balance."""
        await account.post(op="calcul")
        await account.post(op="price")
        assert account.sandbox.balance == 1000
        assert account.sandbox.paid == 0
        assert account.sandbox.rentals == ()

    async def test_types_wander(self, account: Account) -> None:
        """Money and volumes come as numbers and as text, and `Type` in both cases."""
        quotes = [await account.post(op="price", volumes={"60200": 10}) for _ in range(8)]
        assert {repr(quote["cost"]["total"]) for quote in quotes} == {"0.9", "'0.900'"}
        assert {repr(quote["cost"]["cost_unity"]) for quote in quotes} == {"0.09", "'0.090'"}
        assert {repr(quote["datas"][0]["Volume"]) for quote in quotes} == {"10", "'10'"}
        assert {quote["datas"][0]["Type"] for quote in quotes} == {"CP", "cp"}
        assert {quote["datas"][1]["Type"] for quote in quotes} == {"total"}

    async def test_types_wander_the_same_way_every_time(
        self, session: aiohttp.ClientSession
    ) -> None:
        """Two sandboxes that are asked the same answer the same."""
        runs = []
        for _ in range(2):
            async with Sandbox() as sandbox:
                account = Account(sandbox, session)
                runs.append([await account.post(op="price") for _ in range(8)])
        assert runs[0] == runs[1]


class TestMoney:
    """What `rent` costs, and what the account says about it."""

    async def test_rent_takes_exactly_the_price(self, account: Account) -> None:
        """A rental takes its price from the balance, and answers with a token of 40 digits."""
        quoted = await account.post(op="price", volumes={"60200": "20"})
        reply = await account.post(op="rent", volumes={"60200": "20"})
        assert list(reply) == ["success", "op", "token", "datas", "cost"]
        assert reply["op"] == "rent"
        assert Decimal(str(reply["cost"]["total"])) == Decimal(str(quoted["cost"]["total"]))
        assert len(bytes.fromhex(reply["token"])) == 20
        assert account.sandbox.balance == Decimal("998.20")
        assert account.sandbox.paid == Decimal("1.80")

    @pytest.mark.looptime
    async def test_rentals_are_in_view(self, account: Account) -> None:
        """A sandbox shows every rental: token, price, contacts, state and the targeting sent."""
        first = await account.rent(volumes={"60200": 20})
        await asyncio.sleep(5)
        second = await account.rent(parameters=PARAMETERS | {"zipcode": "06200"})
        assert account.sandbox.rentals == (
            SandboxRental(
                token=first,
                price=Decimal("1.80"),
                contacts=20,
                state=1,
                downloaded=False,
                parameters=PARAMETERS,
            ),
            SandboxRental(
                token=second,
                price=Decimal("32.58"),
                contacts=362,
                state=0,
                downloaded=False,
                parameters=PARAMETERS | {"zipcode": "06200"},
            ),
        )

    async def test_refused_rent_takes_nothing(self, session: aiohttp.ClientSession) -> None:
        """A rental above the balance is refused with code 11; one that takes all of it is not."""
        async with Sandbox(balance=Decimal("1.80")) as sandbox:
            account = Account(sandbox, session)
            refused = await account.post(op="rent", volumes={"60200": 21})
            assert refused["code"] == 11
            assert sandbox.balance == Decimal("1.80")
            assert sandbox.rentals == ()
            await account.rent(volumes={"60200": 20})
            assert sandbox.balance == 0

    async def test_bad_rent_takes_nothing(self, account: Account) -> None:
        """A rental with bad parameters costs nothing."""
        reply = await account.post(op="rent", parameters=PARAMETERS | {"sexe": "x"})
        assert reply["code"] == 8
        assert account.sandbox.balance == 1000

    async def test_credits_tell_the_balance_as_text(self, account: Account) -> None:
        """The credits reply is the vendor's, with the balance as text."""
        await account.rent(volumes={"60200": 20})
        reply = await account.get("/me")
        assert reply["success"] is True
        assert reply["code"] == 200
        assert set(reply["user"]) == {"username", "firstname", "lastname"}
        assert reply["credits"] == {
            "creditSms": 0,
            "creditSmsECO": 0,
            "creditHlr": 0,
            "toSend": 0,
            "balance": "998.200",
            "currency": "EUR",
        }


class TestErrors:
    """The vendor's codes, each provoked."""

    @pytest.mark.parametrize(
        ("code", "body"),
        [
            (1, {"apiKey": ABSENT}),
            (1, {"apiKey": None}),
            (1, {"apiKey": ""}),
            (3, {"parameters": ABSENT}),
            (3, {"parameters": {}}),
            (3, {"parameters": []}),
            (3, {"parameters": 12}),
            (4, {"op": ABSENT}),
            (4, {"op": " "}),
            (5, {"urlNotification": "not a URL"}),
            (6, {"op": "steal"}),
            (6, {"op": ["rent"]}),
            (10, {"apiKey": "wrong"}),
            (10, {"apiKey": ["sandbox-key"]}),
            (26, {"volumes": {"60200": None}}),
            (26, {"volumes": {"60200": 0}}),
            (26, {"volumes": {"60200": "a few"}}),
            (26, {"volumes": [20]}),
            (27, {"volumes": {"60200": 267}}),
            (28, {"volumes": {"60200": 266, "75001": 1}}),
            (90, {"parameters": "{"}),
            (90, {"volumes": "[1]"}),
        ],
    )
    async def test_bad_request(self, account: Account, code: int, body: dict[str, Any]) -> None:
        """Each mistake around the parameters is refused with the vendor's code for it."""
        reply = await account.post(**({"op": "price"} | body))
        assert (reply["success"], reply["code"]) == (False, code)

    @pytest.mark.parametrize(
        ("code", "changes"),
        [
            (5, {"urlNotification": 12}),
            (7, {"sexe": ABSENT}),
            (7, {"sexe": ""}),
            (8, {"sexe": "femme"}),
            (8, {"sexe": 1}),
            (9, {"minAge": ABSENT}),
            (12, {"minAge": 17}),
            (12, {"minAge": "young"}),
            (12, {"minAge": 18.5}),
            (13, {"maxAge": ABSENT}),
            (14, {"maxAge": 99}),
            (14, {"maxAge": True}),
            (15, {"interest": 0}),
            (15, {"interest": "-1"}),
            (15, {"interest": "cooking"}),
            (16, {"interest": ""}),
            (16, {"interest": None}),
            (17, {"subInterest": ""}),
            (18, {"subInterest": 0}),
            (19, {"interest": ABSENT}),
            (22, {"category": ""}),
            (23, {"category": -102}),
            (61, {"category": 104}),
            (61, {"minAge": 50}),
            (61, {"zipcode": "6200"}),
            (61, {"zipcode": ["60200"]}),
            (61, {"zipcode": 2200}),
            (61, {"department": "Oise"}),
        ],
    )
    async def test_bad_parameter(
        self, account: Account, code: int, changes: dict[str, Any]
    ) -> None:
        """Each mistake in the parameters is refused with the vendor's code for it."""
        parameters = {
            name: value for name, value in (PARAMETERS | changes).items() if value is not ABSENT
        }
        reply = await account.post(op="price", parameters=parameters)
        assert (reply["success"], reply["code"]) == (False, code)
        assert reply["message"]

    @pytest.mark.parametrize(
        "changes",
        [
            {"minAge": 18, "maxAge": 98},
            {"minAge": "18", "maxAge": "98"},
            {"minAge": 31, "maxAge": 31},
            {"interest": "12", "subInterest": "29"},
            {"interest": 14, "subInterest": 35},
            {"category": "102"},
            {"zipcode": 60200},
            {"urlNotification": "https://example.com/rented"},
        ],
    )
    async def test_accepted(self, account: Account, changes: dict[str, Any]) -> None:
        """The ends of every range are accepted, and numbers sent as text too."""
        reply = await account.post(op="price", parameters=PARAMETERS | changes)
        assert reply["success"] is True

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff\xfe{", b"[" * 100_000])
    async def test_malformed_json(self, account: Account, body: bytes) -> None:
        """A body that is not a JSON object is refused with code 90."""
        status, reply = await account.exchange(data=body)
        assert status == 400
        assert reply["code"] == 90
        assert account.sandbox.requests == {"unknown": 1}

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
        """Credits are told to the holder of the key alone."""
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

    async def test_http_statuses_differ(self, account: Account) -> None:
        """Some errors come with an HTTP error and some with 200, each always in the same way."""
        base, key = account.sandbox.base_url, account.sandbox.api_key
        statuses = {}
        for path in (
            "/me",
            "/me?apiKey=wrong",
            f"/location/status?apiKey={key}",
            f"/location/status?apiKey={key}&token={UNKNOWN_TOKEN}",
        ):
            async with account.session.get(base + path) as response:
                statuses[(await response.json())["code"]] = response.status
        assert statuses == {1: 401, 10: 401, 31: 200, 32: 404}

    async def test_wrong_key_is_the_manuals_sample(self, account: Account) -> None:
        """A wrong key is refused with the manual's sample, accent included."""
        assert await account.get("/me", apiKey="wrong") == {
            "success": False,
            "code": 10,
            "message": "Clé API incorrecte",
        }


class TestStates:
    """A rental's way through its states."""

    @pytest.mark.looptime
    @pytest.mark.parametrize("speed", [1.0, 4.0])
    async def test_states_follow_the_clock(
        self, session: aiohttp.ClientSession, speed: float
    ) -> None:
        """A rental is requested for 2 s, generating for 6 s more, then ready, then downloaded."""
        async with Sandbox(speed=speed) as sandbox:
            account = Account(sandbox, session)
            token = await account.rent()
            states = []
            for pause in (0, 1.9, 0.2, 5.8, 0.2):
                await asyncio.sleep(pause / speed)
                states.append(sandbox.rentals[0].state)
            await account.download(token)
            states.append(sandbox.rentals[0].state)
        assert states == [0, 0, 1, 1, 2, 5]

    @pytest.mark.looptime
    async def test_file_comes_once(self, account: Account) -> None:
        """No file before it is ready (33, then 35), one file, and none a second time (34)."""
        path = "/location/file/download"
        token = await account.rent(volumes={"60200": 20})
        assert (await account.get(path, token=token))["code"] == 33
        await asyncio.sleep(3)
        assert (await account.get(path, token=token))["code"] == 35
        await asyncio.sleep(6)
        async with account.session.head(
            f"{account.sandbox.base_url}{path}",
            params={"apiKey": account.sandbox.api_key, "token": token},
        ) as response:
            assert response.status == 405
        assert len((await account.download(token)).splitlines()) == 20
        assert account.sandbox.rentals[0].downloaded
        assert (await account.get(path, token=token))["code"] == 34

    @pytest.mark.looptime
    async def test_failing_rental(self, account: Account) -> None:
        """A rental told to fail ends in state 3 with no file (36) and no money back."""
        account.sandbox.fail_next_rental()
        failing = await account.rent(volumes={"60200": 20})
        fine = await account.rent(volumes={"60200": 20})
        await asyncio.sleep(5)
        assert [rental.state for rental in account.sandbox.rentals] == [1, 1]
        await asyncio.sleep(5)
        assert [rental.state for rental in account.sandbox.rentals] == [3, 2]
        assert (await account.get("/location/file/download", token=failing))["code"] == 36
        assert "file" not in await account.get("/location/status", token=failing)
        assert await account.download(fine)
        assert account.sandbox.paid == Decimal("3.60")

    @pytest.mark.looptime
    async def test_fail_every(self, session: aiohttp.ClientSession) -> None:
        """`fail_every` lets every nth rental fail, beside those that are told to."""
        async with Sandbox(fail_every=3) as sandbox:
            account = Account(sandbox, session)
            for _ in range(2):
                await account.rent(volumes={"60200": 1})
            sandbox.fail_next_rental(2)
            for _ in range(4):
                await account.rent(volumes={"60200": 1})
            await asyncio.sleep(9)
            assert [rental.state for rental in sandbox.rentals] == [2, 2, 3, 3, 3, 3]

    @pytest.mark.looptime
    async def test_status_sample_comes_round(self, account: Account) -> None:
        """Among the replies to the manual's own rental is the manual's sample, to the letter."""
        token = await account.rent(volumes={"60200": 10})
        await asyncio.sleep(9)
        await account.download(token)
        replies = [await account.get("/location/status", token=token) for _ in range(24)]
        assert {
            "success": True,
            "token": token,
            "status": "File downloaded by user from api",
            "location": {
                "sexe": "femme",
                "minAge": 31,
                "maxAge": 49,
                "zipcode": "60200",
                "interest": "12",
                "category": 103,
                "details_localisation": [
                    {
                        "Type": "cp",
                        "Location": "60200",
                        "VolumeDesired": "10",
                        "Volume": "266",
                    }
                ],
                "cost": {"quantity": 10, "total": "0.900", "cost_unity": "0.090"},
            },
            "file": {"phoneNumbers": "10"},
        } in replies

    @pytest.mark.looptime
    async def test_state_is_a_code_or_its_text_or_a_sentence(self, account: Account) -> None:
        """Every state is told in all of the vendor's ways, and a file only once there is one."""
        account.sandbox.fail_next_rental()
        failing = await account.rent(volumes={"60200": 10})
        token = await account.rent(volumes={"60200": 10})
        seen: dict[int, set[object]] = {}
        for pause in (0, 3, 6):
            await asyncio.sleep(pause)
            for _ in range(6):
                reply = await account.get("/location/status", token=token)
                state = account.sandbox.rentals[1].state
                seen.setdefault(state, set()).add(reply["status"])
                assert ("file" in reply) == (state == 2)
        for _ in range(3):
            reply = await account.get("/location/status", token=failing)
            seen.setdefault(3, set()).add(reply["status"])
        assert seen == {
            0: {0, "0", "The rental request has been made", "The rental application was made"},
            1: {1, "1", "File is being generated", "The file is being created"},
            2: {
                2,
                "2",
                "File is ready. You can download it.",
                "The creation of the file is completed. You can download the",
            },
            3: {3, "3", "The rental request failed"},
        }

    async def test_status_names_what_was_targeted(self, account: Account) -> None:
        """A status repeats departments and sub-interest when given, and nothing that was not."""
        parameters = {
            "sexe": "m",
            "minAge": "25",
            "maxAge": "35",
            "department": "02",
            "subInterest": 35,
        }
        token = await account.rent(parameters=parameters)
        location = (await account.get("/location/status", token=token))["location"]
        assert {name: location[name] for name in list(location)[:-2]} == {
            "sexe": "mixte",
            "minAge": 25,
            "maxAge": 35,
            "department": "02",
            "subInterest": "35",
        }

    async def test_genders_come_as_words_and_letters(self, account: Account) -> None:
        """A gender comes back as a French word, and sometimes as its letter."""
        token = await account.rent(parameters=PARAMETERS | {"sexe": "h"}, volumes={"60200": 1})
        replies = [await account.get("/location/status", token=token) for _ in range(16)]
        assert {reply["location"]["sexe"] for reply in replies} == {"homme", "h"}


class TestFile:
    """The file that was rented."""

    @pytest.mark.looptime
    async def test_numbers_are_made_up(self, account: Account) -> None:
        """A file holds as many fictional numbers as were rented, told apart from other files."""
        tokens = [await account.rent(volumes={"60200": 20}) for _ in range(2)]
        await asyncio.sleep(9)
        files = [(await account.download(token)).splitlines() for token in tokens]
        assert [len(numbers) for numbers in files] == [20, 20]
        assert files[0][:2] == ["+33639980000", "+33639980001"]
        assert len({*files[0], *files[1]}) == 40
        assert all(len(n) == 12 and n.startswith("+3363998") for n in files[0] + files[1])

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

    @pytest.mark.looptime
    async def test_numbers_repeat_when_they_run_out(self, session: aiohttp.ClientSession) -> None:
        """More contacts than the fictional range holds begin again at its start."""
        async with Sandbox(balance=Decimal(5000)) as sandbox:
            account = Account(sandbox, session)
            country = {**PARAMETERS, "zipcode": ""}
            tokens = [await account.rent(parameters=country) for _ in range(2)]
            await asyncio.sleep(9)
            numbers = (await account.download(tokens[1])).splitlines()
        assert len(numbers) == 9000
        assert numbers[999:1001] == ["+33639989999", "+33639980000"]


class TestXML:
    """Replies to `_format=xml`."""

    async def fetch(self, account: Account, method: str, path: str, **request: Any) -> str:
        """Ask for XML and return its text."""
        separator = "&" if "?" in path else "?"
        url = f"{account.sandbox.base_url}{path}{separator}_format=xml"
        async with account.session.request(method, url, **request) as response:
            assert response.content_type == "application/xml"
            return await response.text()

    async def test_quote_is_the_manuals_sample(self, account: Account) -> None:
        """A quote asked for as XML is the manual's sample, to the letter."""
        body = {
            "apiKey": account.sandbox.api_key,
            "op": "price",
            "parameters": PARAMETERS | {"zipcode": "06200"},
            "volumes": {"06200": 28},
        }
        text = await self.fetch(account, "POST", "/location/optin", json=body)
        assert text == XML_QUOTE

    async def test_error_is_the_manuals_sample(self, account: Account) -> None:
        """An error asked for as XML is the manual's sample, to the letter."""
        text = await self.fetch(account, "GET", "/location/status?apiKey=wrong&token=xxx")
        assert text == XML_ERROR

    async def test_every_operation_speaks_xml(self, account: Account) -> None:
        """Credits and statuses hold the same values in XML as in JSON, without their names."""
        key = account.sandbox.api_key
        token = await account.rent(volumes={"60200": 10})
        credit = await self.fetch(account, "GET", f"/me?apiKey={key}")
        status = await self.fetch(account, "GET", f"/location/status?apiKey={key}&token={token}")
        assert self.texts(credit) == [
            *("true", "200", "sandbox", "Sand", "Box"),
            *("0", "0", "0", "0", "999.100", "EUR"),
        ]
        assert self.texts(status) == [
            *("true", token, "0", "femme", "31", "49", "60200", "12", "103"),
            *("CP", "60200", "10", "266", "10", "0.900", "0.090"),
        ]

    def texts(self, document: str) -> list[str]:
        """List the values of a document in their order."""
        root = ET.fromstring(document)  # noqa: S314 - the sandbox wrote it, nobody else
        return [text.strip() for text in root.itertext() if text.strip()]


XML_QUOTE = """\
<?xml version="1.0" encoding="UTF-8"?>
<result>
    <entry>true</entry>
    <entry>
        <![CDATA[price]]>
    </entry>
    <entry>
        <entry>
            <entry>
                <![CDATA[CP]]>
            </entry>
            <entry>
                <![CDATA[06200]]>
            </entry>
            <entry>28</entry>
        </entry>
        <entry>
            <entry>
                <![CDATA[total]]>
            </entry>
            <entry>
                <![CDATA[total]]>
            </entry>
            <entry>28</entry>
        </entry>
    </entry>
    <entry>
        <entry>28</entry>
        <entry>2.52</entry>
        <entry>0.09</entry>
    </entry>
</result>
"""
XML_ERROR = """\
<?xml version="1.0" encoding="UTF-8"?>
<result>
    <entry>false</entry>
    <entry>10</entry>
    <entry>
        <![CDATA[Clé API incorrecte]]>
    </entry>
</result>
"""


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
    """Starting, closing, and what a sandbox tells the test that owns it."""

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

    def test_fail_next_rental_needs_a_count(self) -> None:
        """No rentals is not a number of rentals to fail."""
        with pytest.raises(ValueError, match=r"^count must"):
            Sandbox().fail_next_rental(0)

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
        """A failure to listen that has no number is told in its own words."""

        async def fail(site: web.TCPSite) -> None:
            raise OSError("could not bind on any address")

        monkeypatch.setattr(web.TCPSite, "start", fail)
        with pytest.raises(OSError, match="could not bind on any address"):
            await Sandbox().start()


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
                assert process.wait(timeout=10) == 0
                assert process.stderr.read() == ""
            finally:
                process.kill()
        assert reply["credits"]["balance"] == "50.000"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("by_loop", [True, False])
    async def test_serve_ends_on_signals(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        number: signal.Signals,
        *,
        by_loop: bool,
    ) -> None:
        """Ctrl-C and SIGTERM end serving, also where the loop cannot watch signals."""

        def refuse(number: int, callback: Callable[..., object], *args: object) -> None:
            raise NotImplementedError

        if not by_loop:
            monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
        before = signal.getsignal(number)
        sandbox = Sandbox(api_key="my key")
        serving = asyncio.create_task(serve(sandbox))
        printed = ""
        async with asyncio.timeout(5):
            while "Ctrl-C" not in printed:
                await asyncio.sleep(0.001)
                printed += capsys.readouterr().out
            assert f"export SMSPARTNER_BASE_URL={sandbox.base_url}\n" in printed
            assert "export SMSPARTNER_API_KEY='my key'\n" in printed
            signal.raise_signal(number)
            await serving
        if not by_loop:
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
