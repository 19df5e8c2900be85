"""Arguments as a journal keeps them, and whether others are the same.

Owns how they are encoded, and what is compared. Decides nothing about jobs; called by `resuming.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Sequence
from typing import Any

from zmqtasks.journal.entries import Block
from zmqtasks.machines.accounts import CHUNK_BYTES
from zmqtasks.messages import JobId
from zmqtasks.options import TaskOptions
from zmqtasks.wire import payload


def encoded(items: Sequence[Any], form: int, options: TaskOptions, known: Container[str]) -> list[payload.Run]:
    """Encode arguments as they would travel; `known` are the objects they may refer to."""
    with payload.noted(known):
        return payload.pack(items, form=payload.Form(form), serializer=options.serializer, cut_bytes=CHUNK_BYTES)


def blocks_of(
    job: JobId, items: Sequence[Any], first: int, form: payload.Form, options: TaskOptions, known: Container[str]
) -> list[Block]:
    """Return tasks from `first` on as the journal keeps them."""
    return [
        Block(job, first + run.start, first + run.stop, form, digest_of([run]), _bytes(run))
        for run in encoded(items, form, options, known)
    ]


def digest_of(runs: Sequence[payload.Run]) -> bytes:
    """Return a digest of what was encoded; nothing for an argument that cannot be."""
    if runs[0].body is None:
        return b""
    digest = hashlib.blake2b(digest_size=16)
    for run in runs:
        digest.update(_bytes(run))
    return digest.digest()


def _bytes(run: payload.Run) -> bytes:
    return b"" if run.body is None else bytes(payload.in_memory(run.body))


def is_equal(old: object, new: object, options: TaskOptions) -> bool:
    """Tell whether two arguments are the same, for a person or at least for pickle."""
    try:
        if type(old) is type(new) and bool(old == new):
            return True
    except Exception:  # arrays, say, are not equal or unequal as a whole
        pass
    pair = [encoded([value], payload.Form.ONE, options, ()) for value in (old, new)]
    return digest_of(pair[0]) == digest_of(pair[1]) != b""
