"""Bad input: any bytes at all give a model or an SMSPartnerError, and no secret gets out."""

from __future__ import annotations

import gc
import gzip
import json
import pickle
import re
import tracemalloc
import zlib
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from faults import ODD_RETRY_AFTERS
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from replies import KEY, OPERATIONS, TOKEN, decode, reply, sample

from smspartner_async import Credits, Quote, Rental, RentalStatus, ResponseError, SMSPartnerError
from smspartner_async._wire.reply import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from smspartner_async._wire.reply import Operation, Reply

MODELS: dict[Operation, type] = {
    "calculate": Quote,
    "price": Quote,
    "rent": Rental,
    "status": RentalStatus,
    "credits": Credits,
    "download": type(None),
}
SAMPLES = [
    sample(name)
    for name in (
        *("optin_reply.json", "status_reply.json", "credits_reply.json", "optin_error.json"),
        *("optin_reply.xml", "status_reply.xml", "optin_error.xml"),
    )
]
SAMPLES.append(json.dumps({"success": True, "op": "rent", "token": TOKEN, "datas": []}).encode())
DOCUMENTS = [json.loads(body) for body in SAMPLES if body.startswith(b"{")]
NAMES = sorted({name for body in SAMPLES for name in re.findall(r'"(\w+)":', body.decode())})
NUMBERS = ("+33612345678", "06 12 34 56 78", "0612345678", "33.6.12.34.56.78")

BOUNDED = settings(suppress_health_check=[HealthCheck.too_slow])


# --- what a server may send -------------------------------------------------------------------

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-1, 250),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(
        [
            *("", " ", "total", "CP", "cp", "f", "femme", "true", "false", "0", "1,5", "0.900"),
            *("NaN", "\ud800", "9" * 30, "File is ready", TOKEN, KEY, *NUMBERS),
            *(10**30, 33612345678, 1e300, float("inf"), 34, 36),
        ]
    ),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), inner, max_size=4),
    ),
    max_leaves=12,
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Any JSON, mostly of the vendor's names."""
    return json.dumps(draw(values)).encode()


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a document with each of its keys or indexes."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    inner = [value[key] for key in keys]
    deeper = [place for part in inner if isinstance(part, dict | list) for place in places(part)]
    return [(value, key) for key in keys] + deeper


@st.composite
def changed_samples(draw: st.DrawFn) -> bytes:
    """A sample of the manual with some of its values changed, deleted, moved or said twice."""
    document = json.loads(json.dumps(draw(st.sampled_from(DOCUMENTS))))
    for _ in range(draw(st.integers(0, 3))):
        found = places(document)
        if not found:
            break
        container, key = draw(st.sampled_from(found))
        old = container[key]
        match draw(st.sampled_from(["change", "delete", "retype", "double", "rename"])):
            case "change":
                container[key] = draw(values)
            case "delete":
                del container[key]
            case "retype":
                container[key] = draw(st.sampled_from([str(old), bool(old), [old], {"0": old}]))
            case "double" if isinstance(container, list):
                container.append(old)
            case _ if isinstance(container, dict):
                container[draw(st.sampled_from(NAMES))] = container.pop(key)
    body = json.dumps(document, default=str).encode()
    if draw(st.booleans()):  # a key that stands twice, which no dict can hold
        name, value = draw(st.sampled_from(NAMES)), draw(scalars)
        body = body.replace(b"{", b"{" + json.dumps({name: value})[1:-1].encode() + b", ", 1)
    return body


@st.composite
def spoilt_samples(draw: st.DrawFn) -> bytes:
    """A sample with bytes cut off, put in, or put in their place."""
    body = draw(st.one_of(st.sampled_from(SAMPLES), changed_samples()))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        end = draw(st.one_of(st.just(start), st.integers(start, len(body)), st.just(len(body))))
        body = body[:start] + draw(st.binary(max_size=4)) + body[end:]
    return body


@st.composite
def with_secrets(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> bytes:
    """A body with the key and phone numbers put in anywhere."""
    body = draw(bodies)
    secrets = draw(st.lists(st.sampled_from([KEY, *NUMBERS]), min_size=1, max_size=3))
    at = len(body)
    for secret in secrets:  # from the end on, so that none is put into another
        at = draw(st.integers(0, at))
        body = body[:at] + b" " + secret.encode() + b" " + body[at:]
    return body


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "x-gzip": bytes,
    "br": bytes,
    "utf-8": bytes,
    KEY: bytes,
    NUMBERS[0]: bytes,
}


@st.composite
def replies(draw: st.DrawFn, bodies: st.SearchStrategy[bytes]) -> Reply:
    """A reply of such a body, under any status, with odd headers."""
    body = draw(bodies)
    headers = {}
    if draw(st.booleans()):
        headers["Retry-After"] = draw(st.one_of(st.sampled_from(ODD_RETRY_AFTERS), st.text()))
    if draw(st.integers(0, 3)) == 0:
        coding = draw(st.sampled_from(sorted(PACKERS)))
        headers["Content-Encoding"] = coding
        body = PACKERS[coding](body)
        if PACKERS[coding] is not bytes:
            body = body[: draw(st.sampled_from([None, -1, -9]))]
    status = draw(
        st.sampled_from([200, 200, 200, 201, 204, 302, 400, 401, 404, 408, 429, 500, 503])
    )
    return reply(body, status, headers)


