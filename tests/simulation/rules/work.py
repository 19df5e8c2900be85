"""Rules 4 to 6: which outcome counts, what is not run again, and who is to blame."""

from __future__ import annotations

from typing import Any

from tests.machines import test_blame, test_collection, test_dispatch, test_filling, test_holding, test_resumed
from tests.simulation import test_faults
from tests.simulation.rules import scenarios
from tests.simulation.rules.rule import Patch, Rule
from zmqtasks.machines import blame, collection, holding_moves, remains
from zmqtasks.machines import dispatch_moves as moves
from zmqtasks.machines.book import Book
from zmqtasks.machines.dispatch import Dispatch
from zmqtasks.machines.losses import Losses
from zmqtasks.machines.outcomes import Outcomes
from zmqtasks.machines.ranges import RangeSet
from zmqtasks.messages import Outcome, OutcomeKind, Settled
from zmqtasks.records import replace

# Rule 4


def _gullible() -> tuple[Patch, ...]:
    original = collection.Collection._receive

    def receive(self: collection.Collection, outcome: Outcome) -> list[collection.Command]:
        told = [command for command in original(self, outcome) if isinstance(command, collection.Tell)]
        return [collection.Record(outcome, outcome.start, outcome.stop), *told]

    return ((collection.Collection, "_receive", receive),)


def _pedantic() -> tuple[Patch, ...]:
    take_off, succeeded = Outcomes._take_off, Outcomes._succeeded

    def noting(self: Any, said: Settled, job: Any) -> list[tuple[int, int]]:
        self.held = take_off(self, said, job)
        return list(self.held)

    def only_held(self: Any, job: Any, said: Settled) -> list[moves.Command]:
        return [c for a, b in self.held for c in succeeded(self, job, said._replace(start=a, stop=b))]

    return (Outcomes, "_take_off", noting), (Outcomes, "_succeeded", only_held)


def _resentful() -> tuple[Patch, ...]:
    original = Outcomes._failed

    def failed(self: Outcomes, job: Any, said: Settled, held: object, now: float) -> list[moves.Command]:
        return original(self, job, said, [(said.start, said.stop)], now)

    return ((Outcomes, "_failed", failed),)


def _fickle() -> tuple[Patch, ...]:
    original = collection._Collected.blame

    def blamed(self: Any, parts: object, attempt: int, kind: OutcomeKind) -> list[tuple[int, int]]:
        return original(self, self.said, attempt, kind)

    receive = collection.Collection._receive

    def receiving(self: Any, outcome: Outcome) -> list[collection.Command]:
        collection._Collected.said = [(outcome.start, outcome.stop)]  # type: ignore[attr-defined]
        return receive(self, outcome)

    return (collection._Collected, "blame", blamed), (collection.Collection, "_receive", receiving)


def _backward() -> tuple[Patch, ...]:
    original = collection._Collected.blame

    def blamed(self: Any, parts: Any, attempt: int, kind: OutcomeKind) -> list[tuple[int, int]]:
        for part in parts:
            for index in range(*part):
                self.failed.pop(index, None)
        return original(self, parts, attempt, kind)

    return ((collection._Collected, "blame", blamed),)


# Rule 5


def _hasty() -> tuple[Patch, ...]:
    original = Dispatch._node_opened

    def opened(self: Dispatch, event: moves.NodeOpened, now: float) -> list[moves.Command]:
        return original(self, replace(event, have=()), now)

    return ((Dispatch, "_node_opened", opened),)


def _grasping() -> tuple[Patch, ...]:
    def adopt(self: Any, node: Any, job_id: str, attempt: int, ranges: RangeSet) -> None:
        job = self.jobs.get(job_id)
        if job is None or attempt in self.assignments:
            return
        parts = RangeSet(part for a, b in ranges for part in job.done.missing(a, min(b, job.sent)))
        if parts:
            for start, stop in parts:
                job.waiting.remove(start, stop)
            self.requeue(job)
            self._load(node, job, attempt, parts, parts.count())

    return ((Book, "adopt", adopt),)


def _forgets_what_was_told() -> tuple[Patch, ...]:
    return ((Book, "note_told", lambda self, job, attempt, start, stop: None),)


