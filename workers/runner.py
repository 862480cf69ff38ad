"""Runs jobs: each attempt from its claim to its report."""

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID, uuid4

from billiard.common import terminate_handler_fired  # type: ignore[attr-defined, unused-ignore]
from sqlalchemy.orm import Session

from shared import log
from shared.db.outages import is_unavailable
from shared.errors import (
    AttemptError,
    CancelRequested,
    LeaseLost,
    ModelNotFound,
    PreemptionRequested,
    StaleAttempt,
    StopRequested,
)
from shared.lifecycle import JobKind
from shared.schemas import EvaluateSpec, TrainSpec
from shared.store import artifacts, claims, environments, models
from shared.store.known_turns import Settlement
from shared.store.progress import Progress
from shared.store.transitions import AttemptFailure
from workers import outcomes
from workers.attempt_trace import AttemptTrace
from workers.executor import Checkpoint, Monitor, StoredModel
from workers.job_log_handler import REPEATS_EVENTS
from workers.pending import PendingProgress
from workers.pool_process import PoolProcess
from workers.recorder import Recorder

_log = log.get_logger(__name__)
_repeat = log.get_logger(REPEATS_EVENTS)


def run_jobs(process: PoolProcess) -> None:
    """Run the next job of this worker's queues, again and again until none is due."""
    claim = claim_next(process)
    while claim is not None:
        claim = run_attempt(process, claim)


def run_attempt(process: PoolProcess, claim: claims.Claim) -> claims.Claim | None:
    """Run a claimed attempt, report its outcome and claim the next job; return None if no job can start."""
    pending = PendingProgress(claim.attempt, lease_s=process.settings.lease_s)
    worker = process.info
    with (
        AttemptTrace(claim, worker=worker.name, device=worker.device) as trace,
        log.bound(
            job_id=str(claim.attempt.job_id),
            attempt=claim.attempt.number,
            worker=worker.name,
            request_id=claim.request_id,
        ),
        process.pulse.holding([claim.attempt]),
        process.scribe.writing(pending),
    ):
        process.pulse.begin(0, claim.max_runtime_s)
        # the id of a trace is in no event
        (_log if trace.fields else _repeat).info(f"attempt {claim.attempt.number} started", **trace.fields)
        with process.output.of_attempt():
            outcome = execute(process, claim, Recorder(process, claim, pending, trace))
        process.pulse.reporting()
        trace.begin_report(outcomes.failure(outcome))
        return write_outcome(process, claim, outcome, pending, trace)


def claim_next(process: PoolProcess) -> claims.Claim | None:
    """Claim the next job; return None if none can start, or this process takes none (`takes_jobs`)."""
    if not process.takes_jobs:
        return None
    with process.turns.settling() as settlement:
        claim = process.database.write(_claim(process, settlement))
    process.registered.set()
    return claim


def _claim(
    process: PoolProcess, settlement: Settlement, before_all: UUID | None = None
) -> Callable[[Session], claims.Claim | None]:
    """Return the part of a transaction that claims the next job, or `before_all`; it may be run again."""
    # with the id of this process, by which its parent takes the job from it if it is killed
    settings, owner = process.settings, f"{process.info.name}/{process.id}/{uuid4()}"
    runs = count()

    def claim(session: Session) -> claims.Claim | None:
        if not process.takes_jobs:
            return None
        if not process.registered.is_set():
            environments.store(session, process.info.versions)
        again = next(runs) > 0
        if again:
            process.turns.forget()
        options: dict[str, Any] = {"before_all": before_all, "again": again, "known": process.turns}
        lease_s = settings.lease_s
        claimed = claims.claim(
            session, settings.queues, worker=process.info, owner=owner, lease_s=lease_s, **options
        )
        settlement.write(session, claimed.started if claimed else None)
        return claimed

    return claim


def execute(process: PoolProcess, claim: claims.Claim, monitor: Monitor) -> outcomes.Outcome:
    """Do the work of a claimed job; every exception becomes an outcome.

    Raises:
        KeyboardInterrupt, SystemExit: this process is being ended.
    """
    try:
        run = _train if claim.kind == JobKind.TRAIN else _evaluate
        return run(process, claim, monitor)
    except CancelRequested:
        return outcomes.Cancelled()
    except PreemptionRequested as error:
        _repeat.info("attempt preempted", reason=str(error))
        return outcomes.Preempted(error.urgent_id)
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
    except BaseException as error:
        return _unexpected(error)


