"""What is defined in the `__main__` of a real script, sent to another program and back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from zmqtasks.wire.payload import pack, pack_failure, unpack, unpack_function

REPOSITORY = Path(__file__).parents[2]

SCRIPT = """
import collections, dataclasses, enum, subprocess, sys
from zmqtasks.wire.payload import *

@dataclasses.dataclass
class Point:
    x: int
    y: int
    def moved(self, by):
        return Point(self.x + by, self.y + by)

class Colour(enum.Enum):
    RED = 1

class OutOfRange(Exception):
    def __init__(self, point, limit):
        super().__init__(f"{point} beyond {limit}")
        self.point = point

Named = collections.namedtuple("Named", "a b")
OFFSET = 100

def work(point):
    if point.x > 1:
        raise OutOfRange(point, 1)
    return [point.moved(OFFSET), Colour.RED, Named(1, 2), (lambda x: x + OFFSET)]

def records(*bodies):
    return b"".join(len(body).to_bytes(4, "big") + body for body in bodies)

(run,) = pack([Point(1, 2), Point(5, 6)])
worker = subprocess.run([sys.executable, "-m", "tests.wire.test_main_module"],
                        input=records(pack_function(work), run.body), stdout=subprocess.PIPE, check=True)
size = int.from_bytes(worker.stdout[:4], "big")
result, failure = worker.stdout[4 : 4 + size], worker.stdout[8 + size :]

((point, colour, named, function),) = unpack(result).values
assert type(point) is Point and point == Point(101, 102), point
assert colour is Colour.RED
assert type(named) is Named and named == (1, 2)
assert function(1) == 101
error = unpack_failure(failure, DEFAULT_LIMITS)
assert type(error) is OutOfRange, error
assert type(error.point) is Point and error.point == Point(5, 6)
assert "in work" in str(error.__cause__) and "OutOfRange: Point(x=5, y=6) beyond 1" in str(error.__cause__)
print("as it should be")
"""


def work() -> None:
    """Do what a worker does: run a function on two items, the second of which fails."""
    data = sys.stdin.buffer.read()
    size = int.from_bytes(data[:4], "big")
    function, items = unpack_function(data[4 : 4 + size]), data[8 + size :]
    good, bad = unpack(items).values
    (run,) = pack([function(good)])
    try:
        function(bad)
    except Exception as error:
        failure = pack_failure(error)
    for body in (run.body or b"", failure):
        sys.stdout.buffer.write(len(body).to_bytes(4, "big") + body)


def test_functions_values_and_exceptions_of_main_make_the_round_trip(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert (done.stdout, done.stderr) == ("as it should be\n", "")


def test_importing_the_wire_does_not_import_what_is_seldom_used() -> None:
    seldom = "cloudpickle", "lz4", "lzma", "bz2", "zmq"
    program = (
        f"import sys, zmqtasks.wire.codec, zmqtasks.wire.payload; print([m for m in {seldom} if m in sys.modules])"
    )
    environment = {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[]\n"


if __name__ == "__main__":
    work()
