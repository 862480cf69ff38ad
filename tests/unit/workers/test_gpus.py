"""A worker finds the GPUs it may use, and spreads its slots over them."""

import os

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
