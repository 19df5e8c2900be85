"""Options: units, ranges, and messages that name what is wrong."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqtasks import options
from zmqtasks.options import GIB, KIB, MIB, Limits, NodeOptions, TaskOptions, parse_bytes, parse_duration
from zmqtasks.records import field_names


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (0, 0), (1536, 1536), ("1536", 1536), ("1 B", 1), ("2kb", 2000), ("2 MB", 2 * 10**6), ("2 GB", 2 * 10**9),
        ("1 TB", 10**12), ("64k", 64 * KIB), ("512 MiB", 512 * MIB), ("1.5 GiB", 3 * GIB // 2), (" 2 gib ", 2 * GIB),
        ("1 TiB", 1024 * GIB), (".5 KiB", 512), ("1e3", 1000), (1.5, 1),
    ],
)  # fmt: skip
def test_sizes(text: int | float | str, size: int) -> None:
    assert parse_bytes(text) == size
    assert isinstance(parse_bytes(text), int)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (0, 0.0), (2.5, 2.5), ("2.5", 2.5), ("250 ms", 0.25), ("10us", 1e-5), ("1.5 s", 1.5), ("2 sec", 2.0),
        ("3 min", 180.0), ("3m", 180.0), ("2 h", 7200.0), ("1 d", 86400.0),
    ],
)  # fmt: skip
def test_durations(text: float | str, seconds: float) -> None:
    assert math.isclose(parse_duration(text), seconds)


@pytest.mark.parametrize("parse", [parse_bytes, parse_duration])
@pytest.mark.parametrize("wrong", ["", "fast", "-1", "5 apples", "1.2.3", -1, -0.5, math.nan, math.inf, True, None])
def test_what_is_no_quantity_is_named(parse: object, wrong: object) -> None:
    with pytest.raises(ValueError, match="is not a "):
        parse(wrong)  # type: ignore[operator]


@given(st.integers(min_value=0, max_value=2**50))
def test_a_size_in_bytes_is_itself(size: int) -> None:
    assert parse_bytes(size) == parse_bytes(str(size)) == parse_bytes(f"{size} B") == size


def test_defaults_promise_nothing_but_retries_of_lost_work() -> None:
    plain = TaskOptions()
    assert plain.timeout is None
    assert plain.max_memory is None
    assert plain.retries == 0
    assert plain.retry is True


def test_task_options_read_units() -> None:
    careful = TaskOptions(timeout="2 min", max_memory="2 GiB", backoff="100 ms")  # type: ignore[arg-type]
    assert (careful.timeout, careful.max_memory, careful.backoff) == (120.0, 2 * GIB, 0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"timeout": 0}, "timeout must be above 0"),
        ({"timeout": -1}, "is not a duration"),
        ({"max_memory": "lots"}, "is not a size"),
        ({"backoff": "soon"}, "is not a duration"),
        ({"retries": -1}, "retries must be 0 or more"),
        ({"crash_limit": 0}, "crash_limit must be 1 or more"),
        ({"serializer": "yaml"}, "serializer must be one of pickle, msgpack"),
        ({"compression": "rar"}, "compression must be one of auto"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TaskOptions(**wrong)  # type: ignore[arg-type]


def test_replace_changes_only_what_is_named() -> None:
    before = TaskOptions(timeout=5, retries=2)
    after = before.replace(timeout=None, priority=3)
    assert after == TaskOptions(retries=2, priority=3)
    assert before == TaskOptions(timeout=5, retries=2)


def test_replace_names_the_options_there_are() -> None:
    with pytest.raises(TypeError, match=r"no such task option: speed, volume; there are timeout, max_memory"):
        TaskOptions().replace(volume=11, speed=1)


def test_replace_checks_as_the_constructor_does() -> None:
    with pytest.raises(ValueError, match="retries"):
        TaskOptions().replace(retries=-1)


@pytest.mark.parametrize("value", [TaskOptions(), NodeOptions(), Limits()], ids=lambda value: type(value).__name__)
def test_options_are_frozen_and_hashable(value: TaskOptions | NodeOptions | Limits) -> None:
    name = field_names(value)[0]
    with pytest.raises(AttributeError, match="immutable"):
        setattr(value, name, 1)
    assert hash(value) == hash(type(value)())


def test_a_node_has_limits_for_tasks_that_have_none() -> None:
    node = NodeOptions(timeout=2.0, max_memory=1000)
    assert TaskOptions().within(node) == TaskOptions(timeout=2.0, max_memory=1000)
    assert TaskOptions(timeout=5.0).within(node) == TaskOptions(timeout=5.0, max_memory=1000)
    full = TaskOptions(timeout=5.0, max_memory=10)
    assert full.within(node) is full
    assert full.within(NodeOptions()) is full


def test_cores_lie_between_one_and_the_affinity() -> None:
    allowed = Path("/proc/self/status").read_text().split("Cpus_allowed:")[1].split()[0]
    assert 1 <= options.available_cores() <= int(allowed.replace(",", ""), 16).bit_count()


def test_a_node_has_a_worker_a_core() -> None:
    assert NodeOptions().worker_count() == options.available_cores()
    assert NodeOptions(workers=3).worker_count() == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"workers": 0}, "workers must be 1 or more, not 0"),
        ({"workers": True}, "workers must be 1 or more"),
        ({"standby": -1}, "standby must be 0 or more"),
        ({"max_tasks_per_worker": -1}, "max_tasks_per_worker must be 0 or more"),
        ({"method": "fork"}, 'method must be "auto", "zygote" or "spawn"'),
    ],
)
def test_nodes_refuse_values_out_of_range(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NodeOptions(**wrong)  # type: ignore[arg-type]
