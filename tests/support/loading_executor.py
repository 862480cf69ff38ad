"""An executor without TensorFlow that loads its jobs' datasets as the real one does.

Selected by `TRAINSHED_EXECUTOR=tests.support.loading_executor:LoadingExecutor`.
"""

import threading

from shared.datasets import catalog
from shared.formats.results import Produced
from shared.lifecycle import Phase
from shared.schemas import TrainSpec
from shared.settings import Settings
from tests.support.stub_executor import StubExecutor
from workers.executor import Checkpoint, Monitor

BLOCKS = 1_000_005
"""The seed of jobs that never reach their first check: no signal and no error ends such a computation."""


class LoadingExecutor(StubExecutor):
    """Loads the job's dataset, and then trains nothing."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._settings = settings

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        if spec.seed == BLOCKS:
            threading.Event().wait()
        monitor.phase(Phase.LOADING_DATA)
        catalog.load(spec.dataset, self._settings, monitor.check)
        return super().train(spec, start, monitor)
