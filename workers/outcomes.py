"""Outcomes of attempts, and the part of a transaction that reports them."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from uuid import UUID

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from shared.errors import DataUnavailable, StaleAttempt
from shared.formats.results import Produced
from shared.lifecycle import AttemptOutcome
from shared.retry import OUTAGE_CAP_S, retry_delay_s
from shared.store import attempts, claims
from shared.store.progress import Progress
from shared.store.transitions import AttemptFailure, AttemptId


@dataclass(frozen=True)
class Succeeded:
    """The job has succeeded.

    Attributes:
        evaluated: the model that an evaluation job evaluated; None for a training job.
    """

    produced: Produced
    evaluated: UUID | None = None


@dataclass(frozen=True)
class Failed:
    """The attempt has failed; if `retryable`, another attempt may succeed."""

    failure: AttemptFailure
    retryable: bool


@dataclass(frozen=True)
class Cancelled:
    """A user cancelled the job."""


@dataclass(frozen=True)
class Released:
    """The job returns to the queue: the worker is stopping, or the database was unavailable for too long."""


@dataclass(frozen=True)
class Preempted:
    """The job returns to the queue, and an urgent one gets its slot."""

    urgent_id: UUID


@dataclass(frozen=True)
class Superseded:
    """The job no longer runs under this attempt, which reports nothing."""


Outcome = Succeeded | Failed | Cancelled | Released | Preempted | Superseded


def in_words(outcome: Outcome) -> str:
    """Return an outcome in words, to be read after a subject such as "attempt 1"."""
    match outcome:
        case Succeeded():
            return "succeeded"
        case Failed(failure, retryable):
            return f"failed with {failure.code}" + (", which may be retried" if retryable else "")
        case Cancelled():
            return "cancelled"
        case Released():
            return "released: the job returns to its queue"
        case Preempted(urgent_id):
            return f"preempted by the urgent job {urgent_id}"
        case Superseded():
            return "superseded: the job does not run under it any more"


def attempt_outcome(outcome: Outcome) -> AttemptOutcome | None:
    """Return the outcome that the report stores for the attempt; None if it stores nothing."""
    match outcome:
        case Succeeded():
            return AttemptOutcome.SUCCEEDED
        case Failed():
            return AttemptOutcome.FAILED
        case Cancelled():
            return AttemptOutcome.CANCELLED
        case Released() | Preempted():
            return AttemptOutcome.RELEASED
        case Superseded():
            return None


def failure(outcome: Outcome) -> AttemptFailure | None:
    """Return why an attempt with this outcome has failed, or None if it has not."""
    return outcome.failure if isinstance(outcome, Failed) else None


def unexpected_failure(error: BaseException) -> Failed:
    """Return the outcome of an attempt that ended with an unexpected error; the job is retried."""
    return Failed(AttemptFailure("internal", describe(error)), retryable=True)


def instead_of(outcome: Outcome, error: Exception) -> Outcome:
    """Return the outcome to report, without progress, after the database refused the report of another one.

    A refused result fails the job at once: another attempt would compute the same.
    """
    if isinstance(outcome, Succeeded):
        reason = f"the result could not be stored: {describe(error)}"
        return Failed(AttemptFailure("internal", reason), retryable=False)
    return outcome


def describe(error: BaseException) -> str:
    """Return an error's class and message; for a database's error, without the statement and its values."""
    try:
        message = str(error.orig if isinstance(error, DBAPIError) else error)
    except Exception:  # raised by the error's own code
        message = "its message cannot be read"
    return f"{type(error).__name__}: {message}"


@dataclass(frozen=True)
class Ended:
    """An attempt that has ended, with the progress that is not written yet."""

    claim: claims.Claim
    outcome: Outcome
    progress: Progress


def report(session: Session, ended: Sequence[Ended], *, data_outage_s: float = 0.0) -> set[AttemptId]:
    """Write how attempts at different jobs ended, each fenced by itself.

    Args:
        data_outage_s: seconds for which failures do not count if their reason is an unavailable dataset.

    Returns:
        The stale attempts: their jobs no longer run under them, so nothing was written about them.
    """
    successes, others = [], []
    for each in ended:
        if isinstance(each.outcome, Succeeded):
            of = each.claim.attempt, each.outcome.produced, each.progress, each.outcome.evaluated
            successes.append(attempts.Success(*of))
        else:
            others.append(each)
    stale = attempts.succeed_each(session, successes)
    for each in others:
        try:
            _report(session, each.claim, each.outcome, each.progress, data_outage_s)
        except StaleAttempt:
            stale.add(each.claim.attempt)
    return stale


def _report(
    session: Session, claim: claims.Claim, outcome: Outcome, progress: Progress, data_outage_s: float
) -> None:
    attempt = claim.attempt
    match outcome:
        case Failed(failure, retryable):
            retry_in_s = _retry_in_s(claim, failure) if retryable else None
            outage_s = data_outage_s if failure.code == DataUnavailable.code else 0.0
            attempts.fail(session, attempt, failure, progress, retry_in_s=retry_in_s, outage_s=outage_s)
        case Cancelled():
            attempts.cancel_attempt(session, attempt, progress)
        case Released():
            attempts.release(session, attempt, progress)
        case Preempted(urgent_id):
            attempts.release(session, attempt, progress, preempted_by=urgent_id)
        case _:  # the attempt was superseded
            pass


def _retry_in_s(claim: claims.Claim, failure: AttemptFailure) -> float:
    if failure.code == DataUnavailable.code:
        return retry_delay_s(claim.attempt.number, Random(), OUTAGE_CAP_S)
    return retry_delay_s(claim.failures + 1, Random())
