"""The sandbox accounts for every cent, and its rentals follow the clock."""

import asyncio
from decimal import Decimal

import aiohttp
import pytest
from sandbox_account import PARAMETERS, Account

from smspartner_async.sandbox import Sandbox, SandboxRental


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

    async def test_credits_hold_the_balance_as_text(self, account: Account) -> None:
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


class TestQuotes:
    """What costs nothing."""

    async def test_quotes_cost_nothing(self, account: Account) -> None:
        """Neither a calculation nor a price touches the balance."""
        await account.post(op="calcul")
        await account.post(op="price")
        assert account.sandbox.balance == 1000
        assert account.sandbox.paid == 0
        assert account.sandbox.rentals == ()


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
        """A rental that is made to fail ends in state 3 with no file (36) and no money back."""
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
        """`fail_every` lets every nth rental fail, beside those that are made to."""
        async with Sandbox(fail_every=3) as sandbox:
            account = Account(sandbox, session)
            for _ in range(2):
                await account.rent(volumes={"60200": 1})
            sandbox.fail_next_rental(2)
            for _ in range(4):
                await account.rent(volumes={"60200": 1})
            await asyncio.sleep(9)
            assert [rental.state for rental in sandbox.rentals] == [2, 2, 3, 3, 3, 3]


class TestLife:
    """What may be planned."""

    def test_fail_next_rental_needs_a_count(self) -> None:
        """No rentals is not a number of rentals to fail."""
        with pytest.raises(ValueError, match=r"^count must"):
            Sandbox().fail_next_rental(0)
