"""Monitor of an attempt: collects its phases, epochs and steps, and has them written while it runs."""

from collections.abc import Callable

from shared import log
from shared.errors import PreemptionRequested
from shared.formats.epochs import EpochMetrics
from shared.lifecycle import Phase
from shared.store import claims
from workers.attempt_trace import AttemptTrace
from workers.pending import PendingProgress
from workers.pool_process import PoolProcess

_log = log.get_logger(__name__)


class Recorder:
    """Implements `workers.executor.Monitor` for an attempt at a job."""

    def __init__(
        self,
        process: PoolProcess,
        claim: claims.Claim,
        pending: PendingProgress,
        trace: AttemptTrace,
    ) -> None:
        self._database = process.database
        self._epochs = claim.spec.get("epochs", 0)
        self._pending = pending
        self._trace = trace
        self._pulse = process.pulse
        self._noticed: set[str] = set()  # metrics whose non-finite values have been logged

    def phase(self, phase: Phase) -> None:
        """Note that the next phase begins."""
        self._pulse.check()
        self._trace.begin_phase(phase)
        self._pending.add_phase(phase)
        self._write_if_due()

    def epoch(self, metrics: EpochMetrics, state: Callable[[], bytes], weights: bytes | None = None) -> None:
        """Note a finished epoch. Epochs that finish within 0.25 s are written together."""
        self._notice_not_finite(metrics)
        self._pending.add_epoch(metrics, state, weights)
        self._trace.add_epoch(metrics)
        self._write_if_due()
        self._pulse.check()
        urgent_id = self._pulse.preempted_by
        if urgent_id is not None and metrics.epoch + 1 != self._epochs:
            raise PreemptionRequested(urgent_id)

    def data(self, sha256: str) -> None:
        """Note the checksum of the attempt's dataset, which is written with the next phase."""
        self._pending.add_dataset(sha256)

    def step(self, so_far: Callable[[], EpochMetrics]) -> None:
        """Note finished steps of an epoch. Steps are read and written at most four times a second."""
        self._pending.add_steps(so_far)
        self.check()

    def check(self) -> None:
        """Note that the work goes on."""
        self._pulse.check()
        self._write_if_due()

    def _notice_not_finite(self, metrics: EpochMetrics) -> None:
        for name in metrics.not_finite:
            if name not in self._noticed:
                self._noticed.add(name)
                _log.warning(
                    "a metric is not a finite number, and recorded as none",
                    metric=name,
                    epoch=metrics.epoch + 1,
                )

    def _write_if_due(self) -> None:
        self._pending.write_if_due(self._database, read_state=True)
