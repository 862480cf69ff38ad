"""A worker finds the GPUs it may use, and spreads its slots over them."""

import os
from pathlib import Path

import pytest

from workers.gpus import select_gpu, slot_count, visible_gpus


def test_a_worker_uses_the_gpus_that_cuda_is_limited_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-abc")
    assert visible_gpus() == ["2", "GPU-abc"]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_worker_whose_gpus_are_hidden_has_none(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert visible_gpus() == []


def test_a_host_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")
    assert visible_gpus() == []


_LISTING = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.5gb      Device  1: (UUID: MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/2/0)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-6d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
"""


@pytest.mark.parametrize("visible", [None, "all"])
def test_gpus_are_those_of_the_driver_and_of_a_divided_one_its_parts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, visible: str | None
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{_LISTING}E\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_gpus() == [
        "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
        "MIG-GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77/2/0",
        "1",
    ]


def test_slots_are_per_gpu_on_a_host_with_gpus() -> None:
    assert slot_count([], slots=3, slots_per_gpu=8) == 3
    assert slot_count(["0", "1"], slots=3, slots_per_gpu=8) == 16


def test_consecutive_slots_use_different_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # only what is set or deleted is put back after the test
    selected = []
    for slot in range(4):
        select_gpu(["5", "7"], slot)
        selected.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert selected == ["5", "7", "5", "7"]


def test_a_worker_without_gpus_leaves_cudas_setting_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    select_gpu([], 0)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
