"""Quotes, costs and balances: never misread, never computed, left out where they are unclear."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from replies import WIRE, refusal, reply

from smspartner_async import AreaVolume, Cost, Quote, ResponseError

AREA = {"Type": "CP", "Localite": "06200", "Volume": 20}
TOTAL = {"Type": "total", "Localite": "total", "Volume": 20}
ZIPCODE = AreaVolume(type="zipcode", location="06200", volume=20)


def quote_of(body: object) -> Quote:
    return WIRE.quote("price", reply(body))


def cost_of(fields: str) -> Cost | None:
    """Decode a quote whose cost is this piece of JSON."""
    return quote_of(f'{{"success": true, "cost": {fields}}}'.encode()).cost


@pytest.mark.parametrize(
    ("said", "amount"),
    [
        ("2.52", "2.52"),
        ('"0.900"', "0.900"),
        ('" 0.90 "', "0.90"),
        ("2.520", "2.520"),
        ("0", "0"),
        ("0.0", "0.0"),
        ("0.1", "0.1"),
        ("1e2", "1E+2"),
        ("0.089999999999999997", "0.089999999999999997"),
        ("0.0085000000000000006", "0.0085000000000000006"),
        ("123456789012.345", "123456789012.345"),
        ('"-1.5"', "-1.5"),
        ('"+1.5"', "1.5"),
    ],
)
def test_money_is_exact(said: str, amount: str) -> None:
    """Money is the vendor's digits as a Decimal, to the last zero, from a number or from text."""
    cost = cost_of(f'{{"total": {said}, "cost_unity": {said}}}')
    assert cost is not None
    assert (str(cost.total), str(cost.unit)) == (amount, amount)


@pytest.mark.parametrize(
    "said",
    [
        *('"1,234"', '"1,234.50"', '"2,52"', '"1.234,50"', '"1 234.50"', '"1\\u00a0234"'),
        *('"0.90 EUR"', '"EUR"', '""', '" "', '"."', '"1e3"', '"0x10"', '"1_000"', '"\\u0661"'),
        *("null", "true", "false", "[]", "{}", "[2.52]", '{"amount": 2.52}'),
        *("NaN", "Infinity", "-Infinity", '"NaN"', '"inf"', "1e30", "1e-30", "1e9999999"),
        *("0e9999999", "1e99999999999999999999", "1" * 25, "9" * 5000, "0." + "1" * 5000),
    ],
)
def test_unclear_money_is_left_out(said: str) -> None:
    """Money that could be read in two ways, or in none, is missing; the rest of its reply stays.

    A thousand read as one would let a rent pass its `max_total`.
    """
    cost = cost_of(f'{{"quantity": "20", "total": {said}, "cost_unity": 0.09}}')
    assert cost == Cost(quantity=20, total=None, unit=Decimal("0.09"))


@pytest.mark.parametrize("said", ["null", '""', "[]", "{}", '"free"', "5", "true", "[1]"])
def test_no_cost(said: str) -> None:
    """A cost that is no mapping with something in it is none."""
    assert cost_of(said) is None


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        *((word, "zipcode") for word in ("CP", "cp", " Cp ", "c.p.")),
        *((word, "department") for word in ("DEP", "dept", "Dpt", "Département", "departement")),
        ("Région", "region"),
        ("IRIS", "iris"),
    ],
)
def test_the_type_of_an_area(word: str, kind: str) -> None:
    """An area's type is given in plain English, or in the vendor's word where it is another."""
    (area,) = quote_of({"datas": [AREA | {"Type": word}]}).areas
    assert area.type == kind


@pytest.mark.parametrize("place", ["Localite", "Location"])
@pytest.mark.parametrize(
    ("said", "location"),
    [("06200", "06200"), (6200, "06200"), (" 2A ", "2A"), (2, "02"), (60, "60"), (971, "971")],
)
def test_the_place_of_an_area(place: str, said: object, location: str) -> None:
    """An area's place is read under either name, with the zeros that a number has lost."""
    (area,) = quote_of({"datas": [{"Type": "CP", place: said, "Volume": "266"}]}).areas
    assert area == AreaVolume(type="zipcode", location=location, volume=266)


@pytest.mark.parametrize(
    ("said", "volume"), [(20, 20), ("266", 266), (20.0, 20), ("20.000", 20), (0, 0)]
)
def test_volumes_are_integers(said: object, volume: int) -> None:
    """Volumes are integers, from a number or from text."""
    quote = quote_of({"datas": [AREA | {"Volume": said}, TOTAL | {"Volume": said}]})
    assert (quote.areas[0].volume, quote.total_volume) == (volume, volume)
    assert type(quote.areas[0].volume) is int


