"""A fresh clone of this checkout, in which its pages are tried, and the environment of a new reader."""

import os
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np

from shared.datasets import digits
from tests.support.git import git
from tests.support.paths import MNIST, ROOT
from tests.support.sprite_files import grey_png, one_hot

_SPRITE_ROWS = 65_000
_NAMES = {"IMAGES": "mnist_images.png", "LABELS": "mnist_labels_uint8"}


class NoSprite(Exception):
    """There is no copy of MNIST, where one is required."""


def make_clone(folder: Path) -> Path:
    """Clone this checkout into a folder, with what is not committed yet; return the clone's path.

    `make` finds its environment set up: it is this one's packages, with the clone's own code.
    """
    clone = folder / "trainshed"
    git("clone", "--quiet", ROOT, clone)
    if changes := git("-C", ROOT, "diff", "HEAD", "--binary"):
        git("-C", clone, "apply", patch=changes)
    environment = clone / ".venv"
    venv.create(environment, symlinks=True)
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "clone.pth").write_text(f"{clone}\n{sysconfig.get_path('purelib')}\n")
    script = environment / "bin" / "trainshed"
    script.write_text(f"#!{environment}/bin/python\nfrom trainshed_program import main\n\nmain()\n")
    script.chmod(0o755)
    (environment / "installed").touch()
    return clone


def new_environment(folder: Path, port: int) -> dict[str, str]:
    """Return the variables of a reader who has set none but the sprite's addresses.

    Raises:
        NoSprite: the environment names no sprite, none is beside the checkout, and this is CI.
    """
    curl = folder / "curl"
    curl.mkdir(exist_ok=True)
    # no progress as in a terminal without a redirection; an error of the API must not pass unseen
    (curl / ".curlrc").write_text("silent\nfail-with-body\n")
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if name in os.environ
    }
    # this checkout's commands are not on a new reader's PATH
    commands = sysconfig.get_path("scripts")
    path = os.pathsep.join(each for each in kept["PATH"].split(os.pathsep) if each != commands)
    return {
        **kept,
        "PATH": path,
        **_sprite(folder),
        "TRAINSHED_PORT": str(port),
        "CURL_HOME": str(curl),
        "COLUMNS": "120",
        "PYTHONUNBUFFERED": "1",
        "TZ": "UTC",
    }


def _sprite(folder: Path) -> dict[str, str]:
    """Return the variables that name MNIST: the environment's, a copy beside the checkout, a substitute."""
    variables = {f"TRAINSHED_MNIST_{kind}_URL": name for kind, name in _NAMES.items()}
    if all(name in os.environ for name in variables):
        return {name: os.environ[name] for name in variables}
    if all((MNIST / name).exists() for name in _NAMES.values()):
        return {variable: (MNIST / name).as_uri() for variable, name in variables.items()}
    if os.environ.get("CI") == "true":
        raise NoSprite(f"no MNIST sprite: neither {' and '.join(variables)} nor {MNIST}")
    sys.stdout.write("No MNIST sprite: these pages are tried with the digits of scikit-learn in its place.\n")
    return _substitute(folder)


def _substitute(folder: Path) -> dict[str, str]:
    images, labels = digits.decode()
    rows = np.arange(_SPRITE_ROWS) % len(labels)
    (folder / _NAMES["IMAGES"]).write_bytes(grey_png(images[rows]))
    (folder / _NAMES["LABELS"]).write_bytes(one_hot(labels[rows]).tobytes())
    return {f"TRAINSHED_MNIST_{kind}_URL": (folder / name).as_uri() for kind, name in _NAMES.items()}
