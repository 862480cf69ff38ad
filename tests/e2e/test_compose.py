"""The compose file of a fresh clone, as an operator runs it: `make e2e-compose`. Needs a Docker engine."""

from collections import Counter
from collections.abc import Iterator
from time import monotonic
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml

from shared.lifecycle import AttemptOutcome, EventType, JobState
from shared.schemas import BatchAction, TrainJobCreate, TrainRequest
from tests.e2e.day import draw, spend_a_day
from tests.support.containers import Composed, docker, has_image, inspected
from tests.support.waiting import wait_until
from tests.unit.test_deployment import expressions
from trainshed import Client

JOBS = 40
# short leases, so that lost workers are noticed soon; they also show that settings reach the containers
SETTINGS = {"TRAINSHED_LEASE_S": "9", "TRAINSHED_HEARTBEAT_S": "3", "TRAINSHED_RECONCILE_S": "2"}
TERMINAL = {EventType.SUCCEEDED, EventType.FAILED, EventType.CANCELLED}

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with Composed(tmp_path_factory.mktemp("compose"), **SETTINGS) as composed:
        composed.up("--build")
        yield composed


def job(number: int, epochs: int = 12) -> TrainJobCreate:
    return TrainJobCreate(
        spec=TrainRequest(dataset="digits", epochs=epochs, batch_size=32, seed=number), tags=("kills",)
    )


def wait_for_successes(server: Client, least: int) -> None:
    def successes() -> int:
        return sum(1 for _ in server.jobs(tag="kills", state=JobState.SUCCEEDED))

    wait_until(lambda: successes() >= least, f"{least} jobs have succeeded", timeout=600)


def restart_after_kill(composed: Composed, service: str) -> None:
    """Kill one container of a service as an operator does, and start what is missing."""
    docker("kill", composed.containers(service)[0])
    composed.up("--scale", "worker=4", "--no-recreate")


def test_a_healthy_worker_can_train(composed: Composed) -> None:
    assert "ready for jobs" in composed.run("logs", "worker")


def test_a_day_of_a_client(composed: Composed) -> None:
    with composed.client() as server:
        spend_a_day(server, draw())


def test_forty_jobs_on_four_workers_survive_kills_of_everything_and_a_new_start(composed: Composed) -> None:
    composed.up("--scale", "worker=4", "--no-recreate")
    with composed.client(patience_s=120) as server:
        ids = [server.submit(job(number)).id for number in range(JOBS)]
        for number, service in enumerate(("worker", "redis", "postgres", "api")):
            wait_for_successes(server, 5 * number + 3)
            restart_after_kill(composed, service)
        jobs = [server.wait(job_id, timeout_s=900) for job_id in ids]
        assert Counter(each.state for each in jobs) == {JobState.SUCCEEDED: JOBS}
        for each in jobs:
            events = list(server.events(each.id))
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            assert sum(event.type in TERMINAL for event in events) == 1
            assert sum(attempt.outcome is AttemptOutcome.SUCCEEDED for attempt in each.attempts) == 1
        outcomes = Counter(attempt.outcome for each in jobs for attempt in each.attempts)
        assert outcomes[AttemptOutcome.LOST] >= 1, outcomes  # the killed worker was at work
        workers = {attempt.worker for each in jobs for attempt in each.attempts}
        hosts = {name.partition(":")[0] for name in workers if name}
        assert len(hosts) == 4, hosts
        before = stored(server, ids)

        composed.run("down")
        composed.up("--scale", "worker=4")
        assert stored(server, ids) == before
        ids.append(server.submit(job(JOBS)).id)
        assert server.wait(ids[-1], timeout_s=300).state is JobState.SUCCEEDED
        assert {result.status for result in server.batch(BatchAction.DELETE, ids)} == {204}


