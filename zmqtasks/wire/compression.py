"""Compressors of bodies, each bounded by the size the sender declared.

Owns which compressors there are, and when compressing pays. Imports each only when it is used. Called by `payload`.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Any

from zmqtasks.errors import RemoteProtocolError

WORTHWHILE_BYTES = 8 * 1024
"""Smaller bodies are never compressed: the saving is below the cost of a message."""
WORTHWHILE_RATIO = 0.9
"""A compressed body that is not smaller than this part of the raw one is sent raw."""
LZ4_MOST_RATIO = 255
"""No byte of an lz4 block stands for more than 255 bytes. Source: lz4_Block_format.md, "literals" and "matchlength"."""
LZ4_MOST_BYTES = 0x7E000000
"""Largest lz4 block. Source: LZ4_MAX_INPUT_SIZE in lz4.h."""
LZMA_MEMORY_BYTES = 256 * 1024 * 1024
"""Room for the dictionary an xz stream asks for; preset 9 asks for 65 MiB."""
_GZIP_WBITS = 31
"""zlib's number for a gzip wrapper; written this way its time stamp is 0, so that equal bodies stay equal."""


class Compressor(IntEnum):
    """How the data of a body is compressed; the number is on the wire."""

    NONE = 0
    LZ4 = 1
    ZLIB = 2
    GZIP = 3
    BZIP2 = 4
    LZMA = 5


def choose(compression: str, nbytes: int, leaves_host: bool) -> str:
    """Return the compression to use for a body: never "auto".

    Args:
        compression: what the job asks for, one of `options.COMPRESSIONS`.
        nbytes: size of the body, or a guess, in bytes.
        leaves_host: whether it goes to another host, where lz4 is faster than most networks.
    """
    if nbytes <= WORTHWHILE_BYTES or (compression == "auto" and not leaves_host):
        return "none"
    return "lz4" if compression == "auto" else compression


@cache  # what raises is not kept
def compressor_of(name: str) -> Compressor:
    """Return the compressor of that name.

    Raises:
        ValueError: there is none; "auto" is resolved by `choose`.
    """
    try:
        return Compressor[name.upper()]
    except KeyError:
        names = ", ".join(member.name.lower() for member in Compressor)
        raise ValueError(f"compression must be one of {names}, not {name!r}") from None


def compress(raw: bytes, compressor: Compressor) -> tuple[Compressor, bytes]:
    """Return `raw` compressed, or as it is where that does not pay, and which of the two."""
    too_large = compressor is Compressor.LZ4 and len(raw) > LZ4_MOST_BYTES
    if compressor is Compressor.NONE or too_large or len(raw) <= WORTHWHILE_BYTES:
        return Compressor.NONE, raw
    smaller = _compress(raw, compressor)
    return (compressor, smaller) if len(smaller) < WORTHWHILE_RATIO * len(raw) else (Compressor.NONE, raw)


def _compress(raw: bytes, compressor: Compressor) -> bytes:
    match compressor:
        case Compressor.LZ4:
            import lz4.block

            packed: bytes = lz4.block.compress(raw, store_size=False)
            return packed
        case Compressor.BZIP2:
            import bz2

            return bz2.compress(raw)
        case Compressor.LZMA:
            import lzma

            return lzma.compress(raw)
        case _:
            import zlib

            stream = zlib.compressobj(wbits=_GZIP_WBITS if compressor is Compressor.GZIP else zlib.MAX_WBITS)
            return stream.compress(raw) + stream.flush()


def decompress(data: memoryview, compressor: Compressor, raw_bytes: int) -> bytes | memoryview:
    """Return the raw data; never more than `raw_bytes` plus one are produced.

    Args:
        data: what was received.
        compressor: how it was compressed.
        raw_bytes: the declared size, which the caller has checked against its limit.

    Raises:
        RemoteProtocolError: the data is corrupt, or its size is not the declared one.
    """
    if compressor is Compressor.NONE:
        raw: bytes | memoryview = data
    elif compressor is Compressor.LZ4:
        raw = _decompress_lz4(data, raw_bytes)
    else:
        raw = _decompress_stream(data, compressor, raw_bytes)
    if len(raw) != raw_bytes:
        raise RemoteProtocolError(f"body: expected {raw_bytes} bytes of {compressor.name} data, got {len(raw)}")
    return raw


def _decompress_lz4(data: memoryview, raw_bytes: int) -> bytes:
    import lz4.block

    # lz4 allocates the declared size before it reads: what so little data can never fill is not worth trying.
    if raw_bytes > min(LZ4_MOST_RATIO * len(data), LZ4_MOST_BYTES):
        raise RemoteProtocolError(f"body: {len(data)} bytes of LZ4 data cannot hold the declared {raw_bytes} bytes")
    try:
        raw: bytes = lz4.block.decompress(data, uncompressed_size=raw_bytes)
    except lz4.block.LZ4BlockError as error:
        raise RemoteProtocolError(f"body: corrupt LZ4 data: {error}") from error
    return raw


def _decompress_stream(data: memoryview, compressor: Compressor, raw_bytes: int) -> bytes:
    stream, errors = _stream(compressor)
    try:
        # One more than declared: a stream that is right ends before it, so that its checksum is verified.
        raw: bytes = stream.decompress(data, raw_bytes + 1)
    except errors as error:
        raise RemoteProtocolError(f"body: corrupt {compressor.name} data: {error}") from error
    if not stream.eof or stream.unused_data:
        raise RemoteProtocolError(f"body: {compressor.name} data does not end at the declared {raw_bytes} bytes")
    return raw


def _stream(compressor: Compressor) -> tuple[Any, tuple[type[Exception], ...]]:
    """Return a decompressor, and what it raises for corrupt data."""
    if compressor is Compressor.BZIP2:
        import bz2

        return bz2.BZ2Decompressor(), (OSError, ValueError)
    if compressor is Compressor.LZMA:
        import lzma

        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY_BYTES), (lzma.LZMAError,)
    import zlib

    wbits = _GZIP_WBITS if compressor is Compressor.GZIP else zlib.MAX_WBITS
    return zlib.decompressobj(wbits=wbits), (zlib.error,)
