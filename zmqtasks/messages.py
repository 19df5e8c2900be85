"""What peers say to each other, and the values in it: all frozen, none knows how it is encoded.

Owns the vocabulary of the wire (docs/design/protocol.md). `wire/codec.py` is the only place that knows the bytes.
Bodies (arguments, results, functions) are opaque here: only `wire/payload.py` opens them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from enum import IntEnum, StrEnum
from typing import NamedTuple, Protocol

from zmqtasks.metrics import Metrics
from zmqtasks.options import DEFAULT_QUEUE, Limits, TaskOptions
from zmqtasks.records import Value

PROTOCOL_VERSIONS = (1, 1)
"""Lowest and highest protocol version this program speaks."""

PeerId = str
"""16 hexadecimal digits, drawn at random by each peer when it starts."""
JobId = str
"""`peer:number`, unique in the mesh; `ventilator_of` reads the peer."""
ObjectId = str
"""Of what a client has put: `peer:number`, apart from jobs."""
Buffer = bytes | memoryview
"""An encoded body; a memoryview where it is a slice of a received frame."""


class Lent(Protocol):
    """An encoded body in memory of the process that made it (`wire.loans`): large, and read where it is needed."""

    def __len__(self) -> int: ...

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """Return a part of it."""

    def read_into(self, start: int, buffer: bytearray) -> None:
        """Fill `buffer` with what begins at `start`."""

    def mapped(self) -> memoryview:
        """Return all of it as read-only memory that others share."""

    def at_hand(self) -> AbstractContextManager[memoryview]:
        """Give all of it for a moment."""


Body = Buffer | Lent
"""An encoded body of arguments or results."""


class Memory(NamedTuple):
    """Where a peer's loans are found on its host: its process, and by way of an example, an empty one."""

    pid: int
    fd: int
    token: int


class Role(StrEnum):
    """What a peer does in the session it opens."""

    VENTILATOR = "ventilator"
    NODE = "node"
    SINK = "sink"
    OBSERVER = "observer"
    STEWARD = "steward"
    """It tends the queues of a ventilator."""


class PeerState(StrEnum):
    """How a peer stands to new work."""

    UP = "up"
    DRAIN = "drain"
    """Of a node: it takes no new work. Of an observer: the node shall come to that."""
    BYE = "bye"
    REJECT = "reject"


class Phase(IntEnum):
    """How far a range has come on a node."""

    QUEUED = 0
    RUNNING = 1
    FINISHED = 2
    """Its results are not yet acknowledged by the sink."""


class OutcomeKind(IntEnum):
    """What became of a task."""

    OK = 0
    ERROR = 1
    CRASHED = 2
    TIMEOUT = 3
    OUT_OF_MEMORY = 4
    TOO_BIG = 5
    RETURNED = 6
    """Handed back unstarted: not an end, it goes to another node and counts against nobody."""
    LOST = 7
    """Recorded by a ventilator: at-most-once, and its node was lost."""
    NODE_KILLER = 8
    """Recorded by a ventilator: node after node died with it alone."""
    RETRY = 9
    """Asked for by the task: not an end, it is run again after a while, and that counts."""
    EXHAUSTED = 10
    """Recorded by a ventilator: it asked for that once too often."""
    EXPIRED = 11
    """Recorded by a ventilator: it had not begun when its time to do so was over."""
    UNREADABLE = 12
    """Recorded by a ventilator: no node has the Python that its function is code of."""
    CANCELLED = 13
    """Recorded by a ventilator: it was taken out of its queue before it had begun."""


class SessionId(NamedTuple):
    """Names one session: the epoch of the initiator's process (random, 63 bits) and its count of sessions."""

    epoch: int
    number: int


NO_SESSION = SessionId(0, 0)
"""Stands in a message until the session that sends it fills in its own."""


def ventilator_of(job: JobId) -> PeerId:
    """Return the ventilator that opened a job."""
    return job.partition(":")[0]


class Address(NamedTuple):
    """How to reach a peer: `endpoints` in order of preference, `host` to tell whether files can be shared."""

    peer: PeerId
    host: str
    endpoints: tuple[str, ...]


class Range(NamedTuple):
    """Consecutive tasks of one job: [start, stop)."""

    job: JobId
    start: int
    stop: int


class Window(NamedTuple):
    """How much a peer will hold for its partner, absolute: tasks, and bytes of bodies."""

    tasks: int
    bytes: int


class Load(NamedTuple):
    """How busy a node is."""

    workers: int = 0
    busy: int = 0
    queued: int = 0
    done: int = 0
    failed: int = 0
    memory_bytes: int = 0
    partial: float = 0.0
    """What running tasks have told of their progress, in tasks: 0.5 for one that is half done."""
    lost: int = 0
    """Places of workers that were killed and do not end, because the kernel holds them."""


