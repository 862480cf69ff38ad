"""The error classes: their codes, and which of them are retryable."""

import inspect
import re

import pytest

from shared import errors
from shared.errors import ERROR_CODES, AttemptError, InvalidSpec, TrainshedError
from tests.support.paths import ROOT

_CLASSES = [
    error for _, error in inspect.getmembers(errors, inspect.isclass) if error.__module__ == errors.__name__
]


@pytest.mark.parametrize("error", _CLASSES, ids=lambda error: error.__name__)
def test_each_error_has_a_docstring_that_begins_with_a_sentence(error: type[TrainshedError]) -> None:
    assert (error.__doc__ or "").partition("\n\n")[0].endswith(".")


def test_attempt_errors_have_distinct_codes() -> None:
    codes = [error.code for error in _CLASSES if issubclass(error, AttemptError)]
    assert len(codes) == len(set(codes))
    assert all(len(code) <= 64 and re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_every_code_that_a_job_fails_with_is_known() -> None:
    code = re.compile(r'AttemptFailure\(\s*"(\w+)"|^WORKER_LOST = "(\w+)"', re.MULTILINE)
    modules = [path for folder in ("workers", "shared") for path in (ROOT / folder).rglob("*.py")]
    used = {first or second for path in modules for first, second in code.findall(path.read_text())}
    assert used >= {"internal", "model_not_found", "worker_lost"}
    assert used <= set(ERROR_CODES)
    assert {error.code for error in _CLASSES if issubclass(error, AttemptError)} <= set(ERROR_CODES)


def test_only_transient_errors_are_retryable() -> None:
    retryable = {error.__name__ for error in _CLASSES if issubclass(error, AttemptError) and error.retryable}
    assert retryable == {"DataUnavailable", "DeviceOutOfMemory"}


def test_an_invalid_spec_names_its_field() -> None:
    error = InvalidSpec("epochs", "too many")
    assert (error.field, str(error)) == ("epochs", "too many")
