"""The documentation agrees with the code: settings, make targets, test tiers, links, commands."""

import re
import tomllib
from typing import Any

import pytest
from packaging.version import Version
from typer.main import get_command

from shared.lifecycle import EVENTS, TERMINAL
from shared.settings import Settings
from tests.support import client_page
from tests.support.paths import ROOT
from trainshed.cli.main import app

OF_ALL_COMMANDS = ("--url", "--api-key", "--json", "--install-completion")
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def settings_rows() -> list[str]:
    """The rows of the settings table in `docs/operations.md`."""
    rows = []
    for name, field in Settings.model_fields.items():
        value = field.get_default(call_default_factory=True)
        default = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        description = " ".join((field.description or "").split())
        rows.append(
            f"| `{name.upper()}` | {f'`{default}`' if default not in ('', '{}') else ''} | {description} |"
        )
    return rows


def test_every_setting_is_documented_with_its_default() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    table = re.findall(r"^\| `[A-Z0-9_]+` \|.*$", page, flags=re.MULTILINE)
    assert table == settings_rows()


def test_the_clients_page_is_that_of_its_docstrings() -> None:
    assert client_page.PAGE.read_text() == client_page.render(), "run python -m tests.support.client_page"


def test_the_changelog_begins_with_the_packages_version_which_is_unreleased_in_development() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    version = Version(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    newest = Version(next(heading for heading in headings if heading != "Unreleased"))
    if version.is_devrelease:
        assert headings[0] == "Unreleased"
        assert version > newest
    else:
        assert version == newest


def test_the_diagram_of_a_jobs_life_is_the_state_machine() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    drawn = re.findall(r"^    (\S+) --> (\S+?)(?:: (\w+))?$", page, flags=re.MULTILINE)
    changes = {
        (str(source), str(edge.target), str(event))
        for event, edge in EVENTS.items()
        for source in edge.sources or {"[*]"}
        if edge.target is not None
    }
    assert sorted(drawn) == sorted(changes | {(str(state), "[*]", "") for state in TERMINAL})


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_a_page_names_exists(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)`", (ROOT / page).read_text())) <= targets


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_of_a_page_leads_to_a_file(page: str) -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / page).read_text())
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_exists_with_its_options(page: str) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
    for code in re.findall(r"`(?:\.venv/bin/)?trainshed ([a-z][^`]*)`", text.replace("\n", " ")):
        command: Any = get_command(app)
        options = {"--help", *OF_ALL_COMMANDS}
        for word in code.split():
            if word.startswith("--"):
                assert word in options, code
            elif hasattr(command, "commands"):
                assert word in command.commands, code
                command = command.commands[word]
                options |= {name for parameter in command.params for name in parameter.opts}


def test_contributing_describes_every_folder_of_tests() -> None:
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")}
    described = re.findall(r"`tests/(\w+)/`", (ROOT / "CONTRIBUTING.md").read_text())
    assert folders == set(described)


def test_every_decision_is_once_in_the_index_and_on_the_page_that_it_names() -> None:
    folder = ROOT / "docs" / "decisions"
    readme = (folder / "README.md").read_text()
    pages = {path.name: path.read_text() for path in folder.glob("*.md") if path.name != "README.md"}
    index = readme.partition("## Index")[2]
    listed = [
        (page, int(number))
        for page, numbers in re.findall(r"\]\(([a-z-]+\.md)\)\s+([\d,\s]+)", index)
        for number in re.findall(r"\d+", numbers)
    ]
    told_with = re.findall(r"(\d+) → (\d+)\b(?!`)", index)

    written = [(page, int(n)) for page in pages for n in re.findall(r"\((\d+), \d{4}-", pages[page])]
    assert sorted(listed) == sorted(written)
    beside = [
        (n, by) for page in pages.values() for by, n in re.findall(r"\((\d+), [\d-]+, with (\d+)\)", page)
    ]
    assert sorted(told_with) == sorted(beside)
    numbers = sorted([number for _, number in listed] + [int(number) for number, _ in told_with])
    assert numbers == list(range(1, len(numbers) + 1))
    assert sorted(pages) == sorted(re.findall(r"^\* \[([a-z-]+\.md)\]", readme, flags=re.MULTILINE))
