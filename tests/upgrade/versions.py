"""Other versions of the code, each in a folder from which its programs run: the last release, and a next one.

They run with this checkout's packages: a new environment takes minutes and 3 GB. So a release whose
dependencies are not this checkout's is tried with those that it would get by an upgrade.
"""

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from shutil import copy2
from subprocess import CalledProcessError
from zipfile import ZipFile

from packaging.version import Version

from shared.db.migrating import CODE_VERSION
from tests.support.git import git
from tests.support.paths import ROOT

FIRST_OF_ITS_TABLES = "0.2.0"
"""The release that is reached by a stop, since its migration moves all rows; later ones are rolled out."""

NEXT_SCHEMA = "9001"
NEXT_VERSION = "99.0.0"
_CODE = ("api", "shared", "tests", "trainshed", "workers")
# what migrations may do while the last release runs
_EXPANDS = f'''
import sqlalchemy as sa
from alembic import op

revision = "9000"
down_revision = "{CODE_VERSION}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("note", sa.Text(), nullable=True))
    op.add_column("workers", sa.Column("room", sa.Integer(), nullable=False, server_default="1"))
    op.create_table(
        "notes",
        sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("text", sa.Text(), nullable=False),
    )
'''
_INDEXES = f'''
from shared.migrations import indexes

revision = "{NEXT_SCHEMA}"
down_revision = "9000"
branch_labels = None
depends_on = None


def upgrade() -> None:
    indexes.create("ix_jobs_note", "jobs", ["note"])
'''


class NoRelease(Exception):
    """The last release cannot be found.

    Attributes:
        is_expected: whether this says nothing about the release: of a clone without its history.
    """

    def __init__(self, reason: str, *, is_expected: bool = False) -> None:
        super().__init__(reason)
        self.is_expected = is_expected


@dataclass(frozen=True)
class Release:
    """A release, and the commit that it was made of."""

    version: str
    commit: str

    @property
    def is_left_by_a_stop(self) -> bool:
        """Whether all of its processes are stopped before an upgrade to this checkout."""
        return Version(self.version) < Version(FIRST_OF_ITS_TABLES)


def last_release(root: Path = ROOT, version: str = r"\d+\.\d+\.\d+") -> Release:
    """Return the newest release before the commit that is checked out, whose version matches this pattern.

    Its commit is that of the tag `v0.1.0`; without the tag, which not every clone has, that which has entered
    its heading into CHANGELOG.md.

    Raises:
        NoRelease: there is none, or its commit is not known here.
    """
    try:
        if git("-C", root, "rev-parse", "--is-shallow-repository") == b"true\n":
            raise NoRelease("this clone is shallow: it does not have the last release", is_expected=True)
        head = _commit(root, "HEAD")
        changelog = (root / "CHANGELOG.md").read_text()
        for found in re.findall(rf"^## ({version})\b", changelog, re.MULTILINE):
            commit = _commit(root, f"refs/tags/v{found}") or _first_with_heading(root, found)
            if commit not in ("", head):
                return Release(found, commit)
    except (OSError, CalledProcessError) as error:
        raise NoRelease(f"git does not tell the last release: {error}") from error
    raise NoRelease("CHANGELOG.md names no release before this commit", is_expected=True)


def _commit(root: Path, name: str) -> str:
    try:
        return git("-C", root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
    except CalledProcessError:
        return ""


def _first_with_heading(root: Path, version: str) -> str:
    pattern = f"-G^## {re.escape(version)}\\b"
    commits = git("-C", root, "log", "--format=%H", "--reverse", pattern, "--", "CHANGELOG.md")
    return commits.decode().partition("\n")[0]


def install_release(release: Release, folder: Path, root: Path = ROOT) -> Path:
    """Install a release into a folder; return the folder."""
    archive = git("-C", root, "archive", "--format=zip", release.commit)
    with ZipFile(BytesIO(archive)) as files:
        files.extractall(folder)
    stated = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["version"]
    assert stated == release.version, f"{release} says that it is {stated}"
    _add_metadata(folder, release.version)
    return folder


def install_next(folder: Path) -> Path:
    """Install this checkout as a later release, whose migrations expand the schema; return the folder."""
    for path in _tracked():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        copy2(ROOT / path, target)
    versions = folder / "shared" / "migrations" / "versions"
    (versions / "9000_notes.py").write_text(_EXPANDS)
    (versions / f"{NEXT_SCHEMA}_index_of_notes.py").write_text(_INDEXES)
    _add_metadata(folder, NEXT_VERSION)
    return folder


def _tracked() -> Iterator[str]:
    listed = git("-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", *_CODE)
    yield from (path for path in listed.decode().split("\0") if path and (ROOT / path).exists())


def _add_metadata(folder: Path, version: str) -> None:
    """Have programs that run from the folder know their version as an installed package does."""
    metadata = folder / f"trainshed-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: trainshed\nVersion: {version}\n")
