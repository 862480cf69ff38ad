"""API processes behind a switch and workers, which are replaced one by one by another version's."""

from pathlib import Path
from signal import Signals

import httpx

from tests.faults.cluster import Cluster
from tests.faults.programs import Api, Program, pass_seconds
from tests.support.servers import NO_TLS
from tests.support.waiting import wait_until
from tests.upgrade.switch import Switch
from trainshed.local.ports import find_free

SLOTS = 2
_START_S, _STOP_S = 120.0, 60.0
# for the requests of connections that an API already has: the `preStop` of the manifests
_PRE_STOP_S = 1.0


class Rollout:
    """Replaces processes as the manifests of Kubernetes do: a new one is ready before an old one stops."""

    def __init__(self, cluster: Cluster, switch: Switch) -> None:
        self.switch = switch
        self._cluster = cluster
        self._apis: list[Api] = []
        self._workers: list[Program] = []

    def start(self, code: Path, *, apis: int = 2, workers: int = 2) -> None:
        """Start the processes of a version."""
        new_apis = [self.start_api(code) for _ in range(apis)]
        new_workers = [self.start_worker(code) for _ in range(workers)]
        for api in new_apis:
            self.admit(api)
        for worker in new_workers:
            self.wait_for(worker)

    def migrate(self, code: Path) -> str:
        """Run `trainshed migrate` of a version; return what it says."""
        return self.run("migrate", code=code, exit_code=0)

    def start_migrating(self, code: Path) -> Program:
        """Start `trainshed migrate` of a version, without waiting for its end."""
        return self._cluster.start("trainshed.cli.main", "migrate", name="migrate", code=code)

    def run(self, command: str, *, code: Path, exit_code: int) -> str:
        """Run a command of a version to its end; return what it says."""
        ended = self._cluster.start("trainshed.cli.main", command, name=command, code=code)
        assert ended.wait(_START_S) == exit_code, ended.log.read_text()
        return ended.log.read_text()

    def replace_apis(self, code: Path) -> None:
        """Replace each API process by one of a version, which serves as soon as it is ready."""
        for old in list(self._apis):
            self.admit(self.start_api(code))
            self._retire_api(old)

    def replace_workers(self, code: Path) -> None:
        """Replace each worker by one of a version."""
        for old in list(self._workers):
            self.wait_for(self.start_worker(code))
            self._retire_worker(old)

    def kill_all(self) -> None:
        """Kill every API and worker, and all that they have started."""
        for api in self._apis:
            self.switch.remove(("127.0.0.1", api.port))
            api.program.kill_all()
        for worker in self._workers:
            worker.kill_all()
        self._apis, self._workers = [], []

    def start_api(self, code: Path) -> Api:
        """Start an API; it gets no requests."""
        port = find_free("127.0.0.1")
        variables = {"TRAINSHED_PORT": str(port)}
        program = self._cluster.start(
            "trainshed.cli.main", "api", name="api", environment=variables, code=code
        )
        return Api(program, f"http://127.0.0.1:{port}")

    def start_worker(self, code: Path) -> Program:
        """Start a worker, without waiting until it is ready."""
        return self._cluster.start(
            "workers", name="worker", environment={"TRAINSHED_SLOTS": str(SLOTS)}, code=code
        )

    def admit(self, api: Api) -> None:
        """Wait until an API is ready, and have it get requests."""
        wait_until(lambda: readiness(api) == (200, ""), f"the API on port {api.port} is ready", _START_S)
        self.switch.add(("127.0.0.1", api.port))
        self._apis.append(api)

    def wait_for(self, worker: Program) -> None:
        """Wait until a worker takes jobs."""
        wait_until(lambda: _takes_jobs(worker), f"worker {worker.pid} takes jobs", _START_S)
        self._workers.append(worker)

    def _retire_api(self, api: Api) -> None:
        self.switch.remove(("127.0.0.1", api.port))
        self._apis.remove(api)
        pass_seconds(_PRE_STOP_S)
        api.program.send(Signals.SIGTERM)
        assert api.program.wait(_STOP_S) in (0, -Signals.SIGTERM), api.program.log.read_text()

    def _retire_worker(self, worker: Program) -> None:
        self._workers.remove(worker)
        worker.send(Signals.SIGTERM)
        assert worker.wait(_STOP_S) == 0, worker.log.read_text()


def readiness(api: Api) -> tuple[int, str]:
    """Return the status of `/readyz`, and what it says about the schema; 0 before it responds."""
    assert api.program.code is None, api.program.log.read_text()
    try:
        answer = httpx.get(f"{api.url}/readyz", verify=NO_TLS)
    except httpx.TransportError:
        return 0, ""
    check = answer.json()["checks"]["migrations"]
    return answer.status_code, "" if check["ok"] else check["detail"]


def _takes_jobs(worker: Program) -> bool:
    assert worker.code is None, worker.log.read_text()
    return worker.logged("ready for jobs") >= SLOTS
