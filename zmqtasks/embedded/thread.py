"""Ventilator and sink inside the user's program: one thread with an asyncio loop, and nodes of our own.

Owns that thread, the peer, and the life of nodes it starts. The functions of `Embedded` may be called from any
thread; everything else happens in the loop's. Called by `registry.py` and by the commands.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from zmqtasks import doors
from zmqtasks.embedded.finding import Finder
from zmqtasks.embedded.output import OutputFeed
from zmqtasks.embedded.own_node import NodeSettings, OwnNode
from zmqtasks.embedded.watched import NodeInfo, NodeState
from zmqtasks.embedded.watching import node_info
from zmqtasks.embedded.where import Where
from zmqtasks.errors import JournalError, LocalProtocolError, NoNodes, NotAuthorised, ZmqtasksError
from zmqtasks.journal import FileJournal
from zmqtasks.machines.roster import Roster
from zmqtasks.messages import Address, Output, PeerId, Query, Role, Settled
from zmqtasks.neighbours import Neighbours, can_talk
from zmqtasks.peer import Link, Peer
from zmqtasks.place import Place, open_peer
from zmqtasks.processes.folder import PrivateFolder
from zmqtasks.seeds import Seeds, expand
from zmqtasks.sink import Recorder, Sink
from zmqtasks.transport.turning import new_loop
from zmqtasks.ventilator.resuming import Resuming
from zmqtasks.ventilator.shell import Ventilator
from zmqtasks.ventilator.stewards import Stewards

logger = logging.getLogger(__name__)

REST_S = 1.0
"""How long the last lines of workers are waited for at the end."""
JOURNAL_S = 10.0
"""How long the last entries of a journal are waited for at the end: its disk may be full."""
T = TypeVar("T")


class Collector(Recorder, Protocol):
    """What an embedder does with results."""

    def begin(self, embedded: Embedded) -> None:
        """Hear where all is, in the loop's thread, before any result comes."""

    def opened(self) -> None:
        """Hear that the first nodes have answered, and so have told what they hold of an earlier life."""

    def broken(self, error: ZmqtasksError) -> None:
        """No node is left, and none will come: end what waits."""


