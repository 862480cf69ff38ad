"""The complete local stack, with a real Redis, API and worker; the demo also with the real trainer."""

import json
import os
import re
import socket
from pathlib import Path
from uuid import UUID

import psutil
import pytest

from shared.lifecycle import JobState
from shared.schemas import ApiKeyCreate, Scope
from shared.settings import Settings
from tests.support.local_stack import HOST, START_S, job, stack_processes, stack_settings, trainshed
from tests.support.paths import ROOT
from tests.support.waiting import wait_until
from trainshed import Client
from trainshed.errors import StackRunning
from trainshed.local import ports
from trainshed.local.stack import LocalStack


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a stack whose programs find the tests' executor."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return stack_settings(tmp_path)


def test_a_stack_runs_jobs_excludes_a_second_one_and_leaves_no_process(settings: Settings) -> None:
    before = psutil.Process().children()
    with LocalStack(settings) as stack, Client(stack.url) as server:
        submitted = server.submit(job(epochs=2))
        assert server.wait(submitted.id, timeout_s=START_S).state is JobState.SUCCEEDED
        with pytest.raises(StackRunning, match=rf"{stack.url}, process {os.getpid()}"):
            LocalStack(settings).__enter__()
        demo = trainshed(settings, "demo", "--json")  # uses the running stack
        out, err = demo.communicate(timeout=START_S)
        assert demo.returncode == 0, err
        assert "a stack runs on" in err
        assert server.job(UUID(json.loads(out)["id"])).name == "demo"
        key = server.create_api_key(ApiKeyCreate(name="Ada", scope=Scope.ADMIN)).key
        refused, with_key = trainshed(settings, "demo"), trainshed(settings, "demo", "--api-key", key)
        _, err = refused.communicate(timeout=START_S)
        *_, last = err.splitlines()
        assert (last.startswith("Error: this API needs a key: "), refused.returncode) == (True, 2)
        _, err = with_key.communicate(timeout=START_S)
        assert with_key.returncode == 0, err
    assert stack_processes(settings) == []
    assert psutil.Process().children() == before
    assert ports.is_free(HOST, settings.port)


def test_the_demo_falls_back_to_digits_without_mnist(tmp_path: Path) -> None:
    nowhere = (tmp_path / "nowhere").as_uri()
    settings = Settings(
        data_dir=tmp_path, mnist_images_url=nowhere, mnist_labels_url=nowhere, download_attempts=1
    )
    with socket.create_server((HOST, 0)) as in_use:  # so the demo chooses another port
        demo = trainshed(settings.model_copy(update={"port": in_use.getsockname()[1]}), "demo")
        out, err = demo.communicate(timeout=110)
    assert demo.returncode == 0, err
    assert "MNIST cannot be fetched: " in err
    assert nowhere in err
    closing = (
        r"10 epochs, 440 batches, validation accuracy 0\.\d{4}, evaluation accuracy (0\.\d{4}) on 197 images"
    )
    summary = re.search(closing, err)
    assert summary, err
    assert float(summary[1]) > 0.85
    assert "9 Nine" in out
    assert sum(line.startswith("epoch ") for line in out.splitlines()) == 10
    assert max(map(len, out.splitlines())) <= 80
    wait_until(lambda: stack_processes(settings) == [], "every process is gone")
