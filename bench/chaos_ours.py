"""Trainshed's side of `bench.chaos`: the producer, which submits jobs over REST, and the jobs' executor.

python -m bench.chaos_ours URL FILE
"""

import asyncio
import sys
from time import sleep

import httpx

from bench import no_op
from bench.chaos_load import WORK_S, Log, produce
from shared.formats.results import Produced
from shared.schemas import TrainSpec
from shared.settings import Settings
from workers.executor import Checkpoint, Monitor

EXECUTOR = "bench.chaos_ours:RecordingExecutor"
EXECUTIONS = "executions"
"""The file in a worker's `DATA_DIR` to which its executor appends."""


class RecordingExecutor(no_op.NoOpExecutor):
    """An executor that takes `WORK_S` and records each execution with the job's number, which is its seed."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._log = Log(settings.data_dir / EXECUTIONS)

    def train(self, spec: TrainSpec, start: Checkpoint | None, monitor: Monitor) -> Produced:
        """Run a no-op job, wait, and record the execution."""
        produced = super().train(spec, start, monitor)
        sleep(WORK_S)
        self._log.executed(spec.seed or 0)
        return produced


async def _submit(url: str, file: str) -> None:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits) as http:

        async def submit(number: int) -> None:
            spec = no_op.SPEC.model_copy(update={"seed": number}).model_dump(mode="json")
            response = await http.post("/v1/jobs", json={"kind": "train", "spec": spec})
            if not response.is_success:
                raise RuntimeError(f"{response.status_code} {response.text}")

        await produce(submit, file)


if __name__ == "__main__":
    asyncio.run(_submit(*sys.argv[1:3]))
