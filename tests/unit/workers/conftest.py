"""Pool process state for tests that run attempts in the test's own process."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.db.engine import Database
from shared.settings import Settings
from tests.support.pool_processes import running_pool_process
from tests.support.queue_driver import Claim
from tests.support.stub_executor import StubExecutor
from workers.pace import Pace
from workers.pool_process import PoolProcess
from workers.runner import claim_next, run_claimed

MakeProcess = Callable[..., PoolProcess]


@pytest.fixture
def make_process(settings: Settings, database_url: str, tmp_path: Path) -> Iterator[MakeProcess]:
    """Return a factory of pool process state on the test's database, with the stub executor by default."""
    with ExitStack() as stack:

        def make(*, executor: Any = None, **overrides: Any) -> PoolProcess:
            changes = {"cancel_poll_s": 0.01, "database_url": database_url, **overrides}
            own = settings.model_copy(update=changes)
            database = stack.enter_context(Database(database_url, patience_s=2.0))
            executor = executor or StubExecutor(own)
            process = stack.enter_context(running_pool_process(own, database, tmp_path, executor))
            return replace(process, pace=OneAtATime())

        yield make


def run_next(process: PoolProcess) -> bool:
    """Claim the next job and run an attempt at it; return False if no job can start."""
    claim = claim_one(process)
    if claim is None:
        return False
    assert run_attempt(process, claim) is None, "another job could start too"
    return True


class OneAtATime(Pace):
    """Claims one job at once, however short they are."""

    @property
    def most(self) -> int:
        """One."""
        return 1


def claim_one(process: PoolProcess) -> Claim | None:
    """Claim the next job; return None if none can start."""
    return next(iter(claim_next(process)), None)


def run_attempt(process: PoolProcess, claim: Claim) -> Claim | None:
    """Run an attempt, report it and claim the next job; return None if none can start."""
    return next(iter(run_claimed(process, [claim])), None)
