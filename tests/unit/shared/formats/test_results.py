"""What a job leaves behind is made storable, or refused with words."""

import pytest

from shared.formats.results import MODEL, ONNX_FILE, NewArtifact, NewResult, Produced
from shared.schemas import ModelKind


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", ".hidden", "a\0", "x" * 129, "ä"])
def test_an_artifact_needs_the_name_of_a_file(name: str) -> None:
    with pytest.raises(ValueError, match="needs the name of a file"):
        NewArtifact(name, b"")


def test_an_artifact_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.formats.results.MAX_ARTIFACT_BYTES", 2**20)
    assert NewArtifact("model.pt", bytes(2**20)).name == "model.pt"
    with pytest.raises(ValueError, match=r"model\.pt has 1 MiB: at most 1 MiB are stored"):
        NewArtifact("model.pt", bytes(2**20 + 1))


def test_values_that_are_not_finite_are_none() -> None:
    result = NewResult({"a": float("nan"), "b": float("-inf"), "c": 3, "d": None})
    assert result.values == {"a": None, "b": None, "c": 3.0, "d": None}


@pytest.mark.parametrize("name", ["", "x" * 118, "a\nb", "a\0"])
def test_a_value_needs_a_printable_name(name: str) -> None:
    with pytest.raises(ValueError, match="the name of a metric must be 1 to 128 printable"):
        NewResult({name: 1.0})


def test_more_values_than_are_stored_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 256 metrics can be recorded together, not 257"):
        NewResult({str(number): 0.0 for number in range(257)})


def test_only_a_network_with_an_onnx_file_can_be_run() -> None:
    file = NewArtifact("model.pt", b"a model", MODEL)
    assert Produced((file,), kind=ModelKind.CNN).runnable is None
    assert (
        Produced((NewArtifact(ONNX_FILE, b"a model", MODEL),), kind=ModelKind.CNN).runnable is ModelKind.CNN
    )
    assert Produced((NewArtifact(ONNX_FILE, b"a model", MODEL),)).runnable is None


def test_only_files_of_a_model_make_a_model() -> None:
    assert not Produced((NewArtifact("log.txt", b""),)).has_model
    assert Produced((NewArtifact("model.pt", b"", MODEL),)).has_model
