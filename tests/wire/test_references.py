"""References: pickled as the object they stand for, only where that is going to be there."""

from __future__ import annotations

import copy
import pickle

import pytest

from tests.wire.test_apart import Plane
from zmqtasks.errors import SerializationError
from zmqtasks.messages import ObjectId
from zmqtasks.wire import lending, loans, payload
from zmqtasks.wire.references import ObjectsHere, Reference, here, noted


def test_it_is_noted_where_it_is_pickled_and_opened_where_the_object_is() -> None:
    ended: list[ObjectId] = []
    reference = Reference("a:1", 10, ended.append)
    with noted({"a:1"}) as found:
        data = pickle.dumps([reference, (reference, 2)])
    assert list(found) == ["a:1"]
    (run,) = payload.pack([{"the": "object"}])
    assert run.body is not None
    here.add("a:1", run.body)
    first, (second, _) = pickle.loads(data)
    assert first == {"the": "object"}
    assert second is first
    here.drop("a:1")
    with pytest.raises(SerializationError, match="not here"):
        pickle.loads(data)
    assert copy.deepcopy([reference, copy.copy(reference)])[0] is reference
    assert repr(reference) == "<zmqtasks.Reference a:1 to 10 bytes>"
    found.clear()
    assert not ended
    del reference
    assert ended == ["a:1"]


def test_elsewhere_it_cannot_be_pickled() -> None:
    reference = Reference("a:1", 10, lambda _: None)
    with pytest.raises(TypeError, match="only among the arguments"):
        pickle.dumps(reference)
    with noted({"b:1"}), pytest.raises(TypeError, match="another client"):
        pickle.dumps(reference)


@pytest.mark.parametrize("where", ["memory", "kept", "lent"])
def test_buffers_of_an_object_are_shared_and_read_only(where: str) -> None:
    if where != "memory" and not loans.AVAILABLE:
        pytest.skip("memory files are of Linux")
    pool = lending.Pool()
    how = {"memory": None, "kept": payload.Keeper(), "lent": pool}[where]
    (run,) = payload.pack([Plane(bytearray(b"x" * 200_000))], pool=how)
    assert run.body is not None
    objects = ObjectsHere()
    objects.add("a:1", payload.shared(run.body))
    opened = memoryview(objects.value("a:1").data)
    assert opened.readonly
    assert bytes(opened) == b"x" * 200_000
    assert objects.value("a:1") is objects.value("a:1")
    del run, opened
    objects.drop("a:1")
    pool.close()


def test_an_object_that_cannot_be_opened_says_why() -> None:
    class Local:
        def __reduce__(self) -> object:
            return int, ("no number",)

    (run,) = payload.pack([Local()])
    assert run.body is not None
    objects = ObjectsHere()
    objects.add("a:1", run.body)
    with pytest.raises(SerializationError, match="invalid literal"):
        objects.value("a:1")


def test_what_is_small_or_cannot_be_kept_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert payload.shared(b"small") == b"small"
    monkeypatch.setattr(lending, "AVAILABLE", False)
    assert payload.shared(bytes(lending.LEND_BYTES)) == bytes(lending.LEND_BYTES)