class Embedded:
    """A ventilator, and a sink unless there is a standalone one, on a thread of their own.

    Args:
        where: nodes and sink.
        collector: gets the results, in the loop's thread.

    Raises:
        NoNodes: no node answered in time, or our own did not start; the text says why.
        BindError: an address is malformed or cannot be bound.
        NotAuthorised: another host is concerned, and there is no key.
        KeyFileError: the key cannot be used.
        JournalError: the journal cannot be used.
    """

    def __init__(self, where: Where, collector: Collector) -> None:
        self._where = where
        self._collector = collector
        self.journal, self.resuming = _opened(where.journal)
        self._folder = PrivateFolder()
        self._own: OwnNode | None = None
        self._finder: Finder | None = None
        self._feed = OutputFeed(where.on_output)
        self._to_end: set[PeerId] = set()
        self._rest = asyncio.Event()
        self._given: dict[str, str] = {}
        """Endpoints as they were named to us, by the same with a key."""
        self._refused: dict[str, str] = {}
        """Why the peers at these endpoints do not let us in."""
        self._closed = False
        self.loop = new_loop()
        if self.journal:
            self.journal.deliver, self.journal.on_failure = self.call_soon, self._journal_failed
        self._thread = threading.Thread(target=self._run_loop, name="zmqtasks", daemon=True)
        self._thread.start()
        try:
            self.run(self._open())
        except BaseException:
            self.close()
            raise

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        asyncio.set_event_loop(None)

    # From any thread

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop's thread and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the loop's thread and wait for its result."""

        async def call() -> T:
            return function(*args)

        if self.is_current_thread():
            return function(*args)
        return self.run(call())

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the loop's thread, and do not wait; after the end, do nothing."""
        try:  # noqa: SIM105  # each call that is submitted may come here
            self.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            pass

    @property
    def is_closed(self) -> bool:
        """Tell whether this has ended, or is about to."""
        return self._closed

    def is_current_thread(self) -> bool:
        """Tell whether the caller runs in the loop's thread."""
        return threading.current_thread() is self._thread

    def close(self, *, in_order: bool = False) -> None:
        """End the sessions, the node of our own and the thread; idempotent.

        Args:
            in_order: its workers may run finalizer and exit handlers first.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.run(self._shut(in_order))
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            if not self.is_current_thread():
                self._thread.join()
                self.loop.run_until_complete(self.loop.shutdown_default_executor())  # who asked for names
                self.loop.close()
            self._feed.close()
            self._folder.close()
            if self.journal:
                self._close_journal(self.journal)

    @staticmethod
    def _close_journal(journal: FileJournal) -> None:
        try:
            journal.close(JOURNAL_S)
        except (TimeoutError, JournalError) as error:
            logger.warning("the last entries of the journal %s are not written: %s", journal.place, error)

    # In the loop's thread

    def _journal_failed(self, error: Exception) -> None:
        if not isinstance(error, OSError):
            broken = error if isinstance(error, ZmqtasksError) else JournalError(f"the journal gave up: {error!r}")
            self._collector.broken(broken)

    def _on_defect(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Something was raised where nothing may be: better all calls end with it than wait for ever."""
        error = context.get("exception")
        if isinstance(error, JournalError):
            self._collector.broken(error)
            return
        logger.critical("%s", context["message"], exc_info=error)
        if error is not None:
            self._collector.broken(LocalProtocolError(f"a defect of zmqtasks, please report it: {error!r}"))

    async def _open(self) -> None:
        self.loop.set_exception_handler(self._on_defect)
        if self._where.sink in self._where.addresses:
            raise NoNodes(f"{self._where.sink} is given as a node and as the sink; each is a program of its own")
        self.peer = self._open_peer()
        self._answered = asyncio.Event()
        sink = self._partner(self._where.sink) if self._where.sink else None
        self.ventilator = Ventilator(
            self.peer, sink, on_nodes=self._nodes_changed, on_output=self._printed, resuming=self.resuming
        )
        # Beside a standalone one, for what our tasks have others do: that comes home.
        self.sink = Sink(self.peer, self._collector, self._settle if self._where.watching else self.ventilator.settle)
        self._collector.begin(self)
        self.peer.host(Role.STEWARD, Stewards(self.ventilator))
        machine = Roster(self.peer.id, None, lambda address: can_talk(self.peer.address, address))
        self._neighbours = Neighbours(self.loop, machine, self._reach, self._let_go)
        self.ventilator.neighbours = self._neighbours
        self._seeds = Seeds(self._where.addresses, self._neighbours.list_seeds, random.random)
        self._seeds.open()
        if self._finder:
            await self._join(self._finder)
        elif not self._where.addresses:
            self.ventilator.neighbours = None  # our own node knows nobody, and is not to be looked for once it has gone
            await self._start_own()
        await self._wait_for_answers()
        self._collector.opened()
        if self._where.watching:
            self._where.watching.opened(self.loop)

    def _open_peer(self) -> Peer:
        bind, key, insecure = self._where.bind, self._where.key, self._where.insecure
        if self._where.source:
            self._finder = self._where.source.finder()
            inbox = self._finder.inbox()
            bind, key, insecure = bind or inbox.bind, inbox.key, inbox.insecure
        if bind is None:
            partners = (*expand(self._where.addresses), *filter(None, [self._where.sink]))
            bind = doors.choose(partners, key=key, insecure=insecure)
        doors.check(bind, self._where.advertise, key=key, insecure=insecure)
        return open_peer(
            self.loop,
            Place(bind, self._where.advertise, self._folder.path, key if bind else None),
            lease_s=self._where.lease_s,
            peer_id=self.journal.peer if self.journal else None,
            on_refused=self._not_let_in,
        )

    def _settle(self, said: Settled) -> None:
        """Settle an outcome where somebody watches."""
        assert self._where.watching
        self._where.watching.settle(said, self.ventilator.settle)

    async def _join(self, finder: Finder) -> None:
        """Hear of nodes from now on."""
        address = self.peer.network.address
        found = functools.partial(self._neighbours.list_seeds, "cluster")
        advertised = await finder.open(f"{self._folder.path}/{self.peer.id}", found, self._own_failed)
        if advertised:
            self.peer.network.address = address._replace(endpoints=advertised)

    def _reach(self, address: Address) -> Link:
        """Open a session with a node that was named to us, or that others told us of."""
        return self.ventilator.add_node(address if address.peer else self._partner(address.endpoints[0]))

    def _let_go(self, link: Link) -> None:
        """End the session with a node that has gone; the ventilator may have done so."""
        if link in self.ventilator.links:
            self.ventilator.drop_node(link)

    async def _start_own(self) -> None:
        where = self._where
        settings = NodeSettings(where.node, where.initializer, str(self._folder.path), where.output, where.finalizer)
        self._own = OwnNode(self.loop, settings, self._own_up, self._own_gone, self._own_failed, where.ahead)
        await self._own.start()

    def _own_up(self, address: Address) -> object:
        return self.ventilator.add_node(address)

    def _own_gone(self, link: Any) -> None:
        if link in self.ventilator.links:  # its session may have ended before its process was seen to
            self.ventilator.drop_node(link, died=True)

    def _own_failed(self, reason: str) -> None:
        self._collector.broken(NoNodes(reason))

    def _nodes_changed(self) -> None:
        if self._where.watching and not self._closed:
            self._where.watching.nodes_seen(self._nodes_seen())
        refused = self._why_refused()
        if refused or (self.ventilator.nodes() and self.ventilator.sink_is_up()):
            self._answered.set()
        if refused:
            self._collector.broken(NoNodes(refused))

    def _partner(self, endpoint: str) -> Address:
        """Return the address of a peer that was named to us, with the key that has to be proved there."""
        address = self.peer.network.complete(Address("", "", (endpoint,)))
        self._given[address.endpoints[0]] = endpoint
        return address

    def _not_let_in(self, endpoint: str, why: str, certain: bool) -> None:
        self._refused[self._given.get(endpoint, endpoint)] = why
        partners = set(self._where.addresses)
        if certain and partners and partners <= self._refused.keys():
            self._answered.set()

    def _nodes_seen(self) -> list[NodeInfo]:
        """Return the nodes that have answered."""
        refused = self.ventilator.refusals.items()
        seen = [NodeInfo(NodeState.REFUSED, "", address.endpoints[0], reason=reason) for address, reason in refused]
        for link in self.ventilator.links:
            if link.partner and link.data.open and (status := link.data.status):
                seen.append(node_info(link.address, link.partner, status, heard=link.data.shown[1]))
        return seen

    def _why_refused(self) -> str:
        """Return why nothing can run here: the sink, or every node, will not have us."""
        ventilator = self.ventilator
        if refusal := ventilator.sink_refusal():
            return f"the sink at {self._where.sink} cannot take results: {refusal}"
        if not ventilator.links or len(ventilator.refusals) < len(ventilator.links):
            return ""
        reasons = "; ".join(f"{address.endpoints[0]}: {reason}" for address, reason in ventilator.refusals.items())
        return f"no node will have this client: {reasons}"

    async def _wait_for_answers(self) -> None:
        try:
            await asyncio.wait_for(self._answered.wait(), self._where.connect_s)
        except TimeoutError:
            if self._refused:
                raise NotAuthorised(self._why_not_let_in()) from None
            raise NoNodes(self._why_alone()) from None
        if refused := self._why_refused():
            raise NoNodes(refused)
        if not self.ventilator.nodes():
            raise NotAuthorised(self._why_not_let_in())

    def _why_not_let_in(self) -> str:
        reasons = "; ".join(f"{endpoint}: {why}" for endpoint, why in self._refused.items())
        return f"not let in: {reasons}; all members of a mesh need the same key (--key FILE, key=, ZMQTASKS_KEY)"

    def _why_alone(self) -> str:
        waited = f"within {self._where.connect_s:g} s"
        if self.ventilator.nodes():
            return f"the sink at {self._where.sink} did not answer {waited}; start it with: zmqtasks sink"
        if self._finder:
            return f"no node of {self._where.source} answered {waited}"
        if not self._where.addresses:
            return f"the node of this program did not answer {waited}"
        tried = ", ".join(self._where.addresses)
        return f"none of the nodes at {tried} answered {waited}; start one there with: zmqtasks worker --bind ADDRESS"

    def _printed(self, node: PeerId, output: Output) -> None:
        self._feed.take(node, output)
        if output.end:
            self._to_end.discard(node)
            if not self._to_end:
                self._rest.set()

    async def _hear_the_rest(self) -> None:
        """Ask the nodes for the lines that are still on their way, and wait for them, but not for long."""
        links = self.ventilator.nodes() if self.ventilator.asks_output else []
        self._to_end = {link.partner for link in links if link.partner}
        if not self._to_end:
            return
        for link in links:
            link.request(Query)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._rest.wait(), REST_S)

    async def _shut(self, in_order: bool) -> None:
        if hasattr(self, "ventilator"):
            await self._hear_the_rest()
            if self._finder:
                await self._finder.close()
            if hasattr(self, "_seeds"):
                await self._seeds.close()
                self._neighbours.close()
            self.ventilator.close()
            if hasattr(self, "sink"):
                self.sink.close()
            self.peer.close()
        if self._own:
            await self._own.close(in_order=in_order)
        if self._where.watching:
            self._where.watching.closed()


def _opened(path: str | None) -> tuple[FileJournal | None, Resuming | None]:
    """Return a journal, and the jobs it has."""
    if path is None:
        return None, None
    journal = FileJournal(path)
    try:
        return journal, Resuming(journal)
    except BaseException:
        journal.close()
        raise
