"""A command that follows jobs ends when nobody reads its output any more, also while nothing happens."""

import subprocess
import sys

import httpx
import pytest

from shared.db.engine import Database
from shared.settings import Settings
from tests.support import queue_driver
from trainshed.local.processes import environment


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "writes_first"),
    [
        (("events", "--follow", "--json"), False),
        (("events", "JOB", "--follow"), True),
        (("logs", "JOB", "--follow"), False),
        (("watch", "JOB"), True),
        (("watch", "JOB", "--json"), False),
        (("watch",), True),
    ],
    ids=str,
)
def test_a_following_command_ends_with_its_reader(
    api: httpx.Client, database: Database, arguments: tuple[str, ...], writes_first: bool
) -> None:
    job_id = str(queue_driver.submit(database))
    words = [word.replace("JOB", job_id) for word in arguments]
    command = subprocess.Popen(
        [sys.executable, "-m", "trainshed.cli.main", *words],
        env=environment(Settings(url=str(api.base_url))),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert command.stdout is not None
    assert command.stderr is not None
    with command.stdout, command.stderr:
        if writes_first:
            assert command.stdout.readline()
        command.stdout.close()
        assert command.wait(30) == 0
        assert b"Error" not in command.stderr.read()
