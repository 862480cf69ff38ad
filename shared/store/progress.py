"""Progress of an attempt: phases and epochs that it has not written yet; their record, and the attempt's end.

Every write is fenced by the attempt. The UPDATEs are built once: that costs ten times their execution.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from sqlalchemy import JSON, ColumnElement, bindparam, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from shared.db.clock import Now
from shared.db.json_merge import merged
from shared.db.statements import Statement
from shared.db.tables import Attempt, Base, Job
from shared.errors import StaleAttempt
from shared.formats.epochs import EpochMetrics, finite
from shared.lifecycle import AttemptOutcome, EventType, JobState, Phase
from shared.store import results
from shared.store.event_log import NewEvent
from shared.store.transitions import (
    AttemptFailure,
    AttemptId,
    Change,
    apply,
    apply_each,
    in_states,
    update_of,
)

_JOBS = Base.metadata.tables[Job.__tablename__]

# the state as well: a job that was taken from the attempt keeps its number until the next claim
FENCE = (_JOBS.c.attempt == bindparam("of_attempt"), in_states([JobState.RUNNING]))
# what holds until progress is written, with and without epochs
_AT_EPOCH = _JOBS.c.next_epoch == bindparam("at_epoch")
_IN_OTHER_PHASE = _JOBS.c.phase.is_distinct_from(bindparam("entered"))

NEW_VALUES = "new_values"
"""Parameter of an UPDATE with `LAST_VALUES`: the values that are new in it."""
# a metric that an epoch does not report keeps its value
LAST_VALUES: dict[str, Any] = {
    "last_values": merged(_JOBS.c.last_values, bindparam(NEW_VALUES, {}, type_=JSON()))
}
"""The column of a job's row that an UPDATE with new values changes."""


@dataclass(frozen=True)
class Milestone:
    """A phase that an attempt has entered, or an epoch that it has finished.

    Attributes:
        age_s: how many seconds before it is written this happened.
        weights: those after the epoch, if the job keeps them.
    """

    reached: Phase | EpochMetrics
    age_s: float = 0.0
    weights: bytes | None = None


@dataclass(frozen=True)
class Progress:
    """What an attempt has done since its last write.

    Attributes:
        milestones: in order.
        running: the epoch after these that is being trained, with its steps so far; its values do not count.
        state: the training's state after the last of the epochs; an attempt that ends its job needs none.
        dataset_sha256: the checksum of the attempt's dataset, if that has become known since.
    """

    milestones: tuple[Milestone, ...] = ()
    state: bytes | None = None
    dataset_sha256: str | None = None
    running: EpochMetrics | None = None

    @cached_property
    def epochs(self) -> list[EpochMetrics]:
        """The finished epochs."""
        return [each.reached for each in self.milestones if isinstance(each.reached, EpochMetrics)]

    @cached_property
    def phase(self) -> Phase | None:
        """The last phase that was entered; None if none was."""
        entered = (each.reached for each in reversed(self.milestones) if isinstance(each.reached, Phase))
        return next(entered, None)

    def events(self) -> list[NewEvent]:
        """Return the one event that tells of all phases and epochs, each with its time; none without any."""
        if not self.milestones:
            return []
        data: dict[str, Any] = {"phases": [], "epochs": []}
        return [NewEvent(EventType.PROGRESS, data, self.milestones[-1].age_s, tuple(self._gathered()))]

    def _gathered(self) -> Iterator[tuple[str, dict[str, Any], float]]:
        for each in self.milestones:
            if isinstance(each.reached, Phase):
                yield "phases", {"phase": each.reached}, each.age_s
            else:
                # without the steps' values, which are in the epoch's row: they would double what is stored
                yield "epochs", each.reached.summary, each.age_s

    @property
    def weights(self) -> dict[int, bytes]:
        """The weights after each epoch whose weights are kept."""
        return {
            each.reached.epoch: each.weights
            for each in self.milestones
            if isinstance(each.reached, EpochMetrics) and each.weights is not None
        }

    @property
    def first_epoch(self) -> int | None:
        """The first epoch whose steps are in it."""
        return next((each.epoch for each in (*self.epochs, self.running) if each), None)

    @property
    def next_epoch(self) -> int | None:
        """The number of recorded epochs once it is stored; None if it does not tell."""
        if self.epochs:
            return self.epochs[-1].epoch + 1
        return self.running.epoch if self.running else None

    @property
    def guards(self) -> tuple[ColumnElement[bool], ...]:
        """Conditions of the UPDATE that stores the epochs."""
        return () if self.first_epoch is None else (_AT_EPOCH,)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the guards, and the columns of the job's row that the epochs change."""
        if self.first_epoch is None:
            return {}
        changed: dict[str, Any] = {"at_epoch": self.first_epoch}
        if self.epochs:
            values = {name: value for epoch in self.epochs for name, value in epoch.values.items()}
            changed |= {"next_epoch": self.next_epoch, "lost_attempts": 0, NEW_VALUES: values}
        return changed

    def store(self, session: Session, attempt: AttemptId, *, resumable: bool) -> None:
        """Insert the epochs' rows, and if the job may be resumed after them, replace its checkpoint."""
        if self.dataset_sha256 is not None:
            of_attempt = (Attempt.job_id == attempt.job_id, Attempt.number == attempt.number)
            session.execute(update(Attempt).where(*of_attempt).values(dataset_sha256=self.dataset_sha256))
        if self.epochs or self.running:
            results.put_epochs(session, attempt.job_id, attempt.number, self.epochs, self.running)
        if self.epochs:
            if weights := self.weights:
                results.add_weights(session, attempt.job_id, weights)
            if resumable:
                assert self.state is not None, "a resume needs the state after the last epoch"
                results.put_checkpoint(session, attempt.job_id, self.epochs[-1].epoch + 1, self.state)


