"""One message of each kind with every field set: what the golden frames in `vectors` hold.

`python -m tests.wire.samples` writes them anew; see vectors/README.md for when that is right.
"""

from __future__ import annotations

from pathlib import Path

from zmqtasks.messages import (
    Address,
    Cancel,
    Chunk,
    Errand,
    Errands,
    Flight,
    Held,
    Hello,
    Job,
    Known,
    Load,
    Memory,
    Message,
    Offer,
    Outcome,
    OutcomeKind,
    Output,
    PeerState,
    Phase,
    Printed,
    PutObject,
    Query,
    QueueCare,
    Range,
    Results,
    Role,
    SessionId,
    Settled,
    Stamp,
    Status,
    Stored,
    Tasks,
    Tend,
    Tended,
    Window,
)
from zmqtasks.metrics import Metrics, Moments
from zmqtasks.options import MIB, Limits, TaskOptions
from zmqtasks.wire import codec

VECTORS = Path(__file__).parent / "vectors"

SESSION = SessionId(0x0123456789ABCDEF, 3)
CLIENT = Address("00112233445566aa", "front.example", ("tcp://10.0.0.1:7700", "ipc:///run/user/1000/front"))
NODE = Address("ffeeddccbbaa9988", "node.example", ("tcp://10.0.0.2:7700",))
JOB = "00112233445566aa:1"
SMALL = Limits(message_bytes=64 * MIB, header_bytes=MIB, items=10_000)
OPTIONS = TaskOptions(
    timeout=2.5,
    max_memory=2**31,
    retries=3,
    backoff=0.5,
    jitter=0.5,
    retry_on="TIMEOUT;builtins:OSError",
    priority=-4,
    retry=False,
    crash_limit=5,
    serializer="msgpack",
    compression="zlib",
    grace=1.5,
    stall_timeout=10.0,
    output=True,
    needs=(("gpu", 0.5),),
)

SAMPLES: dict[str, Message] = {
    "hello": Hello(SESSION, Role.VENTILATOR, CLIENT, (1, 2), SMALL, (("python", "3.11"), ("zmqtasks", "0.1.0")), 30.0),
    "hello-that-lends": Hello(SESSION, Role.NODE, NODE, memory=Memory(4711, 29, 2**62)),
    "status-of-a-borrower": Status(SESSION, NODE, incarnation=7, borrows=True),
    "status": Status(
        SESSION,
        NODE,
        incarnation=7,
        state=PeerState.DRAIN,
        reason="SIGTERM",
        cum=41,
        gap=True,
        window=Window(2_000, 64 * MIB),
        have=(Held(JOB, 0, 20, 1, Phase.FINISHED), Held(JOB, 20, 40, 2, Phase.RUNNING)),
        load=Load(8, 7, 120, 99_999, 3, 2**33, 1.5, 2),
        limits=SMALL,
    ),
    "status-with-an-offer": Status(
        SESSION, NODE, incarnation=7, offer=Offer(("mail", "default"), (("gpu", 2.0),), (("zone", "a"),))
    ),
    "status-that-asks-for-a-drain": Status(SESSION, CLIENT, incarnation=7, state=PeerState.DRAIN, within_s=30.0),
    "status-with-a-flight": Status(
        SESSION,
        NODE,
        incarnation=7,
        flight=Flight("00112233aabbccdd", (Held("a:1", 3, 4, 9, Phase.RUNNING), Held("a:2", 0, 8, 2, Phase.FINISHED))),
    ),
    "status-with-metrics": Status(
        SESSION,
        NODE,
        incarnation=7,
        metrics=Metrics(done=1000, crashed=2, starts=5, exits=3, task_s=Moments(1000, 0.25, 1.5, -0.125)),
    ),
    "status-without-have": Status(SESSION, NODE, incarnation=7),
    "status-that-tells-of-others": Status(
        SESSION,
        NODE,
        incarnation=7,
        versions=(("python", "3.12.4"), ("zmqtasks", "0.1.0")),
        known=(Known(Address("00112233aabbccdd", "third.example", ("tcp://10.0.0.3:7700",)), 1.25),),
    ),
    "tasks": Tasks(
        SESSION,
        42,
        (
            Job(JOB, "analyse", CLIENT, TaskOptions(), b"\x00module:analyse"),
            Job("00112233445566aa:2", "<lambda>", CLIENT, OPTIONS, b"\x01by value"),
        ),
        (Chunk(JOB, 1, 40, 60, 40, b"twenty arguments"), Chunk(JOB, 2, 5, 6, 0, b"")),
        ("00112233445566aa:0",),
    ),
    "tasks-with-objects": Tasks(
        SESSION,
        43,
        (),
        (Chunk(JOB, 3, 60, 61, 60, b"argument", ("00112233445566aa:7",)),),
        (),
        (PutObject("00112233445566aa:7", b"the object"),),
        ("00112233445566aa:6",),
    ),
    "tasks-that-tell-more": Tasks(
        SESSION,
        44,
        (),
        (
            Chunk(JOB, 4, 61, 62, 61, b"first", stamp=Stamp(1_795_000_000.25)),
            Chunk(JOB, 5, 62, 63, 62, b"second", (), 2, Stamp(1_795_000_000.5, "trace")),
        ),
    ),
    "results": Results(
        SESSION,
        9,
        (
            Outcome(JOB, 1, NODE.peer, 40, 59, OutcomeKind.OK, 0.125, b"nineteen values"),
            Outcome(JOB, 1, NODE.peer, 59, 60, OutcomeKind.ERROR, 0.0, b"failure"),
            Outcome(JOB, 2, NODE.peer, 5, 6, OutcomeKind.RETURNED, 0.0),
            Outcome(JOB, 2, NODE.peer, 6, 7, OutcomeKind.RETRY, 0.25, delay_s=30.0),
        ),
    ),
    "stored": Stored(SESSION, 10, (Settled(JOB, 1, NODE.peer, 40, 59, OutcomeKind.OK, 0.125),)),
    "cancel": Cancel(SESSION, (Range(JOB, 0, 10), Range(JOB, 20, 30)), kill=True),
    "output": Output(
        SESSION,
        (
            Printed(1, 4711, JOB, "analyse", 41, "stdout", "one line\nand another\n"),
            Printed(0, 4712, JOB, "analyse", 7, "stderr", "half a line \N{GREEK SMALL LETTER LAMDA}"),
        ),
        dropped=3,
        end=True,
    ),
    "errands": Errands(SESSION, 2, 17, 40, (Errand(3, 8, JOB, b"what a task asks"), Errand(5, 0, "", b"")), over=True),
    "tend": Tend(SESSION, 3, QueueCare.PULL, "mail", 10),
    "tended": Tended(SESSION, 3, 40, 2, True, 2, b'"first"\n{"second": 2}\n'),
    "query": Query(SESSION, (JOB, "00112233445566aa:2")),
}


def main() -> None:
    """Write the golden frames."""
    for name, message in SAMPLES.items():
        frame = codec.encode(message)
        lines = [frame[at : at + 32].hex() for at in range(0, len(frame), 32)]
        (VECTORS / f"{name}.hex").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
