"""What must be true of every accepted job, whatever was killed while it ran.

The invariants are those of the reliability plan: no job is lost, none ends twice, and what it leaves is, bit
for bit, what an undisturbed run leaves.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from shared.db.engine import Database
from shared.db.tables import Attempt, Checkpoint, Epoch, Job, JobEvent, Model
from shared.lifecycle import EVENTS, TERMINAL, EventType, JobState, Phase
from shared.schemas import EpochMetrics, ModelFormat, TrainSpec
from shared.settings import Settings
from shared.store import evaluations, results
from shared.store import models as stored_models
from tests.support.stub_executor import StubExecutor
from workers.executor import Executor, TrainedModel


@dataclass(frozen=True)
class Golden:
    """What a spec gives in a run that nothing disturbs."""

    epochs: tuple[EpochMetrics, ...]
    model: TrainedModel


class _Notebook:
    """A monitor that keeps what it is told."""

    def __init__(self) -> None:
        self.epochs: list[EpochMetrics] = []

    def phase(self, phase: Phase) -> None:
        """Nothing to keep."""

    def epoch(self, metrics: EpochMetrics, state: Callable[[], bytes]) -> None:
        self.epochs.append(metrics)

    def check(self) -> None:
        """Nothing interrupts a golden run."""


def golden_run(executor: Executor, spec: TrainSpec) -> Golden:
    """Run a spec in this process, undisturbed."""
    notebook = _Notebook()
    model = executor.train(spec, None, notebook)
    return Golden(tuple(notebook.epochs), model)


@cache
def stub_run(spec: TrainSpec) -> Golden:
    """The golden run of the stub, which takes no time here."""
    return golden_run(StubExecutor(Settings(), step_s=0), spec)


def stored_run(session: Session, job_id: UUID) -> Golden:
    """What a job that nothing disturbed has left in the database."""
    model = session.scalars(select(Model).where(Model.job_id == job_id)).one()
    trained = TrainedModel(
        layers=(),
        weights_sha256=model.weights_sha256,
        keras=stored_models.file(session, model.id, ModelFormat.KERAS).content,
        onnx=stored_models.file(session, model.id, ModelFormat.ONNX).content,
        evaluation=evaluations.get(session, job_id),
    )
    return Golden(tuple(results.epochs(session, job_id)), trained)


def check(
    database: Database,
    expected: dict[UUID, JobState],
    golden: Callable[[TrainSpec], Golden] = stub_run,
    *,
    may_start_over: bool = False,
) -> None:
    """Check every accepted job.

    Args:
        expected: each accepted job, and the state in which it must have ended.
        golden: the undisturbed run of a spec.
        may_start_over: whether checkpoints were damaged, so that epochs had to be trained again.

    Raises:
        AssertionError: it lists every violation, each with the job's events.
    """
    violations = database.read(lambda session: list(_violations(session, expected, golden, may_start_over)))
    assert not violations, "\n".join(violations)


def _violations(
    session: Session,
    expected: dict[UUID, JobState],
    golden: Callable[[TrainSpec], Golden],
    may_start_over: bool,
) -> Iterator[str]:
    for job_id, state in expected.items():
        job = session.get(Job, job_id)
        if job is None:
            yield f"job {job_id} was accepted and is gone"
            continue
        events = list(
            session.scalars(select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq))
        )
        found = [*_of_state(job, state), *_of_events(job, events), *_of_attempts(session, job, events)]
        found += _of_epochs(session, job, events)
        found += [] if may_start_over else _of_progress(events)
        if job.state == JobState.SUCCEEDED:
            found += _of_results(session, job, golden)
        if found:
            story = ", ".join(f"{event.seq} {event.type} (attempt {event.attempt})" for event in events)
            yield f"job {job_id}: {'; '.join(found)}. Its events: {story}"
    strangers = set(session.scalars(select(Job.id))) - set(expected)
    if strangers:
        yield f"jobs that nobody submitted: {strangers}"


def _of_state(job: Job, expected: JobState) -> Iterator[str]:
    if job.state != expected:
        yield f"it is {job.state}, not {expected} ({job.error_code}: {job.error_message})"


def _of_events(job: Job, events: list[JobEvent]) -> Iterator[str]:
    if [event.seq for event in events] != list(range(1, job.version + 1)):
        yield f"its events do not go from 1 to its version, {job.version}"
    endings = [event.seq for event in events if event.type in TERMINAL]
    if job.state in TERMINAL and endings != [job.version]:
        yield f"it ended {len(endings)} times, and its last event is not its end"
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
        yield f"it was claimed {current} times, says {job.attempt}, and has {len(attempts)} attempts"
    open_ = [attempt.number for attempt in attempts if attempt.outcome is None]
    if open_ and job.state in TERMINAL:
        yield f"attempts {open_} never ended"
    lost = sum(attempt.outcome == "lost" for attempt in attempts)
    if lost != job.crashes:
        yield f"{lost} of its attempts were lost, and it counts {job.crashes}"


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
            yield f"epoch {row.epoch} is not the one whose event attempt {row.attempt} wrote"
    if job.state in TERMINAL and session.get(Checkpoint, job.id) is not None:
        yield "its checkpoint was left behind"


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
    if job.kind != "train":
        return
    spec = TrainSpec.model_validate(job.spec)
    undisturbed = golden(spec)
    if _bits(results.epochs(session, job.id)) != _bits(undisturbed.epochs):
        yield "its history is not that of an undisturbed run"
    models = session.scalars(select(Model).where(Model.job_id == job.id)).all()
    if [model.weights_sha256 for model in models] != [undisturbed.model.weights_sha256]:
        yield f"it has {len(models)} models, or one with other weights than an undisturbed run's"
    elif stored_models.file(session, models[0].id, ModelFormat.ONNX).content != undisturbed.model.onnx:
        yield "its ONNX file is not that of an undisturbed run"
    if evaluation.model_dump(
        include={"confusion_matrix", "loss", "accuracy", "rejected", "misclassified"}
    ) != (
        undisturbed.model.evaluation.model_dump(
            include={"confusion_matrix", "loss", "accuracy", "rejected", "misclassified"}
        )
    ):
        yield "its evaluation is not that of an undisturbed run"


def _bits(epochs: Iterable[EpochMetrics]) -> list[tuple[str, ...]]:
    """Every number of a history, but for how long each epoch took."""
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
    """How many of the given jobs are not terminal."""
    unfinished = select(func.count()).where(Job.id.in_(list(job_ids)), Job.state.not_in(TERMINAL))
    return session.scalar(unfinished) or 0
