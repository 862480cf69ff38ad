"""One attempt at one job, from claim to report."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from uuid import UUID, uuid4

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from shared import log
from shared.db.engine import Database, is_transient
from shared.errors import (
    AttemptError,
    CancelRequested,
    LeaseLost,
    ModelNotFound,
    StaleAttempt,
    StopRequested,
)
from shared.lifecycle import Phase
from shared.retry import retry_delay_s
from shared.schemas import EpochMetrics, EvaluateSpec, Evaluation, ModelFormat, TrainSpec
from shared.store import attempts, dispatch, models, results
from shared.store.transitions import AttemptFailure
from workers.executor import Checkpoint, Executor, Monitor, StoredModel, TrainedModel
from workers.heartbeat import Heartbeat
from workers.pool_process import PoolProcess

_log = log.get_logger(__name__)

# a fast GPU finishes an epoch in 3 ms: so often, at most, are epochs committed
_COMMIT_INTERVAL_S = 0.25
_LOGGED = {"loss", "accuracy", "val_loss", "val_accuracy", "seconds"}


@dataclass(frozen=True)
class Trained:
    """A model was trained."""

    spec: TrainSpec
    model: TrainedModel


@dataclass(frozen=True)
class Evaluated:
    """A stored model was measured."""

    spec: EvaluateSpec
    dataset: str
    evaluation: Evaluation


@dataclass(frozen=True)
class Failed:
    """The attempt failed; another may go better or not."""

    failure: AttemptFailure
    retryable: bool


@dataclass(frozen=True)
class Cancelled:
    """A user asked for the end."""


@dataclass(frozen=True)
class Released:
    """It cannot go on here: the worker is being stopped, or the database was away for too long."""


@dataclass(frozen=True)
class Superseded:
    """The attempt is no longer the job's: whoever has it now reports."""


Outcome = Trained | Evaluated | Failed | Cancelled | Released | Superseded


def run_attempt(process: PoolProcess, job_id: UUID) -> None:
    """Run one attempt at a job and report how it ended; do nothing if there is nothing to claim."""
    claim = claim_job(process, job_id)
    if claim is None:
        _log.info("nothing to claim", job_id=str(job_id))
        return
    with (
        log.bound(
            job_id=str(job_id),
            attempt=claim.attempt.number,
            worker=process.info.name,
            request_id=claim.request_id,
        ),
        Heartbeat(process, claim.attempt, max_runtime_s=claim.max_runtime_s) as heartbeat,
    ):
        _log.info("attempt started")
        recorder = Recorder(process, claim, heartbeat.check)
        outcome = execute(process.executor, partial(load_work, process.database, claim), recorder)
        heartbeat.no_more_steps()
        write_outcome(process, claim, outcome)
        _log.info("attempt ended", outcome=type(outcome).__name__)


def claim_job(process: PoolProcess, job_id: UUID) -> attempts.Claim | None:
    """Take the job, unless there is nothing to take or this worker is being stopped."""
    if process.stop.is_set():
        process.database.write(lambda session: dispatch.mark_undispatched(session, [job_id]))
        return None
    owner = f"{process.info.name}/{uuid4()}"
    claim = partial(
        attempts.claim, job_id=job_id, worker=process.info, owner=owner, lease_s=process.settings.lease_s
    )
    return process.database.write(claim)


@dataclass(frozen=True)
class Training:
    """A training job's work."""

    spec: TrainSpec
    start: Checkpoint | None


@dataclass(frozen=True)
class Measuring:
    """An evaluation job's work."""

    spec: EvaluateSpec
    model: StoredModel


def load_work(database: Database, claim: attempts.Claim) -> Training | Measuring:
    """Everything that the executor needs for a claimed job."""
    if claim.kind == "train":
        stored = claim.checkpoint
        start = Checkpoint(stored.next_epoch, stored.state) if stored else None
        return Training(TrainSpec.model_validate(claim.spec), start)
    spec = EvaluateSpec.model_validate(claim.spec)
    model_spec = database.read(partial(models.spec, model_id=spec.model_id))
    file = database.read(partial(models.file, model_id=spec.model_id, format_=ModelFormat.KERAS))
    return Measuring(spec, StoredModel(model_spec, file.content))


