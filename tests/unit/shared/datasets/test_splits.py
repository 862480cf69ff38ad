from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.datasets.splits import epoch_order, evaluation_rows, train_rows, validation_rows
from shared.errors import DataCorrupt

seeds = st.integers(0, 2**31 - 1)


@given(seed=seeds, available=st.integers(1, 500), data=st.data())
def test_train_rows_are_distinct_rows_of_the_dataset(seed: int, available: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, available))

    rows = train_rows(seed, size, available)

    assert len(set(rows.tolist())) == size
    assert set(rows.tolist()) <= set(range(available))


def test_a_larger_job_with_the_same_seed_uses_the_same_images_and_more() -> None:
    assert train_rows(4, 200, 1_000)[:100].tolist() == train_rows(4, 100, 1_000).tolist()


@given(seed=seeds, available=st.integers(1, 500), data=st.data())
def test_evaluation_uses_validation_images_only_if_no_others_are_left(
    seed: int, available: int, data: st.DataObject
) -> None:
    validation_size = data.draw(st.integers(1, available))
    size = data.draw(st.integers(1, available))

    validated = set(validation_rows(seed, validation_size, available).tolist())
    evaluated = evaluation_rows(seed, size, available, validation_size).tolist()

    assert len(set(evaluated)) == size
    assert len(validated & set(evaluated)) == max(0, validation_size + size - available)


def test_all_test_images_can_be_validated_on_and_evaluated() -> None:
    assert sorted(evaluation_rows(1, 10_000, 10_000, 10_000)) == list(range(10_000))


def test_another_seed_selects_other_evaluation_images() -> None:
    first, second = evaluation_rows(1, 500, 10_000, 1_000), evaluation_rows(2, 500, 10_000, 1_000)

    assert len(set(first.tolist()) & set(second.tolist())) < 100


def test_train_and_test_images_are_shuffled_differently() -> None:
    assert train_rows(1, 100, 100).tolist() != validation_rows(1, 100, 100).tolist()


@pytest.mark.parametrize(
    ("field", "select"),
    [
        ("train_size", lambda: train_rows(1, 101, 100)),
        ("validation_size", lambda: validation_rows(1, 101, 100)),
        ("evaluation_size", lambda: evaluation_rows(1, 101, 100, 1)),
    ],
)
def test_more_images_than_available_are_refused_with_the_fields_name(
    field: str, select: Callable[[], object]
) -> None:
    with pytest.raises(DataCorrupt, match=f"{field} is 101, but this worker's dataset has 100"):
        select()


def test_each_epoch_uses_every_image_once_in_an_order_of_its_own() -> None:
    orders = [epoch_order(9, epoch, 300) for epoch in range(4)]

    assert all(sorted(order) == list(range(300)) for order in orders)
    assert all(order.dtype == np.int32 for order in orders)
    assert len({order.tobytes() for order in orders}) == 4
