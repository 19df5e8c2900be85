"""Arguments and results into bodies.

Owns which layout a sequence gets, and where it is cut. What cannot travel is one item, never its neighbours. Called by
clients (arguments) and workers (results) as `payload.pack`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from types import NoneType
from typing import Any

from zmqtasks.errors import SerializationError, TooBig
from zmqtasks.records import Value
from zmqtasks.wire import apart
from zmqtasks.wire.bodies import DEFAULT_LIMITS, END_BYTES, HEAD_BYTES, MOST_COUNT, Form, Head, Layout, caused
from zmqtasks.wire.compression import Compressor, compress, compressor_of
from zmqtasks.wire.lending import LEND_BYTES, Keeper, Pool
from zmqtasks.wire.loans import Loan
from zmqtasks.wire.serializers import (
    HARM,
    LARGE_BYTES,
    Beside,
    Serializer,
    dump_apart,
    dump_msgpack,
    dump_parts,
    dump_plain,
    serializer_of,
)

_PLAIN = frozenset({int, float, str, bytes, bool, NoneType})
_SIZED = (str, bytes)
SMALL_BYTES = 4096
"""So much is packed without looking for a better way; half of what may be worth compressing."""
_GUESS_BYTES = {int: 5, float: 9, str: 5, bytes: 5, bool: 1, NoneType: 1, tuple: 3}
"""What pickle writes for a value besides its characters; only a guess, to cut a long sequence near the right place."""


class Run(Value):
    """Items [start, stop) of what was packed: their body, or why the only one of them cannot travel."""

    start: int
    stop: int
    body: bytes | Loan | None
    error: Exception | None = None


class _Packing(Value):
    """How to pack: what the public function was asked for, checked."""

    form: Form
    serializer: Serializer
    compressor: Compressor
    most_bytes: int
    """Largest body."""
    cut_bytes: int
    """Largest body of more than one item."""
    pool: Pool | Keeper | None
    """Where large bodies are put, if not into memory of our own."""

    def body(self, layout: Layout, items: int, parts: Sequence[bytes | memoryview]) -> bytes | Loan:
        compressor, raw_bytes = self.compressor, sum(map(len, parts))
        if compressor is not Compressor.NONE:
            compressor, data = compress(b"".join(parts), compressor)
            parts = [data]
        whole = (Head(self.serializer, compressor, layout, self.form, items, raw_bytes).packed(), *parts)
        if self.pool is not None and raw_bytes >= LEND_BYTES and (loan := self.pool.write(whole)):
            return loan
        return b"".join(whole)


def pack(
    items: Sequence[Any],
    *,
    form: Form = Form.ONE,
    serializer: str = "pickle",
    compression: str = "none",
    most_bytes: int = DEFAULT_LIMITS.message_bytes,
    cut_bytes: int | None = None,
    pool: Pool | Keeper | None = None,
) -> list[Run]:
    """Pack items into as few bodies as the bounds allow, in order and without a gap.

    A `range` stays one. An item that cannot travel ends the body before it and becomes a run of its own, with a
    `SerializationError` whose cause says why, or with `TooBig`.

    Args:
        items: one entry a task.
        form: what an item is to the function.
        serializer: "pickle" or "msgpack".
        compression: what to compress with where it pays; never "auto", which `choose` resolves.
        most_bytes: largest body, uncompressed; leave room for the header of the message.
        cut_bytes: about the largest body of more than one item, uncompressed; None for `most_bytes`.
        pool: where large bodies are put, for a receiver that can read them there; None puts none there.

    Raises:
        ValueError: no such serializer or compression.
    """
    compressor = compressor_of(compression)
    if type(items) is list and len(items) == 1:
        body = pack_small(items, form, serializer)
        if body is not None and len(body) <= most_bytes:
            return [Run(0, 1, body)]
    most_bytes = min(most_bytes, MOST_COUNT)
    cut_bytes = most_bytes if cut_bytes is None else min(cut_bytes, most_bytes)
    packing = _Packing(form, serializer_of(serializer), compressor, most_bytes, cut_bytes, pool)
    if type(items) not in (list, tuple, range):
        items = list(items)
    runs = []
    for start, stop, plain in _pieces(items, cut_bytes):
        runs += _bulk(items, start, stop, packing) if plain else _each(items, start, stop, packing)
    return runs


def pack_small(items: list[Any], form: Form, serializer: str) -> bytes | None:
    """Return the body of the only item, as `pack` makes it, if that is plain and small; None of any other.

    Nothing plain refers to an object, and nothing small is compressed.
    """
    parts = items[0] if type(items[0]) is tuple else items
    for part in parts:
        if type(part) not in _PLAIN or (type(part) in _SIZED and len(part) > SMALL_BYTES):
            return None
    kind = serializer_of(serializer)
    try:
        data = dump_plain(items, kind)
    except SerializationError:
        return None
    if len(data) > SMALL_BYTES:
        return None
    return Head(kind, Compressor.NONE, Layout.BULK, form, 1, len(data)).packed() + data


def _pieces(items: Sequence[Any], cut_bytes: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, stop, plain): the whole, or where it is plain and large, even parts of about `cut_bytes`."""
    if isinstance(items, range):
        step, plain = MOST_COUNT, True
    else:
        weight = _plain_weight(items)
        plain = weight is not None
        parts = -(-(weight or 1) // max(cut_bytes, 1))
        step = max(1, -(-len(items) // parts)) if plain else MOST_COUNT
    for start in range(0, len(items), step):
        yield start, min(start + step, len(items)), plain


def _plain_weight(items: Sequence[Any]) -> int | None:
    """Return about how many bytes plain items take, or None where there is any other.

    Plain are scalars of an exact type, which no code of the user takes part in, and tuples of them. Lists are not:
    pickled at once, a list that is in two items would be one list again, and a task could see what another did to it.
    """
    kinds = set(map(type, items))
    if kinds <= _PLAIN:
        return _weight(items, kinds)
    if kinds != {tuple}:
        return None
    inner = set(map(type, chain.from_iterable(items)))
    if not inner <= _PLAIN:
        return None
    return _weight(list(chain.from_iterable(items)), inner) + len(items) * _GUESS_BYTES[tuple]


def _weight(items: Sequence[Any], kinds: set[type]) -> int:
    sized = sum(len(item) for item in items if type(item) in _SIZED) if kinds & {str, bytes} else 0
    return sized + len(items) * max((_GUESS_BYTES[kind] for kind in kinds), default=0)


def _bulk(items: Sequence[Any], start: int, stop: int, packing: _Packing) -> list[Run]:
    part = items[start:stop]
    try:
        raw = _plain_parts(list(part) if isinstance(part, tuple) else part, packing.serializer)
    except SerializationError:
        # Plain, and yet too much for msgpack: an integer beyond 64 bits, a lone surrogate. Find out which.
        return _each(items, start, stop, packing)
    most_bytes = packing.most_bytes if stop - start == 1 else packing.cut_bytes
    if HEAD_BYTES + sum(map(len, raw)) <= most_bytes or isinstance(part, range):
        return [Run(start, stop, packing.body(Layout.BULK, stop - start, raw))]
    if stop - start == 1:
        return _each(items, start, stop, packing)
    middle = (start + stop) // 2
    return _bulk(items, start, middle, packing) + _bulk(items, middle, stop, packing)


def _plain_parts(values: Sequence[Any], serializer: Serializer) -> list[bytes]:
    """Return plain values encoded, in parts where there are large strings, which are then not copied."""
    first = values[0]
    first = first[0] if type(first) is tuple and first else first
    if serializer is Serializer.PICKLE and type(first) in (bytes, str) and len(first) >= LARGE_BYTES:
        return dump_parts(values)
    return [dump_plain(values, serializer)]


class _Growing:
    """The items of a body that may grow yet."""

    def __init__(self) -> None:
        self.size = HEAD_BYTES
        self.ends: list[int] = []
        self._pickles: list[bytes] = []
        self._counts: list[int] = []
        self._buffers: list[memoryview] = []

    def add(self, data: bytes | list[bytes], nbytes: int, buffers: list[memoryview]) -> None:
        if isinstance(data, bytes):
            self._pickles.append(data)
        else:
            self._pickles += data
        self.ends.append((self.ends[-1] if self.ends else 0) + nbytes)
        self._buffers += buffers
        self._counts.append(len(self._buffers))

    def run(self, stop: int, packing: _Packing) -> Run:
        """Return the run of these items, the last of which is before `stop`."""
        items = len(self.ends)
        if self._buffers:
            parts = apart.lay_out(self.ends, self._pickles, self._counts, self._buffers)
            body = packing.body(Layout.APART, items, parts)
        else:
            body = packing.body(Layout.EACH, items, [apart.table(self.ends), *self._pickles])
        return Run(stop - items, stop, body)


def _each(items: Sequence[Any], start: int, stop: int, packing: _Packing) -> list[Run]:
    runs: list[Run] = []
    good = _Growing()
    beside = Beside()
    for position in range(start, stop):
        encoded = _encoded(items[position], packing, beside)
        buffers, beside.buffers = beside.buffers, []
        nbytes = added = 0
        if not isinstance(encoded, Exception):
            nbytes = len(encoded) if isinstance(encoded, bytes) else sum(map(len, encoded))
            added = END_BYTES + nbytes + (apart.weight(buffers) if buffers else 0)
            if HEAD_BYTES + added > packing.most_bytes:
                size = HEAD_BYTES + added
                encoded = TooBig(f"it takes {size} bytes, the largest message holds {packing.most_bytes}")
        if good.ends and (isinstance(encoded, Exception) or good.size + added > packing.cut_bytes):
            runs.append(good.run(position, packing))
            good = _Growing()
        if isinstance(encoded, Exception):
            runs.append(Run(position, position + 1, None, encoded))
        else:
            good.add(encoded, nbytes, buffers)
            good.size += added
    if good.ends:
        runs.append(good.run(stop, packing))
    return runs


def _encoded(item: object, packing: _Packing, beside: Beside) -> bytes | list[bytes] | Exception:
    try:
        return dump_msgpack(item) if packing.serializer is Serializer.MSGPACK else dump_apart(item, beside)
    except SerializationError as error:
        return error
    except HARM as error:
        return caused(f"cannot pickle this {type(item).__name__}", error)
