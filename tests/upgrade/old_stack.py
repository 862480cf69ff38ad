"""What users of the last release have left in its database, through its API: all that a stop must keep.

And the answers of the API about that, which are recorded before the stop and compared afterwards.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

import httpx

from tests.faults.programs import STEPS
from tests.support.servers import NO_TLS
from tests.support.stub_executor import Behaviour
from tests.support.waiting import wait_until

_LONG_EPOCHS = 150
_SIZES = {"train_size": STEPS, "validation_size": 20, "evaluation_size": 50, "batch_size": 1}
_LATER = "2099-01-01T00:00:00Z"
_PAUSE_S = 0.2
_END_S = 300.0
_BUSY = 503

Answers = Mapping[str, Any]
"""JSON, or bytes, by path."""

# of a job that has ended
_OF_JOB = ("", "/events", "/metrics", "/metrics?resolution=step", "/logs", "/weights")
_OF_SUCCESS = ("/evaluation", "/evaluation/predictions?limit=100")
# what an answer says about a job that has not ended and about the queue, and nobody changes
_LASTING = (
    *("id", "kind", "name", "tags", "queue", "priority", "spec", "created_at", "scheduled_at", "after"),
    *("max_attempts", "sweep_id", "retry_of"),
)
# what a sender of webhooks changes while answers are recorded
_CHANGING = {"attempts", "next_at", "last_error", "pending", "dead"}
_NEW_NAMES = {
    **{"share": "tenant", "share_queued": "tenant_queued", "share_running": "tenant_running"},
    **{"crashes": "lost_attempts", "yielded_to": "preempted_by"},
}
_METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")


class OldStack:
    """A user of an API: fills it, and reads it again.

    Attributes:
        jobs: the ids of its jobs, by what they are.
        accepted: all ids of jobs whose submission was acknowledged.
    """

    def __init__(self, url: str) -> None:
        self.jobs: dict[str, str] = {}
        self.accepted: list[str] = []
        self._http = httpx.Client(base_url=f"{url}/v1", timeout=40, verify=NO_TLS, trust_env=False)
        self._seed = 0
        self._stops = threading.Event()
        self._submitter = threading.Thread(target=self._submit_on, daemon=True)
        self._hook = self._model = self._sweep = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stops.set()
        self._http.close()

    def fill(self) -> None:
        """Store jobs in every state, and what stands beside jobs; others are submitted until the API ends."""
        key = self.post("api-keys", name="Ada", scope="admin")["key"]
        self._http.headers["Authorization"] = f"Bearer {key}"
        self._hook = self.post("webhooks", url="http://127.0.0.1:9/", description="nobody listens")["id"]
        self._train("succeeded", name="the best", tags=["ünïcode", "kept"])
        self._train("failed", spec={"seed": Behaviour.RAISES}, max_attempts=1)
        self._train("scheduled", scheduled_at=_LATER)
        self._train("cancelled", scheduled_at=_LATER)
        self.post(f"jobs/{self.jobs['cancelled']}/cancel")
        self.post("queues/night/pause")
        self._send("PATCH", "queues/night", {"max_running": 1})
        self._train("in a paused queue", queue="night", priority="low")
        sweep = {"strategy": "grid", "parameters": {"learning_rate": [0.001, 0.01]}, "spec": self._spec()}
        created = self.post("sweeps", **sweep, name="rates")
        self._sweep = created["id"]
        self._sweep_jobs = [job["job_id"] for job in self.get(f"sweeps/{self._sweep}")["jobs"]]
        self.accepted += self._sweep_jobs
        self._model = self.wait("succeeded")["model_id"]
        self._send("PATCH", f"models/{self._model}", {"alias": "champion", "description": "ünï"})
        self._submit("evaluated", kind="evaluate", spec={"model_id": self._model, "evaluation_size": 50})
        for name in ("failed", "evaluated"):
            self.wait(name)
        for job_id in self._sweep_jobs:
            self._wait(job_id)
        self._train("running", spec={"epochs": _LONG_EPOCHS}, priority="high")
        self._train("waiting", after=[self.jobs["running"]])
        wait_until(lambda: self._epochs("running") > 1, "the long job has recorded epochs", _END_S)
        self._submitter.start()

    def answers(self) -> Answers:
        """Return what the API says about all that must be as it was."""
        ended = [self.jobs[name] for name in ("succeeded", "failed", "cancelled", "evaluated")]
        ended += self._sweep_jobs
        succeeded = [self.jobs["succeeded"], self.jobs["evaluated"], *self._sweep_jobs]
        paths = [f"jobs/{job_id}{rest}" for job_id in ended for rest in _OF_JOB]
        paths += [f"jobs/{job_id}{rest}" for job_id in succeeded for rest in _OF_SUCCESS]
        paths += [f"models/{self._model}", f"sweeps/{self._sweep}", "api-keys"]
        paths += [f"models/{self._model}/download?format={each}" for each in ("keras", "onnx")]
        answers: dict[str, Any] = {path: self._recorded(path) for path in paths}
        for name in ("scheduled", "in a paused queue", "running", "waiting"):
            job = self.get(f"jobs/{self.jobs[name]}")
            answers[name] = {field: job[field] for field in _LASTING if field in job}
        night = next(queue for queue in self.get("queues")["data"] if queue["name"] == "night")
        answers["night"] = {field: night[field] for field in ("paused", "max_running", "queued")}
        [webhook] = self.get("webhooks")["data"]
        answers["webhook"] = {name: webhook[name] for name in webhook.keys() - _CHANGING}
        of_ended = {delivery["job_id"]: delivery for delivery in self._deliveries()}
        answers["deliveries"] = {job_id: of_ended[job_id] for job_id in ended if job_id in of_ended}
        return answers

    def submit_again(self) -> str:
        """Repeat the submission of the first job; return the id that the API answers."""
        return str(self._send("POST", "jobs", self._first[0], self._first[1])["id"])

    def wait(self, name: str) -> Any:
        """Wait until a job has ended; return it."""
        return self._wait(self.jobs[name])

    def _wait(self, job_id: str) -> Any:
        def ended() -> Any:
            job = self.get(f"jobs/{job_id}?wait=20&until=end")
            return job["finished_at"] and job

        return wait_until(ended, f"job {job_id} has ended", _END_S)

    def get(self, path: str) -> Any:
        """Return an answer."""
        return self._send("GET", path)

    def post(self, path: str, **body: Any) -> Any:
        """Send a request."""
        return self._send("POST", path, body)

    def _deliveries(self) -> list[dict[str, Any]]:
        listed = self.get(f"webhooks/{self._hook}/deliveries?limit=200")["data"]
        return [{name: each[name] for name in each.keys() - _CHANGING} for each in listed]

    def _epochs(self, name: str) -> int:
        series = self.get(f"jobs/{self.jobs[name]}/metrics")["series"]
        return max((len(each["x"]) for each in series), default=0)

    def _spec(self, **overrides: Any) -> dict[str, Any]:
        self._seed += 1
        return {**_SIZES, "epochs": 4, "seed": self._seed, "keep_weights": True, **overrides}

    def _train(self, what: str, /, spec: Mapping[str, Any] | None = None, **options: Any) -> None:
        self._submit(what, kind="train", spec=self._spec(**(spec or {})), **options)

    def _submit(self, what: str, /, **body: Any) -> None:
        headers = {"Idempotency-Key": str(uuid4())}
        if not self.jobs:
            self._first = body, headers
        self.jobs[what] = self._send("POST", "jobs", body, headers)["id"]
        self.accepted.append(self.jobs[what])

    def _submit_on(self) -> None:
        """Submit jobs until the API is killed."""
        with suppress(httpx.TransportError):
            while not self._stops.wait(_PAUSE_S):
                job = self.post("jobs", kind="train", spec=self._spec())
                self.accepted.append(job["id"])

    def _recorded(self, path: str) -> dict[str, Any]:
        answer = self._http.get(path)
        return {"status": answer.status_code, "content": _content(answer)}

    def _send(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        """Send a request, again while the database is busy; return the answer."""
        headers = headers or {"Idempotency-Key": str(uuid4())}

        def answered() -> httpx.Response | None:
            answer = self._http.request(method, path, json=body, headers=headers)
            return None if answer.status_code == _BUSY else answer

        answer = wait_until(answered, f"{method} {path} is answered", _END_S)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
        return _content(answer)


def _content(answer: httpx.Response) -> Any:
    return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content


def in_new_words(answer: Any) -> Any:
    """Return an answer of 0.1.0 as 0.2.0 gives it: `CHANGELOG.md` lists the fields that changed."""
    if isinstance(answer, list):
        return list(map(in_new_words, answer))
    if not isinstance(answer, dict):
        return answer
    fields = {_NEW_NAMES.get(name, name): in_new_words(value) for name, value in answer.items()}
    if "series" in fields:  # without a point there is no metric
        fields["series"] = [series for series in fields["series"] if series["x"]]
    if "evaluation_accuracy" in fields and "metrics" in fields:
        values = {**(fields.pop("metrics") or {}), "evaluation_accuracy": fields.pop("evaluation_accuracy")}
        fields["values"] = {name: value for name, value in values.items() if value is not None}
    if "val_loss" in fields and "epoch" in fields:
        fields["values"] = {name: fields.pop(name) for name in _METRICS}
    if (fields.get("tenant") or "").startswith("sweep "):  # a sweep took turns of its own
        fields["tenant"] = f"key {fields['api_key_id']}" if fields["api_key_id"] else None
    if fields.get("type") in ("phase_entered", "epochs_recorded"):
        at = datetime.fromisoformat(fields["at"]).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        data = fields["data"]
        phases = [{"phase": data["phase"], "at": at}] if "phase" in data else []
        epochs = [{**epoch, "at": at} for epoch in data.get("epochs", ())]
        fields |= {"type": "progress", "data": {"phases": phases, "epochs": epochs}}
    return fields


def differences(before: Any, after: Any, path: str = "") -> list[str]:
    """Return where an answer is not as it was; later versions may have more fields."""
    if isinstance(before, dict) and isinstance(after, dict):
        missing = [f"{path}.{name} is missing" for name in before.keys() - after.keys()]
        both = [(before[name], after[name], f"{path}.{name}") for name in before.keys() & after.keys()]
        return missing + [each for pair in both for each in differences(*pair)]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        items = [(*pair, f"{path}[{number}]") for number, pair in enumerate(zip(before, after, strict=True))]
        return [each for item in items for each in differences(*item)]
    return [] if before == after else [f"{path}: {before!r:.200} is {after!r:.200}"]
