"""The commands that run something on this host. (`up` and `demo`: tests/e2e.)"""

import json
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from api.http.connections import MAX_HEAD_BYTES
from shared.db.engine import Database
from shared.settings import Settings
from tests.support import old_rows
from tests.support.command_line import CommandLine
from tests.support.databases import migrate, newer_schema, open_database, other_schema, raised_floor
from tests.support.servers import NO_TLS
from tests.support.terminals import Terminal
from tests.support.waiting import wait_until
from trainshed import Client
from trainshed.local import ports
from trainshed.local.processes import environment

HOST = "127.0.0.1"


def trainshed(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trainshed.cli.main", *arguments],
        env={**environment(Settings()), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def served_api(folder: Path, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`trainshed api`, once it responds, and its address; its database has no schema."""
    port = ports.find_free(HOST)
    api = trainshed("api", TRAINSHED_PORT=str(port), TRAINSHED_DATA_DIR=str(folder), **variables)
    try:
        with Client(f"http://{HOST}:{port}") as server:
            wait_until(lambda: "schema" in server.health().lacks, "the API reports its missing schema", 60)
        yield api, server.url
    finally:
        api.kill()
        api.communicate()


@pytest.mark.slow
def test_the_api_serves_until_it_is_terminated(tmp_path: Path) -> None:
    with served_api(tmp_path) as (api, _):
        api.send_signal(signal.SIGTERM)
        out, err = api.communicate(timeout=30)
    assert out == ""
    assert all(json.loads(line)["level"] for line in err.splitlines())


@pytest.mark.slow
def test_the_served_api_bounds_heads_and_has_as_many_descriptors_as_the_system_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard // 2, hard))  # which the API inherits
    try:
        with served_api(tmp_path) as (api, url):
            limits = resource.prlimit(api.pid, resource.RLIMIT_NOFILE)
            with socket.create_connection((HOST, httpx.URL(url).port or 0), timeout=10) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * MAX_HEAD_BYTES)
                answer = connection.recv(2**16)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert limits == (hard, hard)
    assert answer.startswith(b"HTTP/1.1 431 ")


@pytest.mark.slow
def test_no_client_of_the_served_api_escapes_its_limit_by_naming_other_addresses(tmp_path: Path) -> None:
    settings = {"TRAINSHED_API_KEYS": "k" * 16, "TRAINSHED_RATE_LIMIT": "0.2"}
    with served_api(tmp_path, **settings) as (_, url), httpx.Client(base_url=url, verify=NO_TLS) as client:
        named = [{"X-Forwarded-For": f"192.0.2.{number}"} for number in range(3)]
        codes = [client.get("/v1/me", headers=headers).status_code for headers in named]
    assert codes == [401, 401, 429]


def test_an_api_without_keys_is_not_served_to_other_hosts(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSHED_HOST", "0.0.0.0")
    result = cli.run("api")
    assert "set TRAINSHED_API_KEYS to a secret" in result.stderr
    assert (result.stdout, result.exit_code) == ("", 2)


def test_a_port_that_is_used_is_one_line_and_exit_code_1(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as used:
        used.bind((HOST, 0))
        used.listen()
        port = used.getsockname()[1]
        monkeypatch.setenv("TRAINSHED_PORT", str(port))
        result = cli.run("api")
    assert result.stderr.startswith(f"Error: port {port} on {HOST} cannot be used")
    assert (result.stdout, result.exit_code) == ("", 1)


def test_a_start_that_fails_has_not_the_code_of_a_cancelled_job(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSHED_PORT", str(ports.find_free(HOST)))
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: sys.exit(3))
    monkeypatch.setattr("shared.log.configure", lambda *_, **__: None)
    assert cli.run("api").exit_code == 1


def test_the_worker_command_becomes_the_worker(tmp_path: Path) -> None:
    (tmp_path / "workers.py").write_text("import os; print(os.getpid())")
    worker = trainshed("worker", PYTHONPATH=str(tmp_path))
    out, _ = worker.communicate(timeout=30)
    assert (int(out), worker.returncode) == (worker.pid, 0)


def test_the_check_of_a_worker_is_the_workers_own(tmp_path: Path) -> None:
    (tmp_path / "workers.py").write_text("import sys; print(sys.argv[1:]); sys.exit(12)")
    worker = trainshed("worker", "--check", PYTHONPATH=str(tmp_path))
    out, _ = worker.communicate(timeout=30)
    assert (out.strip(), worker.returncode) == ("['--check']", 12)


def test_a_worker_with_an_invalid_setting_names_it(cli: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSHED_LEASE_S", "long")
    result = cli.run("worker")
    assert result.stderr.startswith("Error: TRAINSHED_LEASE_S: must be a number, not long")
    assert (result.stdout, result.exit_code) == ("", 2)


def test_the_migrate_command_creates_the_database(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSHED_DATA_DIR", str(tmp_path))
    assert cli.run("migrate").stderr == "The database is up to date.\n"
    assert json.loads(cli.run("migrate", "--json").stdout) == {"migrated": True}
    assert (tmp_path / "trainshed.db").exists()


def test_migrate_says_how_much_it_has_moved(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSHED_DATA_DIR", str(tmp_path))
    old_rows.create(f"sqlite:///{tmp_path}/trainshed.db", jobs=3)
    said = cli.run("migrate").stderr.splitlines()
    assert said[0] == "moving jobs into the new tables: 0 of 3"
    assert said[-1] == "The database is up to date."


@pytest.mark.slow
def test_migrate_shows_a_bar_in_a_terminal(tmp_path: Path) -> None:
    old_rows.create(f"sqlite:///{tmp_path}/trainshed.db", jobs=3)
    command = [sys.executable, "-m", "trainshed.cli.main", "migrate"]
    terminal = Terminal(command, columns=80, environment={"TRAINSHED_DATA_DIR": str(tmp_path)})
    assert terminal.wait() == 0
    screen = re.sub(r"\x1b\[[\d;]*m", "", terminal.screen())
    assert re.search(r"Jobs .*100%.* 3/3", screen)
    assert re.search(r"Indexes .*100%", screen)
    assert "The database is up to date." in screen


def test_migrate_leaves_a_newer_schema_as_it_is_and_says_so(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSHED_DATA_DIR", str(tmp_path))
    cli.run("migrate")
    with open_database(f"sqlite:///{tmp_path / 'trainshed.db'}") as database, newer_schema(database):
        result = cli.run("migrate")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("The schema is of a newer version (9999, not ")


@pytest.mark.parametrize("command", ["migrate", "api", "up"])
def test_a_version_that_is_too_old_for_the_database_is_one_line_and_exit_code_2(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TRAINSHED_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TRAINSHED_PORT", str(ports.find_free(HOST)))
    # it would have all later lines of this process written to a stream that is closed then
    monkeypatch.setattr("shared.log.configure", lambda *_, **__: None)
    with (
        open_database(migrate(f"sqlite:///{tmp_path / 'trainshed.db'}")) as database,
        raised_floor(database),
    ):
        result = cli.run(command)
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: the database needs Trainshed 99.0.0 or later, and this is ")
    assert last.endswith(": install that")
    assert (result.stdout, result.exit_code) == ("", 2)


@pytest.mark.parametrize("command", ["migrate", "up"])
def test_a_schema_of_a_version_before_0_1_0_is_one_line_and_exit_code_1(
    cli: CommandLine,
    tmp_path: Path,
    database: Database,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    monkeypatch.setenv("TRAINSHED_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TRAINSHED_DATABASE_URL", database_url)
    monkeypatch.setenv("TRAINSHED_PORT", str(ports.find_free(HOST)))
    monkeypatch.setattr("shared.log.configure", lambda *_, **__: None)  # as above
    with other_schema(database) as version:
        result = cli.run(command)
    last = result.stderr.splitlines()[-1]
    assert last.startswith("Error: the database ")
    assert last.endswith(
        f" cannot be used: its schema, version {version}, is not that of 0.1.0 or later: "
        "install 0.1.0 and migrate first"
    )
    assert (result.stdout, result.exit_code) == ("", 1)


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_stack_that_cannot_start_is_one_line_and_exit_code_1(
    cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TRAINSHED_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TRAINSHED_HOST", "0.0.0.0")
    result = cli.run(command)
    assert result.stderr.startswith(
        "Error: HOST is 0.0.0.0, which other hosts can reach, and there is no key"
    )
    assert (result.stdout, result.exit_code) == ("", 1)


def test_after_a_stack_signals_are_handled_as_before(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINSHED_HOST", "0.0.0.0")
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)
    cli.run("up")
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)) == before
