"""How the vendor writes its replies: the manual's layout and its wandering types.

Pure: it makes payloads and files, and knows neither the clock nor HTTP requests.
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import attrs

from ._rules import MESSAGES, UNIT_PRICE, Order

REQUESTED: Final = 0
GENERATING: Final = 1
READY: Final = 2
FAILED: Final = 3
DOWNLOADED: Final = 5

HTTP_STATUS: Final = MappingProxyType(
    {1: 401, 10: 401, 20: 403, 30: 403, 40: 403, 96: 403, 32: 404, 33: 404, 90: 400}
)
"""The HTTP status of an error; any other code comes with 200.

The vendor documents none of this. Both ways are used, because a client has to understand both.
"""

_SENTENCES: Final[Mapping[int, tuple[str, ...]]] = MappingProxyType(
    {
        REQUESTED: (
            "The rental request has been made",
            "The rental application was made",
        ),
        GENERATING: (
            "File is being generated",
            "The file is being created",
        ),
        READY: (
            "File is ready. You can download it.",
            "The creation of the file is completed. You can download the",
        ),
        FAILED: ("The rental request failed",),
        DOWNLOADED: (
            "File has already been downloaded",
            "File downloaded by user from api",
            "The file has been downloaded",
        ),
    }
)
_WORDS: Final = MappingProxyType({"m": "mixte", "h": "homme", "f": "femme"})

# Arcep keeps 06 39 98 00 00 to 06 39 98 99 99 for fiction: nobody can be reached there.
_NUMBER_PREFIX: Final = "+3363998"
_NUMBER_COUNT: Final = 10_000


@attrs.frozen
class Spelling:
    """The types of one reply, which wander with its `turn` (0, 1, 2, ... in a sandbox's life).

    Turn 0 writes a quote as the manual's sample does, and turn 23 a status. What one reply
    writes in one way another writes in another, in every combination.
    """

    turn: int

    def money(self, amount: Decimal) -> float | str:
        """Write money as a number, or as text with three places."""
        return f"{amount:.3f}" if self.turn & 1 else float(amount)

    def count(self, number: int) -> int | str:
        """Write a volume as a number or as text."""
        return str(number) if self.turn & 2 else number

    def kind(self, kind: str) -> str:
        """Write the type of an area in either case."""
        return kind.lower() if self.turn & 4 else kind

    def sexe(self, letter: str) -> str:
        """Write a gender as a French word or as its letter."""
        return letter if self.turn & 8 else _WORDS[letter]

    def state(self, state: int) -> int | str:
        """Write a state as a code, as the code's text, or as one of the manual's sentences."""
        sentences = _SENTENCES[state]
        forms = (state, str(state), sentences[self.turn // 3 % len(sentences)])
        return forms[self.turn % 3]


def quote(order: Order, spelling: Spelling) -> dict[str, Any]:
    """Answer `calcul` and `price`."""
    rows = [(spelling.kind(area.kind), area.code, area.taken) for area in order.areas]
    rows.append(("total", "total", order.contacts))
    return {
        "success": True,
        "op": order.op,
        "datas": [
            {"Type": kind, "Localite": code, "Volume": spelling.count(volume)}
            for kind, code, volume in rows
        ],
        "cost": _cost(order, spelling),
    }


def receipt(order: Order, token: str, spelling: Spelling) -> dict[str, Any]:
    """Answer `rent`: a quote and the token. The vendor does not show this reply."""
    return {"success": True, "op": order.op, "token": token, **quote(order, spelling)}


def status(order: Order, token: str, state: int, spelling: Spelling) -> dict[str, Any]:
    """Answer a question for the state of a rental."""
    location: dict[str, Any] = {
        "sexe": spelling.sexe(order.sexe),
        "minAge": order.min_age,
        "maxAge": order.max_age,
        "department": order.codes("DEP"),
        "zipcode": order.codes("CP"),
        "interest": None if order.interest is None else str(order.interest),
        "subInterest": None if order.sub_interest is None else str(order.sub_interest),
        "category": order.category,
    }
    # As in the manual's sample, what was not targeted is not mentioned.
    location = {name: value for name, value in location.items() if value}
    location["details_localisation"] = [
        {
            "Type": spelling.kind(area.kind),
            "Location": area.code,
            "VolumeDesired": spelling.count(area.taken),
            "Volume": spelling.count(area.available),
        }
        for area in order.areas
    ]
    location["cost"] = _cost(order, spelling)
    answer: dict[str, Any] = {
        "success": True,
        "token": token,
        "status": spelling.state(state),
        "location": location,
    }
    if state in {READY, DOWNLOADED}:
        answer["file"] = {"phoneNumbers": str(order.contacts)}
    return answer


def credit(balance: Decimal) -> dict[str, Any]:
    """Answer a question for the account's credits. The sandbox sells no messages."""
    return {
        "success": True,
        "code": 200,
        "user": {"username": "sandbox", "firstname": "Sand", "lastname": "Box"},
        "credits": {
            "creditSms": 0,
            "creditSmsECO": 0,
            "creditHlr": 0,
            "toSend": 0,
            "balance": f"{balance:.3f}",
            "currency": "EUR",
        },
    }


def error(code: int) -> dict[str, Any]:
    """Refuse a request."""
    return {"success": False, "code": code, "message": MESSAGES[code]}


def contact_file(first: int, contacts: int) -> bytes:
    """Write made-up mobile numbers, one a line, starting with the `first` of the fictional range.

    The range holds 10,000 numbers; a file that needs more repeats them.
    """
    numbers = (n % _NUMBER_COUNT for n in range(first, first + contacts))
    return "".join(f"{_NUMBER_PREFIX}{n:04}\n" for n in numbers).encode("ascii")


def _cost(order: Order, spelling: Spelling) -> dict[str, Any]:
    return {
        "quantity": order.contacts,
        "total": spelling.money(order.price),
        "cost_unity": spelling.money(UNIT_PRICE),
    }
