"""Who may do what at a real node: a canary task is brought by everybody who may not, and never runs.

Each refusal has to stand in the node's log, with who and why.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import zmq

import zmqtasks
from tests.cli.programs import Program, program
from tests.machines.test_authority import MAY, MESSAGES, action
from tests.mesh import strangers
from tests.mesh.nodes import free_port
from tests.mesh.strangers import Keys, Visitor, canary_task, hello
from tests.waiting import wait_until
from zmqtasks import doors
from zmqtasks.messages import Cancel, Message, Output, Query, Range, Results, Role, SessionId, Status, Stored
from zmqtasks.records import replace
from zmqtasks.transport.keys import KeyPair, new_pair

MEMBERS = {"ada": "submit", "bob": "submit", "eight": "node", "store": "sink", "root": "admin", "eve": "submit"}
BY_ROLE = {"submit": "ada", "node": "eight", "sink": "store", "admin": "root"}
WRONG = [(role, name) for role in MAY for name in MESSAGES if name not in MAY[role]]
epochs = count(1000)


class Scene:
    """A node with a key of its own, those it knows, and a canary."""

    def __init__(self, folder: Path, keys: Keys, node: Program) -> None:
        self.keys = keys
        self.node = node
        self.endpoint = "tcp://" + node.address.rpartition("@")[2]
        self.context = zmq.Context()
        self.context.socket(zmq.PUSH).close()  # its threads belong to all tests
        self.server = keys.pair("seven").public
        self.canary = folder / "sung"

    def visit(self, pair: KeyPair | None, server: bytes | None = None) -> Visitor:
        return Visitor(self.context, self.endpoint, pair, server or self.server)

    def say_until_told(self, visitor: Visitor, told: str, *messages: Message) -> None:
        """Say it again and again, until the log of the node has it; the canary comes each time."""

        def is_told() -> bool:
            visitor.say(*messages)
            return told in self.node.stderr

        with visitor.socket:
            wait_until(is_told, lambda: (told, self.node.stderr))
        assert not self.canary.exists()

    def bring_canary(self) -> tuple[Message, Message]:
        session = SessionId(next(epochs), 1)
        return hello(session, Role.VENTILATOR), canary_task(session, self.canary)

    def client(self, name: str, **settings: object) -> zmqtasks.Client:
        endpoint = self.endpoint.replace("//", "//seven@")
        return zmqtasks.Client(endpoint, key=self.keys.file(name), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    (folder / "canary.py").write_text(strangers.CANARY)
    keys = Keys(folder)
    keys.make("seven", "node")
    for name, role in MEMBERS.items():
        keys.make(name, role)
        keys.let_in(name, "seven")
    keys.let_in("seven", *MEMBERS)
    # At an address of its own choice a node has no Unix socket: all that comes, comes with a key.
    where = f"127.0.0.1:{free_port()}"
    args = ("--bind", where, "--advertise", where, "--workers", "1", "--key", keys.file("seven"))
    with program(folder, "worker", "-v", "worker", *args) as node:
        scene = Scene(folder, keys, node)
        yield scene
        scene.context.destroy(linger=0)
        node.signal(signal.SIGTERM)
        wait_until(lambda: "draining" in node.stderr)
        node.signal(signal.SIGTERM)  # it would wait for visitors who never answer
        node.wait()


def test_the_canary_sings_for_who_may_submit(scene: Scene, tmp_path: Path) -> None:
    """Else it would prove nothing that it is silent for others; nor is a message of a right sender refused."""
    visitor = scene.visit(scene.keys.pair("ada"))
    with visitor.socket:
        session = SessionId(next(epochs), 1)
        wait_until(lambda: visitor.say(hello(session, Role.VENTILATOR), canary_task(session, tmp_path / "sung")))
        wait_until((tmp_path / "sung").exists, lambda: scene.node.stderr)
    assert "refused ada" not in scene.node.stderr


@pytest.mark.parametrize(("role", "name"), WRONG, ids=lambda value: value.replace(" ", "-"))
def test_a_message_of_the_wrong_role(scene: Scene, role: str, name: str) -> None:
    who = BY_ROLE[role]
    told = f"refused {who}: its key has no role but {role}, and may not {action(name)}"
    message = MESSAGES[name]
    if name == "TASKS":
        message = canary_task(SessionId(next(epochs), 1), scene.canary)
    scene.say_until_told(scene.visit(scene.keys.pair(who)), told, message)


IN_A_SESSION: dict[str, Callable[[SessionId, Path], Message]] = {
    "TASKS": canary_task,
    "CANCEL": lambda session, path: Cancel(session),
    "QUERY": lambda session, path: Query(session),
    "RESULTS": lambda session, path: Results(session, 1),
    "STATUS": lambda session, path: Status(session, strangers.address("bob"), 7),
    "HELLO": lambda session, path: hello(session, Role.VENTILATOR),
}


@pytest.mark.parametrize("name", IN_A_SESSION)
def test_a_message_in_the_session_of_another(scene: Scene, name: str) -> None:
    """The right role is not enough: a session is of the key that has opened it."""
    session = SessionId(next(epochs), 1)
    visitor = scene.visit(scene.keys.pair("ada"))
    with visitor.socket:
        joined = scene.node.stderr.count("ventilator 00112233445566aa joined")
        wait_until(lambda: visitor.say(hello(session, Role.VENTILATOR)))
        wait_until(lambda: scene.node.stderr.count("ventilator 00112233445566aa joined") > joined)
        told = f"refused bob: it sent {name} in a session that is not its own"
        scene.say_until_told(scene.visit(scene.keys.pair("bob")), told, IN_A_SESSION[name](session, scene.canary))


OF_ANOTHER_JOB: dict[str, Callable[[SessionId, Path], Message]] = {
    "TASKS": canary_task,
    "CANCEL": lambda session, path: Cancel(session, (Range(strangers.JOB, 0, 1),), kill=True),
    "QUERY": lambda session, path: Query(session, (strangers.JOB,)),
}


@pytest.mark.parametrize("name", OF_ANOTHER_JOB)
def test_a_message_about_the_job_of_another(scene: Scene, name: str) -> None:
    """Nor is a session of one's own enough: jobs are of the peer that has made them."""
    session = SessionId(next(epochs), 1)
    told = f"refused bob: it sent {name} for a job that is not its own"
    visitor = scene.visit(scene.keys.pair("bob"))
    own = hello(session, Role.VENTILATOR, "bobs own id 1234")
    scene.say_until_told(visitor, told, own, OF_ANOTHER_JOB[name](session, scene.canary))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (Stored(SessionId(1, 1), 1), "may not send STORED"),
        (Output(SessionId(1, 1)), "may not send OUTPUT"),
    ],
)
def test_what_only_partners_send(scene: Scene, message: Message, told: str) -> None:
    scene.say_until_told(
        scene.visit(scene.keys.pair("eve")), f"refused eve: its key has no role but submit, and {told}", message
    )


