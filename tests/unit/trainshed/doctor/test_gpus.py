"""GPUs that TensorFlow does not see, or that are full, are named."""

import os
import sys
from pathlib import Path

import pytest

from shared.settings import Settings
from tests.unit.trainshed.doctor.conftest import Found
from trainshed.doctor import gpus

TWO_GPUS = "0, NVIDIA H100 80GB HBM3, 570.86.15, 80994\n1, NVIDIA H100 80GB HBM3, 570.86.15, 512"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host whose `nvidia-smi` and TensorFlow say what a test writes into the folder."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(gpus, "find_spec", lambda _: object())
    return programs


def nvidia_smi(host: Path, output: str) -> None:
    program = host / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\nprint({output!r})\n")
    program.chmod(0o755)


def tensorflow(monkeypatch: pytest.MonkeyPatch, count: int, cuda: str = "12.5") -> None:
    facts = f'{{"version": "2.21.0", "cuda": "{cuda}", "gpus": {count}}}'
    monkeypatch.setattr(gpus, "_TENSORFLOW", f"print('a line of a library')\nprint({facts!r})")


@pytest.mark.usefixtures("host")
def test_a_host_without_gpus_is_good(
    settings: Settings, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensorflow(monkeypatch, 0)
    [(severity, message, _)] = found(gpus.check, settings)
    assert severity == "ok"
    assert message.endswith("TensorFlow 2.21.0 sees 0: jobs run on the CPU")


def test_gpus_that_tensorflow_sees_are_good(
    settings: Settings, found: Found, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(host, TWO_GPUS.replace("512", "80000"))
    tensorflow(monkeypatch, 2)
    [(severity, message, _)] = found(gpus.check, settings)
    assert severity == "ok"
    assert message == "2 GPUs (NVIDIA H100 80GB HBM3, driver 570.86.15), and TensorFlow 2.21.0 sees 2"


def test_gpus_that_tensorflow_does_not_see(
    settings: Settings, found: Found, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(host, TWO_GPUS.replace("512", "80000"))
    for cuda, said in (("12.5", "built for CUDA 12.5"), ("", "built without CUDA")):
        tensorflow(monkeypatch, 0, cuda)
        [(severity, message, advice)] = found(gpus.check, settings)
        assert (severity, said in message) == ("error", True)
        assert "trainshed[gpu]" in advice


def test_a_gpu_without_memory(
    settings: Settings, found: Found, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(host, TWO_GPUS)
    tensorflow(monkeypatch, 2)
    _, (severity, message, advice) = found(gpus.check, settings)
    assert (severity, message) == ("warning", "GPU 1 (NVIDIA H100 80GB HBM3) has 512 MiB of memory free")
    assert "SLOTS_PER_GPU" in advice


@pytest.mark.usefixtures("host")
def test_tensorflow_that_cannot_be_imported(
    settings: Settings, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    for code in ("import no_such_module", "pass", "print('no JSON')"):
        monkeypatch.setattr(gpus, "_TENSORFLOW", code)
        [(severity, message, _)] = found(gpus.check, settings)
        assert (severity, message) == ("error", "TensorFlow cannot be imported")


@pytest.mark.usefixtures("host")
def test_tensorflow_that_does_not_start_in_time_is_not_waited_for(
    settings: Settings, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert gpus._IMPORT_S == 20
    monkeypatch.setattr(gpus, "_IMPORT_S", 0.2)
    monkeypatch.setattr(gpus, "_TENSORFLOW", "import threading; threading.Event().wait()")
    [(severity, message, advice)] = found(gpus.check, settings)
    assert (severity, message) == ("warning", "TensorFlow has not started within 0 s")
    assert "busy" in advice


def test_a_host_without_tensorflow_runs_no_worker(
    settings: Settings, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "find_spec", lambda _: None)
    [(severity, message, _)] = found(gpus.check, settings)
    assert (severity, message) == ("ok", "TensorFlow is not installed, so no worker runs here")


def test_what_is_run_is_valid_python() -> None:
    compile(gpus._TENSORFLOW, "the script", "exec")
