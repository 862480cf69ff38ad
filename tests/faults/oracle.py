"""The oracle of the fault tests: invariants of every accepted job, whatever was killed while it ran.

No job is lost, none ends twice, and its results are, bit for bit, those of its golden run: the same spec run
without faults.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Artifact, Attempt, Checkpoint, Epoch, Job, JobEvent, Model, Result
from shared.formats.epochs import EpochMetrics
from shared.formats.results import ONNX_FILE, NewArtifact, NewResult, Produced
from shared.lifecycle import EVENTS, TERMINAL, EventType, JobKind, JobState
from shared.schemas import ClassResult, TrainSpec
from shared.settings import Settings
from shared.store import evaluations
from tests.support import stored
from tests.support.stub_executor import StubExecutor
from workers.executor import Executor, SilentMonitor


@dataclass(frozen=True)
class Golden:
    """Results of the golden run of a spec; `weights` are those after each epoch, if the spec keeps them."""

    epochs: tuple[EpochMetrics, ...]
    produced: Produced
    weights: dict[int, bytes]


class _EpochCollector(SilentMonitor):
    def __init__(self) -> None:
        self.epochs: list[EpochMetrics] = []
        self.weights: dict[int, bytes] = {}

    def epoch(self, metrics: EpochMetrics, state: Callable[[], bytes], weights: bytes | None = None) -> None:
        self.epochs.append(metrics)
        if weights is not None:
            self.weights[metrics.epoch] = weights


def golden_run(executor: Executor, spec: TrainSpec) -> Golden:
    """Run a spec in this process, without faults."""
    collector = _EpochCollector()
    produced = executor.train(spec, None, collector)
    return Golden(tuple(collector.epochs), produced, collector.weights)


@cache
def stub_run(spec: TrainSpec) -> Golden:
    """Return the golden run of the stub executor, which takes no time here."""
    return golden_run(StubExecutor(Settings(), step_s=0), spec)


def stored_run(session: Session, job_id: UUID) -> Golden:
    """Return the stored results of a job that ran without faults, as a golden run."""
    return Golden(
        tuple(stored.epochs(session, job_id)), _produced(session, job_id), stored.weights(session, job_id)
    )


def _produced(session: Session, job_id: UUID) -> Produced:
    """Return what a training job has produced, without the model's layers and network."""
    model, row = session.get(Model, job_id), session.get(Result, job_id)
    files = session.scalars(select(Artifact).where(Artifact.job_id == job_id).order_by(Artifact.name))
    result = None
    if row is not None:
        fields = ("type", "values", "dataset", "size", "threshold", "body")
        per_class = tuple(map(ClassResult.model_validate, row.per_class))
        result = NewResult(per_class=per_class, **{name: getattr(row, name) for name in fields})
    return Produced(
        artifacts=tuple(NewArtifact(file.name, file.content, file.role, file.media_type) for file in files),
        result=result,
        weights_sha256=model.weights_sha256 if model else None,
    )


def check(
    database: Database,
    expected: dict[UUID, JobState],
    golden: Callable[[TrainSpec], Golden] = stub_run,
    *,
    epochs_may_repeat: bool = False,
) -> None:
    """Check every accepted job.

    Args:
        database: where the jobs are stored.
        expected: each accepted job, and the state in which it must have ended.
        golden: returns the golden run of a spec.
        epochs_may_repeat: whether checkpoints were damaged, so that epochs were trained again.

    Raises:
        AssertionError: its message lists every violation, each with the job's events.
    """

    def of_job(job_id: UUID, state: JobState) -> list[str]:
        return database.read(
            lambda session: list(_violations(session, job_id, state, golden, epochs_may_repeat))
        )

    # one transaction for all of them would last as long as their golden runs
    violations = [each for job_id, state in expected.items() for each in of_job(job_id, state)]
    if unexpected := set(stored.job_ids(database)) - set(expected):
        violations.append(f"jobs that were not submitted: {unexpected}")
    assert not violations, "\n".join(violations)


def _violations(
    session: Session,
    job_id: UUID,
    state: JobState,
    golden: Callable[[TrainSpec], Golden],
    epochs_may_repeat: bool,
) -> Iterator[str]:
    job = session.get(Job, job_id)
    if job is None:
        yield f"job {job_id} was accepted and no longer exists"
        return
    events = list(session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)))
    violations = [*_of_state(job, state), *_of_events(job, events), *_of_attempts(session, job, events)]
    violations += _of_epochs(session, job, events)
    violations += [] if epochs_may_repeat else _of_progress(events)
    if job.state == JobState.SUCCEEDED:
        violations += _of_results(session, job, golden)
    if violations:
        history = ", ".join(f"{event.seq} {event.type} (attempt {event.attempt})" for event in events)
        yield f"job {job_id}: {'; '.join(violations)}. Its events: {history}"


def _of_state(job: Job, expected: JobState) -> Iterator[str]:
    if job.state != expected:
        yield f"it is {job.state}, not {expected} ({job.error_code}: {job.error_message})"


