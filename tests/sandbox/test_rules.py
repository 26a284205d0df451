"""What the sandbox accepts, what it refuses and by which code, and how much an area holds."""

from typing import Any

import pytest
from sandbox_account import ABSENT, PARAMETERS, Account


class TestQuotes:
    """What `calcul` and `price` count."""

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
