"""Queues that no worker serves, and workers without their processes, are named."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from shared.db.engine import Database
from shared.lifecycle import WorkerState
from shared.settings import Settings
from tests.support import queue_driver, registry
from tests.unit.trainshed.doctor.conftest import Found
from trainshed.doctor import workers as workers_check


@pytest.fixture
def here(settings: Settings, database_url: str) -> Settings:
    return settings.model_copy(update={"database_url": database_url})


def problems(found: Found, settings: Settings) -> list[tuple[str, str, str]]:
    return [each for each in found(workers_check.check, settings) if each[0] != "ok"]


def test_a_worker_elsewhere_is_good(here: Settings, found: Found, database: Database) -> None:
    registry.worker(database, slots=3)
    assert found(workers_check.check, here) == [("ok", "1 online with 3 slots", "")]


@pytest.mark.usefixtures("database")
def test_no_worker(here: Settings, found: Found) -> None:
    [(severity, message, advice)] = found(workers_check.check, here)
    assert (severity, message) == ("warning", "none is online, so no job runs")
    assert "trainshed worker" in advice


def test_no_database(settings: Settings, found: Found, tmp_path: Path) -> None:
    away = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/no/such.db"})
    [(severity, message, _)] = found(workers_check.check, away)
    assert (severity, "are not known" in message) == ("warning", True)


def test_a_queue_that_no_worker_serves(here: Settings, found: Found, database: Database) -> None:
    registry.worker(database, queues=["default"])
    queue_driver.submit(database, queue="typo")
    [(severity, message, advice)] = problems(found, here)
    assert (severity, message) == ("error", "1 jobs wait in the queue typo, which no online worker serves")
    assert advice == "start a worker with TRAINSHED_QUEUES=typo"


def test_a_queue_that_is_paused(here: Settings, found: Found, database: Database) -> None:
    registry.worker(database)
    queue_driver.submit(database)
    registry.pause(database, "default")
    [(_, message, advice)] = problems(found, here)
    assert message.endswith("which is paused")
    assert advice == "run `trainshed queues resume default`"


def test_a_lost_worker(here: Settings, found: Found, database: Database) -> None:
    registry.worker(database)
    registry.worker(database, id="lost:1", host="lost", lost_after_s=0.0)
    [(severity, message, advice)] = problems(found, here)
    assert severity == "warning"
    assert message.startswith("lost:1 was last seen ")
    assert "look at lost" in advice


def on_this_host(database: Database, **values: Any) -> str:
    return registry.worker(database, host=socket.gethostname(), state=WorkerState.ONLINE, **values)


def test_a_worker_of_this_host_whose_process_was_killed(
    here: Settings, found: Found, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_check, "_PROC", tmp_path)
    worker = on_this_host(database, pid=4711)
    [(severity, message, _)] = problems(found, here)
    assert (severity, message) == ("warning", f"{worker} has no process 4711 any more")


def test_a_worker_of_this_host_without_a_pool_process(
    here: Settings, found: Found, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_check, "_PROC", tmp_path)
    worker = on_this_host(database, pid=4711, slots=2)
    for pid, command in ((4711, b"python\0-m\0workers"), (1, b"python\0spawn_main"), (2, b"tracker")):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_bytes(command)
    children = tmp_path / "4711" / "task" / "4711"
    children.mkdir(parents=True)
    (children / "children").write_text("1 2 3 ")
    [(severity, message, _)] = problems(found, here)
    assert (severity, message) == ("warning", f"{worker} has 1 pool processes for 2 slots")
    (tmp_path / "2" / "cmdline").write_bytes(b"python\0spawn_main")
    assert problems(found, here) == []


def test_the_children_of_a_real_process_are_found() -> None:
    assert workers_check._children(os.getppid()).count(os.getpid()) <= 1
    assert workers_check._children(2**22 + 1) == []
    assert not workers_check._is_pool_process(2**22 + 1)
