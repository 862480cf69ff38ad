"""Whether the requests that clients made about one job can be put in an order that explains every response.

Linearizability (Herlihy and Wing), decided by the search of Wing and Gong: of the requests that no other must
come before, one is taken that the specification of a job allows, until none is left. States that were reached
before are not searched again (Lowe). What workers do to the job is hidden: `successors` allows it in between.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import NamedTuple

from shared.lifecycle import TERMINAL, JobState

STALE_S = 1.0
"""How old a poll may be: what docs/api.md promises."""


class Act(StrEnum):
    """What a request did to a job, or saw of it."""

    CREATE = "create"
    SEE = "see"
    CANCEL = "cancel"
    DELETE = "delete"
    MISS = "miss"  # it saw that there is no such job


@dataclass(frozen=True)
class Step:
    """One effect or observation of a request.

    Attributes:
        request: number of the request; the steps of one request happen in the order of `place`.
        began: when the client sent the request, in seconds.
        ended: when it had the response; infinite if it had none.
        api: the process that responded.
        is_certain: whether it has happened; a request without a response may have had its effect or not.
        is_stale: whether it may have read what was true up to `STALE_S` before it began.
        seen_by: the processes whose stale reads see it all the same.
        version: the version that was seen, if the response named one.
        states: the states of which one was seen.
        known: the version that the client knew: it must see this one or a later one.
    """

    act: Act
    request: int
    began: float
    ended: float
    api: str = ""
    place: int = 0
    is_certain: bool = True
    is_stale: bool = False
    seen_by: frozenset[str] = frozenset()
    version: int | None = None
    states: frozenset[JobState] = frozenset(JobState)
    known: int = 0

    @property
    def earliest(self) -> float:
        return self.began - STALE_S * self.is_stale

    def must_precede(self, other: "Step") -> bool:
        """Whether this step happened before the other one in every order that keeps the promises."""
        if not self.is_certain:
            return False
        if self.request == other.request:
            return self.place < other.place
        # no read may be so old that it misses the job; how old it is otherwise, the other steps decide
        is_seen = other.api in self.seen_by or (self.act, other.act) == (Act.CREATE, Act.MISS)
        return self.ended < (other.began if is_seen else other.earliest)

    def __str__(self) -> str:
        seen = f" {self.version} {'|'.join(sorted(self.states))}" if self.act == Act.SEE else ""
        doubt = "" if self.is_certain else " perhaps"
        return f"[{self.began:.3f} to {self.ended:.3f}] {self.api}: {self.act}{seen}{doubt}"


class Known(NamedTuple):
    """What the steps so far tell of a job.

    Attributes:
        version: 0 if it does not exist yet. The version may be greater if `is_exact` is false.
        is_cancelled: whether a client has requested its cancellation.
    """

    version: int = 0
    state: JobState = JobState.QUEUED
    is_exact: bool = True
    is_cancelled: bool = False
    is_deleted: bool = False

    @property
    def exists(self) -> bool:
        return self.version > 0 and not self.is_deleted


def successors(known: Known, step: Step) -> Iterator[Known]:
    """Yield what may be known after a step; nothing if the step is impossible.

    Before the step, workers may have changed a job that was not terminal, each change with a new version.
    """
    match step.act:
        case Act.CREATE:  # or a repeat, which changes nothing
            yield known._replace(version=known.version or 1)
        case Act.MISS:
            if not known.exists:
                yield known
        case Act.DELETE:
            if known.exists:
                yield known._replace(is_deleted=True)
        case Act.CANCEL:
            if known.exists and known.state not in (JobState.SUCCEEDED, JobState.FAILED):
                yield known._replace(is_cancelled=True)
        case Act.SEE:
            if known.exists and (step.version is None or step.version >= step.known):
                yield from _after_seeing(known, step.version, step.states)


def _after_seeing(known: Known, version: int | None, states: frozenset[JobState]) -> Iterator[Known]:
    is_same = known.state in states
    if is_same and (version is None or version == known.version):
        yield known if version is None else known._replace(is_exact=True)
    elif is_same and version is not None and version > known.version and not known.is_exact:
        yield known._replace(version=version, is_exact=True)
    elif known.state not in TERMINAL and (version is None or version > known.version):
        for state in sorted(states):
            if state != JobState.CANCELLED or known.is_cancelled:
                moved = known._replace(version=version or known.version + 1, state=state)
                yield moved._replace(is_exact=version is not None)


def unexplained(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that no order explains after as many others as possible; none if an order exists."""
    search = _Search(steps)
    explained = search.run()
    return [step for index, step in enumerate(search.steps) if not explained >> index & 1]


class _Search:
    """A search for an order; sets of steps are the bits of an integer."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.steps = sorted(steps, key=lambda step: (step.earliest, step.request, step.place))
        self._certain = sum(1 << index for index, step in enumerate(self.steps) if step.is_certain)
        self._all = (1 << len(self.steps)) - 1

    def run(self) -> int:
        """Return all steps if they have an order, or the largest set of first ones that has one."""
        best, searched = 0, set[tuple[int, Known]]()
        stack = [(0, Known())]
        while stack:
            done, known = self._settle(*stack.pop())
            if self._certain & ~done == 0:
                return self._all
            best = max(best, done, key=int.bit_count)
            if (done, known) not in searched:
                searched.add((done, known))
                stack += self._moves(done, known)
        return best

    def _settle(self, done: int, known: Known) -> tuple[int, Known]:
        """Take every step that changes nothing: if an order exists, one exists that takes it now."""
        while added := sum(
            1 << index
            for index in self._next(done)
            if self.steps[index].is_certain and known in successors(known, self.steps[index])
        ):
            done |= added
        return done, known

    def _moves(self, done: int, known: Known) -> list[tuple[int, Known]]:
        """Return what may come next, the likeliest last: the step that ended first."""
        indices = sorted(self._next(done), key=lambda index: -self.steps[index].ended)
        return [
            (done | 1 << index, after)
            for index in indices
            for after in successors(known, self.steps[index])
            if after != known  # what changes nothing and is uncertain need not have happened
        ]

    def _next(self, done: int) -> list[int]:
        """Return the steps that are left and that no other step left must come before."""
        left, horizon = list[int](), inf
        for index in range((~done & done + 1).bit_length() - 1, len(self.steps)):
            step = self.steps[index]
            if step.earliest > horizon + STALE_S:
                break
            if not done >> index & 1:
                left.append(index)
                horizon = min(horizon, step.ended if step.is_certain else inf)
        steps = self.steps
        return [b for b in left if not any(steps[a].must_precede(steps[b]) for a in left if a != b)]
