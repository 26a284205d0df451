"""The public models: a targeting names every mistake at once, and values do not change."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import smspartner_async
from smspartner_async import (
    AreaVolume,
    ContactFile,
    Cost,
    Credits,
    Gender,
    Quote,
    Rental,
    RentalState,
    RentalStatus,
    RentedTargeting,
    SocioProfessionalCategory,
    Targeting,
    TargetingError,
)
from smspartner_async._models import check_targeting
from smspartner_async._values.volumes import checked_volumes

GOOD: dict[str, Any] = {"gender": "female", "min_age": 25, "max_age": 35, "interest": 12}


def problems_of(**fields: Any) -> tuple[tuple[str, str], ...]:
    """What is said of a targeting that is good but for these fields."""
    with pytest.raises(TargetingError) as caught:
        Targeting(**(GOOD | fields))
    return caught.value.problems


def bad_fields(**fields: Any) -> list[str]:
    return [field for field, _ in problems_of(**fields)]


# --- targetings -------------------------------------------------------------------------------


def test_the_least_targeting() -> None:
    """A gender, two ages and an interest are enough."""
    targeting = Targeting(**GOOD)
    assert attrs.asdict(targeting) == {
        "gender": Gender.FEMALE,
        "min_age": 25,
        "max_age": 35,
        "interest": 12,
        "sub_interest": None,
        "category": None,
        "departments": (),
        "zipcodes": (),
    }


@pytest.mark.parametrize("gender", [*Gender, *(gender.value for gender in Gender)])
def test_a_gender(gender: Any) -> None:
    """A gender is given as a member or as its value."""
    assert Targeting(**(GOOD | {"gender": gender})).gender is Gender(gender)


@pytest.mark.parametrize("gender", [None, "", "x", "female ♀", 1, True, [], {}, b"female"])
def test_no_gender(gender: object) -> None:
    """What is no gender is named, and so are the ones that are."""
    ((field, problem),) = problems_of(gender=gender)
    assert field == "gender"
    assert problem == f"must be 'mixed', 'male' or 'female', not {gender!r}"


@pytest.mark.parametrize(
    "category",
    [*SocioProfessionalCategory, *(member.value for member in SocioProfessionalCategory)],
)
def test_a_category(category: Any) -> None:
    """A category is given as a member or as its value."""
    targeting = Targeting(**(GOOD | {"category": category}))
    assert targeting.category is SocioProfessionalCategory(category)


@pytest.mark.parametrize("category", ["", "csp", 101, 0, False, [], {}, Gender.MALE])
def test_no_category(category: object) -> None:
    """What is no category is named, and so are the ones that are."""
    ((field, problem),) = problems_of(category=category)
    assert (field, problem) == ("category", f"must be 'csp+', 'csp-' or None, not {category!r}")


@pytest.mark.parametrize(("youngest", "oldest"), [(18, 18), (18, 98), (98, 98), (31, 49)])
def test_ages(youngest: int, oldest: int) -> None:
    """Ages go from 18 to 98, and may be the same."""
    targeting = Targeting(**(GOOD | {"min_age": youngest, "max_age": oldest}))
    assert (targeting.min_age, targeting.max_age) == (youngest, oldest)


@pytest.mark.parametrize("age", [17, 99, 0, -20, 20.0, "old", True, None, Decimal(20), [20]])
@pytest.mark.parametrize("field", ["min_age", "max_age"])
def test_bad_ages(field: str, age: object) -> None:
    """An age out of the bounds, or no whole number, is named."""
    assert problems_of(**{"min_age": 18, "max_age": 98, field: age}) == (
        (field, f"must be a whole number from 18 to 98, not {age!r}"),
    )


def test_ages_in_the_wrong_order() -> None:
    """The oldest age is not below the youngest."""
    assert problems_of(min_age=36) == (("max_age", "must not be below the minimum, 36, but is 35"),)


@pytest.mark.parametrize("number", [0, -1, 1.0, "x", True, [], Decimal(12)])
@pytest.mark.parametrize("field", ["interest", "sub_interest"])
def test_bad_interests(field: str, number: object) -> None:
    """An interest that is no whole number above 0 is named."""
    assert problems_of(**{field: number}) == (
        (field, f"must be a whole number above 0, not {number!r}"),
    )


def test_an_interest_is_required() -> None:
    """An interest or a sub-interest must be given; either is enough."""
    assert problems_of(interest=None) == (
        ("interest", "an interest or a sub-interest is required"),
    )
    assert Targeting(**(GOOD | {"interest": None, "sub_interest": 35})).sub_interest == 35


@pytest.mark.parametrize(
    ("given_", "codes"),
    [
        ("60200", ("60200",)),
        ("02200,60200", ("02200", "60200")),
        (" 02200 , 60200 ,", ("02200", "60200")),
        (["02200", "60200"], ("02200", "60200")),
        (("60200", " 02200 "), ("60200", "02200")),
        ({"60200", "02200"}, ("02200", "60200")),
        (frozenset({"60200", "02200"}), ("02200", "60200")),
        ((code for code in ("60200", "02200")), ("60200", "02200")),
        ({"60200": 1}.keys(), ("60200",)),
        (["60200", "02200", "60200 "], ("60200", "02200")),
        ("60200,60200", ("60200",)),
        *(([], ()), ("", ()), (" , ", ()), (None, ()), (iter(()), ())),
    ],
)
def test_zipcodes(given_: Any, codes: tuple[str, ...]) -> None:
    """Areas are any iterable of texts or one comma-separated text; each code is kept once."""
    assert Targeting(**(GOOD | {"zipcodes": given_})).zipcodes == codes


def test_departments() -> None:
    """Departments are two digits, Corsica's two letters, or three digits overseas."""
    targeting = Targeting(**(GOOD | {"departments": "01,2a,2B,95,971,987"}))
    assert targeting.departments == ("01", "2A", "2B", "95", "971", "987")


