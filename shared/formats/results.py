"""The products of a job, in the form in which a worker passes them on to be stored: files and results."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.formats.epochs import finite, require_names
from shared.schemas import ClassResult, LayerSummary, ModelKind

MODEL = "model"
"""The role of the files of a trained model."""
KERAS_FILE, ONNX_FILE = "model.keras", "model.onnx"
"""The names of the files of a network that this server trains."""
VALUES = "values"
"""The type of results that are named values only."""
EVALUATION = "evaluation_"
"""The prefix of the names of a result's values among the metrics of its job."""

MAX_ARTIFACT_BYTES = 256 * 2**20

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")


@dataclass(frozen=True)
class NewArtifact:
    """A file that a job has made.

    Attributes:
        name: the name of the file, unique within its job, such as `model.onnx`.
        role: `MODEL` if it is a file of the model that the job has trained.
    """

    name: str
    content: bytes
    role: str = "file"
    media_type: str = "application/octet-stream"

    def __post_init__(self) -> None:
        """Raise ValueError for an invalid file name or a content that is too large."""
        if not _FILE_NAME.fullmatch(self.name):
            raise ValueError(f"an artifact needs the name of a file, such as model.onnx, not {self.name!r}")
        if len(self.content) > MAX_ARTIFACT_BYTES:
            size, most = len(self.content) / 2**20, MAX_ARTIFACT_BYTES // 2**20
            raise ValueError(f"the artifact {self.name} has {size:,.0f} MiB: at most {most} MiB are stored")


@dataclass(frozen=True)
class NewResult:
    """The results of a job.

    Attributes:
        type: `VALUES`, or `shared.formats.classification.TYPE`.
        values: finite numbers by name; None for one that is not finite.
        size: the number of examples on which they are based.
        threshold: predictions with a lower probability are rejected.
        per_class: the results of each class.
        body: further data of the type, in its own layout.
    """

    values: Mapping[str, float | None]
    type: str = VALUES
    dataset: str | None = None
    size: int | None = None
    threshold: float | None = None
    per_class: tuple[ClassResult, ...] = ()
    body: bytes | None = None

    def __post_init__(self) -> None:
        """Make the values storable; raise ValueError for an invalid name, or too many values."""
        require_names([name and EVALUATION + name for name in self.values])
        object.__setattr__(self, "values", finite(self.values))

    @property
    def accuracy(self) -> float | None:
        """The value named `accuracy`; None if there is none."""
        return self.values.get("accuracy")


@dataclass(frozen=True)
class Produced:
    """What a job has produced; each part may be missing.

    Attributes:
        artifacts: its files; those with the role `MODEL` are the model that it has trained.
        kind: the network of that model, if it is one that the API can run by its file `ONNX_FILE`.
        layers: the layers of the model.
        weights_sha256: the SHA-256 of the weights' bytes in layer order; equal for equal models.
    """

    artifacts: tuple[NewArtifact, ...] = ()
    result: NewResult | None = None
    kind: ModelKind | None = None
    layers: tuple[LayerSummary, ...] = ()
    weights_sha256: str | None = None

    @property
    def has_model(self) -> bool:
        """Whether the job has produced files of a model."""
        return any(artifact.role == MODEL for artifact in self.artifacts)

    @property
    def runnable(self) -> ModelKind | None:
        """The network that the API can run; None if there is none."""
        return self.kind if any(artifact.name == ONNX_FILE for artifact in self.artifacts) else None

    def content(self, name: str) -> bytes:
        """Return the content of the artifact with this name; raise KeyError if there is none."""
        return {artifact.name: artifact.content for artifact in self.artifacts}[name]