def test_workers_stop_in_time_while_the_database_is_away(composed: Composed) -> None:
    composed.run("stop", "postgres")
    began = monotonic()
    try:
        composed.run("stop", "worker")
        seconds = monotonic() - began
        codes = {inspected(each)["State"]["ExitCode"] for each in composed.containers("worker")}
    finally:
        composed.up("--no-recreate")
    assert codes == {0}
    assert seconds < 30, "they are given 60 s"


def stored(server: Client, ids: list[UUID]) -> list[tuple[str, bytes]]:
    """What the server says about jobs, and their models."""
    jobs = [server.job(job_id) for job_id in ids]
    return [(job.model_dump_json(), server.download(job.id)) for job in jobs]


def test_the_application_is_no_superuser_and_its_password_needs_no_quoting(composed: Composed) -> None:
    assert composed.sql("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == "f"
    assert composed.sql("SELECT count(*) > 10 FROM pg_tables WHERE tableowner = current_user") == "t"


def test_a_recreated_redis_leaves_no_volume(composed: Composed) -> None:
    def volumes() -> list[str]:
        return docker("volume", "ls", "-q").split()

    before = volumes()
    composed.up("--force-recreate", "--no-deps", "redis")
    assert volumes() == before


def test_containers_are_confined(composed: Composed) -> None:
    for service in ("api", "worker"):
        container = inspected(composed.containers(service)[0])
        host = container["HostConfig"]
        assert container["Config"]["User"] == "10001:10001"
        assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
        assert host["Memory"] > 0
        assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}


def test_two_replicas_of_the_api_have_a_port_each(composed: Composed) -> None:
    environment = composed.folder / ".env"
    text = environment.read_text()
    first, last = 18_200, 18_201
    environment.write_text(text.replace(f"127.0.0.1:{composed.port}", f"127.0.0.1:{first}-{last}"))
    try:
        composed.up("--scale", "api=2", "--no-deps", "api")
        for port in (first, last):
            assert httpx.get(f"http://127.0.0.1:{port}/readyz").json()["ready"]
    finally:
        environment.write_text(text)
        composed.up("--scale", "api=1", "--no-deps", "api")


def test_prometheus_scrapes_the_api_and_understands_every_panel(composed: Composed) -> None:
    services = yaml.safe_load((composed.folder / "docker-compose.yml").read_text())["services"]
    if not has_image(services["prometheus"]["image"]):
        pytest.skip("the image of Prometheus is not to be had here")
    composed.up("--no-deps", "prometheus")
    host, port = composed.run("port", "prometheus", "9090").strip().split(":")
    with httpx.Client(base_url=f"http://{host}:{port}/api/v1/") as prometheus:

        def answer(path: str, **query: str) -> Any:
            response = prometheus.get(path, params=query)
            assert response.status_code == 200, response.text
            return response.json()["data"]

        def up() -> bool:
            targets = answer("targets")["activeTargets"]
            return [target["health"] for target in targets] == ["up"]

        wait_until(up, "Prometheus has scraped the API", timeout=60)
        [group] = answer("rules")["groups"]
        wait_until(lambda: answer("query", query="trainshed_workers")["result"], "a sample", timeout=60)
        assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
        for expression in expressions():
            answer("query", query=expression)


def test_grafana_shows_the_dashboard_without_an_account(composed: Composed) -> None:
    services = yaml.safe_load((composed.folder / "docker-compose.yml").read_text())["services"]
    if not has_image(services["grafana"]["image"]):
        pytest.skip("the image of Grafana is not to be had here")
    composed.up("--no-deps", "grafana")
    url = f"http://{composed.run('port', 'grafana', '3000').strip()}"

    def title() -> str:
        return str(httpx.get(f"{url}/api/dashboards/uid/trainshed").json()["dashboard"]["title"])

    assert wait_until(title, "Grafana shows the dashboard", timeout=60) == "Trainshed"
    assert httpx.post(f"{url}/api/dashboards/db", json={}).status_code in (401, 403)
