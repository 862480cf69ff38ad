"""The comparison sees a wrong answer, and not that ids, numbers and times are others."""

import json

import pytest

from tests.docs.forms import Ids, difference, replace_ids

ID = "01a22031-f3c4-7777-ad4e-a6f4d8abe08e"
OTHER = "01a20000-0000-7000-8000-0000deadbeef"
THIRD = "01a20000-0000-7000-8000-00000000cafe"


def found(shown: str, actual: str, ids: Ids | None = None) -> str:
    return difference(shown.splitlines(), actual, {} if ids is None else ids)


@pytest.mark.parametrize(
    ("shown", "actual"),
    [
        (f"Job {ID} is queued", f"Job {OTHER} is queued"),
        ("Last seen 58 min ago", "Last seen 1 min 3 s ago"),
        ("ended 2026-11-28 03:20:39", "ended 2027-01-02 11:00:01"),
        ("loss   0.3263  ▁▄█", "loss 1.5  ▁▁▂▄█"),
        ("0 Zero  [50]   ·   1,135", "0 Zero [7] 1 2"),
        ("9  0.8439  ━━━━━╸", "9  0.0001"),
        ("epoch 1/10\n...\nepoch 10/10", "epoch 1/10\nepoch 2/10\nepoch 10/10"),
        ("epoch 1/10\n...\nepoch 10/10", "epoch 1/10\nepoch 10/10"),
        ("one\n\ntwo", "one\ntwo\n"),
        ("epoch 3/5  loss ...", "epoch 4/5  loss 0.5  accuracy 0.9"),
        ("myhost:6402 online", "myhost:99 online"),
        ("1 image", "1 image\n\n"),
    ],
)
def test_text_of_the_same_form_has_no_difference(shown: str, actual: str) -> None:
    assert found(shown, actual) == ""


@pytest.mark.parametrize(
    ("shown", "actual", "says"),
    [
        ("Job 1 succeeded", "Job 1 failed", "no such line here: Job 1 succeeded"),
        ("one\ntwo", "one", "no such line here: two"),
        ("one", "one\ntwo", "goes on after what the page shows"),
        ("one\n...\nthree", "one\ntwo", "no such line here: three"),
        ("epoch 3/5  loss ...", "epoch 3/5  accuracy 0.9", "no such line here"),
        ("one\ntwo", "two\none", "no such line here: one"),
        ("accuracy 0.9", "accuracy", "no such line here"),
        ("one", "", "no such line here: one"),
    ],
)
def test_text_of_another_form_differs(shown: str, actual: str, says: str) -> None:
    assert says in found(shown, actual)


@pytest.mark.parametrize(
    ("shown", "actual"),
    [
        (json.dumps({"loss": 0.5, "id": ID}), json.dumps({"id": OTHER, "loss": 1})),
        ('{"id": 1, ...}', '{"name": "a", "id": 2}'),
        ('{..., "id": 1}', '{"name": "a", "id": 2}'),
        ('{"spec": {...}}', '{"spec": {"epochs": 1}}'),
        ('{"data": [1, ...]}', '{"data": [3, 4, 5]}'),
        ('{"data": [...]}', '{"data": []}'),
        ('{"image": "data:image/png;base64,..."}', '{"image": "data:image/png;base64,iVBORw0KGgoAAAANSU"}'),
        ('{"at": "2026-11-28T03:31:13.323000Z"}', '{"at": "2027-01-01T00:00:00Z"}'),
        ('[1,\n"..."]', '[1, "anything"]'),
    ],
)
def test_json_of_the_same_form_has_no_difference(shown: str, actual: str) -> None:
    assert found(shown, actual) == ""


@pytest.mark.parametrize(
    ("shown", "actual", "says"),
    [
        ('{"loss": 1, "accuracy": 1}', '{"loss": 1}', "answer has no accuracy"),
        ('{"loss": 1}', '{"loss": 1, "accuracy": 1}', "answer also has accuracy"),
        ('{"job": {"id": 1, ...}}', '{"job": {"name": "a"}}', "answer.job has no id"),
        ('{"state": "succeeded"}', '{"state": "failed"}', "answer.state is 'failed', not 'succeeded'"),
        ('{"loss": 1}', '{"loss": "1"}', 'answer.loss is "1", not 1'),
        ('{"loss": 1}', '{"loss": null}', "answer.loss is null, not 1"),
        ('{"loss": null}', '{"loss": 1}', "answer.loss is 1, not null"),
        ('{"paused": true}', '{"paused": false}', "answer.paused is false, not true"),
        ('{"paused": true}', '{"paused": 1}', "answer.paused is 1, not true"),
        ('{"data": [1]}', '{"data": [1, 2]}', "answer.data has 2 elements, not 1"),
        ('{"data": [1, ...]}', '{"data": []}', "answer.data has 0 elements, not 1"),
        ('{"data": [{"x": 1}, ...]}', '{"data": [{"y": 1}]}', "answer.data[0] has no x"),
        ('{"data": [1]}', '{"data": {"0": 1}}', "answer.data is"),
        ('{"loss": 1}', "Error: no such job", "not JSON"),
        ('{"loss": 1}', "", "not JSON"),
    ],
)
def test_json_of_another_form_differs(shown: str, actual: str, says: str) -> None:
    assert says in found(shown, actual)


def test_an_id_stands_for_the_same_one_everywhere() -> None:
    ids: Ids = {}
    assert found(json.dumps({"id": ID}), json.dumps({"id": OTHER}), ids) == ""
    assert replace_ids(f"curl /v1/jobs/{ID}; show d8abe08e; ID={ID}", ids) == (
        f"curl /v1/jobs/{OTHER}; show deadbeef; ID={OTHER}"
    )
    assert found(f"job {ID}", f"job {OTHER}", ids) == ""
    assert "another one before" in found(f"job {ID}", f"job {THIRD}", ids)
    assert "answer.id is" in found(json.dumps({"id": ID}), json.dumps({"id": THIRD}), ids)


@pytest.mark.parametrize("checksum", ["7", "28734651", "2873465123"])
def test_the_digits_of_a_number_are_no_id(checksum: str) -> None:
    assert found('etag: "13.2873465123"', f'etag: "13.{checksum}"') == ""
