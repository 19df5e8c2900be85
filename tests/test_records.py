from __future__ import annotations

import pickle

import pytest

from zmqtasks.records import Entity, Value, amend, as_dict, field, field_names, replace


class Point(Value):
    x: float
    y: float = 0.0

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError(f"x must be 0 or more, not {self.x}")
        amend(self, "y", float(self.y))


class Pixel(Point):
    colour: str = "red"


class Cursor(Entity):
    at: Point
    trail: list[Point] = field(default_factory=list)


def test_a_value_is_compared_by_kind_and_fields() -> None:
    assert Point(1, 2) == Point(1, 2.0)
    assert Point(1, 2) != Point(1, 3)
    assert Point(1, 2) != Pixel(1, 2)
    assert Point(1, 2) != (1, 2)
    assert len({Point(1, 2), Point(1, 2), Point(2, 1)}) == 2


def test_a_value_is_frozen() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Pixel(1).size = 2  # type: ignore[attr-defined]


def test_a_value_is_matched_by_the_order_of_its_fields() -> None:
    match Pixel(1, 2, "blue"):
        case Pixel(x, y, "blue"):
            assert (x, y) == (1, 2)
        case _:
            raise AssertionError


def test_a_value_says_what_is_missing_and_shows_its_state() -> None:
    with pytest.raises(TypeError, match="'x'"):
        Point()  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="x must be 0 or more, not -1"):
        Point(-1)
    assert repr(Pixel(1)) == "Pixel(x=1, y=0.0, colour='red')"


def test_a_copy_is_checked_as_the_first_was() -> None:
    assert replace(Pixel(1, 2), y=3) == Pixel(1, 3)
    with pytest.raises(ValueError, match="x must be 0 or more"):
        replace(Point(1), x=-1)
    with pytest.raises(TypeError, match="z"):
        replace(Point(1), z=1)


def test_fields_by_name() -> None:
    assert field_names(Pixel) == field_names(Pixel(1)) == ("x", "y", "colour")
    assert as_dict(Pixel(1)) == {"x": 1, "y": 0.0, "colour": "red"}


def test_a_value_can_be_pickled() -> None:
    assert pickle.loads(pickle.dumps(Pixel(1, 2))) == Pixel(1, 2)


def test_an_entity_is_only_equal_to_itself_and_changes() -> None:
    one, other = Cursor(Point(1)), Cursor(Point(1))
    assert one != other
    assert len({one, other}) == 2
    one.at = Point(2)
    one.trail.append(Point(1))
    assert not other.trail
