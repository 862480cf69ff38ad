"""Tables of evaluations fit the terminal and can be read without colour."""

from dataclasses import replace

import numpy as np
import pytest

from shared.formats.classification import classification
from shared.schemas import Evaluation
from tests.support.command_line import rendered_lines
from tests.support.factories import as_shown, make_evaluation, make_regression
from trainshed.cli.evaluation_tables import ConfusionMatrix, class_table, evaluation_tables


def test_the_class_table_has_one_row_per_class_with_four_decimals() -> None:
    head, rule, *rows = rendered_lines(class_table(as_shown(make_evaluation())))
    assert " ".join(head.split()) == "Class Accuracy # Samples Correct Rejected Precision Recall F1"
    assert set(rule) == {"─"}
    assert len(rows) == 10
    assert rows[4].split() == ["4", "Four", "1.0000", "5", "5", "0", "0.8333", "1.0000", "0.9091"]
    assert rows[9].split() == ["9", "Nine", "0.8000", "5", "4", "0", "1.0000", "0.8000", "0.8889"]


def test_an_undefined_ratio_is_a_dash() -> None:
    evaluation = as_shown(make_evaluation())
    empty = evaluation.per_class[0].model_copy(
        update={"count": 0, "correct": 0, "accuracy": None, "precision": None, "recall": None, "f1": None}
    )
    evaluation = evaluation.model_copy(update={"per_class": (empty, *evaluation.per_class[1:])})
    assert rendered_lines(class_table(evaluation))[2].split() == [
        "0",
        "Zero",
        "-",
        "0",
        "0",
        "0",
        "-",
        "-",
        "-",
    ]


def test_the_matrix_has_true_classes_in_rows_and_predictions_in_columns() -> None:
    title, _, head, *rows = rendered_lines(ConfusionMatrix(as_shown(make_evaluation())))
    assert title == "Confusion matrix: rows are the true class, columns the prediction"
    assert head.split() == [str(label) for label in range(10)]
    assert rows[9].split() == ["9", "Nine", "·", "·", "·", "·", "1", "·", "·", "·", "·", "[4]"]


def test_the_diagonal_is_recognizable_without_colour() -> None:
    _, _, _, *rows = rendered_lines(ConfusionMatrix(as_shown(make_evaluation())))
    for label, row in enumerate(rows):
        assert row.split()[2 + label].startswith("[")
        assert row.count("[") == 1


def test_the_matrix_columns_are_aligned_with_their_heads() -> None:
    _, _, head, *rows = rendered_lines(ConfusionMatrix(as_shown(make_evaluation())))
    assert rows[9].index("1") == head.index("4")
    assert rows[7].index("[") + 1 == head.index("7")


def test_errors_and_the_diagonal_have_colours_of_their_own() -> None:
    row = rendered_lines(ConfusionMatrix(as_shown(make_evaluation())), color=True)[-1]
    assert "\x1b[1;31m   1 " in row
    assert "\x1b[1;37;44m[4]" in row


def _of_thousands(name: str = "Ankle boot") -> Evaluation:
    evaluation = as_shown(
        make_evaluation(),
        confusion_matrix=tuple(tuple(1_000 - abs(i - j) for j in range(10)) for i in range(10)),
    )
    boots = evaluation.per_class[9].model_copy(update={"name": name})
    return evaluation.model_copy(update={"per_class": (*evaluation.per_class[:9], boots)})


@pytest.mark.parametrize("width", [60, 80, 200])
def test_results_of_thousands_with_long_names_fit_the_terminal(width: int) -> None:
    evaluation = _of_thousands()
    for table in (ConfusionMatrix(evaluation), class_table(evaluation)):
        assert max(map(len, rendered_lines(table, width))) <= width
    assert len(rendered_lines(ConfusionMatrix(evaluation), width)) == (14 if width == 60 else 13)
    classes = rendered_lines(class_table(evaluation), width)
    assert [line.startswith("9 Ankle boot") for line in classes].count(True) == 1


def test_a_narrow_matrix_has_numbers_in_place_of_names_and_then_no_brackets() -> None:
    last = [rendered_lines(ConfusionMatrix(_of_thousands()), width)[-1].rstrip() for width in (80, 61, 60)]
    assert last[0].startswith("9 Ankle boot  991 ")
    assert last[0].endswith("[1000]")
    assert last[1].startswith("9  991 ")
    assert last[1].endswith("[1000]")
    assert last[2].startswith("9 991  992 ")
    assert last[2].endswith(" 1000")


def test_an_evaluation_is_summarized_with_size_accuracy_and_loss() -> None:
    assert rendered_lines(evaluation_tables(as_shown(make_evaluation())))[0] == (
        "Evaluation on 50 images: accuracy 0.9800, loss 0.2000"
    )


def test_an_evaluation_with_a_threshold_is_summarized_with_its_rejected_images() -> None:
    shown = rendered_lines(evaluation_tables(as_shown(make_evaluation(threshold=0.75), rejected=3)))
    assert shown[0].endswith("3 rejected below 0.75")


def test_results_without_classes_are_a_table_of_values() -> None:
    values = {"r2": -0.25, "mae of the very long name of a value": 1.5, "nothing": float("inf")}
    lines = rendered_lines(evaluation_tables(as_shown(make_regression(values=values))))
    assert lines[0] == "Evaluation on 40 examples"
    assert [line.split()[-1] for line in lines[4:]] == ["-0.2500", "1.5000", "-"]


def test_an_accuracy_and_a_loss_are_in_the_summary_of_any_results() -> None:
    lines = rendered_lines(evaluation_tables(as_shown(make_regression(values={"loss": 2.0}, size=None))))
    assert lines == ["Evaluation: loss 2.0000"]


@pytest.mark.parametrize(
    ("classes", "words"), [(3, "0 [1]   ·   ·"), (200, "The confusion matrix of 200 classes is not shown")]
)
def test_classes_without_names_have_numbers(classes: int, words: str) -> None:
    result = classification(np.eye(classes), np.arange(classes))
    lines = rendered_lines(evaluation_tables(as_shown(result)))
    assert any(" ".join(words.split()) in " ".join(line.split()) for line in lines)
    assert lines[4].split()[:2] == ["0", "1.0000"]


def test_an_evaluation_without_predictions_has_no_matrix() -> None:
    lines = rendered_lines(evaluation_tables(as_shown(replace(make_evaluation(), body=None))))
    assert lines[-1] == "No confusion matrix: the predictions of single images are not stored."