class Held(NamedTuple):
    """One entry of a node's inventory."""

    job: JobId
    start: int
    stop: int
    attempt: int
    phase: Phase


class Flight(NamedTuple):
    """What the workers of a node that died had begun and not told of, from its flight recorder.

    RUNNING is what they were at; FINISHED what they may have ended just before.
    """

    node: PeerId
    begun: tuple[Held, ...] = ()


class Offer(NamedTuple):
    """What a node has for tasks that are not to run just anywhere: it does not change while the node lives."""

    queues: tuple[str, ...] = (DEFAULT_QUEUE,)
    resources: tuple[tuple[str, float], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


class Job(Value):
    """Calls of one function with the same options, and the sink that wants the results."""

    id: JobId
    name: str
    """The function's name, for people."""
    sink: Address
    options: TaskOptions
    function: Buffer
    """Encoded by `wire.payload`."""


class Stamp(NamedTuple):
    """What is told of tasks when they are added to their job, for people: nothing is decided by it."""

    submitted_at: float = 0.0
    """Unix time by the clock of their client; 0 where nobody told."""
    trace_id: str = ""


NO_STAMP = Stamp()


class Chunk(Value):
    """A range with its encoded arguments: what one worker gets at once.

    `body` holds the arguments of the tasks from `origin` on; `start` and `stop` may name a part of them.
    `attempt` is the number of the dispatch, drawn by the ventilator and echoed by each outcome.
    """

    job: JobId
    attempt: int
    start: int
    stop: int
    origin: int
    body: Body
    needs: tuple[ObjectId, ...] = ()
    """Objects that its arguments refer to."""
    runs: int = 0
    """How often each of its tasks was run before, as far as that counts against its `retries`."""
    stamp: Stamp = NO_STAMP


class PutObject(Value):
    """An object that a client has put: sent once in a session, before the first chunk that needs it."""

    id: ObjectId
    body: Body


OUTCOME_BYTES = 400
"""What an outcome holds in memory beside its body (measured: 285 to 420 bytes)."""


class Outcome(Value):
    """What became of the tasks [start, stop) of one job: a run of OK values, or one task's failure."""

    job: JobId
    attempt: int
    node: PeerId
    start: int
    stop: int
    kind: OutcomeKind
    elapsed_s: float
    """Time spent in the function, all tasks of the run together."""
    body: Body = b""
    """`wire.payload`: the packed values, or the failure."""
    delay_s: float = 0.0
    """RETRY, and RETURNED at its own wish: how long to wait before the next run."""


class Settled(NamedTuple):
    """What a sink tells the ventilator of an outcome it has stored: the outcome without its body."""

    job: JobId
    attempt: int
    node: PeerId
    start: int
    stop: int
    kind: OutcomeKind
    elapsed_s: float
    delay_s: float = 0.0


class Hello(Value):
    """Initiator to acceptor: opens a session; repeated until a Status echoes `session`."""

    session: SessionId
    role: Role
    address: Address
    protocol: tuple[int, int] = PROTOCOL_VERSIONS
    limits: Limits = Limits()
    versions: tuple[tuple[str, str], ...] = ()
    """Names and versions of what must agree: ("python", "3.11"), ("zmqtasks", "0.1.0")."""
    lease_s: float = 60.0
    """How long the initiator asks to be kept while it is silent."""
    memory: Memory | None = None
    """Of the initiator, which would lend large bodies rather than send them."""


class Known(NamedTuple):
    """A node that the sender knows of, and how long ago it was last seen by anybody."""

    address: Address
    age_s: float


class Status(Value):
    """Both ways: heartbeat, acknowledgement, gap report, window and inventory in one."""

    session: SessionId
    """The session it speaks of; the initiator drew it, both sides use it."""
    address: Address
    """The sender's."""
    incarnation: int
    """Epoch of the sender's process."""
    state: PeerState = PeerState.UP
    reason: str = ""
    cum: int = 0
    """Highest bulk message of this session that was processed in order."""
    gap: bool = False
    """A bulk message after `cum + 1` arrived, and `cum + 1` is missing."""
    window: Window = Window(0, 0)
    have: tuple[Held, ...] | None = None
    """None where nothing is said about the inventory."""
    load: Load = Load()
    limits: Limits = Limits()
    borrows: bool = False
    """Whether the sender can read what its partner lends."""
    flight: Flight | None = None
    """What ran when the sender's predecessor died, told until the partner has answered."""
    metrics: Metrics | None = None
    """Of a node, told to observers."""
    within_s: float | None = None
    """DRAIN of an observer: how long what runs may take to end; None for as long as the node allows."""
    versions: tuple[tuple[str, str], ...] = ()
    """Of a node, as in HELLO; told until the partner has answered."""
    known: tuple[Known, ...] = ()
    """Other nodes, where something is said of them."""
    offer: Offer | None = None
    """Of a node that has not just the usual one, told until the partner has answered."""


class Tasks(Value):
    """Ventilator to node: chunks, with the jobs this session has not named yet and those that ended."""

    session: SessionId
    seq: int
    jobs: tuple[Job, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    ended: tuple[JobId, ...] = ()
    objects: tuple[PutObject, ...] = ()
    dropped: tuple[ObjectId, ...] = ()
    """Objects that nobody refers to any more."""

    @property
    def size_bytes(self) -> int:
        nbytes = 0
        for chunk in self.chunks:
            nbytes += len(chunk.body)
        for job in self.jobs:
            nbytes += len(job.function)
        for put in self.objects:
            nbytes += len(put.body)
        return nbytes


class Results(Value):
    """Node to sink (and ventilator to sink for failures it decided): kept by the sender until acknowledged."""

    session: SessionId
    seq: int
    outcomes: tuple[Outcome, ...] = ()

    @property
    def size_bytes(self) -> int:
        nbytes = 0
        for outcome in self.outcomes:
            nbytes += OUTCOME_BYTES + len(outcome.body)
        return nbytes


class Stored(Value):
    """Sink to ventilator: outcomes that are stored."""

    session: SessionId
    seq: int
    settled: tuple[Settled, ...] = ()

    @property
    def size_bytes(self) -> int:
        return 64 * len(self.settled)


class Cancel(Value):
    """Ventilator to node, best effort: give up these ranges; with `kill`, also where they run."""

    session: SessionId
    ranges: tuple[Range, ...] = ()
    kill: bool = False


class Query(Value):
    """Ventilator to sink: which outcomes of these jobs are stored? Answered by Stored."""

    session: SessionId
    jobs: tuple[JobId, ...] = ()


class Printed(NamedTuple):
    """Lines that one worker printed, and the task it was at when they were read."""

    worker: int
    """Its slot."""
    pid: int
    job: JobId
    name: str
    """Of the job."""
    task: int
    """Its index in the job."""
    stream: str
    """"stdout" or "stderr"."""
    text: str


class Output(Value):
    """Node to ventilator, best effort: what workers printed over jobs that ask for it (`TaskOptions.output`)."""

    session: SessionId
    """The one the ventilator opened."""
    printed: tuple[Printed, ...] = ()
    """In the order it was read."""
    dropped: int = 0
    """So many lines were lost just before these."""
    end: bool = False
    """Nothing waits any more: the answer to a QUERY."""


class QueueCare(StrEnum):
    """What a steward does with a queue."""

    LENGTH = "length"
    PURGE = "purge"
    PAUSE = "pause"
    RESUME = "resume"
    PULL = "pull"


class Tend(Value):
    """Steward to ventilator, repeated until it is answered: do this with a queue."""

    session: SessionId
    number: int
    """Counted by the steward from 1 on: what bears the number of the last one is done, and only answered again."""
    care: QueueCare
    queue: str = DEFAULT_QUEUE
    most: int = 0
    """PULL: so many at most."""


class Tended(Value):
    """Ventilator to steward: it is done, and so the queue stands now."""

    session: SessionId
    number: int
    """Of what it answers."""
    waiting: int
    """Tasks that wait to be sent."""
    delayed: int
    """Tasks whose time has not come."""
    paused: bool
    taken: int = 0
    """Tasks that waited here and were purged or pulled."""
    lines: Buffer = b""
    """PULL: their arguments, a line of JSON each."""


class Errand(NamedTuple):
    """What a task asks of the ventilator that owns its job, or what it is answered."""

    worker: int
    """As its node counts them, from 1 on."""
    number: int
    """As the worker counts what it asks, from 1 on. 0 from a node: the worker is gone."""
    job: JobId
    """Whose task asks; nothing in an answer."""
    body: Buffer
    """`wire.asking`; only the two ends open it."""


class Errands(Value):
    """Between node and ventilator, both ways: numbered, acknowledged and repeated beyond the end of a session."""

    session: SessionId
    """The one the ventilator opened."""
    stream: int
    """Drawn by the node: numbers begin anew in each."""
    cum: int = 0
    """Number of the last errand that was heard in order."""
    first: int = 0
    """Number of the first of these."""
    errands: tuple[Errand, ...] = ()
    over: bool = False
    """From a ventilator: it knows nothing of this stream any more, and what was asked in it is lost."""


Bulk = Tasks | Results | Stored
"""Numbered, retransmitted, sent on the bulk connection."""
Control = Hello | Status | Cancel | Query | Errands | Tend | Tended
"""Idempotent, sent on the control connection."""
Message = Bulk | Control | Output
Request = Cancel | Query | Status | Tend
"""What a guest asks for, beside what it delivers."""
