"""Monitor of an attempt: records its phases and epochs in the database."""

import time
from collections.abc import Callable
from functools import partial

from shared import log
from shared.lifecycle import Phase
from shared.schemas import EpochMetrics, MetricName
from shared.store import attempts, claims
from workers.pool_process import PoolProcess

_log = log.get_logger(__name__)

_COMMIT_INTERVAL_S = 0.25  # a fast GPU finishes an epoch in 3 ms: those within this time are one commit
_LOGGED_FIELDS = {*MetricName, "seconds"}


class Recorder:
    """Implements `workers.executor.Monitor` for an attempt at a job.

    Attributes:
        check: called after each step; raises if the attempt must end.
    """

    def __init__(self, process: PoolProcess, claim: claims.Claim, check: Callable[[], None]) -> None:
        self._database = process.database
        self._lease_s = process.settings.lease_s
        self._attempt = claim.attempt
        self._last_epoch = claim.spec.get("epochs", 0) - 1
        self._pending: list[EpochMetrics] = []
        self._committed_at = float("-inf")
        self.check = check

    def phase(self, phase: Phase) -> None:
        """Record that the next phase begins."""
        self.check()
        _log.info("phase entered", phase=phase)
        self._database.write(partial(attempts.enter_phase, attempt=self._attempt, phase=phase))

    def epoch(self, metrics: EpochMetrics, state: Callable[[], bytes]) -> None:
        """Record a finished epoch, with a checkpoint after it.

        Epochs that finish within 0.25 s of the last commit are recorded together with the next one.
        """
        self._pending.append(metrics)
        since_commit_s = time.monotonic() - self._committed_at
        if since_commit_s >= _COMMIT_INTERVAL_S or metrics.epoch == self._last_epoch:
            record = partial(attempts.record, attempt=self._attempt, lease_s=self._lease_s)
            self._database.write(partial(record, epochs=self._pending, state=state()))
            _log.info("epoch recorded", epoch=metrics.epoch, **metrics.model_dump(include=_LOGGED_FIELDS))
            self._pending = []
            self._committed_at = time.monotonic()
        self.check()
