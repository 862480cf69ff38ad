"""The `.keras` file of a trained model, for Keras users."""

import json
import time
from functools import cache
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

import numpy as np

from shared.errors import AttemptError
from shared.formats.weights import LAYOUT, Weights, parameter_count, split, to_bytes
from shared.schemas import ModelKind
from workers.mnist.model import keras_model

_WEIGHTS_MEMBER = "model.weights.h5"
_METADATA_MEMBER = "metadata.json"


class _KerasTemplate(NamedTuple):
    """The members of a `.keras` file as Keras writes it, and the offset of each array of weights."""

    members: dict[str, bytes]
    places: tuple[int, ...]


def to_keras(kind: ModelKind, weights: Weights) -> bytes:
    """Return the model as a `.keras` file.

    Keras needs 25 ms to write one, so it writes a template once, into which the weights are copied.
    """
    template = _keras_template(kind)
    arrays = bytearray(template.members[_WEIGHTS_MEMBER])
    for place, array in zip(template.places, split(kind, weights), strict=True):
        arrays[place : place + array.nbytes] = to_bytes(array)
    metadata = json.loads(template.members[_METADATA_MEMBER])
    metadata["date_saved"] = time.strftime("%Y-%m-%d@%H:%M:%S")
    changed = {_WEIGHTS_MEMBER: bytes(arrays), _METADATA_MEMBER: json.dumps(metadata).encode()}
    file = BytesIO()
    with ZipFile(file, "w") as archive:
        for name, content in template.members.items():
            archive.writestr(name, changed.get(name, content))
    return file.getvalue()


@cache
def _keras_template(kind: ModelKind) -> _KerasTemplate:
    # the weights are consecutive numbers, so that every array can be located in the file
    numbered = split(kind, np.arange(1, parameter_count(kind) + 1, dtype=LAYOUT))
    model = keras_model(kind)
    model.set_weights(numbered)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        with ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    places = tuple(members[_WEIGHTS_MEMBER].index(array.tobytes()) for array in numbered)
    return _KerasTemplate(members, places)


def from_keras(kind: ModelKind, file: bytes) -> Weights:
    """Return the weights in a `.keras` file of this architecture.

    Only arrays are read from the file, not its model configuration, so a forged file can do no harm.

    Raises:
        AttemptError: the file is damaged, or holds another architecture.
    """
    model = keras_model(kind)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(file)
        try:
            with ZipFile(path) as archive:
                # Keras does not read the whole file, and may not notice a wrong checksum
                if damaged := archive.testzip():
                    raise BadZipFile(f"{damaged} has a wrong checksum")
            model.load_weights(path)
        except (OSError, ValueError, KeyError, RuntimeError, BadZipFile) as error:
            reason = str(error).partition("\n")[0]
            raise AttemptError(f"the stored model is damaged or not a {kind} model: {reason}") from error
    return np.concatenate([array.ravel() for array in model.get_weights()])
