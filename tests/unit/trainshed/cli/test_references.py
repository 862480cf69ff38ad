"""References to jobs and models, as people type them."""

from uuid import UUID, uuid4

import pytest

from shared.lifecycle import JobState
from tests.support.fake_api import FakeApi, make_job, make_success
from trainshed.cli.references import find_job, find_model
from trainshed.errors import TrainshedApiError, UsageError

FIRST = UUID("019a0000-0000-7000-8000-0000aaaa1111")
SECOND = UUID("019a0000-0000-7000-8000-0000bbbb1111")


@pytest.fixture
def api() -> FakeApi:
    """Has two jobs, the second with a model."""
    api = FakeApi()
    api.add(make_job(id=FIRST, state=JobState.FAILED))
    api.add(make_success(make_job(id=SECOND)))
    return api


def model_of(api: FakeApi, job_id: UUID) -> UUID:
    model_id = api.states[job_id][-1].model_id
    assert model_id is not None
    return model_id


@pytest.mark.parametrize("reference", [str(FIRST), str(FIRST).upper(), FIRST.hex, "aaaa1111", " aaaa1111 "])
def test_a_job_is_referred_to_by_its_id_or_the_end_of_it(api: FakeApi, reference: str) -> None:
    assert find_job(api.connect(), reference) == FIRST


def test_a_job_is_referred_to_by_the_start_of_its_id(api: FakeApi) -> None:
    assert find_job(api.connect(), "019a0000-0000-7000-8000-0000b") == SECOND


def test_last_is_the_newest_job(api: FakeApi) -> None:
    assert find_job(api.connect(), "last") == SECOND


def test_a_whole_id_needs_no_request(api: FakeApi) -> None:
    unknown = uuid4()
    assert find_job(api.connect(), str(unknown)) == unknown
    assert api.requests == []


def test_a_reference_without_a_match_is_refused(api: FakeApi) -> None:
    with pytest.raises(TrainshedApiError, match="no job's id begins or ends with ffff"):
        find_job(api.connect(), "ffff")


@pytest.mark.parametrize("reference", ["", "111", "hello", "aaaa1111/", "-" * 40])
def test_an_invalid_reference_is_refused_without_a_request(api: FakeApi, reference: str) -> None:
    with pytest.raises(UsageError, match="is not a job: give its id, the end of its id, or `last`"):
        find_job(api.connect(), reference)
    assert api.requests == []


def test_last_without_any_job_is_refused() -> None:
    with pytest.raises(UsageError, match="there is no job yet"):
        find_job(FakeApi().connect(), "last")


@pytest.mark.parametrize("reference", [str(SECOND), "bbbb1111", "last"])
def test_a_model_is_referred_to_by_its_job(api: FakeApi, reference: str) -> None:
    assert find_model(api.connect(), reference) == model_of(api, SECOND)


def test_a_model_is_referred_to_by_its_id(api: FakeApi) -> None:
    model_id = model_of(api, SECOND)
    assert find_model(api.connect(), str(model_id)) == model_id


@pytest.mark.parametrize("part", [slice(-8, None), slice(0, -2)])
def test_a_model_is_referred_to_by_a_part_of_its_id(api: FakeApi, part: slice) -> None:
    model_id = model_of(api, SECOND)
    assert find_model(api.connect(), str(model_id)[part]) == model_id


@pytest.mark.parametrize("reference", ["nosuch", "NOSUCH!", "last-one"])
def test_what_names_no_model_is_refused_as_such(api: FakeApi, reference: str) -> None:
    with pytest.raises(
        UsageError, match=f"'{reference}' is not a model: give its id or alias, its job, or `last`"
    ):
        find_model(api.connect(), reference)


def test_a_job_without_a_model_is_refused_with_its_state(api: FakeApi) -> None:
    with pytest.raises(UsageError, match=f"job {FIRST} has no model: it is failed"):
        find_model(api.connect(), "aaaa1111")
