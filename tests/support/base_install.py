"""What `pip install trainshed` brings: the base dependencies, and what these need, without any extra."""

import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.paths import ROOT

_OURS = ("shared", "trainshed")


def make_base_install(folder: Path) -> Path:
    """Fill a folder with links to the packages of a base installation, for `PYTHONPATH` with `python -S`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, Distribution] = {}
    _collect(map(Requirement, project["dependencies"]), found)
    for dist in found.values():
        for entry in {file.parts[0] for file in dist.files or () if file.parts[0] != ".."}:
            target = Path(str(dist.locate_file(entry)))
            if entry != "__pycache__":
                (folder / entry).symlink_to(target)
    for package in _OURS:
        (folder / package).symlink_to(ROOT / package)
    return folder


def _collect(requirements: Iterable[Requirement], found: dict[str, Distribution]) -> None:
    """Add the distributions that are required, and those that they require."""
    for requirement in requirements:
        name, marker = canonicalize_name(requirement.name), requirement.marker
        if name in found or (marker and not marker.evaluate({"extra": ""})):
            continue
        found[name] = distribution(name)
        _collect(map(Requirement, found[name].requires or ()), found)