def _forgets_its_earlier_life() -> tuple[Patch, ...]:
    return ((Dispatch, "_tasks_doubted", lambda self, event, now: []),)


# Rule 6


def _patient_with_crashes() -> tuple[Patch, ...]:
    original = blame.Ledger.failed

    def failed(self: blame.Ledger, index: int, kind: OutcomeKind) -> blame.Judgement:
        crashed = kind is OutcomeKind.CRASHED and self._options.retry
        return blame.Judgement(blame.Verdict.AGAIN) if crashed else original(self, index, kind)

    return ((blame.Ledger, "failed", failed),)


def _crashed_in_company() -> tuple[Patch, ...]:
    original = blame.Ledger.care

    def care(self: blame.Ledger, index: int) -> blame.Blame:
        crashes, self._crashes = self._crashes, {}
        try:
            return original(self, index)
        finally:
            self._crashes = crashes

    return ((blame.Ledger, "care", care),)


def _blames_neighbours() -> tuple[Patch, ...]:
    def blame_all(self: Any, piece: Any, index: int, kind: OutcomeKind) -> list[Any]:
        job, attempt = piece.job.job, piece.chunk.attempt
        return [holding_moves.Blame(job, attempt, i, kind) for i in range(piece.next, piece.chunk.stop)]

    return ((remains.Remains, "_blame", blame_all),)


def _in_company_after(losses: int) -> tuple[Patch, ...]:
    """Let tasks that were lost so often travel with others."""
    original = blame.Ledger.care

    def care(self: blame.Ledger, index: int) -> blame.Blame:
        found = original(self, index)
        if losses == blame.LOSSES_UNTIL_ALONE_ON_NODE:
            return blame.Blame.CHUNK_ALONE if found is blame.Blame.NODE_ALONE else found
        return blame.Blame.NONE if found is blame.Blame.CHUNK_ALONE and index not in self._crashes else found

    return ((blame.Ledger, "care", care),)


def _lost_alone() -> tuple[Patch, ...]:
    original = blame.Ledger.lost

    def lost(self: blame.Ledger, start: int, stop: int, *, alone: bool, weight: float = blame.STRIKE) -> blame.Verdict:
        return original(self, start, stop, alone=True, weight=weight)

    return ((blame.Ledger, "lost", lost),)


def _silence_is_death() -> tuple[Patch, ...]:
    original = Dispatch._node_lost

    def node_lost(self: Dispatch, event: moves.NodeLost, now: float) -> list[moves.Command]:
        return original(self, replace(event, died=True), now)

    return ((Dispatch, "_node_lost", node_lost),)


def _returned_counts() -> tuple[Patch, ...]:
    original = Outcomes._failed

    def failed(self: Outcomes, job: Any, said: Settled, held: Any, now: float) -> list[moves.Command]:
        if said.kind is OutcomeKind.RETURNED:
            said = said._replace(kind=OutcomeKind.CRASHED)
        return original(self, job, said, held, now)

    return ((Outcomes, "_failed", failed),)


def _stubborn() -> tuple[Patch, ...]:
    original = Dispatch._job_opened

    def opened(self: Dispatch, event: moves.JobOpened, now: float) -> list[moves.Command]:
        return original(self, replace(event, options=event.options.replace(retry=True)), now)

    return ((Dispatch, "_job_opened", opened),)


def _twice_on_one_node() -> tuple[Patch, ...]:
    original = remains.Remains._requeue_run

    def requeue(self: Any, piece: Any, start: int, stop: int) -> list[Any]:
        return self._requeue(piece, start, stop) if start < stop else original(self, piece, start, stop)  # type: ignore[no-any-return]

    return ((remains.Remains, "_requeue_run", requeue),)


def _runs_of_the_first() -> tuple[Patch, ...]:
    return ((blame.Ledger, "runs_from", lambda self, start, most: (self._tries.get(start, 0), most)),)


def _deaf_to_recorders() -> tuple[Patch, ...]:
    return ((Losses, "hear", lambda self, flight, now: []),)


