"""The oracle of the fault tests: invariants of every accepted job, whatever was killed while it ran.

No job is lost, none ends twice, and its results are, bit for bit, those of its golden run: the same spec run
without faults.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Attempt, Checkpoint, Epoch, Job, JobEvent, Model
from shared.lifecycle import EVENTS, TERMINAL, EventType, JobKind, JobState
from shared.schemas import EpochMetrics, EvaluationResult, ModelFormat, TrainSpec
from shared.settings import Settings
from shared.store import evaluations
from shared.store import models as stored_models
from tests.support import stored
from tests.support.stub_executor import StubExecutor
from workers.executor import Executor, SilentMonitor, TrainedModel


@dataclass(frozen=True)
class Golden:
    """Results of the golden run of a spec; `weights` are those after each epoch, if the spec keeps them."""

    epochs: tuple[EpochMetrics, ...]
    model: TrainedModel
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
    model = executor.train(spec, None, collector)
    return Golden(tuple(collector.epochs), model, collector.weights)


@cache
def stub_run(spec: TrainSpec) -> Golden:
    """Return the golden run of the stub executor, which takes no time here."""
    return golden_run(StubExecutor(Settings(), step_s=0), spec)


def stored_run(session: Session, job_id: UUID) -> Golden:
    """Return the stored results of a job that ran without faults, as a golden run."""
    model = session.scalars(select(Model).where(Model.job_id == job_id)).one()
    trained = TrainedModel(
        layers=(),
        weights_sha256=model.weights_sha256,
        keras=stored_models.file(session, model.id, ModelFormat.KERAS).content,
        onnx=stored_models.file(session, model.id, ModelFormat.ONNX).content,
        evaluation=EvaluationResult(
            **dict(evaluations.get(session, job_id)),
            predictions=evaluations.predictions(session, job_id).to_bytes(),
        ),
    )
    return Golden(tuple(stored.epochs(session, job_id)), trained, stored.weights(session, job_id))


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
    moved_on = max((event.attempt for event in events if event.type == EventType.EPOCHS_RECORDED), default=0)
    lost = sum(attempt.outcome == "lost" and attempt.number >= moved_on for attempt in attempts)
    if lost != job.crashes:
        yield f"{lost} of its attempts were lost since its last epoch, and it counts {job.crashes} crashes"


def _of_epochs(session: Session, job: Job, events: list[JobEvent]) -> Iterator[str]:
    rows = session.scalars(select(Epoch).where(Epoch.job_id == job.id).order_by(Epoch.epoch)).all()
    if [row.epoch for row in rows] != list(range(job.next_epoch)):
        yield f"its epochs are {[row.epoch for row in rows]}, and it counts {job.next_epoch}"
    recorded = {
        epoch["epoch"]: (event.attempt, epoch["loss"])
        for event in events
        if event.type == EventType.EPOCHS_RECORDED
        for epoch in event.data["epochs"]
    }
    for row in rows:
        if recorded.get(row.epoch) != (row.attempt, row.loss):
            yield f"epoch {row.epoch} of attempt {row.attempt} differs from the epoch in its event"
    if job.spec.get("keep_weights") and list(stored.weights(session, job.id)) != [row.epoch for row in rows]:
        yield "it has not kept the weights after each of its epochs"
    if job.state in TERMINAL and session.get(Checkpoint, job.id) is not None:
        yield "its checkpoint was not deleted"


def _of_progress(events: list[JobEvent]) -> Iterator[str]:
    recorded = [
        epoch["epoch"]
        for event in events
        if event.type == EventType.EPOCHS_RECORDED
        for epoch in event.data["epochs"]
    ]
    if recorded != list(range(len(recorded))):
        yield f"its epochs were recorded in the order {recorded}"


def _of_results(session: Session, job: Job, golden: Callable[[TrainSpec], Golden]) -> Iterator[str]:
    evaluation = evaluations.get(session, job.id)
    if sum(map(sum, evaluation.confusion_matrix)) + evaluation.rejected != evaluation.size:
        yield "its confusion matrix does not sum up to the size of the evaluation"
    if job.kind != JobKind.TRAIN:
        return
    spec = TrainSpec.model_validate(job.spec)
    expected = golden(spec)
    if _bits(stored.epochs(session, job.id)) != _bits(expected.epochs):
        yield "its epochs are not those of its golden run"
    if stored.weights(session, job.id) != expected.weights:
        yield "the weights that it has kept are not those of its golden run"
    models = session.scalars(select(Model).where(Model.job_id == job.id)).all()
    if [model.weights_sha256 for model in models] != [expected.model.weights_sha256]:
        yield f"it has {len(models)} models, or its weights are not those of its golden run"
    elif stored_models.file(session, models[0].id, ModelFormat.ONNX).content != expected.model.onnx:
        yield "its ONNX file is not that of its golden run"
    compared = {"confusion_matrix", "loss", "accuracy", "rejected", "misclassified"}
    if evaluation.model_dump(include=compared) != expected.model.evaluation.model_dump(include=compared):
        yield "its evaluation is not that of its golden run"
    if evaluations.predictions(session, job.id).to_bytes() != expected.model.evaluation.predictions:
        yield "its predictions are not those of its golden run"


def _bits(epochs: Iterable[EpochMetrics]) -> list[tuple[str, ...]]:
    """Return every metric of a history except its durations, as exact hexadecimal floats."""
    return [
        tuple(
            float(number).hex()
            for number in (
                *(epoch.epoch, epoch.loss, epoch.accuracy, epoch.val_loss, epoch.val_accuracy),
                *epoch.batch_loss,
                *epoch.batch_accuracy,
            )
        )
        for epoch in epochs
    ]


def count_unfinished(session: Session, job_ids: Iterable[UUID]) -> int:
    """Return how many of the given jobs are not terminal."""
    unfinished = select(func.count()).where(Job.id.in_(list(job_ids)), Job.state.not_in(TERMINAL))
    return session.scalar(unfinished) or 0
