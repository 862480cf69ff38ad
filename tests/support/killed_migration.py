"""A migration that is killed on its way: `python -m tests.support.killed_migration URL COMMITS`.

It is killed by SIGKILL when it is about to commit its transaction with this number; it moves four jobs in
each.
"""

import os
import signal
import subprocess
import sys

from sqlalchemy import Connection, Engine, event

from shared.db import moving
from shared.db.engine import Database
from tests.support.paths import ROOT


def kill_migration(url: str, commits: int) -> None:
    """Run a migration in a process of its own until it is killed."""
    command = [sys.executable, "-m", "tests.support.killed_migration", url, str(commits)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL


def _migrate(url: str, commits: int) -> None:
    left = commits

    def count(_connection: Connection) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "commit", count)
    moving._BATCH = 4
    with Database(url) as database:
        database.migrate()


if __name__ == "__main__":
    _migrate(sys.argv[1], int(sys.argv[2]))
