"""Likely mistakes in arguments, and what to write instead.

They are those of a user who knows the vendor's manual or another SDK. Each function returns the end
of an error's sentence, or `""` where there is nothing to suggest.
"""

from __future__ import annotations

import re
from functools import wraps
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_P = ParamSpec("_P")
_T = TypeVar("_T")

ZIPCODE: Final = r"[0-9]{5}"
DEPARTMENT: Final = r"[0-9]{2}|2[AB]|9[78][0-9]"
# The manual's page "Targeting & Calculation" has the letters and codes; its page "Rental Status"
# has the French words.
GENDERS: Final = {
    "m": "mixed",
    "h": "male",
    "f": "female",
    "mixte": "mixed",
    "homme": "male",
    "femme": "female",
}
CATEGORIES: Final = {102: "csp+", 103: "csp-"}
TARGETING_ARGUMENTS: Final = {
    "sexe": "write gender='mixed', 'male' or 'female'",
    "minAge": "write min_age",
    "maxAge": "write max_age",
    "subInterest": "write sub_interest",
    "department": "write departments",
    "zipcode": "write zipcodes",
    "volumes": "pass them to price() and rent(), as in client.price(targeting, {'60200': 20})",
    "apiKey": "pass it to SMSPartnerClient(api_key=...)",
    "op": "call the client's calculate(), price() or rent()",
}
# `timeout` is what httpx, requests and most SDKs call it; `max_retries` is a habit of many.
OPTION_ARGUMENTS: Final = {
    "timeout": "write request_timeout for one request, or polling=PollingPolicy(timeout=...) for a "
    "wait",
    "max_retries": "write retry=RetryPolicy(attempts=...), which counts the first try too",
    "retries": "write retry=RetryPolicy(attempts=...), which counts the first try too",
}
CLIENT_ARGUMENTS: Final = OPTION_ARGUMENTS | {
    "apiKey": "write api_key",
    "key": "write api_key",
    "http_client": "write session=aiohttp.ClientSession()",
    "proxies": "write proxy='http://proxy:3128'",
    "verify": "write ssl=ssl.create_default_context(cafile=...)",
}
CODES: Final = {
    "zipcodes": (ZIPCODE, 5, "'02200'", "02200,60200"),
    "departments": (DEPARTMENT, 2, "'02', '2A' or '974'", "02,60"),
}
"""Of each kind the form, the digits, examples, and a list of them."""


def explain_arguments(
    suggestions: Mapping[str, str], by_keyword: str | None = None
) -> Callable[[Callable[_P, _T]], Callable[_P, _T]]:
    """Make a function refuse arguments that it does not take by saying what to write instead.

    Args:
        suggestions: what to write, for each name of an argument.
        by_keyword: an example of a call, for a function that takes nothing by position.

    Raises:
        TypeError: from the decorated function, for such a name.
    """

    def decorate(function: Callable[_P, _T]) -> Callable[_P, _T]:
        name = function.__qualname__.removesuffix(".__init__")

        @wraps(function)
        def checked(*args: _P.args, **kwargs: _P.kwargs) -> _T:
            try:
                if wrong := [given for given in kwargs if given in suggestions]:
                    listed = ", no ".join(f"{given!r} ({suggestions[given]})" for given in wrong)
                    raise TypeError(f"{name}() takes no argument {listed}.")
                if by_keyword is not None and len(args) > 1:
                    raise TypeError(f"{name}() takes no positional arguments: write {by_keyword}.")
                return function(*args, **kwargs)
            finally:
                del args, kwargs  # an API key must not stay in the frame of a traceback

        return checked

    return decorate


def gender_hint(value: object) -> str:
    """Suggest a gender for the manual's letter or word."""
    known = GENDERS.get(value.strip().lower()) if isinstance(value, str) else None
    if known is None:
        return ""
    hint = f"; {value!r} is the vendor's word for {known!r}"
    return f"{hint}, and 'h' is its word for 'male'" if known == "mixed" else hint


def category_hint(value: object) -> str:
    """Suggest a category for the manual's code, as a number or as text."""
    code = int(value) if isinstance(value, str) and value.strip() in {"102", "103"} else value
    known = CATEGORIES.get(code) if isinstance(code, int) else None
    return "" if known is None else f"; {value!r} is the vendor's code for {known!r}"


def number_hint(value: object) -> str:
    """Suggest the number that a text holds."""
    if not (isinstance(value, str) and value.isascii() and value.strip().isdigit()):
        return ""
    return f"; write {value.strip()}, without quotes"


def code_hint(field: str, code: object) -> str:
    """Suggest what to write for a wrong code of `zipcodes` or `departments`."""
    pattern, width, _, example = CODES[field]
    other = next(name for name in CODES if name != field)
    if isinstance(code, int) and not isinstance(code, bool):
        text = f"{code:0{width}}"
        likely = code > 0 and re.fullmatch(pattern, text) and len(str(code)) >= width - 1
        return f"; write {text!r}, a code is text" if likely else ""
    if not isinstance(code, str):
        return ""
    parts = re.split(r"[;|/\s]+", code.strip())
    if len(parts) > 1 and all(re.fullmatch(pattern, part) for part in parts):
        # Not these ones: five departments look like a phone number.
        return f"; separate codes by commas, as in {example!r}"
    if re.fullmatch(CODES[other][0], code):
        return f"; write {other}={code!r}"
    if code.isascii() and code.isdigit() and len(code) == width - 1:
        return f"; a leading zero was lost? Write {code.zfill(width)!r}"
    return ""


def area_hint(area: object) -> str:
    """Suggest what to write for a wrong key of `volumes`."""
    return next((hint for field in CODES if (hint := code_hint(field, area))), "")


def volumes_hint(volumes: object) -> str:
    """Suggest a mapping for volumes that are written in another way."""
    pairs = volumes if isinstance(volumes, list | tuple) else ()
    if isinstance(volumes, str):
        pairs = re.findall(r"(?<!\w)(\w{2,5})\s*[:=]\s*(\d{1,6})(?!\d)", volumes)
    known = {
        pair[0]: int(pair[1])
        for pair in pairs
        if isinstance(pair, list | tuple)
        and len(pair) == 2  # noqa: PLR2004 - a pair
        and re.fullmatch(f"{ZIPCODE}|{DEPARTMENT}", str(pair[0]))
        and re.fullmatch("[0-9]{1,6}", str(pair[1]))
    }
    return f"; write {known or {'60200': 20}!r}"
