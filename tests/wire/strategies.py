"""Hypothesis strategies: any message the codec can carry."""

from __future__ import annotations

from hypothesis import strategies as st

from zmqtasks import messages as m
from zmqtasks.metrics import COUNTS, Metrics, Moments
from zmqtasks.options import COMPRESSIONS, SERIALIZERS, Limits, TaskOptions

integers = st.integers(0, 2**63 - 1)
words = st.text(st.characters(codec="utf-8"), max_size=40)
labels = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
durations = st.floats(0, allow_nan=False, allow_infinity=False)
bodies = st.binary(max_size=100)


def tuples_of(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.lists(strategy, max_size=4).map(tuple)


pairs = st.tuples(labels, labels)
sessions = st.builds(m.SessionId, integers, integers)
addresses = st.builds(m.Address, labels, labels, tuples_of(labels).filter(bool))
limits = st.builds(Limits, *[st.integers(1, 2**63 - 1)] * 3)
spans = st.tuples(integers, integers).filter(lambda pair: pair[0] != pair[1]).map(sorted)
options = st.builds(
    TaskOptions,
    timeout=st.none() | durations.filter(bool),
    max_memory=st.none() | integers,
    retries=integers,
    backoff=durations,
    priority=st.integers(-(2**63), 2**63 - 1),
    retry=st.booleans(),
    crash_limit=st.integers(1, 2**63 - 1),
    serializer=st.sampled_from(SERIALIZERS),
    compression=st.sampled_from(COMPRESSIONS),
)
jobs = st.builds(m.Job, labels, words, addresses, st.just(TaskOptions()) | options, bodies)
chunks = st.builds(
    lambda job, attempt, span, back, body, submitted_at: m.Chunk(
        job, attempt, *span, max(0, span[0] - back), body, stamp=m.Stamp(submitted_at)
    ),
    labels,
    integers,
    spans,
    integers,
    bodies,
    st.just(0.0) | durations,
)
held = st.builds(
    lambda job, span, attempt, phase: m.Held(job, *span, attempt, phase),
    labels,
    spans,
    integers,
    st.sampled_from(m.Phase),
)
settled = st.builds(
    lambda job, attempt, node, span, kind, elapsed, delay: m.Settled(job, attempt, node, *span, kind, elapsed, delay),
    labels,
    integers,
    labels,
    spans,
    st.sampled_from(m.OutcomeKind),
    durations,
    durations,
)
outcomes = st.builds(lambda what, body: m.Outcome(*what[:7], body, what.delay_s), settled, bodies)
ranges = st.builds(lambda job, span: m.Range(job, *span), labels, spans)
errands = st.builds(m.Errand, integers, integers, words, bodies)
printed = st.builds(m.Printed, integers, integers, labels, words, integers, labels, words)

versions = st.dictionaries(labels, words, max_size=3).map(lambda versions: tuple(versions.items()))
hellos = st.builds(
    m.Hello,
    sessions,
    st.sampled_from(m.Role),
    addresses,
    st.tuples(integers, integers).map(sorted).map(tuple),
    limits,
    versions,
    durations,
)
finite = st.floats(allow_nan=False, allow_infinity=False)
moments = st.just(Moments()) | st.builds(Moments, integers.filter(bool), finite, finite, finite)
statuses = st.builds(
    m.Status,
    sessions,
    addresses,
    integers,
    st.sampled_from(m.PeerState),
    words,
    integers,
    st.booleans(),
    st.builds(m.Window, integers, integers),
    st.none() | tuples_of(held),
    st.builds(m.Load, *[integers] * 6, durations, integers),
    limits,
    st.booleans(),
    st.none() | st.builds(m.Flight, labels, tuples_of(held)),
    st.none() | st.builds(Metrics, *[integers] * len(COUNTS), moments, moments),
    st.none() | durations,
    versions,
    tuples_of(st.builds(m.Known, addresses, durations)),
    st.none() | st.builds(m.Offer, tuples_of(labels), tuples_of(st.tuples(labels, durations)), tuples_of(pairs)),
)
messages = st.one_of(
    hellos,
    statuses,
    st.builds(m.Tasks, sessions, integers, tuples_of(jobs), tuples_of(chunks), tuples_of(labels)),
    st.builds(m.Results, sessions, integers, tuples_of(outcomes)),
    st.builds(m.Stored, sessions, integers, tuples_of(settled)),
    st.builds(m.Cancel, sessions, tuples_of(ranges), st.booleans()),
    st.builds(m.Query, sessions, tuples_of(labels)),
    st.builds(m.Output, sessions, tuples_of(printed), integers, st.booleans()),
    st.builds(m.Tend, sessions, integers.filter(bool), st.sampled_from(m.QueueCare), labels, integers),
    st.builds(m.Tended, sessions, integers.filter(bool), integers, integers, st.booleans(), integers, bodies),
    st.builds(m.Errands, sessions, integers, integers, integers, tuples_of(errands), st.booleans()),
)
