"""Answers as HTML."""

from xml.etree import ElementTree

from tests.support.fake_api import make_failure, make_job, make_job_evaluation, make_states, make_success
from trainshed.notebook import html


def words(markup: str) -> str:
    """The text of HTML that is also XML."""
    tree = ElementTree.fromstring(f"<p>{markup.replace('<br>', '<br/>').replace('&ensp;', ' ')}</p>")
    return " ".join("".join(tree.itertext()).split())


def test_a_job_says_its_state_progress_and_specification() -> None:
    *_, training, done = make_states(make_job(name="mine"))
    assert "“mine”" in words(html.job(training))
    assert "running, training" in words(html.job(training))
    assert "epoch 3/3" in words(html.job(training))
    assert "epochs 3" in words(html.job(training))
    assert "evaluation accuracy 0.9800" in words(html.job(done))
    assert '<progress max="6" value="6">' in html.job(done)


def test_a_failed_job_says_why() -> None:
    assert "data_unavailable: no route" in words(html.job(make_failure(make_job())))


def test_an_evaluation_has_the_results_of_each_class_and_the_matrix() -> None:
    evaluation = make_job_evaluation(make_job().id)
    text = words(html.evaluation(evaluation))
    assert "accuracy 0.9800" in text
    assert all(result.title in text for result in evaluation.per_class)
    assert html.evaluation(evaluation).count("<td") == 10 * 7 + 10 * 11


def test_no_text_of_a_job_becomes_markup() -> None:
    hostile = make_success(make_job(name="<script>alert(1)</script>"))
    assert "<script>" not in html.job(hostile)
    assert "<script>" not in html.table(["<script>"], [["<script>"]])


def test_a_number_has_four_decimals_and_nothing_is_a_dash() -> None:
    assert [html.cell(value) for value in (0.5, 1e-05, 3, None)] == ["0.5000", "1e-05", "3", "-"]
