"""A short soak test with random faults. For a long one: `python -m tests.faults.soak`."""

from pathlib import Path
from random import Random

import pytest

from tests.faults.soak import soaking

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_random_faults_lose_and_duplicate_nothing(tmp_path: Path, kind: str) -> None:
    seed = Random().randrange(1_000_000)
    with soaking(tmp_path, seed, kind) as soak:
        soak.log(f"seed {seed}")
        soak.run(seconds=20, jobs=8)
