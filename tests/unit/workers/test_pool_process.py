"""A pool process loads the executor that the settings name."""

import pytest

from shared.settings import Settings
from tests.support.stub_executor import StubExecutor
from workers import pool_process


def test_executor_is_the_one_that_the_settings_name(settings: Settings) -> None:
    named = settings.model_copy(update={"executor": "tests.support.stub_executor:StubExecutor"})
    assert isinstance(pool_process.load_executor(named), StubExecutor)


def test_process_that_was_not_started_has_no_belongings() -> None:
    with pytest.raises(RuntimeError, match="not a pool process"):
        pool_process.current()
