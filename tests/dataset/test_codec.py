"""Dataclasses as plain values: what is written reads back the same, and what makes no sense is named."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strathack.dataset.codec import Options, TextValue, from_plain, split_list, to_plain
from strathack.dataset.errors import InputError


class Numbers(TextValue, tuple):
    @classmethod
    def parse(cls, text):
        if not all(part.isdecimal() for part in split_list(text)):
            raise InputError(f"{text!r} has parts that are no numbers")
        return cls(map(int, split_list(text)))

    def __str__(self):
        return ",".join(map(str, self))


@dataclass(frozen=True)
class Circle:
    kind: ClassVar[str] = "circle"

    radius: float = 1.0

    def __post_init__(self):
        if self.radius <= 0:
            raise InputError(f"radius: {self.radius} is not above 0")


@dataclass(frozen=True)
class Square:
    kind: ClassVar[str] = "square"

    sides: tuple[int, int] = (1, 1)
    inner: Circle = field(default_factory=Circle)


@dataclass(frozen=True, kw_only=True)
class Drawing(Options):
    renamed: ClassVar[dict[str, str]] = {"name": "title", "form": "shape"}

    title: str
    out: Path | None = None
    data: list[Path] = field(default_factory=list)
    shape: Circle | Square = field(default_factory=Circle)
    numbers: Numbers | None = None
    colour: Literal["red", "blue"] = "red"
    layers: tuple[int, ...] = ()
    filled: bool = False


shapes = st.one_of(
    st.builds(Circle, st.floats(0.1, 9)),
    st.builds(Square, st.tuples(st.integers(), st.integers()), st.builds(Circle, st.floats(0.1, 9))),
)
drawings = st.builds(
    Drawing,
    title=st.text(),
    out=st.none() | st.just(Path("a/b")),
    data=st.lists(st.just(Path("c"))),
    shape=shapes,
    numbers=st.none() | st.lists(st.integers(0), min_size=1).map(Numbers),
    colour=st.sampled_from(["red", "blue"]),
    layers=st.lists(st.integers()).map(tuple),
    filled=st.booleans(),
)


@given(drawings)
def test_what_is_written_as_json_reads_back_the_same(drawing):
    assert from_plain(Drawing, json.loads(json.dumps(to_plain(drawing)))) == drawing


def test_kinds_are_written_where_there_are_several():
    assert to_plain(Drawing(title="a", shape=Square()))["shape"] == {
        "kind": "square", "sides": [1, 1], "inner": {"radius": 1.0}
    }  # fmt: skip
    assert to_plain(Square()) == {"sides": [1, 1], "inner": {"radius": 1.0}}


def test_whole_numbers_do_for_floats_and_fields_have_their_former_names():
    read = from_plain(Drawing, {"name": "a", "form": {"kind": "circle", "radius": 3}, "numbers": "1,2"})
    assert read == Drawing(title="a", shape=Circle(3.0), numbers=Numbers([1, 2]))
    assert isinstance(read.shape.radius, float)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"titel": "a"}, "titel is unknown; did you mean 'title'?"),
        ({}, "Drawing: "),
        ({"title": 5}, "title: 5 is no str"),
        ({"title": "a", "filled": 1}, "filled: 1 is no bool"),
        ({"title": "a", "layers": [1, "b"]}, r"layers: \(1, 'b'\) is no tuple\[int, ...\]"),
        ({"title": "a", "layers": 3}, r"layers: 3 is no tuple\[int, ...\]"),
        ({"title": "a", "colour": "rad"}, "colour: 'rad' is unknown; did you mean 'red'?"),
        ({"title": "a", "numbers": "1,b"}, "numbers: '1,b' has parts that are no numbers"),
        ({"title": "a", "numbers": {}}, "numbers: {} is no text"),
        ({"title": "a", "shape": {"kind": "circel"}}, "shape.kind: 'circel' is unknown; did you mean 'circle'?"),
        ({"title": "a", "shape": 7}, "shape: 7 is no dictionary"),
        ({"title": "a", "shape": {"kind": "circle", "radius": 0}}, "shape.radius: 0.0 is not above 0"),
        ({"title": "a", "shape": {"kind": "square", "sides": [1]}}, r"shape.sides: \(1,\) is no tuple\[int, int\]"),
        ({"title": "a", "shape": {"kind": "square", "inner": {"radius": -1}}}, "shape.inner.radius: -1.0 is not"),
        ([], r"values: \(\) is no dictionary"),
    ],
)
def test_what_makes_no_sense_is_named_by_its_path(values, line):
    with pytest.raises(InputError, match=line):
        from_plain(Drawing, values)


def test_what_has_no_plain_form_is_refused():
    with pytest.raises(TypeError, match="has no plain form"):
        to_plain({"a": object()})
