"""Compressors: what pays, and what a hostile body can make them do."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zmqtasks.errors import RemoteProtocolError
from zmqtasks.options import COMPRESSIONS, MIB
from zmqtasks.wire import compression
from zmqtasks.wire.compression import Compressor, choose, compress, compressor_of, decompress

RAW = b"a line of a log, much like the next one\n" * 1_000
NOISE = random.Random(1).randbytes(20_000)
REAL = [member for member in Compressor if member is not Compressor.NONE]


@pytest.mark.parametrize("compressor", Compressor)
def test_data_survives(compressor: Compressor) -> None:
    used, data = compress(RAW, compressor)
    assert used is compressor
    assert (len(data) < len(RAW) / 10) == (compressor is not Compressor.NONE)
    assert decompress(memoryview(data), compressor, len(RAW)) == RAW


@pytest.mark.parametrize("compressor", REAL)
def test_equal_data_gives_equal_bytes(compressor: Compressor) -> None:
    assert compress(RAW, compressor) == compress(RAW, compressor)


@pytest.mark.parametrize("compressor", REAL)
@pytest.mark.parametrize("raw", [RAW[: compression.WORTHWHILE_BYTES], NOISE])
def test_what_does_not_pay_is_left(compressor: Compressor, raw: bytes) -> None:
    assert compress(raw, compressor) == (Compressor.NONE, raw)


def test_more_than_an_lz4_block_holds_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "LZ4_MOST_BYTES", len(RAW) - 1)
    assert compress(RAW, Compressor.LZ4) == (Compressor.NONE, RAW)


def test_every_option_has_a_compressor() -> None:
    assert [member.name.lower() for member in Compressor] == [name for name in COMPRESSIONS if name != "auto"]


@pytest.mark.parametrize("name", ["auto", "zstd", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="compression must be one of none, lz4, zlib, gzip, bzip2, lzma, not"):
        compressor_of(name)


@pytest.mark.parametrize(
    ("asked", "nbytes", "leaves_host", "chosen"),
    [
        ("auto", MIB, True, "lz4"),
        ("auto", MIB, False, "none"),
        ("auto", 8192, True, "none"),
        ("auto", 8193, True, "lz4"),
        ("zlib", MIB, False, "zlib"),
        ("zlib", 100, False, "none"),
        ("none", MIB, True, "none"),
    ],
)
def test_choose(asked: str, nbytes: int, leaves_host: bool, chosen: str) -> None:
    assert choose(asked, nbytes, leaves_host) == chosen


@pytest.mark.parametrize("compressor", Compressor)
@pytest.mark.parametrize("declared", [0, 1, len(RAW) - 1, len(RAW) + 1, 2**32])
def test_a_wrong_declared_size_is_refused(compressor: Compressor, declared: int) -> None:
    _, data = compress(RAW, compressor)
    with pytest.raises(RemoteProtocolError, match="body: "):
        decompress(memoryview(data), compressor, declared)


@pytest.mark.parametrize("compressor", REAL)
def test_corrupt_data_is_refused(compressor: Compressor) -> None:
    _, data = compress(RAW, compressor)
    for wrong in (b"", b"nothing that was ever compressed", data[:-3], data + b"x"):
        with pytest.raises(RemoteProtocolError, match="body: "):
            decompress(memoryview(wrong), compressor, len(RAW))


@pytest.mark.parametrize("compressor", REAL)
@pytest.mark.parametrize("declared", [1_000, 32 * MIB])
def test_a_bomb_takes_no_more_than_was_declared(compressor: Compressor, declared: int) -> None:
    _, data = compress(bytes(32 * MIB + 1), compressor)
    if compressor is Compressor.LZ4:
        data = data[:1_000]  # lz4 allocates by the declared size: let that be far beyond what the data can hold
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError, match="body: "):
            decompress(memoryview(data), compressor, declared)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * declared + 9 * MIB  # 8 MiB are the dictionary of an xz stream


def test_an_xz_stream_cannot_ask_for_any_dictionary(monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = compress(RAW, Compressor.LZMA)
    monkeypatch.setattr(compression, "LZMA_MEMORY_BYTES", 1 * MIB)
    with pytest.raises(RemoteProtocolError, match="corrupt LZMA data: Memory usage limit exceeded"):
        decompress(memoryview(data), Compressor.LZMA, len(RAW))


@given(st.sampled_from(REAL), st.binary(max_size=200), st.integers(0, 2**64 - 1))
def test_random_data_is_refused_and_nothing_else(compressor: Compressor, data: bytes, declared: int) -> None:
    try:
        raw = decompress(memoryview(data), compressor, declared % 100_000)
    except RemoteProtocolError:
        return
    assert len(raw) == declared % 100_000