RULES = (
    Rule("4a", "The first success of a task is recorded, and no other", "Collection records every success", _gullible),
    Rule("4b", "A success counts whatever its attempt", "Dispatch takes it only from who holds the task",
         _pedantic, scenarios.a_late_success_counts),
    Rule("4c", "A failure counts only from the node and attempt that hold the task", "Dispatch counts every failure",
         _resentful),
    Rule("4d", "A success is never replaced by a failure", "Collection records failures after a success",
         _fickle, is_quick=False),
    Rule("4e", "A failure of an older attempt does not replace a newer one", "Collection keeps the last it heard",
         _backward, test_collection.test_a_failure_is_recorded_once_an_attempt_and_a_success_overtakes_it),
    Rule("5a", "On a fresh session, what the node says it has is not run again", "Dispatch ignores `have`",
         _hasty, scenarios.long_tasks_outlive_a_session),
    Rule("5b", "What went elsewhere meanwhile is not adopted", "Dispatch adopts all that has not ended",
         _grasping, scenarios.a_late_success_counts),
    Rule("5c", "What an earlier life may have sent waits until the nodes have answered", "Dispatch sends it at once",
         _forgets_its_earlier_life, test_resumed.test_what_runs_since_an_earlier_life_is_adopted_however_its_job_comes),
    Rule("5d", "Of what a node told the end, nothing is adopted", "Dispatch adopts what an inventory from before names",
         _forgets_what_was_told,
         test_dispatch.test_what_a_node_told_the_end_of_between_two_sessions_is_not_adopted),
    Rule("6a", "A task over which `crash_limit` workers died has failed", "Ledger tries for ever",
         _patient_with_crashes, test_faults.test_the_third_death_of_its_worker_ends_a_task_and_no_other,
         is_quick=False),
    Rule("6b", "A task over which a worker died runs alone", "Ledger lets it travel with others",
         _crashed_in_company, test_blame.test_crashes_have_a_limit_of_their_own_and_make_a_task_run_alone),
    Rule("6c", "Of what a dead worker had, only what it ran is blamed", "Holding blames the rest as well",
         _blames_neighbours, scenarios.neighbours_of_a_killer_are_not_blamed),
    Rule("6d", "A task that was aboard 2 lost nodes is alone with its worker", "Ledger lets it travel with others",
         lambda: _in_company_after(blame.LOSSES_UNTIL_ALONE_IN_CHUNK),
         test_blame.test_losses_make_a_task_run_alone_first_in_its_chunk_then_on_its_node),
    Rule("6e", "A task that was aboard 4 lost nodes is alone on its node", "Ledger lets it have company there",
         lambda: _in_company_after(blame.LOSSES_UNTIL_ALONE_ON_NODE), scenarios.a_killer_of_nodes_is_found),
    Rule("6f", "A task that 3 nodes died with, alone, ends as NodeKiller", "Ledger tries for ever",
         lambda: ((blame, "STRIKES", 10**9),), scenarios.a_killer_of_nodes_is_found),
    Rule("6g", "A strike is only for the one task a node died with", "Ledger gives one to all that were aboard",
         _lost_alone, test_dispatch.test_only_a_node_that_died_with_one_task_gives_a_strike),
    Rule("6h", "Silence is no strike: only a death is", "Dispatch takes every lost node for dead",
         _silence_is_death, scenarios.silence_kills_no_task),
    Rule("6i", "What was handed back does not count, nor does a drain", "Dispatch counts it as a crash",
         _returned_counts, scenarios.draining_blames_nobody),
    Rule("6j", "With retry=False nothing that may have run is sent again", "Dispatch treats it as any other",
         _stubborn),
    Rule("6k", "With retry=False a node does not run again what a dead worker had run", "Holding queues it again",
         _twice_on_one_node, test_holding.test_at_most_once_what_ran_untold_is_lost),
    Rule("6l", "A flight recorder leaves the blame with what had begun when a node died", "Dispatch does not hear it",
         _deaf_to_recorders, test_dispatch.test_where_a_flight_recorder_speaks_the_charge_is_left_with_what_ran),
    Rule("6m", "A task is told how often it was run, and not its neighbours", "Ledger takes the first for all",
         _runs_of_the_first, test_filling.test_a_chunk_holds_tasks_that_were_run_equally_often),
)  # fmt: skip