@pytest.mark.parametrize(
    ("said", "wanted"), [("10", 10), (10, 10), ("", None), (None, None), ("ten", None), ([], None)]
)
def test_the_wanted_volume_of_an_area(said: object, wanted: int | None) -> None:
    """A wanted volume is a bonus: unreadable, it costs itself alone."""
    (area,) = quote_of({"datas": [AREA | {"VolumeDesired": said}]}).areas
    assert area.desired_volume == wanted


def test_the_total_is_no_area() -> None:
    """The row of the total is split from the areas, wherever it stands and however spelled."""
    rows = [TOTAL | {"Type": " Total "}, AREA, AREA | {"Localite": "06300"}]
    quote = quote_of({"datas": rows})
    assert [area.location for area in quote.areas] == ["06200", "06300"]
    assert quote.total_volume == 20


def test_a_total_that_is_said_twice() -> None:
    """Of several rows of the total the last one counts, and none of them is an area."""
    quote = quote_of({"datas": [TOTAL, AREA, TOTAL | {"Volume": "25"}]})
    assert (quote.areas, quote.total_volume) == ((ZIPCODE,), 25)


@pytest.mark.parametrize("said", [[], None, "", 0, False, {}])
def test_a_quote_without_areas(said: object) -> None:
    """A quote may have a cost alone."""
    quote = quote_of({"success": True, "datas": said, "cost": {"total": "1.80"}})
    assert quote == Quote(operation="price", cost=Cost(total=Decimal("1.80")))


def test_a_quote_without_a_cost() -> None:
    """A quote may have areas alone, and no row of a total."""
    assert quote_of({"datas": [AREA]}) == Quote(operation="price", areas=(ZIPCODE,))


def test_the_operation_of_a_quote() -> None:
    """A quote says what it answers: what was asked, and not what the reply names."""
    assert WIRE.quote("calculate", reply({"op": "price", "datas": []})).operation == "calculate"


@pytest.mark.parametrize("body", [{"success": True}, {"success": True, "op": "price"}])
def test_a_quote_of_nothing(body: object) -> None:
    """A reply with neither areas nor a cost is no quote."""
    error = refusal("price", reply(body))
    assert type(error) is ResponseError
    assert "neither areas nor a cost" in str(error)


NO_TEXTS: tuple[Any, ...] = (None, [], {}, True, 1.5)
BAD_ROWS: list[Any] = [
    *(None, 5, True, "CP", [], ["CP", "06200", 20], {}),
    *({name: value for name, value in AREA.items() if name != lost} for lost in AREA),
    *(AREA | {name: value} for name in AREA for value in NO_TEXTS),
    *(AREA | {"Volume": text} for text in ("", "many", "1,000", "1 000", "20.5", "NaN")),
]


@pytest.mark.parametrize("row", BAD_ROWS)
def test_an_unreadable_area(row: object) -> None:
    """A quote with an area that cannot be read is refused: it would be a wrong quote."""
    error = refusal("calculate", reply({"datas": [AREA, row], "cost": {"total": 1}}))
    assert type(error) is ResponseError
    assert "areas cannot be read" in str(error)


@pytest.mark.parametrize("rows", ["CP", 5, True, {"0": AREA}, AREA])
def test_areas_that_are_no_list(rows: object) -> None:
    """Areas in anything but a list are refused, too."""
    assert type(refusal("price", reply({"datas": rows, "cost": {"total": 1}}))) is ResponseError


@pytest.mark.parametrize(
    ("said", "balance"), [('"10225.119"', "10225.119"), ("10225.10", "10225.10"), ("-1", "-1")]
)
def test_a_balance(said: str, balance: str) -> None:
    """A balance is exact; what stands beside it is a bonus, dropped where unreadable."""
    others = '"currency": 5, "creditSms": "many", "creditHlr": null, "toSend": []'
    body = f'{{"user": [], "credits": {{"balance": {said}, {others}}}}}'
    credit = WIRE.credits(reply(body.encode()))
    assert str(credit.balance) == balance
    assert (credit.currency, credit.sms, credit.hlr, credit.to_send) == (None,) * 4


@pytest.mark.parametrize("said", [None, "", "10,50", "ten", True, [], {}])
def test_no_balance(said: object) -> None:
    """Credits without a readable balance are refused."""
    body = {"success": True, "credits": {"balance": said}}
    assert type(refusal("credits", reply(body))) is ResponseError


@pytest.mark.parametrize("said", [None, "", [], "10225.119", {"currency": "EUR"}])
def test_no_credits(said: object) -> None:
    """A reply whose credits are no mapping with a balance is refused."""
    assert type(refusal("credits", reply({"success": True, "credits": said}))) is ResponseError
