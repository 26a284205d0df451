"""The words that errors are made of: the vendor's codes in English, operations. Pure."""

from __future__ import annotations

from typing import Final

ALREADY_DOWNLOADED_CODE: Final = 34
FAILED_CODE: Final = 36
ALL_WENT_WELL: Final = 200
"""No error: it stands in replies that are a success."""
TOO_MANY_REQUESTS: Final = 429
"""HTTP's, not the vendor's."""

# What each code means, from the vendor's page of error codes.
CODE_MEANINGS: Final[dict[int, str]] = {
    1: "the API key is missing",
    3: "the parameters are missing",
    4: "the operation is missing",
    5: "the notification URL is not a URL",
    6: "this operation is not allowed",
    7: "the gender is missing",
    8: "the gender is not one of mixed, male, female",
    9: "the minimum age is missing",
    10: "the API key is wrong",
    11: "the credit is insufficient",
    12: "the minimum age must be greater than 17",
    13: "the maximum age is missing",
    14: "the maximum age must be less than 99",
    15: "the interest must be greater than 0",
    16: "the interest is empty",
    17: "the sub-interest is empty",
    18: "the sub-interest must be greater than 0",
    19: "an interest or a sub-interest is required",
    20: "the account is disabled",
    22: "the category is empty",
    23: "the category must be greater than 0",
    24: "the type of an area is missing",
    25: "the location of an area is missing",
    26: "the volume of an area is missing",
    27: "the wanted volume exceeds what is available",
    28: "the wanted volume exceeds the total",
    30: "the account is blocked",
    31: "the rental's token is missing",
    32: "the rental was not found",
    33: "the rental's file was not found",
    34: "the rental's file was already used",
    35: "the rental's file is being downloaded",
    36: "the rental of the file failed",
    40: "access to the API is denied",
    61: "the request seems invalid and gave no result",
    90: "the JSON is malformed",
    96: "this IP address is not allowed",
}

# Where the advice of a code is not that of its error's class.
CODE_ADVICE: Final[dict[int | None, str]] = {
    33: "It may not be made yet: wait_until_ready() returns when it can be downloaded.",
}

NO_PRICE_ADVICE: Final = "Try again later; if the vendor still gives no price, ask its support."
FATES: Final = {
    True: "The vendor may have received the request.",
    False: "Nothing was sent, so it is safe to try again.",
}
"""What became of a request without a whole reply: by whether it may have been sent."""

# What the vendor refused to do, by the operation, where its name is no verb.
_VERBS: Final = {
    "credits": "return the credits",
    "download": "send the file",
    "status": "return the status",
}


def refusal_text(operation: str, code: int | None, http_status: int) -> str:
    """Say what the vendor refused, and by which code."""
    meaning = CODE_MEANINGS.get(code, "no reason that its manual documents") if code else ""
    reason = f"code {code}, {meaning}" if code else "no error code"
    verb = _VERBS.get(operation, operation)
    return f"SMS Partner refused to {verb} ({reason}; HTTP {http_status})."


def seen_token_text(token: str) -> str:
    """Say what to do about a token that was seen in a reply that proves nothing."""
    return (
        f"Its reply held {token!r}, which may be its token: before you rent again, call "
        f"status({token!r}). A rental that the vendor knows by it is yours."
    )
