"""A worker writes into its Pod how many jobs it runs."""

import json
from pathlib import Path

import httpx
import pytest

from workers.pod_deletion_cost import PodDeletionCost


class Kubernetes(httpx.MockTransport):
    """The API server of a cluster, which records what it is sent."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.status = 200
        self.requests: list[httpx.Request] = []

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self.status)

    @property
    def costs(self) -> list[str]:
        bodies = [json.loads(request.content) for request in self.requests]
        return [
            body["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] for body in bodies
        ]


@pytest.fixture
def kubernetes() -> Kubernetes:
    return Kubernetes()


@pytest.fixture
def account(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("a token\n")
    return tmp_path


def test_a_change_is_written_once(kubernetes: Kubernetes, account: Path) -> None:
    cost = PodDeletionCost("jobs/worker-1", account=account, transport=kubernetes)
    for jobs in (0, 0, 2, 2, 1):
        cost.report(jobs)
    assert kubernetes.costs == ["0", "2", "1"]
    request = kubernetes.requests[0]
    assert (request.method, request.url.path) == ("PATCH", "/api/v1/namespaces/jobs/pods/worker-1")
    assert request.headers["Authorization"] == "Bearer a token"
    assert request.headers["Content-Type"] == "application/merge-patch+json"


def test_a_refusal_is_logged_once_and_tried_again(
    kubernetes: Kubernetes, account: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cost = PodDeletionCost("jobs/worker-1", account=account, transport=kubernetes)
    kubernetes.status = 403
    cost.report(1)
    cost.report(1)
    kubernetes.status = 200
    cost.report(1)
    cost.report(1)
    assert kubernetes.costs == ["1", "1", "1"]
    assert caplog.text.count("deletion cost cannot be written") == 1


def test_without_a_service_account_it_is_a_warning(
    kubernetes: Kubernetes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    PodDeletionCost("jobs/worker-1", account=tmp_path, transport=kubernetes).report(1)
    assert "deletion cost cannot be written" in caplog.text
    assert kubernetes.requests == []


def test_outside_of_kubernetes_nothing_is_sent(kubernetes: Kubernetes, account: Path) -> None:
    PodDeletionCost("", account=account, transport=kubernetes).report(1)
    assert kubernetes.requests == []
