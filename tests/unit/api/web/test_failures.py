"""Every code with which a job can fail is explained."""

import pytest

from api.web import failures
from shared.errors import AttemptError
from tests.support.queue_driver import WORKER_LOST


def codes() -> set[str]:
    return {WORKER_LOST, AttemptError.code, *(error.code for error in AttemptError.__subclasses__())}


def test_every_code_is_explained_and_no_other() -> None:
    assert set(failures.FAILURES) == codes()


@pytest.mark.parametrize("code", [*sorted(codes()), "a_code_of_a_later_version"])
def test_an_explanation_says_what_happened_and_what_to_do(code: str) -> None:
    failure = failures.explain(code)

    assert failure.happened.endswith(".")
    assert failure.remedy.endswith(".")
