import numpy as np
import pytest

from shared.errors import AttemptError
from shared.formats.weights import Weights
from workers.mnist.checkpoints import pack, unpack


def _vectors(count: int = 3, length: int = 5_994) -> list[Weights]:
    return list(np.random.default_rng(1).normal(size=(count, length)).astype(np.float32))


def test_a_state_is_decoded_to_the_same_bits() -> None:
    vectors = _vectors()
    vectors[1][:4] = [0.0, -0.0, 1e-45, np.inf]

    restored = unpack(pack(vectors, 22), 3, 5_994, 22)

    assert [vector.tobytes() for vector in restored] == [vector.tobytes() for vector in vectors]


def test_equal_states_are_equal_bytes_of_72_kb() -> None:
    state = pack(_vectors(), 22)

    assert state == pack(_vectors(), 22)
    assert len(state) == 16 + 3 * 5_994 * 4


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (b"", "an unknown format instead of 3 vectors of 5,994 numbers after 22 steps"),
        (b"\x93NUMPY and more bytes", "an unknown format"),
        (pack(_vectors(count=1), 22), "1 vectors of 5,994 numbers after 22 steps instead of 3 vectors"),
        (pack(_vectors(length=33_400), 22), "3 vectors of 33,400 numbers"),
        (pack(_vectors(), 11), "after 11 steps instead of 3 vectors of 5,994 numbers after 22 steps"),
        (pack(_vectors(), 22)[:-1], "damaged: it has 71,943 bytes, not 71,944"),
        (pack(_vectors(), 22) + b"?", "damaged: it has 71,945 bytes, not 71,944"),
    ],
    ids=["empty", "foreign", "optimizer", "model", "steps", "short", "long"],
)
def test_a_state_that_does_not_match_the_job_is_refused_with_the_reason(state: bytes, message: str) -> None:
    with pytest.raises(AttemptError, match=message):
        unpack(state, 3, 5_994, 22)
