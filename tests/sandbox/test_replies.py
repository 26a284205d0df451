"""The sandbox writes as the manual does: its samples, its wandering types."""

import asyncio
from decimal import Decimal

import aiohttp
import pytest
from sandbox_account import PARAMETERS, UNKNOWN_TOKEN, Account

from smspartner_async.sandbox import Sandbox


class TestQuotes:
    """Replies to `calcul` and `price`."""

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


class TestErrors:
    """Replies that say no."""

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
    """Replies to a question for a status."""

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
        """Every state is sent in all of the vendor's ways, and a file only once there is one."""
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
        """A file holds as many fictional numbers as were rented, unlike those of other files."""
        tokens = [await account.rent(volumes={"60200": 20}) for _ in range(2)]
        await asyncio.sleep(9)
        files = [(await account.download(token)).splitlines() for token in tokens]
        assert [len(numbers) for numbers in files] == [20, 20]
        assert files[0][:2] == ["+33639980000", "+33639980001"]
        assert len({*files[0], *files[1]}) == 40
        assert all(len(n) == 12 and n.startswith("+3363998") for n in files[0] + files[1])

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