def _unexpected(error: BaseException) -> outcomes.Released | outcomes.Failed:
    if is_unavailable(error):
        # the database has been unavailable for longer than its operations are retried
        _log.warning("attempt released", reason=str(error))
        return outcomes.Released()
    # an executor may raise anything, SystemExit and CancelledError too
    if isinstance(error, KeyboardInterrupt) or terminate_handler_fired():
        raise error
    _log.exception("attempt failed")
    return outcomes.unexpected_failure(error)


def _train(process: PoolProcess, claim: claims.Claim, monitor: Monitor) -> outcomes.Succeeded:
    spec, stored = TrainSpec.model_validate(claim.spec), claim.checkpoint
    start = Checkpoint(stored.next_epoch, stored.state) if stored else None
    return outcomes.Succeeded(process.executor.train(spec, start, monitor))


def _evaluate(process: PoolProcess, claim: claims.Claim, monitor: Monitor) -> outcomes.Succeeded:
    spec = EvaluateSpec.model_validate(claim.spec)
    model = process.database.read(partial(_stored_model, model_id=spec.model_id))
    return outcomes.Succeeded(process.executor.evaluate(spec, model, monitor), spec.model_id)


def _stored_model(session: Session, model_id: UUID) -> StoredModel:
    spec, files = models.spec(session, model_id), artifacts.of_model(session, model_id)
    return StoredModel(spec, {file.name: artifacts.content(session, model_id, file.name) for file in files})


def write_outcome(
    process: PoolProcess,
    claim: claims.Claim,
    outcome: outcomes.Outcome,
    pending: PendingProgress,
    trace: AttemptTrace,
) -> claims.Claim | None:
    """Report an outcome with the pending progress, and claim the next job in the same transaction.

    While the database is unavailable, this retries until it is back or this worker is stopped. No reconciler
    reaps the job before the database has been back for the length of a lease. So an outage loses no result,
    and no attempt counts as lost.

    A transaction that the database refuses is replaced by the report alone, as it may have refused the claim,
    and then by a report that it can store: without any, the job would stay running until its lease expires,
    again and again, and nobody would learn why.
    """
    process.turns.ended(claim.attempt.job_id)
    with process.turns.settling() as settlement:
        has_claimed, next_claim = _store_outcome(process, claim, outcome, pending, trace, settlement)
    return next_claim if has_claimed else claim_next(process)


def _store_outcome(
    process: PoolProcess,
    claim: claims.Claim,
    outcome: outcomes.Outcome,
    pending: PendingProgress,
    trace: AttemptTrace,
    settlement: Settlement,
) -> tuple[bool, claims.Claim | None]:
    """Report an outcome; return whether that has claimed the next job, if there was one, and its claim."""
    urgent_id = outcome.urgent_id if isinstance(outcome, outcomes.Preempted) else None
    claim_another = _claim(process, settlement, before_all=urgent_id)
    is_alone = is_replaced = False

    def report(session: Session, progress: Progress) -> claims.Claim | None:
        outcomes.report(claim, outcome, session, progress, data_outage_s=process.settings.data_outage_s)
        return None if is_alone else claim_another(session)

    while True:
        try:
            next_claim = pending.report(process.database, report)
            trace.end(outcomes.attempt_outcome(outcome), outcomes.failure(outcome))
            _repeat.info(f"attempt {claim.attempt.number} {outcomes.in_words(outcome)}")
            return not is_alone, next_claim
        except StaleAttempt as error:
            settlement.undo()
            _log.warning(f"{claim.attempt} superseded, its outcome discarded", reason=str(error))
            return False, None
        except Exception as error:
            settlement.undo()
            if is_unavailable(error):
                _log.warning("attempt outcome not written", error=outcomes.describe(error))
                if process.stop.is_set():
                    return True, None
                continue
            _log.exception("attempt outcome refused")
            if is_replaced:
                return False, None
            if is_alone:
                is_replaced, outcome = True, outcomes.instead_of(outcome, error)
                pending.drop()
            is_alone = True
