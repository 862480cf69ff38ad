"""Which GPUs a worker uses."""

import os

import pytest

from workers.gpus import slot_count, take_gpu, visible_gpus


def test_gpus_that_cuda_is_limited_to_are_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-abc")
    assert visible_gpus() == ["2", "GPU-abc"]


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_are_no_gpus(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert visible_gpus() == []


def test_a_host_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")
    assert visible_gpus() == []


def test_slots_count_per_gpu_where_there_is_one() -> None:
    assert slot_count([], slots=3, slots_per_gpu=8) == 3
    assert slot_count(["0", "1"], slots=3, slots_per_gpu=8) == 16


def test_neighbouring_slots_take_different_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    taken = []
    for slot in range(4):
        take_gpu(["5", "7"], slot)
        taken.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert taken == ["5", "7", "5", "7"]


def test_a_slot_without_gpus_leaves_cuda_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    take_gpu([], 0)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
