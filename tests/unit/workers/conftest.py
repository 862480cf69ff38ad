"""Pool process state for tests that run attempts in the test's own process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.db.engine import Database
from shared.settings import Settings
from tests.support.factories import make_worker_info
from tests.support.stub_executor import StubExecutor
from workers.pool_process import PoolProcess
from workers.process_output import ProcessOutput
from workers.pulse import Pulse
from workers.runner import claim_next, run_attempt

MakeProcess = Callable[..., PoolProcess]


@pytest.fixture
def make_process(settings: Settings, database_url: str, tmp_path: Path) -> Iterator[MakeProcess]:
    """Return a factory of pool process state on the test's database, with the stub executor by default."""
    opened: list[Database] = []
    outputs: list[ProcessOutput] = []
    pulses: list[Pulse] = []

    def make(*, executor: Any = None, **overrides: Any) -> PoolProcess:
        own = settings.model_copy(update={"cancel_poll_s": 0.01, "database_url": database_url, **overrides})
        databases = [Database(database_url, patience_s=patience) for patience in (2.0, 0.0)]
        opened.extend(databases)
        outputs.append(ProcessOutput(tmp_path / f"output-{len(outputs)}"))
        pulses.append(Pulse(tmp_path / f"pulse-{len(pulses)}"))
        return PoolProcess(
            settings=own,
            executor=executor or StubExecutor(own),
            info=make_worker_info(),
            id="test-1",
            database=databases[0],
            heartbeat_database=databases[1],
            output=outputs[-1],
            pulse=pulses[-1],
        )

    yield make
    for database in opened:
        database.dispose()
    for output, pulse in zip(outputs, pulses, strict=True):
        output.close()
        pulse.close()


def run_next(process: PoolProcess) -> bool:
    """Claim the next job and run an attempt at it; return False if no job can start."""
    claim = claim_next(process)
    if claim is None:
        return False
    assert run_attempt(process, claim) is None, "another job could start too"
    return True
