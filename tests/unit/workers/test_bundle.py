"""Jobs that were claimed together: their order, and what one that takes long leaves to others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from uuid import uuid4

import pytest

from shared.db.engine import Database
from shared.lifecycle import JobKind
from shared.store.claims import Claim
from shared.store.transitions import AttemptId
from tests.support.factories import make_worker_info
from tests.support.fakes import MonotonicClock
from workers.attempt_trace import AttemptTrace
from workers.bundle import Bundle, Ran
from workers.outcomes import Released
from workers.pending import PendingProgress

_DATABASE = cast(Database, None)  # none is needed: what unloads is a fake


def _claim() -> Claim:
    return Claim(
        attempt=AttemptId(uuid4(), 1),
        kind=JobKind.TRAIN,
        queue="default",
        tenant="",
        spec={},
        max_runtime_s=None,
        checkpoint=None,
        failures=0,
        request_id=None,
        sweep_id=None,
        traceparent=None,
    )


def _ran(claim: Claim) -> Ran:
    pending, worker = PendingProgress(claim.attempt, lease_s=30.0), make_worker_info()
    return Ran(claim, Released(), pending, AttemptTrace(claim, worker=worker.name, device=worker.device))


@dataclass
class _Unload:
    """Notes what it is to report and to give back; a test says whether it can."""

    works: bool = True
    calls: list[tuple[list[Claim], list[AttemptId]]] = field(default_factory=list)

    def __call__(self, _database: Database, ran: Sequence[Ran], waiting: Sequence[AttemptId]) -> bool:
        self.calls.append(([each.claim for each in ran], list(waiting)))
        return self.works


@pytest.fixture
def clock() -> MonotonicClock:
    return MonotonicClock()


@pytest.fixture
def claimed() -> list[Claim]:
    return [_claim() for _ in range(4)]


@pytest.fixture
def bundle(claimed: list[Claim], clock: MonotonicClock) -> Bundle:
    return Bundle(claimed, clock)


def _run_first(bundle: Bundle, claimed: Sequence[Claim]) -> None:
    """Run the first one, and begin the second."""
    assert bundle.begin_next() == (0, claimed[0])
    bundle.ended(_ran(claimed[0]))
    assert bundle.begin_next() == (1, claimed[1])


def test_short_ones_run_in_their_order_and_are_reported_together(
    bundle: Bundle, claimed: list[Claim], clock: MonotonicClock
) -> None:
    for number, claim in enumerate(claimed):
        assert bundle.begin_next() == (number, claim)
        clock.advance(0.01)
        assert bundle.ended(_ran(claim)) == pytest.approx(0.01)
    assert bundle.begin_next() is None
    ran, waiting = bundle.rest()
    assert ([each.claim for each in ran], waiting) == (claimed, [])


def test_a_long_one_leaves_those_that_have_ended_and_those_that_have_not_begun(
    bundle: Bundle, claimed: list[Claim], clock: MonotonicClock
) -> None:
    _run_first(bundle, claimed)
    unload = _Unload()
    clock.advance(0.2)
    bundle.unload(unload, _DATABASE)
    assert unload.calls == []
    clock.advance(0.1)
    for _ in range(2):  # nothing is left for the second round
        bundle.unload(unload, _DATABASE)
    assert unload.calls == [([claimed[0]], [claim.attempt for claim in claimed[2:]])]
    assert bundle.begin_next() is None
    bundle.ended(_ran(claimed[1]))
    ran, waiting = bundle.rest()
    assert ([each.claim for each in ran], waiting) == ([claimed[1]], [])


def test_what_could_not_be_unloaded_is_tried_again_and_left_to_the_report(
    bundle: Bundle, claimed: list[Claim], clock: MonotonicClock
) -> None:
    _run_first(bundle, claimed)
    unload = _Unload(works=False)
    clock.advance(1.0)
    for _ in range(2):
        bundle.unload(unload, _DATABASE)
    assert len(unload.calls) == 2
    bundle.ended(_ran(claimed[1]))
    # the time in which those after it may begin is over
    assert bundle.begin_next() is None
    ran, waiting = bundle.rest()
    assert [each.claim for each in ran] == claimed[:2]
    assert waiting == [claim.attempt for claim in claimed[2:]]


def test_a_round_that_comes_when_the_report_has_begun_unloads_nothing(
    bundle: Bundle, claimed: list[Claim], clock: MonotonicClock
) -> None:
    _run_first(bundle, claimed)
    clock.advance(1.0)
    bundle.rest()
    unload = _Unload()
    bundle.unload(unload, _DATABASE)
    assert unload.calls == []


def test_a_single_one_holds_up_nothing(clock: MonotonicClock) -> None:
    bundle = Bundle([_claim()], clock)
    clock.advance(60)  # the one that begins first may begin late
    assert bundle.begin_next() is not None
    unload = _Unload()
    clock.advance(60)
    bundle.unload(unload, _DATABASE)
    assert unload.calls == []
