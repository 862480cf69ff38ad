"""Start of a pool process."""

import pytest

from shared.settings import Settings
from tests.support.stub_executor import StubExecutor
from workers import pool_process


def test_the_executor_is_the_class_that_the_settings_name(settings: Settings) -> None:
    named = settings.model_copy(update={"executor": "tests.support.stub_executor:StubExecutor"})
    assert isinstance(pool_process.load_executor(named), StubExecutor)


def test_a_process_that_was_not_started_as_a_pool_process_has_no_state() -> None:
    with pytest.raises(RuntimeError, match="not a pool process"):
        pool_process.current()


def test_a_process_and_its_parent_give_it_the_same_id_and_no_other_process_has_it() -> None:
    own, others = pool_process.process_id("SpawnPoolWorker-1"), ["SpawnPoolWorker-2", "SpawnPoolWorker-11"]
    assert pool_process.process_id("SpawnPoolWorker-1") == own
    assert own not in {pool_process.process_id(name) for name in others}
    assert own.endswith("-SpawnPoolWorker-1")


def test_a_process_without_the_gpu_that_is_required_does_not_start(settings: Settings) -> None:
    pool_process.check_device(settings, "CPU")
    required = settings.model_copy(update={"require_gpu": True})
    pool_process.check_device(required, "NVIDIA H100 80GB HBM3")
    with pytest.raises(pool_process.NoGpu, match="TRAINSHED_REQUIRE_GPU"):
        pool_process.check_device(required, "CPU")
