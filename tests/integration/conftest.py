"""Fixtures of the integration tests: TensorFlow.js, and threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import tfjs
from tests.support.lacking import environment_lacks


@pytest.fixture(scope="session")
def tensorflow_js() -> Path:
    """A folder with TensorFlow.js, which is needed where `.ci/run` runs."""
    try:
        return tfjs.install()
    except tfjs.NoNpm as error:
        environment_lacks(str(error))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for requests that wait."""
    with ThreadPoolExecutor(16) as threads:
        yield threads
