"""No log contains a secret, even at log level DEBUG: neither the API's, nor a worker's, nor a job's."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from uuid_utils.compat import uuid7

from shared.lifecycle import JobState
from shared.schemas import ApiKeyCreate, Scope, TrainJobCreate, TrainRequest
from shared.settings import Settings
from tests.support.paths import ROOT
from tests.support.ports import closed_port
from tests.support.servers import NO_TLS, RedisServer
from tests.support.waiting import wait_until
from trainshed.client import Client
from trainshed.errors import TrainshedApiError
from trainshed.local.ports import find_free
from trainshed.local.processes import Program, environment

PASSWORD = "correct-horse-battery"
REDIS_PASSWORD = "another-horse"
BOOTSTRAP = "staple-of-the-owner's"


@pytest.fixture
def settings(tmp_path: Path, postgresql_url: str, redis: RedisServer) -> Settings:
    """Settings that contain a password and an API key, at log level DEBUG."""
    return Settings.model_validate(
        {
            "data_dir": tmp_path,
            "port": find_free("127.0.0.1"),
            # the test's PostgreSQL trusts all connections, and ignores the password
            "database_url": postgresql_url.replace("postgres@", f"postgres:{PASSWORD}@"),
            "redis_url": redis.url,
            "api_keys": BOOTSTRAP,
            "executor": "tests.support.stub_executor:StubExecutor",
            "log_level": "DEBUG",
        }
    )


def _program(name: str, command: Sequence[str], settings: Settings) -> Program:
    return Program(
        name,
        [sys.executable, "-m", *command],
        log=settings.data_dir / f"{name}.log",
        environment={**environment(settings), "PYTHONPATH": str(ROOT)},
        grace_s=20,
    )


@pytest.fixture
def programs(settings: Settings) -> Iterator[dict[str, Program]]:
    """The API and a worker."""
    commands = {"api": ["trainshed.cli.main", "api"], "worker": ["workers"]}
    programs = {name: _program(name, command, settings) for name, command in commands.items()}
    for program in programs.values():
        program.start()
    yield programs
    for program in programs.values():
        program.stop()


@pytest.fixture
def unreachable(tmp_path: Path) -> Iterator[Settings]:
    """Settings of an API whose database and Redis cannot be reached, with a password in each address."""
    with closed_port() as closed:
        yield Settings.model_validate(
            {
                "data_dir": tmp_path,
                "port": find_free("127.0.0.1"),
                "database_url": f"postgresql+psycopg://postgres:{PASSWORD}@127.0.0.1:{closed}/trainshed",
                "redis_url": f"redis://:{REDIS_PASSWORD}@127.0.0.1:{closed}/0",
                "log_level": "DEBUG",
            }
        )


def test_reports_of_a_database_outage_contain_no_password(unreachable: Settings) -> None:
    program, output = _program("api", ["trainshed.cli.main", "api"], unreachable), ""
    program.start()
    try:
        url = f"http://127.0.0.1:{unreachable.port}"
        with httpx.Client(base_url=url, timeout=30, verify=NO_TLS) as api, ThreadPoolExecutor(3) as threads:
            wait_until(lambda: _is_live(api), "the API is live", 60)
            requests = (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", f"/v1/jobs/{uuid7()}"))
            # at the same time: each is answered when the database's patience is over, 10 s later
            for response in threads.map(lambda it: api.request(*it, json={"kind": "train"}), requests):
                assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
                assert response.headers["Content-Type"] == "application/problem+json"
                assert response.json()["type"] == "/problems/database-unavailable"
                output += response.text
            ready = api.get("/readyz")
            assert ready.status_code == 503
            output += ready.text
    finally:
        program.stop()
    output += program.log.read_text()

    assert "/v1/jobs" in output
    assert PASSWORD not in output
    assert REDIS_PASSWORD not in output


def _is_live(api: httpx.Client) -> bool:
    try:
        return api.get("/livez").is_success
    except httpx.TransportError:
        return False


def test_logs_of_a_job_contain_its_request_id_and_no_secret(
    settings: Settings, programs: dict[str, Program]
) -> None:
    with Client(f"http://127.0.0.1:{settings.port}", api_key=BOOTSTRAP, patience_s=60) as owner:
        wait_until(lambda: owner.health().ready, "the API is ready", 60)
        key = owner.create_api_key(ApiKeyCreate(name="Ada", scope=Scope.SUBMIT)).key
    with Client(owner.url, api_key=key) as server:
        job = server.submit(TrainJobCreate(spec=TrainRequest(dataset="digits", epochs=1)))
        assert server.wait(job.id, timeout_s=60).state is JobState.SUCCEEDED
        with Client(owner.url, api_key=key[:-1]) as stranger, pytest.raises(TrainshedApiError):
            stranger.job(job.id)
        output = "".join(line.model_dump_json() for line in server.logs(job.id, follow=True))
    for program in programs.values():
        program.stop()
    output += "".join(program.log.read_text() for program in programs.values())

    assert "attempt 1 succeeded" in output
    assert '"request_id": "' in programs["worker"].log.read_text()
    for secret in (PASSWORD, BOOTSTRAP, key, key.rpartition("_")[2]):
        assert secret not in output
