"""The tree of errors."""

import inspect
import re

import pytest

from shared import errors
from shared.errors import AttemptError, InvalidSpec, TrainshedError

_CLASSES = [
    error for _, error in inspect.getmembers(errors, inspect.isclass) if error.__module__ == errors.__name__
]


def _drawn() -> list[tuple[int, str]]:
    """The tree in the module's docstring: each class with its depth."""
    lines = (errors.__doc__ or "").splitlines()
    found = [re.match(r"((?:[├└│ ][─ ]{2} )*)([A-Z]\w+)", line) for line in lines[2:]]
    return [(len(match[1]) // 4, match[2]) for match in found if match]


def test_the_drawn_tree_is_the_real_one() -> None:
    drawn: dict[str, str] = {}
    above: list[str] = []
    for depth, name in _drawn():
        above[depth:] = [name]
        drawn[name] = above[depth - 1] if depth else "Exception"
    assert drawn == {error.__name__: error.__mro__[1].__name__ for error in _CLASSES}


@pytest.mark.parametrize("error", _CLASSES, ids=lambda error: error.__name__)
def test_each_error_says_in_a_sentence_what_it_means(error: type[TrainshedError]) -> None:
    assert (error.__doc__ or "").splitlines()[0].endswith((".", "was not written"))


def test_attempt_errors_have_codes_that_tell_them_apart() -> None:
    codes = [error.code for error in _CLASSES if issubclass(error, AttemptError)]
    assert len(codes) == len(set(codes))
    assert all(len(code) <= 64 and re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_only_what_may_pass_is_retryable() -> None:
    retryable = {error.__name__ for error in _CLASSES if issubclass(error, AttemptError) and error.retryable}
    assert retryable == {"DataUnavailable", "DeviceOutOfMemory"}


def test_an_invalid_spec_names_its_field() -> None:
    error = InvalidSpec("epochs", "too many")
    assert (error.field, str(error)) == ("epochs", "too many")