def _of_events(job: Job, events: list[JobEvent]) -> Iterator[str]:
    if [event.seq for event in events] != list(range(1, job.version + 1)):
        yield f"its events do not go from 1 to its version, {job.version}"
    endings = [event.seq for event in events if event.type in TERMINAL]
    if job.state in TERMINAL and endings != [job.version]:
        yield f"it has {len(endings)} terminal events, or its last event is not terminal"
    state: JobState | None = None
    for event in events:
        edge = EVENTS[EventType(event.type)]
        if edge.sources and state not in edge.sources:
            yield f"event {event.seq} cannot happen to a job that is {state}"
        state = edge.target or state
    if state != job.state:
        yield f"its events lead to {state}"


def _of_attempts(session: Session, job: Job, events: list[JobEvent]) -> Iterator[str]:
    current = 0
    for event in events:
        current += event.type == EventType.CLAIMED
        if event.attempt != current:
            yield f"event {event.seq} is of attempt {event.attempt} while attempt {current} runs"
    attempts = session.scalars(select(Attempt).where(Attempt.job_id == job.id).order_by(Attempt.number)).all()
    if current != job.attempt or [attempt.number for attempt in attempts] != list(range(1, current + 1)):
        yield f"it was claimed {current} times, counts {job.attempt} attempts, and has {len(attempts)} rows"
    open_ = [attempt.number for attempt in attempts if attempt.outcome is None]
    if open_ and job.state in TERMINAL:
        yield f"attempts {open_} never ended"
    moved_on = max((attempt for attempt, _ in _recorded(events)), default=0)
    lost = sum(attempt.outcome == "lost" and attempt.number >= moved_on for attempt in attempts)
    if lost != job.lost_attempts:
        yield f"{lost} of its attempts were lost since its last epoch, and it counts {job.lost_attempts}"


def _of_epochs(session: Session, job: Job, events: list[JobEvent]) -> Iterator[str]:
    of_job = select(Epoch).where(Epoch.job_id == job.id, stored.IS_COMPLETE)
    rows = session.scalars(of_job.order_by(Epoch.epoch)).all()
    if [row.epoch for row in rows] != list(range(job.next_epoch)):
        yield f"its epochs are {[row.epoch for row in rows]}, and it counts {job.next_epoch}"
    recorded = {epoch["epoch"]: (attempt, epoch["values"]) for attempt, epoch in _recorded(events)}
    for row in rows:
        if recorded.get(row.epoch) != (row.attempt, row.values):
            yield f"epoch {row.epoch} of attempt {row.attempt} differs from the epoch in its event"
    if job.spec.get("keep_weights") and list(stored.weights(session, job.id)) != [row.epoch for row in rows]:
        yield "it has not kept the weights after each of its epochs"
    if job.state in TERMINAL and session.get(Checkpoint, job.id) is not None:
        yield "its checkpoint was not deleted"


def _recorded(events: list[JobEvent]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each epoch that the events tell of, in order, with its attempt."""
    for event in events:
        if event.type == EventType.PROGRESS:
            yield from ((event.attempt, epoch) for epoch in event.data["epochs"])


def _of_progress(events: list[JobEvent]) -> Iterator[str]:
    recorded = [epoch["epoch"] for _, epoch in _recorded(events)]
    if recorded != list(range(len(recorded))):
        yield f"its epochs were recorded in the order {recorded}"


def _of_results(session: Session, job: Job, golden: Callable[[TrainSpec], Golden]) -> Iterator[str]:
    evaluation = evaluations.get(session, job.id)
    matrix = evaluation.confusion_matrix or ()
    if sum(map(sum, matrix)) + evaluation.rejected != evaluation.size:
        yield "its confusion matrix does not sum up to the size of the evaluation"
    if job.kind != JobKind.TRAIN:
        return
    spec = TrainSpec.model_validate(job.spec)
    expected = golden(spec)
    if _bits(stored.epochs(session, job.id)) != _bits(expected.epochs):
        yield "its epochs are not those of its golden run"
    if stored.weights(session, job.id) != expected.weights:
        yield "the weights that it has kept are not those of its golden run"
    produced = _produced(session, job.id)
    if produced.weights_sha256 != expected.produced.weights_sha256:
        yield "its weights are not those of its golden run"
    elif produced.content(ONNX_FILE) != expected.produced.content(ONNX_FILE):
        yield "its ONNX file is not that of its golden run"
    if produced.result != expected.produced.result:
        yield "its evaluation is not that of its golden run"


def _bits(epochs: Iterable[EpochMetrics]) -> list[tuple[int, dict[str, float | None], bytes]]:
    """Return every metric of a history, to the last bit, except its durations."""
    return [(epoch.epoch, epoch.values, epoch.steps) for epoch in epochs]


def count_unfinished(session: Session, job_ids: Iterable[UUID]) -> int:
    """Return how many of the given jobs are not terminal."""
    unfinished = select(func.count()).where(Job.id.in_(list(job_ids)), Job.state.not_in(TERMINAL))
    return session.scalar(unfinished) or 0
