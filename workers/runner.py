"""Runs jobs: each attempt from its claim to its report."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from shared import log
from shared.db.clock import database_now
from shared.db.outages import is_transient
from shared.errors import AttemptError, CancelRequested, LeaseLost, ModelNotFound, StaleAttempt, StopRequested
from shared.lifecycle import JobKind
from shared.schemas import EvaluateSpec, ModelFormat, TrainSpec
from shared.store import claims, models, places
from shared.store.transitions import AttemptFailure
from workers import outcomes
from workers.executor import Checkpoint, Monitor, StoredModel
from workers.heartbeat import Heartbeat
from workers.pending import PendingProgress
from workers.pool_process import PoolProcess
from workers.recorder import Recorder

_log = log.get_logger(__name__)


def run_jobs(process: PoolProcess, first: str) -> None:
    """Run the next job of the queue `first`, and then that of any queue of this worker, until none is due."""
    queues = [first] if first in process.settings.queues else []
    while run_attempt(process, queues):
        queues = []


def run_attempt(process: PoolProcess, first: Sequence[str] = ()) -> bool:
    """Run an attempt at the next job and report its outcome; return False if no job can start.

    Args:
        first: queues that are tried before the others of this worker.
    """
    claim = claim_next(process, first)
    if claim is None:
        return False
    pending = PendingProgress(claim.attempt, lease_s=process.settings.lease_s)
    with (
        log.bound(
            job_id=str(claim.attempt.job_id),
            attempt=claim.attempt.number,
            worker=process.info.name,
            request_id=claim.request_id,
        ),
        Heartbeat(process, claim.attempt, pending, max_runtime_s=claim.max_runtime_s) as heartbeat,
    ):
        _log.info("attempt started")
        outcome = execute(process, claim, Recorder(process, claim, pending, heartbeat.check))
        heartbeat.begin_report()
        write_outcome(process, claim, outcome, pending)
        _log.info("attempt ended", outcome=type(outcome).__name__)
    return True


def claim_next(process: PoolProcess, first: Sequence[str]) -> claims.Claim | None:
    """Claim the next job; return None if no job can start, or this worker is being stopped."""
    if process.stop.is_set():
        return None
    # with the id of this process, by which its parent takes the job from it if it is killed
    settings, owner = process.settings, f"{process.info.name}/{process.id}/{uuid4()}"

    def claim(session: Session) -> claims.Claim | None:
        queues = dict.fromkeys([*first, *places.by_next_place(session, settings.queues, now=database_now)])
        return claims.claim(session, list(queues), worker=process.info, owner=owner, lease_s=settings.lease_s)

    return process.database.write(claim)


def execute(process: PoolProcess, claim: claims.Claim, monitor: Monitor) -> outcomes.Outcome:
    """Do the work of a claimed job; every exception becomes an outcome."""
    try:
        run = _train if claim.kind == JobKind.TRAIN else _evaluate
        return run(process, claim, monitor)
    except CancelRequested:
        return outcomes.Cancelled()
    except (StopRequested, LeaseLost) as error:
        _log.info("attempt released", reason=str(error))
        return outcomes.Released()
    except StaleAttempt as error:
        _log.warning("attempt superseded", reason=str(error))
        return outcomes.Superseded()
    except ModelNotFound as error:
        return outcomes.Failed(AttemptFailure("model_not_found", str(error)), retryable=False)
    except AttemptError as error:
        _log.warning("attempt failed", code=error.code, error=str(error))
        return outcomes.Failed(AttemptFailure(error.code, str(error)), error.retryable)
    except Exception as error:
        if is_transient(error):
            # the database has been unavailable for longer than its operations are retried
            _log.warning("attempt released", reason=str(error))
            return outcomes.Released()
        _log.exception("attempt failed")
        return outcomes.unexpected_failure(error)


def _train(process: PoolProcess, claim: claims.Claim, monitor: Monitor) -> outcomes.Trained:
    spec, stored = TrainSpec.model_validate(claim.spec), claim.checkpoint
    start = Checkpoint(stored.next_epoch, stored.state) if stored else None
    return outcomes.Trained(spec, process.executor.train(spec, start, monitor))


def _evaluate(process: PoolProcess, claim: claims.Claim, monitor: Monitor) -> outcomes.Evaluated:
    spec = EvaluateSpec.model_validate(claim.spec)
    model = process.database.read(partial(_stored_model, model_id=spec.model_id))
    return outcomes.Evaluated(spec, model.spec.dataset, process.executor.evaluate(spec, model, monitor))


def _stored_model(session: Session, model_id: UUID) -> StoredModel:
    file = models.file(session, model_id, ModelFormat.KERAS)
    return StoredModel(models.spec(session, model_id), file.content)


def write_outcome(
    process: PoolProcess, claim: claims.Claim, outcome: outcomes.Outcome, pending: PendingProgress
) -> None:
    """Report an outcome with the pending progress.

    While the database is unavailable, this retries until it is back or this worker is stopped. No reconciler
    reaps the job before the database has been back for the length of a lease. So an outage loses no result,
    and counts as no crash.

    A report that the database refuses is replaced by one that it can store: without any, the job would stay
    running until its lease expires, again and again, and nobody would learn why.
    """
    is_replaced = False
    while True:
        try:
            pending.report(process.database, partial(outcomes.report, claim, outcome))
            return
        except StaleAttempt as error:
            _log.warning("attempt outcome not written", error=str(error))
            return
        except Exception as error:
            if is_transient(error):
                _log.warning("attempt outcome not written", error=outcomes.describe(error))
                if process.stop.is_set():
                    return
                continue
            _log.exception("attempt outcome refused")
            if is_replaced:
                return
            is_replaced, outcome = True, outcomes.instead_of(outcome, error)
            pending.drop()