NO_PROGRESS = Progress()


def fenced(attempt: AttemptId) -> dict[str, Any]:
    """Return the parameters of an UPDATE with `FENCE`."""
    return {"of_job": attempt.job_id, "of_attempt": attempt.number}


def record_progress(
    session: Session, attempt: AttemptId, progress: Progress, *, lease_s: float, now: Now
) -> bool:
    """Store progress, with a checkpoint after its last epoch, and extend the lease.

    Steps alone are no event: the job keeps its version, and is only announced as changed.

    Returns:
        False if nothing changed: the attempt is stale, or its progress has been stored already.
    """
    events = progress.events()
    parameters = {**fenced(attempt), **progress.parameters()}
    if progress.phase is not None:
        parameters["phase"] = progress.phase
    guards = progress.guards
    if events and not progress.epochs:
        guards, parameters["entered"] = (*guards, _IN_OTHER_PHASE), progress.phase
    statement = _update_of_record(guards, lease_s, now)
    if apply(session, statement, Change(events, parameters), now=now) is None:
        return False
    progress.store(session, attempt, resumable=True)
    return True


@lru_cache
def _update_of_record(guards: tuple[ColumnElement[bool], ...], lease_s: float, now: Now) -> Statement:
    values: dict[str, Any] = {"lease_expires_at": now(lease_s), **LAST_VALUES}
    return Statement(update_of(EventType.PROGRESS, *FENCE, *guards, now=now, **values))


@dataclass(frozen=True)
class End:
    """How an attempt ends.

    Attributes:
        event: that only this attempt may cause.
        outcome: of the attempt.
        progress: what it has done since its last write.
        failure: why it failed.
        values: of its result, which become last values of the job as those of an epoch do.
        columns: values of further columns of the job that change.
    """

    attempt: AttemptId
    event: NewEvent
    outcome: AttemptOutcome
    progress: Progress = NO_PROGRESS
    failure: AttemptFailure | None = None
    values: Mapping[str, float | None] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def change(self) -> Change:
        """What happens to the job."""
        parameters = {**fenced(self.attempt), **self.progress.parameters(), **self.columns}
        if self.values:
            parameters[NEW_VALUES] = {**parameters.get(NEW_VALUES, {}), **finite(self.values)}
        return Change([*self.progress.events(), self.event], parameters, self.outcome, self.failure)

    def store(self, session: Session) -> None:
        """Store the progress."""
        self.progress.store(session, self.attempt, resumable=self.change.target == JobState.QUEUED)


def end_attempt(session: Session, end: End, *, now: Now) -> bool:
    """Do as `end_attempts` for one; return False if it has ended in this way before.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    ended = end_attempts(session, [end], now=now).get(end.attempt)
    if ended is None:
        raise StaleAttempt(f"{end.attempt} has ended: the job no longer runs under it")
    return ended


def end_attempts(session: Session, ends: Sequence[End], *, now: Now) -> dict[AttemptId, bool]:
    """End attempts at different jobs, each with its progress. Idempotent.

    Returns:
        Whether each attempt has ended now; False: a transaction whose commit was not confirmed has ended it
        in this way. Those of jobs that no longer run under them are missing.
    """
    ended: dict[AttemptId, bool] = {}
    alike = defaultdict(list)
    for end in ends:
        alike[end.event.type, end.progress.guards, tuple(end.change.parameters)].append(end)
    for (event, guards, _names), group in alike.items():
        statement = _update_of_end(event, guards, now)
        rows = apply_each(session, statement, [end.change for end in group], now=now)
        for end, row in zip(group, rows, strict=True):
            if row is not None:
                end.store(session)
                ended[end.attempt] = True
            elif _outcome(session, end.attempt) == end.outcome:
                ended[end.attempt] = False
    return ended


def _outcome(session: Session, attempt: AttemptId) -> str | None:
    of_attempt = (Attempt.job_id == attempt.job_id, Attempt.number == attempt.number)
    return session.scalar(select(Attempt.outcome).where(*of_attempt))


@lru_cache
def _update_of_end(event: EventType, guards: tuple[ColumnElement[bool], ...], now: Now) -> Statement:
    counted: dict[str, Any] = {"failures": _JOBS.c.failures + 1} if event == EventType.FAILED else {}
    return Statement(update_of(event, *FENCE, *guards, now=now, **LAST_VALUES, **counted))


def apply_end(session: Session, statement: ReturningUpdate[Any], end: End, *, now: Now) -> bool:
    """Store progress and apply an event that ends the attempt; return False if its UPDATE matched no row.

    Args:
        statement: what `update_of` returned for the event, `FENCE`, the guards of the progress and
            `LAST_VALUES`.
    """
    if apply(session, statement, end.change, now=now) is None:
        return False
    end.store(session)
    return True
