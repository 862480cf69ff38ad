import pytest

from api.http.problems import INVALID_REQUEST, OF_ERROR, TYPES, documented
from shared import errors


def _leaves(error: type[Exception]) -> set[type[Exception]]:
    children = error.__subclasses__()
    return set().union(*map(_leaves, children)) if children else {error}


def test_every_request_error_has_a_problem_type() -> None:
    assert _leaves(errors.RequestError) <= set(OF_ERROR)


def test_no_two_problem_types_share_an_address() -> None:
    kinds = list(OF_ERROR.values())
    assert len({kind.slug for kind in kinds}) == len(kinds)
    assert all(slug == kind.slug for slug, kind in TYPES.items())


@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: kind.slug)
def test_a_problem_type_says_what_to_do(kind: object) -> None:
    advice = str(getattr(kind, "advice", ""))
    assert advice.endswith(".")
    assert advice[0].isupper() or advice[0] == "`"


def test_documented_responses_keep_kinds_of_one_status_apart() -> None:
    responses = documented(errors.InvalidSpec, errors.JobNotFound)

    examples = responses[422]["content"]["application/problem+json"]["examples"]
    assert set(examples) == {"invalid-spec", INVALID_REQUEST.slug}
    assert set(responses) == {404, 422, 500, 503}