@pytest.mark.parametrize("who", ["no key", "a key that is not in the folder", "the key of another node", "PLAIN"])
def test_who_is_not_known(scene: Scene, who: str) -> None:
    stranger = new_pair()
    told = {
        "a key that is not in the folder": f"refused 127.0.0.1: its key {stranger.public.hex()} is not known here",
        "the key of another node": r"refused \S+: it has the key of another mesh",
        "PLAIN": r"refused 127.0.0.16: it has no key",
    }.get(who, r"refused \S+: it has no key")
    canary = scene.bring_canary()

    def is_told() -> bool:
        """Come once more: who is refused by name does not try again by himself."""
        visitor = scene.visit(
            {"no key": None, "PLAIN": None, "the key of another node": scene.keys.pair("ada")}.get(who, stranger),
            stranger.public if who == "the key of another node" else None,
        )
        with visitor.socket as sock:
            if who == "PLAIN":
                sock.disconnect(scene.endpoint)
                sock.plain_username, sock.plain_password = b"ada", b"secret"
                sock.connect(scene.endpoint.replace("//", "//127.0.0.16:0;"))
            wait_until(lambda: visitor.say(*canary) or sock.poll(50) or True)
        return re.search(told, scene.node.stderr) is not None

    wait_until(is_told, lambda: (told, scene.node.stderr))
    assert not scene.canary.exists()


def come_from(scene: Scene, host: str) -> socket.socket:
    """Connect from an address of this host that no other test has: a refusal is told once."""
    return socket.create_connection(("127.0.0.1", doors.port_of(scene.endpoint)), source_address=(host, 0))


def say_until_closed(sock: socket.socket, said: bytes) -> None:
    """Send what no peer would, and wait until the other side has closed."""
    sock.sendall(said)
    sock.settimeout(10.0)
    try:
        while sock.recv(4096):
            pass
    except ConnectionResetError:
        pass


GREETING_BYTES, HELLO_BYTES, WELCOME_BYTES = 64, 202, 170
"""Sources: RFC 23/ZMTP, RFC 25/ZMTP-CURVE."""


def say_step_by_step(scene: Scene, host: str, said: bytes) -> None:
    """Say it as in a handshake, each part when it is its turn."""
    with contextlib.suppress(ConnectionError), come_from(scene, host) as sock:
        sock.settimeout(10.0)
        sock.recv(10)
        begun = GREETING_BYTES + HELLO_BYTES
        sock.sendall(said[:begun])
        if len(said) > begun:
            sock.recv(GREETING_BYTES - 10 + WELCOME_BYTES, socket.MSG_WAITALL)
        say_until_closed(sock, said[begun:])


def is_told_once(scene: Scene, told: str, come_again: Callable[[], None]) -> None:
    """Come again until it is told: who is gone before he was looked at is somebody."""
    wait_until(lambda: told in scene.node.stderr or come_again(), lambda: (told, scene.node.stderr))
    come_again()
    assert scene.node.stderr.count(told) == 1


