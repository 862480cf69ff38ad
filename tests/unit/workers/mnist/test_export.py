import io
import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from shared.errors import AttemptError
from shared.formats.weights import Weights, split
from shared.schemas import ModelKind
from workers.mnist.export import from_keras, to_keras
from workers.mnist.model import initial_weights, keras_model


def _weights(kind: ModelKind) -> Weights:
    """Return weights like trained ones: biases not zero, scores far apart."""
    random = np.random.default_rng(1)
    weights = initial_weights(kind, 1) * 3
    return weights + random.normal(size=weights.shape).astype(np.float32) * np.float32(0.05)


@pytest.mark.parametrize("kind", ModelKind)
def test_a_keras_file_holds_the_weights_bit_for_bit(kind: ModelKind) -> None:
    file = to_keras(kind, _weights(kind))
    to_keras(kind, initial_weights(kind, 9))  # the model object is shared: none of these may be left

    assert from_keras(kind, file).tobytes() == _weights(kind).tobytes()


@pytest.mark.parametrize("kind", ModelKind)
def test_a_keras_file_has_what_keras_writes(kind: ModelKind, tmp_path: Path) -> None:
    model, path = keras_model(kind), tmp_path / "theirs.keras"
    file = to_keras(kind, _weights(kind))
    model.set_weights(split(kind, _weights(kind)))
    model.save(path)

    with zipfile.ZipFile(io.BytesIO(file)) as ours, zipfile.ZipFile(path) as theirs:
        assert ours.namelist() == theirs.namelist()
        assert ours.read("config.json") == theirs.read("config.json")
        assert ours.read("model.weights.h5") == theirs.read("model.weights.h5")
        metadata = [json.loads(archive.read("metadata.json")) for archive in (ours, theirs)]
    saved_at = [time.strptime(each.pop("date_saved"), "%Y-%m-%d@%H:%M:%S") for each in metadata]
    assert metadata[0] == metadata[1]
    assert time.mktime(saved_at[1]) - time.mktime(saved_at[0]) < 60


def _flipped(file: bytes, place: int) -> bytes:
    return file[:place] + bytes([file[place] ^ 0xFF]) + file[place + 1 :]


def _without_weights(file: bytes) -> bytes:
    kept = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(file)) as old, zipfile.ZipFile(kept, "w") as new:
        for name in old.namelist():
            if not name.endswith(".h5"):
                new.writestr(name, old.read(name))
    return kept.getvalue()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "foreign": lambda _: b"<html>not found</html>",
    "short": lambda file: file[:-100],
    "half": lambda file: file[: len(file) // 2],
    "flipped": lambda file: _flipped(file, 20_000),
    "no weights": _without_weights,
    "other architecture": lambda _: to_keras(ModelKind.DENSE, _weights(ModelKind.DENSE)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_keras_file_that_is_damaged_or_of_another_model_is_refused(
    damage: Callable[[bytes], bytes],
) -> None:
    file = damage(to_keras(ModelKind.CNN, _weights(ModelKind.CNN)))

    with pytest.raises(AttemptError, match=r"^the stored model is damaged or not a cnn model: [^\n]+$"):
        from_keras(ModelKind.CNN, file)
