"""When a local stack does not start, and the error messages. (Complete stacks: tests/e2e.)"""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from shared.schemas import ApiKeyCreate, Scope
from shared.settings import Settings
from trainshed import Client, TrainshedApiError
from trainshed.errors import StackError, StackRunning
from trainshed.local import ports
from trainshed.local.lock import stack_lock
from trainshed.local.stack import LocalStack

pytestmark = pytest.mark.slow  # they start programs

HOST = "127.0.0.1"

# a worker that registers, and ends as soon as a file named `end` exists
MORTAL_WORKER = """
import os, sys, threading
from pathlib import Path
end = Path(os.environ["TRAINSHED_DATA_DIR"]) / "end"
if end.exists():
    sys.exit(7)
from shared.db.clock import database_now
from shared.db.engine import Database
from shared.db.upserts import upsert
from shared.settings import get_settings
from shared.db.tables import Worker
settings = get_settings()
row = {"id": "mortal", "host": "here", "pid": os.getpid(), "queues": [], "devices": [], "slots": 1}
row |= {"versions": {}, "state": "online", "started_at": database_now(), "heartbeat_at": database_now()}
Database(settings.effective_database_url).write(lambda session: upsert(session, Worker, row))
while not end.exists():
    threading.Event().wait(0.05)
sys.exit(7)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a stack in the test's folder, with a port and a Redis of its own."""
    return Settings(data_dir=tmp_path / "data", port=ports.find_free(HOST))


@contextmanager
def leaving_no_process() -> Iterator[None]:
    before = psutil.Process().children()
    yield
    assert psutil.Process().children() == before


def refusal(settings: Settings) -> str:
    """The error with which a stack does not start; it must leave no process."""
    with leaving_no_process(), pytest.raises(StackError) as caught:
        LocalStack(settings).__enter__()
    return str(caught.value)


def test_an_exposed_api_without_a_key_is_refused(settings: Settings) -> None:
    open_to_all = settings.model_copy(update={"host": "0.0.0.0"})
    assert "set TRAINSHED_API_KEYS to a secret" in refusal(open_to_all)
    assert not settings.data_dir.exists()


def test_a_port_in_use_is_refused(settings: Settings) -> None:
    with socket.create_server((HOST, settings.port)):
        assert f"port {settings.port} on {HOST} cannot be used" in refusal(settings)


def test_a_second_stack_on_the_same_data_is_refused(settings: Settings) -> None:
    url = "http://127.0.0.1:1"
    with (
        stack_lock(settings.data_dir, url),
        pytest.raises(StackRunning, match=f"{url}, process {os.getpid()}"),
    ):
        LocalStack(settings).__enter__()


@pytest.mark.parametrize(
    ("url", "start"),
    [
        ("mysql://me:secret@host/x", "the database mysql://me:***@host/x cannot be used: No module named"),
        (
            "mysql://host/x?password=secret&user=me&SSLPassword=secret",
            "the database mysql://host/x?user=me cannot be used: No module named",
        ),
        ("postgresql+psycopg://me:secret@host:port/x", "the database of TRAINSHED_DATABASE_URL cannot be"),
        ("nonsense", "the database of TRAINSHED_DATABASE_URL cannot be used: Could not parse"),
        ("sqlite:////proc/none/x.db", "the database sqlite:////proc/none/x.db cannot be used: "),
    ],
)
def test_an_unusable_database_is_named_in_one_line(settings: Settings, url: str, start: str) -> None:
    message = refusal(settings.model_copy(update={"database_url": url}))
    assert message.startswith(start)
    assert len(message.splitlines()) == 1


def test_the_log_of_a_program_that_ends_at_its_start_is_quoted(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workers.py").write_text("raise SystemExit('there is no TensorFlow')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert refusal(settings) == (
        f"the worker ended with exit code 1 at its start. Its log, {settings.data_dir}/logs/worker.log, ends "
        "with:\n  there is no TensorFlow"
    )


def test_a_program_that_keeps_ending_ends_the_stack(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workers.py").write_text(MORTAL_WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    lines: list[str] = []
    with leaving_no_process(), LocalStack(settings, report=lines.append) as stack:
        (settings.data_dir / "end").touch()
        with pytest.raises(
            StackError, match=r"the worker keeps ending \(exit code 7\)\. Its log, .*worker\.log"
        ):
            stack.wait()
    assert lines.count("the worker ended with exit code 7: restarting it") == 5


def test_a_stack_starts_with_any_keys_that_users_have_made(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "workers.py").write_text(MORTAL_WORKER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with LocalStack(settings) as stack, Client(stack.url) as server:
        server.create_api_key(ApiKeyCreate(name="Ada", scope=Scope.ADMIN))
    lines: list[str] = []
    with (
        LocalStack(settings, report=lines.append) as stack,
        Client(stack.url) as server,
        pytest.raises(TrainshedApiError, match="needs a key") as refused,
    ):
        server.workers()
    assert refused.value.problem.status == 401
    assert "still waiting: the worker has not registered" not in lines


def test_a_stack_that_did_not_start_can_be_started_again(settings: Settings) -> None:
    with socket.create_server((HOST, settings.port)):
        refusal(settings)
    with stack_lock(settings.data_dir, "http://127.0.0.1:1"):
        assert json.loads((settings.data_dir / "stack.lock").read_text())["url"] == "http://127.0.0.1:1"
