import pytest

from api.http.problems import INVALID_REQUEST, OF_ERROR, TYPES, documented
from shared import errors


def _leaves(error: type[Exception]) -> set[type[Exception]]:
    children = error.__subclasses__()
    return set().union(*map(_leaves, children)) if children else {error}


def test_every_request_error_has_a_problem_type() -> None:
    assert _leaves(errors.RequestError) <= set(OF_ERROR)


def test_problem_types_have_distinct_slugs() -> None:
    kinds = list(OF_ERROR.values())
    assert len({kind.slug for kind in kinds}) == len(kinds)
    assert all(slug == kind.slug for slug, kind in TYPES.items())


@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: kind.slug)
def test_problem_type_has_advice(kind: object) -> None:
    advice = str(getattr(kind, "advice", ""))
    assert advice.endswith(".")
    assert advice[0].isupper() or advice[0] == "`"


def test_documented_response_has_an_example_of_each_problem_type_of_its_status() -> None:
    responses = documented(errors.InvalidSpec, errors.JobNotFound)

    examples = responses[422]["content"]["application/problem+json"]["examples"]
    assert set(examples) == {"invalid-spec", INVALID_REQUEST.slug}
    assert set(responses) == {404, 409, 422, 500, 503}
    # of what is named by an id, some digits may be several ids'
    assert set(responses[409]["content"]["application/problem+json"]["examples"]) == {"ambiguous-id"}
    assert 409 not in documented(errors.WorkerNotFound)
