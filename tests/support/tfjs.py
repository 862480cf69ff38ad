"""TensorFlow.js from npm, with which tests load models in Node."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from tests.support.paths import ROOT

VERSION = "4.22.0"

_FOLDER = ROOT / ".cache" / f"tfjs-{VERSION}"
_SCRIPT = Path(__file__).with_name("tfjs_predict.cjs")
_INSTALL_TIMEOUT_S = 300


class NoNpm(Exception):
    """npm is not there, or its registry does not respond."""


def install() -> Path:
    """Install the package once for this checkout, which takes 10 s and 300 MB; return its folder.

    Raises:
        NoNpm: it cannot be installed.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NoNpm("npm and node are not on PATH")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    installed = _FOLDER / "installed"
    with FileLock(_FOLDER / "lock"):
        if not installed.exists():
            options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
            command = [npm, "install", "--prefix", str(_FOLDER), *options, f"@tensorflow/tfjs@{VERSION}"]
            try:
                subprocess.run(
                    command, check=True, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S
                )
            except subprocess.CalledProcessError as error:
                raise NoNpm(f"npm could not install TensorFlow.js: {error.stderr!s}") from error
            except subprocess.TimeoutExpired as error:
                raise NoNpm(f"npm did not install TensorFlow.js: {error}") from error
            installed.touch()
    return _FOLDER


def predict(folder: Path, url: str, images: npt.NDArray[np.float32], *, key: str = "") -> dict[str, Any]:
    """Have `tf.loadLayersModel` load a model; return its `layers`, and its `outputs` for images (n, 784)."""
    result = subprocess.run(
        ["node", str(_SCRIPT), str(folder), url, key],
        input=json.dumps(images.tolist()),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert result.returncode == 0, result.stderr
    loaded: dict[str, Any] = json.loads(result.stdout)
    assert loaded["version"] == VERSION
    return loaded
