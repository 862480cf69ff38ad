"""The last release is found in a clone's history, and installed beside the checkout."""

from pathlib import Path

import pytest

from tests.support.git import git
from tests.upgrade.versions import NoRelease, Release, install_release, last_release

_HEADINGS = "# Changelog\n\n## Unreleased\n\n- More.\n"


class Repository:
    """A repository of a project that has a changelog."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        git("init", "--quiet", folder)
        self.commit()

    def commit(self, *releases: str) -> str:
        """Commit a changelog of these releases, newest first; return the commit."""
        text = _HEADINGS + "".join(f"\n## {release} (2026-11-28)\n" for release in releases)
        (self.folder / "CHANGELOG.md").write_text(text)
        version = releases[0] if releases else "0.0.0"
        (self.folder / "pyproject.toml").write_text(f'[project]\nname = "p"\nversion = "{version}"\n')
        author = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        self._git("add", ".")
        self._git(*author, "commit", "--quiet", "--allow-empty", "-m", "A change")
        return self._git("rev-parse", "HEAD")

    def tag(self, name: str, commit: str) -> None:
        self._git("tag", name, commit)

    def _git(self, *arguments: str) -> str:
        return git("-C", self.folder, *arguments).decode().strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "project")


def test_the_last_release_is_the_commit_that_has_entered_its_heading(repository: Repository) -> None:
    repository.commit("0.1.0")
    second = repository.commit("0.2.0", "0.1.0")
    repository.commit("0.2.0", "0.1.0")
    assert last_release(repository.folder) == Release("0.2.0", second)


def test_a_tag_says_it_better(repository: Repository) -> None:
    repository.commit("0.1.0")
    tagged = repository.commit("0.1.0")
    repository.tag("v0.1.0", tagged)
    repository.commit("0.1.0")
    assert last_release(repository.folder) == Release("0.1.0", tagged)


def test_a_release_itself_is_compared_with_the_one_before(repository: Repository) -> None:
    first = repository.commit("0.1.0")
    repository.commit("0.2.0", "0.1.0")
    assert last_release(repository.folder) == Release("0.1.0", first)


def test_a_heading_that_is_not_committed_yet_is_no_release(repository: Repository) -> None:
    first = repository.commit("0.1.0")
    repository.commit("0.1.0")
    changelog = repository.folder / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("## 0.1.0", "## 0.2.0\n\n## 0.1.0"))
    assert last_release(repository.folder) == Release("0.1.0", first)


def test_before_the_second_release_there_is_none(repository: Repository) -> None:
    for releases in [(), ("0.1.0",)]:
        repository.commit(*releases)
        with pytest.raises(NoRelease, match="names no release before this commit") as error:
            last_release(repository.folder)
        assert error.value.is_expected


def test_a_shallow_clone_has_no_release(repository: Repository, tmp_path: Path) -> None:
    repository.commit("0.1.0")
    repository.commit("0.1.0")
    clone = tmp_path / "clone"
    git("clone", "--quiet", "--depth=1", repository.folder.as_uri(), clone)
    with pytest.raises(NoRelease, match="shallow") as error:
        last_release(clone)
    assert error.value.is_expected


def test_without_a_history_that_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "CHANGELOG.md").write_text(_HEADINGS)
    with pytest.raises(NoRelease, match="git does not tell") as error:
        last_release(tmp_path)
    assert not error.value.is_expected


def test_a_release_is_installed_with_its_version(repository: Repository, tmp_path: Path) -> None:
    repository.commit("0.1.0")
    repository.commit("0.2.0", "0.1.0")
    repository.commit("0.2.0", "0.1.0")
    folder = install_release(last_release(repository.folder), tmp_path / "release", repository.folder)
    assert (folder / "CHANGELOG.md").read_text().startswith(_HEADINGS)
    [metadata] = folder.glob("*.dist-info/METADATA")
    assert "Version: 0.2.0\n" in metadata.read_text()
