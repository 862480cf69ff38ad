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
