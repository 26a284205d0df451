"""What a status says, as a state and in words: codes, the manual's sentences, and anything else."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from replies import KEY, TOKEN, WIRE, refusal, reply

from smspartner_async import RentalState, RentalStatus, ResponseError
from smspartner_async._wire.states import read_state

SENTENCES = {
    RentalState.REQUESTED: (
        "The rental request has been made",
        "The rental application was made",
    ),
    RentalState.GENERATING: ("File is being generated", "The file is being created"),
    RentalState.READY: (
        "File is ready. You can download it.",
        "The creation of the file is completed. You can download the",
    ),
    RentalState.FAILED: ("The rental request failed",),
    RentalState.DOWNLOADED: (
        "File has already been downloaded",
        "The file has been downloaded",
        "File downloaded by user from api",
    ),
}


def status_of(**fields: Any) -> RentalStatus:
    return WIRE.status(TOKEN, reply({"success": True, "status": 1, **fields}))


@pytest.mark.parametrize("state", [state for state in RentalState if state >= 0])
@pytest.mark.parametrize("form", ["{}", '"{}"', '" {} "', "{}.0", '"{}.0"', "{}e0", '"0{}"'])
def test_a_state_as_a_code(state: RentalState, form: str) -> None:
    """A state's code is read as a number, as text, and with decimals."""
    body = f'{{"success": true, "status": {form.format(state.value)}}}'
    assert WIRE.status(TOKEN, reply(body.encode())).state is state


@pytest.mark.parametrize(
    ("sentence", "state"), [(text, state) for state, texts in SENTENCES.items() for text in texts]
)
def test_a_state_as_a_sentence(sentence: str, state: RentalState) -> None:
    """A sentence of the manual is its state: case, accents, spacing and final marks are ignored."""
    spellings = (
        sentence,
        sentence.upper(),
        f"  {sentence.lower()} !\n",
        sentence.rstrip("."),
        f"{sentence}...",
        sentence.replace(" ", "\u00a0 "),
        sentence.replace("e", "é").replace("a", "a\u0300"),
        sentence.replace("fi", "\ufb01"),
    )
    assert [status_of(status=spelling).state for spelling in spellings] == [state] * 8


@pytest.mark.parametrize(
    "said",
    [4, "4", -1, "-1", 6, 200, 1.5, "1.5", "1,0", 10**30, "", " ", "2 3", "²", "Le fichier", "not"],
)
def test_an_unknown_state(said: object) -> None:
    """What the manual does not list is UNKNOWN: never an end, never an exception."""
    status = status_of(status=said)
    assert status.state is RentalState.UNKNOWN
    assert not status.state.is_terminal


@pytest.mark.parametrize("said", ["1e9999999", "-1e9999999", "0e9999999", "1e99999999999999999999"])
def test_a_state_out_of_this_world(said: str) -> None:
    """Bad input: an exponent that arithmetic cannot hold is an unknown state."""
    body = f'{{"success": true, "status": {said}}}'.encode()
    assert status_of(status=0).state is RentalState.REQUESTED  # equal to one of them, as a number
    assert WIRE.status(TOKEN, reply(body)).state is RentalState.UNKNOWN


@pytest.mark.parametrize("said", [True, False, None, [], [2], {}, {"code": 2}])
def test_no_state(said: object) -> None:
    """A status that is no number and no text is a reply that cannot be read."""
    assert type(refusal("status", reply({"success": True, "status": said}))) is ResponseError
    assert type(refusal("status", reply({"success": True}))) is ResponseError


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("File is  ready.\n", "File is ready."),
        (2, "The file is ready"),
        ("2", "The file is ready"),
        (4, "The state is not one that the manual lists"),
        ("en cours", "en cours"),
        (f"key {KEY}, call 06 12 34 56 78", "key [API key], call [number]"),
        (f"en cours, {KEY} {'!' * 250}", f"en cours, [API key] {'!' * 180}…"),
    ],
)
def test_the_words_of_a_state(said: object, message: str) -> None:
    """A message is the vendor's sentence, without secrets, or else the state in plain English."""
    assert status_of(status=said).message == message


def test_long_sentences_are_not_kept() -> None:
    """Bad input: nothing stays of fifty states of 50 KB each, which would be 2.5 MB."""
    status_of(status="en cours")
    tracemalloc.start()
    try:
        for number in range(50):
            assert status_of(status=f"{number} {'!' * 50_000}").state is RentalState.UNKNOWN
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2**20


@pytest.mark.parametrize("mark", ["!", "\ufdfa"])
def test_of_a_long_sentence_the_beginning_is_compared(mark: str) -> None:
    """Bad input: a state of a mebibyte takes a few times its memory, and is one all the same."""
    said = f"File is ready {mark * (2**20 // len(mark.encode()))}"
    tracemalloc.start()
    try:
        state, message = read_state(said, KEY)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert state is RentalState.READY
    assert len(message) <= 201
    assert peak < 4 * 2**20
