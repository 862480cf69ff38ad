"""Damage to a cache entry is noticed, at the cost of one look at its bytes for each process."""

from pathlib import Path

import numpy as np
import pytest

from shared.datasets import cache
from shared.datasets.cache import Arrays, Decoded
from tests.support.sprite_files import make_images, make_labels

ROWS = 12
IMAGES, LABELS = make_images(ROWS), make_labels(ROWS)


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """A stored entry, which this process has not verified yet."""
    folder = tmp_path / "entry"
    cache.store(folder, lambda _: (np.array_split(IMAGES, 2), LABELS))
    cache._verified.clear()
    return folder


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One item for each time that checksums are computed."""
    calls: list[None] = []
    compute = cache._checksums

    def count(images: np.ndarray, labels: np.ndarray) -> dict[str, int]:
        calls.append(None)
        return compute(images, labels)

    monkeypatch.setattr(cache, "_checksums", count)
    return calls


def assert_is_stored(arrays: Arrays | None) -> None:
    assert arrays is not None
    np.testing.assert_array_equal(arrays[0], IMAGES)
    np.testing.assert_array_equal(arrays[1], LABELS)


def test_stored_arrays_are_mapped(entry: Path) -> None:
    assert_is_stored(cache.mapped(entry, ROWS))


def test_an_entry_with_too_few_rows_is_not_mapped(entry: Path) -> None:
    assert cache.mapped(entry, ROWS + 1) is None


def test_the_checksums_of_unchanged_files_are_computed_once(entry: Path, computed: list[None]) -> None:
    for _ in range(3):
        assert_is_stored(cache.mapped(entry, ROWS))
    assert len(computed) == 1


def test_a_change_of_a_verified_entry_is_noticed(entry: Path) -> None:
    assert_is_stored(cache.mapped(entry, ROWS))
    with (entry / "labels.npy").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xc8")
    assert cache.mapped(entry, ROWS) is None


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "checksums.json"])
def test_a_changed_byte_is_noticed_or_is_none_of_the_arrays(name: str, entry: Path) -> None:
    content = (entry / name).read_bytes()
    header = 128 if name.endswith(".npy") else len(content)
    for at in range(0, len(content), max(1, len(content) // 50)):
        (entry / name).write_bytes(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
        cache._verified.clear()
        arrays = cache.mapped(entry, ROWS)
        if arrays is not None:
            assert at < header
            assert_is_stored(arrays)


def test_an_entry_whose_arrays_cannot_be_decoded_stays_as_it_was(entry: Path) -> None:
    def fail(_: Path) -> Decoded:
        raise RuntimeError("no arrays")

    with pytest.raises(RuntimeError, match="no arrays"):
        cache.store(entry, fail)
    assert_is_stored(cache.mapped(entry, ROWS))
    assert [path.name for path in entry.parent.iterdir()] == ["entry"]
