"""Pool processes whose jobs run in the test's own process, and what their parents do for them."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from shared.db.engine import Database
from shared.settings import Settings
from shared.store.known_turns import KnownTurns
from tests.support.factories import make_worker_info
from workers.job_log_handler import JobLogHandler
from workers.leases import Leases
from workers.pool_process import PoolProcess
from workers.process_output import ProcessOutput
from workers.pulse import Pulse, PulseReader
from workers.scribe import Scribe

_INTERVAL_S = 0.01


@contextmanager
def running_pool_process(
    settings: Settings,
    database: Database,
    folder: Path,
    executor: Any,
    *,
    job_log: JobLogHandler | None = None,
    interval_s: float = _INTERVAL_S,
) -> Iterator[PoolProcess]:
    """Yield a pool process that runs its jobs on this database, with files in a folder that exists."""
    turns, pulse_file = KnownTurns(), folder / f"pulse-{uuid4()}"
    scribe = Scribe(
        database, turns, job_log or JobLogHandler(), settle_s=settings.heartbeat_s, interval_s=interval_s
    )
    with (
        closing(ProcessOutput(folder / f"output-{uuid4()}")) as output,
        closing(Pulse(pulse_file, lease_s=settings.lease_s)) as pulse,
        closing(scribe),
    ):
        scribe.start()
        yield PoolProcess(
            settings=settings,
            executor=executor,
            info=make_worker_info(),
            id="test-1",
            database=database,
            output=output,
            pulse=pulse,
            turns=turns,
            scribe=scribe,
        )


@contextmanager
def watched(process: PoolProcess, watches: Database | None = None) -> Iterator[None]:
    """Renew leases of a process, and tell it what is asked of its attempts, as its parent does."""
    database = watches or process.database.with_patience(0)
    # the file has no name of its own here
    pulse = PulseReader(os.dup(process.pulse._file))
    leases = Leases(database, process.settings, worker=process.info.name, draining=lambda _: None)
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(_INTERVAL_S):
            leases.keep([pulse])

    thread = threading.Thread(target=keep, name="parent")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        pulse.close()
