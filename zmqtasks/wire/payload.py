"""Bodies: all that callers need to turn values into bytes and back.

Owns nothing but the list of names; each is made in a module of its own. It never decides what is sent where. Called by
clients, workers, nodes, stores and commands.

    packing, unpacking      arguments and results: `pack`, `unpack`, `count_of`
    functions               `pack_function`, `pack_name`, `unpack_function`, `has_code`, `travels_by_name`, `resolve`,
                            `function_name`
    failure                 exceptions: `pack_failure`, `unpack_failure`, `describe_failure`
    loans                   `Pool`, `Keeper`, `shared`, `in_memory`
    references              `Reference`, `noted`
    compression             `choose`
    retrying                `pack_retry_on`, `unpack_retry_on`
"""

from __future__ import annotations

from zmqtasks.wire.bodies import DEFAULT_LIMITS, Form
from zmqtasks.wire.compression import choose
from zmqtasks.wire.failure import Description, describe_failure, pack_failure, unpack_failure
from zmqtasks.wire.functions import (
    function_name,
    has_code,
    module_of,
    pack_function,
    pack_name,
    resolve,
    travels_by_name,
    unpack_function,
)
from zmqtasks.wire.lending import Keeper, Pool, shared
from zmqtasks.wire.loans import in_memory
from zmqtasks.wire.packing import Run, pack, pack_small
from zmqtasks.wire.references import Reference, noted
from zmqtasks.wire.retrying import pack_retry_on, unpack_retry_on
from zmqtasks.wire.unpacking import Unpacked, count_of, unpack

__all__ = [
    "DEFAULT_LIMITS",
    "Description",
    "Form",
    "Keeper",
    "Pool",
    "Reference",
    "Run",
    "Unpacked",
    "choose",
    "count_of",
    "describe_failure",
    "function_name",
    "has_code",
    "in_memory",
    "module_of",
    "noted",
    "pack",
    "pack_failure",
    "pack_function",
    "pack_name",
    "pack_retry_on",
    "pack_small",
    "resolve",
    "shared",
    "travels_by_name",
    "unpack",
    "unpack_failure",
    "unpack_function",
    "unpack_retry_on",
]
