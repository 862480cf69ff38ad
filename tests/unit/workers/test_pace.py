"""How many jobs are claimed at once: more and more of short ones, one of long ones or of the last ones."""

from workers.marks import MAX_ATTEMPTS
from workers.pace import MOMENT_S, Pace


def _claims(pace: Pace, number: int, *, seconds: float) -> list[int]:
    """Claim and run jobs that take so long, of which there are enough; return how many at a time."""
    sizes = []
    for _ in range(number):
        sizes.append(most := pace.most)
        pace.found(most, most)
        for _ in range(most):
            pace.ended(seconds)
    return sizes


def test_the_number_of_short_jobs_doubles_up_to_the_most_that_a_process_may_hold() -> None:
    assert _claims(Pace(), 6, seconds=0.001) == [1, 2, 4, 8, 16, 16]
    assert MAX_ATTEMPTS == 16


def test_no_more_are_claimed_than_take_a_moment() -> None:
    assert _claims(Pace(), 5, seconds=MOMENT_S / 5.5) == [1, 2, 4, 5, 5]
    assert _claims(Pace(), 3, seconds=MOMENT_S) == [1, 1, 1]


def test_a_claim_that_found_fewer_is_followed_by_one_of_a_single_job() -> None:
    pace = Pace()
    assert _claims(pace, 4, seconds=0.001)[-1] == 8
    pace.found(15, of=pace.most)
    assert _claims(pace, 3, seconds=0.001) == [1, 2, 4]


def test_a_long_job_is_followed_by_claims_of_single_ones_until_it_is_forgotten() -> None:
    pace = Pace()
    _claims(pace, 5, seconds=0.001)
    pace.ended(60.0)
    assert _claims(pace, 15, seconds=0.001) == [1] * 15
    assert _claims(pace, 3, seconds=0.001) == [1, 2, 4]


def test_jobs_that_take_no_time_at_all_are_claimed_as_short_ones() -> None:
    assert _claims(Pace(), 3, seconds=0.0) == [1, 2, 4]