GREETING = b"\xff" + b"\0" * 8 + b"\x7f\x03\x00"


@pytest.mark.parametrize(
    ("host", "junk", "why"),
    [
        ("127.0.0.11", b"GET / HTTP/1.1\r\n\r\n", "what it sent is no handshake"),
        ("127.0.0.12", b"\x16\x03\x01" * 50, "what it sent is no handshake"),
        ("127.0.0.13", GREETING + b"NULL" + b"\0" * 64, "it has no key"),
        (
            "127.0.0.14",
            GREETING + b"CURVE" + b"\0" * 47 + b"\x04\x10" + b"z" * 16,
            "it did not prove that it has the key",
        ),
    ],
    ids=["HTTP", "TLS", "NULL", "garbage for CURVE"],
)
def test_bytes_that_are_no_handshake(scene: Scene, host: str, junk: bytes, why: str) -> None:
    """They are told of once, however often they come."""
    for _ in range(20):
        with come_from(scene, host) as sock:
            say_until_closed(sock, junk)
    is_told_once(scene, f"refused {host}: {why}", lambda: say_step_by_step(scene, host, junk))
    assert not scene.canary.exists()


def test_a_capture_that_is_replayed(scene: Scene, tmp_path: Path) -> None:
    """All that ada has sent, sent again: her handshake was for keys that were drawn for it alone."""
    session, song = SessionId(next(epochs), 1), tmp_path / "sung"
    with strangers.recorded(scene.endpoint) as (endpoint, capture):
        visitor = Visitor(scene.context, endpoint, scene.keys.pair("ada"), scene.server)
        wait_until(lambda: visitor.say(hello(session, Role.VENTILATOR), canary_task(session, song)))
        wait_until(song.exists, lambda: scene.node.stderr)
        visitor.socket.close(linger=0)
    song.unlink()
    host = "127.0.0.15"
    with come_from(scene, host) as sock:
        say_until_closed(sock, capture)
    told = f"refused {host}: it has the key of another mesh, or sends again what a member has sent"
    is_told_once(scene, told, lambda: say_step_by_step(scene, host, bytes(capture)))
    assert not song.exists()


def test_a_key_that_is_revoked_while_it_is_in_use(scene: Scene) -> None:
    """Its session ends, and with it what runs; nobody else notices."""
    with scene.client("ada") as bystander, scene.client("eve", connect_timeout=20.0) as client:
        assert client.submit(pow, 2, 3).result() == 8
        scene.keys.shut_out("seven", "eve")
        wait_until(lambda: "was revoked: its session is over" in scene.node.stderr, lambda: scene.node.stderr)
        refused = client.submit(pow, 2, 4)
        wait_until(lambda: "is not known here" in scene.node.stderr.rpartition("was revoked")[2])
        assert bystander.submit(pow, 2, 5).result() == 32
        assert not refused.done()
        with pytest.raises(zmqtasks.NotAuthorised, match="the key of this program is not known there"):
            scene.client("eve")
        scene.keys.let_in("seven", "eve")
        assert refused.result(20) == 16


def test_a_lying_address_gets_nothing(scene: Scene) -> None:
    """Who says that it is where somebody else listens is not answered there: its own key would have to be proved."""
    heard = new_pair()
    victim = scene.context.socket(zmq.PULL)
    victim.curve_server = True
    victim.setsockopt(zmq.CURVE_SECRETKEY, heard.secret)
    port = victim.bind_to_random_port("tcp://127.0.0.1")
    session = SessionId(next(epochs), 1)
    lie = replace(
        hello(session, Role.VENTILATOR, "lying"),
        address=strangers.address("lying", f"tcp://{heard.public.hex()}@127.0.0.1:{port}"),
    )
    monitor = victim.get_monitor_socket(zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_SUCCEEDED)
    visitor = scene.visit(scene.keys.pair("bob"))
    with visitor.socket, victim, monitor:
        wait_until(lambda: visitor.say(lie))
        wait_until(lambda: monitor.poll(100))
        assert zmq.utils.monitor.recv_monitor_message(monitor)["event"] == zmq.Event.HANDSHAKE_FAILED_PROTOCOL
        assert not victim.poll(0)
        victim.disable_monitor()


def test_an_empty_folder_lets_nobody_in(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.make("seven", "node")
    keys.make("ada", "submit")
    keys.let_in("ada", "seven")
    args = ("--bind", "127.0.0.1:0", "--workers", "1", "--key", keys.file("seven"))
    with program(tmp_path, "worker", "worker", *args) as node:
        endpoint = "tcp://seven@" + node.address.rpartition("@")[2]
        assert "no key is known in" in node.stderr
        with pytest.raises(zmqtasks.NotAuthorised, match="is not known there"):
            zmqtasks.Client(endpoint, key=keys.file("ada"))