@pytest.mark.parametrize(
    "code", ["602", "602000", "O2200", "2A004", "", " ", "60 200", "٦٠٢٠٠", "60200\n1", "60200;1"]
)
def test_a_bad_zipcode(code: str) -> None:
    """A text that is no post code is named; it is not split into letters."""
    assert problems_of(zipcodes=[code]) == (
        ("zipcodes", f"{code.strip()!r} is not of the form '02200'"),
    )


@pytest.mark.parametrize("code", ["", "2C", "100", "961", "0A", "٠٢", "060"])
def test_a_bad_department(code: str) -> None:
    """A text that is no department is named."""
    assert problems_of(departments=[code]) == (
        ("departments", f"{code!r} is not of the form '02', '2A' or '974'"),
    )


@pytest.mark.parametrize("number", [602000, 0, -2, True, None, 1.5, b"60200", ("60200",)])
@pytest.mark.parametrize("field", ["zipcodes", "departments"])
def test_a_number_is_no_code(field: str, number: object) -> None:
    """A code is text: a number has lost its zeros, and is never taken for one."""
    ((named, problem),) = problems_of(**{field: [number]})
    assert named == field
    assert problem.endswith(f"{number!r} is not text")


@pytest.mark.parametrize("areas", [602000, True, 1.5, b"60200", bytearray(b"1")])
@pytest.mark.parametrize("field", ["zipcodes", "departments"])
def test_areas_of_a_wrong_kind(field: str, areas: object) -> None:
    """What is no text and no iterable of texts is named; a mapping is meant for volumes."""
    ((named, problem),) = problems_of(**{field: areas})
    assert named == field
    assert problem.endswith(f"not {areas!r}")


def test_equal_values_of_two_types_are_two_problems() -> None:
    """Finding repetitions does not hide a wrong value behind an equal one."""
    assert len(problems_of(zipcodes=[1, True, 1.0, 1])) == 3


def test_every_bad_field_is_named_at_once() -> None:
    """All that is wrong is named in one error, which is a ValueError."""
    wrong: dict[str, Any] = {
        "gender": "x",
        "min_age": 17,
        "max_age": 99,
        "interest": 0,
        "sub_interest": -1,
        "category": "x",
        "departments": "1,2",
        "zipcodes": 60200,
    }
    fields = bad_fields(**wrong)
    assert set(fields) == set(wrong)
    assert len(fields) == len(wrong) + 1
    with pytest.raises(ValueError, match="This request cannot be sent") as caught:
        Targeting(**wrong)
    assert all(f"{field}: " in str(caught.value) for field in wrong)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            field.name: st.one_of(
                st.none(),
                st.booleans(),
                st.integers(-5, 120),
                st.floats(),
                st.text(max_size=8),
                st.binary(max_size=5),
                st.lists(st.one_of(st.text(max_size=5), st.integers()), max_size=3),
                st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
                st.sampled_from(["csp+", "male", "60200", "02,60"]),
            )
            for field in attrs.fields(Targeting)
        },
    )
)
def test_any_values(fields: dict[str, Any]) -> None:
    """Bad input: any values at all make a targeting that can be sent, or a TargetingError."""
    try:
        targeting = Targeting(**(GOOD | fields))
    except TargetingError as error:
        named = {field for field, _ in error.problems}
    else:
        named = set()
        assert 18 <= targeting.min_age <= targeting.max_age <= 98
        assert all(len(code) == 5 and code.isdecimal() for code in targeting.zipcodes)
    assert named <= {*fields, "max_age"}


