"""Reports the outcomes of attempts, in one transaction, through outages of the database.

While the database is unavailable, a report is tried again until the database is back or this worker is
stopped. No reconciler reaps the jobs before the database has been back for the length of a lease. So an
outage loses no result, and no attempt counts as lost.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from sqlalchemy.orm import Session

from shared import log
from shared.db.engine import Database
from shared.db.outages import is_unavailable
from shared.errors import StaleAttempt
from shared.store import attempts, claims
from shared.store.known_turns import Settlement
from shared.store.transitions import AttemptId
from workers import outcomes
from workers.bundle import Ran
from workers.job_log_handler import REPEATS_EVENTS
from workers.pool_process import PoolProcess

_log = log.get_logger(__name__)
_repeat = log.get_logger(REPEATS_EVENTS)

Claim = Callable[[Session], list[claims.Claim]]
"""The part of a transaction that claims the next jobs."""
_Store = Callable[[Sequence[Ran], Sequence[AttemptId]], object]


def log_lines_of(process: PoolProcess, claim: claims.Claim) -> AbstractContextManager[None]:
    """Return a context manager that adds an attempt's fields to all log lines."""
    attempt, worker = claim.attempt, process.info.name
    return log.bound(
        job_id=str(attempt.job_id), attempt=attempt.number, worker=worker, request_id=claim.request_id
    )


def report(
    process: PoolProcess,
    ran: Sequence[Ran],
    unbegun: Sequence[AttemptId],
    settlement: Settlement,
    claim: Claim,
) -> list[claims.Claim] | None:
    """Report attempts, release those that have not begun, and claim the next jobs, in the same transaction.

    If the database refuses the transaction, each attempt is reported alone, since the claim or another report
    may be the cause. If it refuses that too, an outcome is reported that it can store: without any report the
    job would stay running until its lease expires, again and again, and nobody would learn why.

    Returns:
        The claimed jobs, or None if the claim must be made separately.
    """
    try:
        return _patiently(process, settlement, ran, unbegun, claim)
    except Exception:
        _report_each(process, partial(_patiently, process, settlement), ran, unbegun)
        return None


def unload(
    process: PoolProcess, database: Database, ran: Sequence[Ran], unbegun: Sequence[AttemptId]
) -> None:
    """Report and release like `report`, without a claim; raise the error of an unavailable database."""
    once = partial(report_once, process, database)
    try:
        once(ran, unbegun)
    except Exception as error:
        if is_unavailable(error):
            raise
        _report_each(process, once, ran, unbegun)


def _report_each(
    process: PoolProcess, store: _Store, ran: Sequence[Ran], unbegun: Sequence[AttemptId]
) -> None:
    """Report each attempt in its own transaction: its outcome, or one that the database can store."""
    for each in ran:
        with log_lines_of(process, each.claim):
            _log.exception("attempt outcome refused")
            try:
                store([each], ())
            except Exception as error:
                if is_unavailable(error):
                    raise
                _log.exception("attempt outcome refused")
                _report_instead(store, each.instead(error))
    store((), unbegun)


def _report_instead(store: _Store, ran: Ran) -> None:
    try:
        store([ran], ())
    except Exception as error:
        if is_unavailable(error):
            raise
        _log.exception("attempt outcome refused")


def _patiently(
    process: PoolProcess,
    settlement: Settlement,
    ran: Sequence[Ran],
    unbegun: Sequence[AttemptId],
    claim: Claim = lambda _: [],
) -> list[claims.Claim]:
    while True:
        try:
            return report_once(process, process.database, ran, unbegun, claim)
        except Exception as error:
            settlement.undo()
            if not is_unavailable(error):
                raise
            _log.warning("attempt outcome not written", error=outcomes.describe(error))
            if process.stop.is_set():
                return []


def report_once(
    process: PoolProcess,
    database: Database,
    ran: Sequence[Ran],
    unbegun: Sequence[AttemptId],
    claim: Claim = lambda _: [],
) -> list[claims.Claim]:
    """Report attempts and claim in one transaction; raise any error of the database."""
    with ExitStack() as stack:
        progress = [stack.enter_context(each.pending.closing(database)) for each in ran]

        def work(session: Session) -> tuple[set[AttemptId], list[claims.Claim]]:
            ended = [
                outcomes.Ended(each.claim, each.outcome, done())
                for each, done in zip(ran, progress, strict=True)
            ]
            stale = outcomes.report(session, ended, data_outage_s=process.settings.data_outage_s)
            for attempt in unbegun:
                try:
                    attempts.release(session, attempt)
                except StaleAttempt:
                    stale.add(attempt)
            return stale, claim(session)

        stale, claimed = database.write(work)
    for each in ran:
        _say(process, each, is_stale=each.claim.attempt in stale)
    return claimed


def _say(process: PoolProcess, ran: Ran, *, is_stale: bool) -> None:
    attempt, outcome = ran.claim.attempt, ran.outcome
    with log_lines_of(process, ran.claim):
        if is_stale:
            _log.warning(f"{attempt} superseded, its outcome discarded")
        else:
            ran.trace.end(outcomes.attempt_outcome(outcome), outcomes.failure(outcome))
            _repeat.info(f"attempt {attempt.number} {outcomes.in_words(outcome)}")
