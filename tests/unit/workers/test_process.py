"""A pool process loads the executor that the settings name."""

import pytest

from shared.settings import Settings
from tests.stub_executor import StubExecutor
from workers import process


def test_executor_is_the_one_that_the_settings_name(settings: Settings) -> None:
    named = settings.model_copy(update={"trainer": "tests.stub_executor:StubExecutor"})
    assert isinstance(process.load_executor(named), StubExecutor)


def test_process_that_was_not_started_has_no_belongings() -> None:
    with pytest.raises(RuntimeError, match="not a pool process"):
        process.current()