# --- totals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("cost", [None, Cost(), Cost(quantity=20), Cost(total=Decimal(-5))])
def test_no_total(cost: Cost | None) -> None:
    """Where the vendor gives no price, or one below 0, the total is None."""
    assert Quote(operation="price", cost=cost).total is None
    assert Rental(token="t", cost=cost).total is None


def test_total() -> None:
    """The total of a quote and of a rental is that of its cost."""
    cost = Cost(quantity=20, total=Decimal("1.80"), unit=Decimal("0.09"))
    assert Quote(operation="price", cost=cost).total == Decimal("1.80")
    assert Rental(token="t", cost=cost).total == Decimal("1.80")


# --- values -----------------------------------------------------------------------------------

VALUES = (
    Targeting(**GOOD),
    AreaVolume(type="zipcode", location="60200", volume=20),
    Cost(),
    Quote(operation="price"),
    Rental(token="t"),
    RentedTargeting(),
    RentalStatus(token="t", state=RentalState.READY),
    Credits(balance=Decimal(1)),
    ContactFile(path=Path("x"), size=1, sha256="0", verified=True),
)


def test_all_models_are_here() -> None:
    """Every public model is tested below."""
    public = {getattr(smspartner_async, name) for name in smspartner_async.__all__}
    models = {cls for cls in public if isinstance(cls, type) and cls.__module__.endswith("_models")}
    enums = {Gender, SocioProfessionalCategory, RentalState}
    assert models - enums == {type(value) for value in VALUES}


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen(value: Any) -> None:
    """A model does not change, can stand in a set, and takes keywords only."""
    name = attrs.fields(type(value))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, None)
    with pytest.raises(TypeError, match="positional"):
        type(value)(getattr(value, name))
    assert len({value, attrs.evolve(value)}) == 1


@pytest.mark.parametrize(
    "value", [v for v in VALUES if hasattr(v, "raw")], ids=lambda value: type(value).__name__
)
def test_the_payload_is_out_of_sight(value: Any) -> None:
    """`raw` is kept out of repr and equality, and so a payload does not keep a model from a set."""
    with_raw = attrs.evolve(value, raw={"apiKey": "secret"})
    assert "secret" not in repr(with_raw)
    assert with_raw == value
    assert len({with_raw, value}) == 1


@pytest.mark.parametrize(
    ("state", "code", "terminal"),
    [
        (RentalState.REQUESTED, 0, False),
        (RentalState.GENERATING, 1, False),
        (RentalState.READY, 2, True),
        (RentalState.FAILED, 3, True),
        (RentalState.DOWNLOADED, 5, True),
        (RentalState.UNKNOWN, -1, False),
    ],
)
def test_states(state: RentalState, code: int, terminal: bool) -> None:  # noqa: FBT001 - a table
    """States are the vendor's codes; waiting ends at ready, failed and downloaded alone."""
    assert (state, state.is_terminal) == (code, terminal)
    assert len(RentalState) == 6


@pytest.mark.parametrize("field", ["departments", "zipcodes"])
def test_a_phone_number_among_the_codes_is_not_shown(field: str) -> None:
    """A secret: a file whose columns are mixed up puts no phone number into an error."""
    codes: dict[str, Any] = {field: "0639 98 00 01,06.39.98.00.02"}
    with pytest.raises(TargetingError) as caught:
        Targeting(gender="mixed", min_age=20, max_age=30, interest=1, **codes)
    with pytest.raises(TargetingError) as volumes:
        checked_volumes({"0639980001": 1})
    for error in (caught.value, volumes.value):
        assert "[number]" in str(error)
        assert "98" not in str(error)


@pytest.mark.parametrize("given", [{"gender": "mixed"}, None, "mixed"])
def test_what_is_no_targeting_is_refused(given: object) -> None:
    """Bad input: a dict in place of a targeting is answered with how to make one."""
    with pytest.raises(TypeError, match=r"must be of type Targeting, not .* Make one: Targeting\("):
        check_targeting(given)
