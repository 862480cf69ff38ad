"""Fixtures that count what a job makes anew: traced programs and loaded datasets."""

from collections.abc import Callable
from typing import Any

import pytest

from shared.datasets.catalog import load
from tests.support.synthetic import CallCounter
from workers.mnist.model import logits


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> CallCounter:
    """Counts traces of programs: a program calls the model's Python code only while it is traced."""
    counter = CallCounter()
    monkeypatch.setattr("workers.mnist.graphs.logits", _counted(logits, counter))
    return counter


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> CallCounter:
    """Counts the datasets that executors load."""
    counter = CallCounter()
    monkeypatch.setattr("workers.mnist.executor.load", _counted(load, counter))
    return counter


def _counted(function: Callable[..., Any], counter: CallCounter) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        counter()
        return function(*args)

    return call
