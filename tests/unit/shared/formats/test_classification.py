"""Classifications are counted as one counts them image by image, and refuse what does not fit together."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.formats.classification import classification
from shared.formats.predictions import PredictedImages
from shared.schemas import Evaluation
from tests.support.factories import as_shown

NAMES = ("Zero", "One", "Two")


def _evaluate(
    probabilities: list[list[float]], labels: list[int], threshold: float | None = None
) -> Evaluation:
    array = np.array(probabilities, np.float32)
    losses = -np.log(array[np.arange(len(labels)), labels])
    return as_shown(
        classification(
            array,
            np.array(labels, np.uint8),
            indices=np.arange(100, 100 + len(labels)),
            names=NAMES,
            threshold=threshold,
            values={"loss": float(losses.mean(dtype=np.float64))},
        )
    )


@st.composite
def predictions(draw: st.DrawFn) -> tuple[list[list[float]], list[int], float | None]:
    count = draw(st.integers(1, 30))
    weights = draw(
        st.lists(st.lists(st.integers(1, 4), min_size=3, max_size=3), min_size=count, max_size=count)
    )
    labels = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    threshold = draw(st.none() | st.sampled_from([0.0, 0.4, 0.5, 1.0]))
    return [[weight / sum(row) for weight in row] for row in weights], labels, threshold


def _counted(
    probabilities: npt.NDArray[np.float32], labels: list[int], threshold: float | None
) -> dict[str, Any]:
    """Count image by image what `classification` computes."""
    matrix = [[0] * 3 for _ in range(3)]
    rejected = [0] * 3
    misclassified = []
    for index, (row, label) in enumerate(zip(probabilities.tolist(), labels, strict=True)):
        best = max(row)
        if threshold is not None and best < threshold:
            rejected[label] += 1
            continue
        predicted = row.index(best)
        matrix[label][predicted] += 1
        if predicted != label:
            misclassified.append((100 + index, label, predicted, best))
    return {"matrix": matrix, "rejected": rejected, "misclassified": misclassified}


@given(predictions())
@settings(deadline=None)
def test_the_results_equal_those_of_counting_image_by_image(
    case: tuple[list[list[float]], list[int], float | None],
) -> None:
    probabilities, labels, threshold = case

    result = _evaluate(probabilities, labels, threshold)

    expected = _counted(np.array(probabilities, np.float32), labels, threshold)
    matrix = expected["matrix"]
    assert [list(row) for row in result.confusion_matrix or ()] == matrix
    assert [(m.index, m.label, m.predicted, m.probability) for m in result.misclassified] == expected[
        "misclassified"
    ]
    assert (result.size, result.rejected) == (len(labels), sum(expected["rejected"]))
    assert result.accuracy == sum(matrix[label][label] for label in range(3)) / len(labels)
    for label, row in enumerate(result.per_class):
        count, correct = labels.count(label), matrix[label][label]
        predicted = sum(matrix[other][label] for other in range(3))
        precision = correct / predicted if predicted else None
        recall = correct / count if count else None
        assert (row.label, row.name) == (label, NAMES[label])
        assert (row.count, row.correct, row.rejected) == (count, correct, expected["rejected"][label])
        assert (row.accuracy, row.recall, row.precision) == (recall, recall, precision)
        if precision is None or recall is None:
            assert row.f1 is None
        elif correct == 0:
            assert row.f1 == 0
        else:
            assert row.f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_predictions_are_in_the_order_of_their_indices() -> None:
    table = np.eye(3, dtype=np.float32)

    result = classification(table, [0, 1, 2], indices=[7, 3, 5])

    images = PredictedImages.from_bytes(result.body or b"", 3)
    assert (images.indices.tolist(), images.labels.tolist()) == ([3, 5, 7], [1, 2, 0])
    np.testing.assert_array_equal(images.probabilities, table[[1, 2, 0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0, 3]}, "each label must be from 0 to 2"),
        ({"labels": [0]}, "2 images have 1 indices and 1 labels"),
        ({"labels": [0, 1], "names": ("a", "b")}, "3 classes need as many names"),
        ({"labels": [0, 1], "indices": [0, -1]}, "each index must be from 0"),
        ({"labels": [0.5, 1.0]}, "each label must be an integer"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classification([[0.5, 0.3, 0.2]] * 2, **arguments)


def test_large_predictions_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.formats.classification.MAX_BODY_BYTES", 16)
    result = classification([[0.9, 0.1], [0.2, 0.8]], [0, 0])
    assert (result.body, result.accuracy, result.per_class[0].correct) == (None, 0.5, 1)


def test_a_row_of_the_confusion_matrix_sums_to_the_classs_accepted_images() -> None:
    result = _evaluate([[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.1, 0.8, 0.1]], [0, 0, 0], threshold=0.45)

    assert result.confusion_matrix is not None
    assert result.confusion_matrix[0] == (1, 1, 0)
    assert (result.per_class[0].count, result.per_class[0].rejected) == (3, 1)


def test_a_probability_equal_to_the_threshold_is_accepted() -> None:
    assert _evaluate([[0.5, 0.25, 0.25]], [0], threshold=0.5).rejected == 0


def test_a_probability_whose_float32_value_is_below_the_threshold_is_rejected() -> None:
    # float32's nearest to 0.9 is 0.8999999762
    assert _evaluate([[0.9, 0.05, 0.05]], [0], threshold=0.9).rejected == 1


def test_threshold_0_rejects_nothing_and_threshold_1_everything_uncertain() -> None:
    probabilities = [[1.0, 0.0, 0.0], [0.99, 0.01, 0.0]]

    assert _evaluate(probabilities, [0, 0], threshold=0.0).rejected == 0
    assert _evaluate(probabilities, [0, 0], threshold=1.0).rejected == 1


def test_a_rejected_image_is_neither_correct_nor_misclassified_nor_in_the_confusion_matrix() -> None:
    result = _evaluate([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3]], [0, 0], threshold=0.5)

    assert (result.accuracy, result.rejected, result.misclassified) == (0.0, 2, ())
    assert result.confusion_matrix == ((0, 0, 0),) * 3


def test_a_class_without_images_has_no_ratios() -> None:
    absent = _evaluate([[0.8, 0.1, 0.1]], [0]).per_class[2]

    assert (absent.count, absent.accuracy, absent.precision, absent.recall, absent.f1) == (
        0,
        None,
        None,
        None,
        None,
    )


def test_a_class_that_is_never_predicted_has_no_precision_and_no_f1() -> None:
    missed = _evaluate([[0.8, 0.1, 0.1]], [1]).per_class[1]

    assert (missed.count, missed.recall, missed.precision, missed.f1) == (1, 0.0, None, None)


def test_the_loss_is_the_mean_over_all_images_including_rejected_ones() -> None:
    result = _evaluate([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]], [0, 0], threshold=0.9)

    assert result.loss == pytest.approx((np.log(2) + np.log(4)) / 2)


def test_an_evaluation_can_be_written_as_json_and_read_back() -> None:
    result = _evaluate([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], [0, 0], threshold=0.2)

    assert Evaluation.model_validate_json(result.model_dump_json()) == result
    assert json.loads(result.model_dump_json())["misclassified"] == [
        {"index": 101, "label": 0, "predicted": 1, "probability": pytest.approx(0.8)}
    ]
