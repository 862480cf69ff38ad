"""Runs jobs: each attempt from its claim to its report."""

from collections.abc import Sequence
from functools import partial
from itertools import count
from uuid import UUID, uuid4

from billiard.common import terminate_handler_fired  # type: ignore[attr-defined, unused-ignore]
from sqlalchemy.orm import Session

from shared import log
from shared.db.engine import Database
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
from shared.store.transitions import AttemptFailure, AttemptId
from workers import outcomes, reports
from workers.attempt_trace import AttemptTrace
from workers.bundle import Bundle, Ran
from workers.executor import Checkpoint, Monitor, StoredModel
from workers.job_log_handler import REPEATS_EVENTS
from workers.pending import PendingProgress
from workers.pool_process import PoolProcess
from workers.recorder import Recorder
from workers.reports import log_lines_of

_log = log.get_logger(__name__)
_repeat = log.get_logger(REPEATS_EVENTS)


def run_jobs(process: PoolProcess) -> None:
    """Run the next jobs of this worker's queues, again and again until none is due."""
    claimed = claim_next(process)
    while claimed:
        claimed = run_claimed(process, claimed)


def run_claimed(process: PoolProcess, claimed: Sequence[claims.Claim]) -> list[claims.Claim]:
    """Run attempts that were claimed together, report their outcomes and claim the next jobs."""
    bundle = Bundle(claimed)
    with process.pulse.holding([claim.attempt for claim in claimed]):
        while process.takes_jobs or not bundle.has_begun:
            if (begun := bundle.begin_next()) is None:
                break
            number, claim = begun
            process.pulse.begin(number, claim.max_runtime_s)
            process.turns.began(claim.attempt.job_id)
            process.pace.ended(bundle.ended(_run(process, claim, bundle)))
            process.turns.ended(claim.attempt.job_id)
        process.pulse.reporting()
        return _report(process, *bundle.rest())


def _run(process: PoolProcess, claim: claims.Claim, bundle: Bundle) -> Ran:
    """Execute an attempt; meanwhile the scribe writes its progress, and unloads attempts that it holds up."""
    pending = PendingProgress(claim.attempt, lease_s=process.settings.lease_s)
    unload = partial(bundle.unload, partial(_unload, process))
    with (
        AttemptTrace(claim, worker=process.info.name, device=process.info.device) as trace,
        log_lines_of(process, claim),
        process.scribe.writing(pending, unload),
    ):
        # a trace's id is in no event, so it is logged; otherwise only the end of a short attempt is logged
        if trace.fields or bundle.is_single:
            log_of = _log if trace.fields else _repeat
            log_of.info(f"attempt {claim.attempt.number} started", **trace.fields)
        with process.output.of_attempt():
            outcome = execute(process, claim, Recorder(process, claim, pending, trace))
        trace.begin_report(outcomes.failure(outcome))
    return Ran(claim, outcome, pending, trace)


def _unload(
    process: PoolProcess, database: Database, ran: Sequence[Ran], unbegun: Sequence[AttemptId]
) -> bool:
    try:
        reports.unload(process, database, ran, unbegun)
    except Exception as error:  # any error: the thread that runs the jobs reports them later
        _log.warning("attempts that wait for another are not reported", error=outcomes.describe(error))
        return False
    _note_unbegun(process, unbegun)
    return True


def _note_unbegun(process: PoolProcess, unbegun: Sequence[AttemptId]) -> None:
    for attempt in unbegun:
        process.turns.not_begun(attempt.job_id)


def _report(process: PoolProcess, ran: Sequence[Ran], unbegun: Sequence[AttemptId]) -> list[claims.Claim]:
    urgent = (each.outcome.urgent_id for each in ran if isinstance(each.outcome, outcomes.Preempted))
    with process.turns.settling() as settlement:
        claim = _claim(process, settlement, before_all=next(urgent, None))
        _note_unbegun(process, unbegun)
        claimed = reports.report(process, ran, unbegun, settlement, claim)
    return claim_next(process) if claimed is None else claimed


def claim_next(process: PoolProcess) -> list[claims.Claim]:
    """Claim the next jobs; return none if none can start, or this process takes none (`takes_jobs`)."""
    if not process.takes_jobs:
        return []
    with process.turns.settling() as settlement:
        claimed = process.database.write(_claim(process, settlement))
    process.registered.set()
    return claimed


def _claim(process: PoolProcess, settlement: Settlement, before_all: UUID | None = None) -> reports.Claim:
    """Return the part of a transaction that claims `before_all`, or the next jobs; it may be run again."""
    settings, most = process.settings, process.pace.most
    # contains the id of this process, by which its parent takes the jobs if this process is killed
    owner = f"{process.info.name}/{process.id}/{uuid4()}{claims.TOGETHER if most > 1 else ''}"
    runs = count()

    def claim(session: Session) -> list[claims.Claim]:
        if not process.takes_jobs:
            return []
        if not process.registered.is_set():
            environments.store(session, process.info.versions)
        again = next(runs) > 0
        if again:
            process.turns.forget()
        claimed = claims.claim_several(
            session,
            settings.queues,
            worker=process.info,
            owner=owner,
            lease_s=settings.lease_s,
            most=most,
            before_all=before_all,
            again=again,
            known=process.turns,
        )
        settlement.write(session, [each.started for each in claimed])
        process.pace.found(len(claimed), most)
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