def execute(executor: Executor, load: Callable[[], Training | Measuring], monitor: Monitor) -> Outcome:
    """Load the work and do it; whatever happens is an outcome, and no exception leaves."""
    try:
        match load():
            case Training(spec, start):
                return Trained(spec, executor.train(spec, start, monitor))
            case Measuring(spec, model):
                return Evaluated(spec, model.spec.dataset, executor.evaluate(spec, model, monitor))
    except CancelRequested:
        return Cancelled()
    except (StopRequested, LeaseLost) as error:
        _log.info("attempt released", reason=str(error))
        return Released()
    except StaleAttempt as error:
        _log.warning("attempt superseded", reason=str(error))
        return Superseded()
    except ModelNotFound as error:
        return Failed(AttemptFailure("model_not_found", str(error)), retryable=False)
    except AttemptError as error:
        _log.warning("attempt failed", code=error.code, error=str(error))
        return Failed(AttemptFailure(error.code, str(error)), error.retryable)
    except Exception as error:
        if is_transient(error):
            # the database is away, for longer than it was waited for
            _log.warning("attempt released", reason=str(error))
            return Released()
        # an error that nobody foresaw may pass; the attempts keep it on record
        _log.exception("attempt failed")
        return Failed(AttemptFailure("internal", f"{type(error).__name__}: {error}"), retryable=True)


def write_outcome(process: PoolProcess, claim: attempts.Claim, outcome: Outcome) -> None:
    """Report how an attempt ended, however long the database is away.

    Without it this process could do nothing else, and nobody takes the job before it has been back for a
    lease: so no result is lost in an outage, and no job counts a crash for one.
    """
    while True:
        try:
            process.database.write(partial(report, claim=claim, outcome=outcome))
            return
        except (StaleAttempt, DBAPIError) as error:
            _log.warning("the outcome was not written", error=str(error))
            if not is_transient(error) or process.stop.is_set():
                return


def report(session: Session, claim: attempts.Claim, outcome: Outcome) -> None:
    """Write how an attempt ended, in one fenced transaction.

    Raises:
        StaleAttempt: the job no longer runs under this attempt.
    """
    attempt = claim.attempt
    match outcome:
        case Trained(spec, model):
            attempts.succeed_training(session, attempt, _new_model(spec, model))
        case Evaluated(spec, dataset, evaluation):
            attempts.succeed_evaluation(session, attempt, spec.model_id, dataset, evaluation)
        case Failed(failure, retryable):
            retry_in_s = retry_delay_s(claim.failures + 1, Random()) if retryable else None
            attempts.fail(session, attempt, failure, retry_in_s=retry_in_s)
        case Cancelled():
            attempts.cancel_attempt(session, attempt)
        case Released():
            attempts.release(session, attempt)
        case Superseded():
            pass


def _new_model(spec: TrainSpec, model: TrainedModel) -> results.NewModel:
    return results.NewModel(
        id=uuid7(),
        spec=spec,
        layers=model.layers,
        weights_sha256=model.weights_sha256,
        files={ModelFormat.KERAS: model.keras, ModelFormat.ONNX: model.onnx},
        evaluation=model.evaluation,
    )


class Recorder:
    """The monitor of a real attempt: writes what the training code tells to the database."""

    def __init__(self, process: PoolProcess, claim: attempts.Claim, check: Callable[[], None]) -> None:
        self._database = process.database
        self._lease_s = process.settings.lease_s
        self._attempt = claim.attempt
        self._last_epoch = claim.spec.get("epochs", 0) - 1
        self._pending: list[EpochMetrics] = []
        self._committed = float("-inf")
        self.check = check

    def phase(self, phase: Phase) -> None:
        """Store what comes next."""
        self.check()
        _log.info("phase entered", phase=phase)
        self._database.write(partial(attempts.enter_phase, attempt=self._attempt, phase=phase))

    def epoch(self, metrics: EpochMetrics, state: Callable[[], bytes]) -> None:
        """Store finished epochs with the checkpoint after the last, not more often than makes sense."""
        self._pending.append(metrics)
        since = time.monotonic() - self._committed
        if since >= _COMMIT_INTERVAL_S or metrics.epoch == self._last_epoch:
            record = partial(attempts.record, attempt=self._attempt, lease_s=self._lease_s)
            self._database.write(partial(record, epochs=self._pending, state=state()))
            _log.info("epoch recorded", epoch=metrics.epoch, **metrics.model_dump(include=_LOGGED))
            self._pending = []
            self._committed = time.monotonic()
        self.check()