anything = st.one_of(st.binary(max_size=200), documents(), changed_samples(), spoilt_samples())


# --- what must come of it ---------------------------------------------------------------------


def outcome(operation: Operation, answer: Reply) -> SMSPartnerError | None:
    """Decode a reply to a model of the right class, or to an error of this package."""
    try:
        model = decode(operation, answer)
    except SMSPartnerError as error:
        return error
    assert isinstance(model, MODELS[operation])
    return None


def texts_of(error: BaseException) -> str:
    """Everything that can be read of an error: itself, its pickle, and all that hangs on it."""
    chained = (error.__cause__, None if error.__suppress_context__ else error.__context__)
    return "\n".join(
        [
            *(str(error), repr(error), repr(vars(error))),
            *(pickle.dumps(error, n).decode("utf-8", "backslashreplace") for n in (0, 5)),
            *(texts_of(inner) for inner in chained if inner is not None),
        ]
    )


@BOUNDED
@given(answer=replies(anything))
def test_any_reply(answer: Reply) -> None:
    """Bad input: any reply is a model or an SMSPartnerError; a 429 is never an answer."""
    for operation in OPERATIONS:
        error = outcome(operation, answer)
        assert error is not None or answer.status != 429 or operation == "rent"
        assert len(str(error)) < 2000
        assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - just made


@BOUNDED
@given(answer=replies(with_secrets(anything)))
def test_any_secret(answer: Reply) -> None:
    """A secret: no error shows the key or a phone number, wherever a reply has them."""
    for operation in OPERATIONS:
        error = outcome(operation, answer)
        if error is None:
            continue
        vars(error).pop("retry_after", None)  # seconds, which a pickle writes in digits
        shown = texts_of(error)
        assert KEY not in shown  # a pickle shows it as it is
        assert repr(KEY)[1:-1] not in shown
        assert "612345678" not in re.sub(r"[\s.\-]", "", shown)


@BOUNDED
@given(body=changed_samples(), status=st.sampled_from([200, 404, 429, 500]))
def test_any_token(body: bytes, status: int) -> None:
    """A paid request: a token beside a clear yes is a rental, whatever else is in the reply."""
    try:
        document = json.loads(body)
    except ValueError:
        reject()
    document |= {"success": True, "token": TOKEN}
    rental = decode("rent", reply(document, status))
    assert rental.token == TOKEN


@BOUNDED
@given(body=anything)
def test_any_money(body: bytes) -> None:
    """A quote's money is finite and can be compared with a limit, or it is not there."""
    try:
        quote = decode("price", reply(body))
    except SMSPartnerError:
        return
    if quote.cost is not None:
        for amount in (quote.cost.total, quote.cost.unit):
            assert amount is None or amount.is_finite()
            assert amount is None or (amount > Decimal(0)) in (True, False)


HUGE: dict[str, bytes] = {
    "spaces": b" " * MAX_BODY,
    "page": b"<" * MAX_BODY,
    "digits": b"9" * MAX_BODY,
    "numbers": b"0612345678 " * (MAX_BODY // 11),
    "half numbers": b"061234 x" * (MAX_BODY // 8),
    "nested": b'{"token":' * (MAX_BODY // 9),
    "wide": b'{"datas":[' + b'{"Type":"CP","Volume":0},' * (MAX_BODY // 30) + b"{}]}",
    "message": b'{"success":false,"message":"' + b"0" * (MAX_BODY - 40) + b'"}',
    "status": b'{"success":true,"status":"' + "ﷺ".encode() * (MAX_BODY // 4) + b'"}',
    "xml": b"<result>" + b" <result><entry> " * (MAX_BODY // 20),
    "key": KEY.encode() * (MAX_BODY // 30),
    "half key": KEY.encode()[:-1] * (MAX_BODY // 30),
}


def huge(name: str) -> bytes:
    return gzip.compress(bytes(50 * MAX_BODY)) if name == "gzip" else HUGE[name]


@pytest.mark.parametrize("name", [*HUGE, "gzip"])
def test_the_largest_replies(name: str) -> None:
    """Bad input: a reply of the size limit takes a few times its memory, and its error is short."""
    headers = {"Content-Encoding": "gzip"} if name == "gzip" else {}
    answer = reply(huge(name), headers=headers)
    tracemalloc.start()
    try:
        error = outcome("rent", answer)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error is not None
    assert len(str(error)) < 2000
    assert peak < 24 * MAX_BODY


@pytest.mark.parametrize("name", ["page", "message", "status"])
def test_the_largest_replies_are_not_kept(name: str) -> None:
    """Bad input: when its outcome is known, nothing of a reply stays in memory, in no cache."""
    for operation in OPERATIONS:
        outcome(operation, reply(HUGE[name]))  # it may import what it needs
    tracemalloc.start()
    try:
        for operation in OPERATIONS:
            outcome(operation, reply(HUGE[name] + b" "))
        gc.collect()  # an error that was raised refers to itself
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < MAX_BODY // 4


def test_nothing_of_a_file_is_shown() -> None:
    """A secret: of what came in place of a contact file not one byte is shown."""
    error = outcome("download", reply(b"<p>Jeanne Dupont, 12 rue de la Paix</p>"))
    assert type(error) is ResponseError
    assert error.excerpt == ""
    assert "Dupont" not in texts_of(error)
