"""Fixtures of the integration tests: TensorFlow.js."""

import os
from pathlib import Path

import pytest

from tests.support import tfjs


@pytest.fixture(scope="session")
def tensorflow_js() -> Path:
    """A folder with TensorFlow.js, which is needed where `.ci/run` runs."""
    try:
        return tfjs.install()
    except tfjs.NoNpm as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
