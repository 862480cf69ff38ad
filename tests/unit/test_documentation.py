"""What the documentation says of the code is true."""

import re

from shared.settings import Settings
from tests.support.paths import ROOT


def settings_rows() -> list[str]:
    """The settings as `docs/operations.md` must list them."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
        rows.append(
            f"| `{name.upper()}` | {f'`{shown}`' if shown not in ('', '{}') else ''} | {field.description} |"
        )
    return rows


def test_every_setting_is_documented_with_its_default() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    table = re.findall(r"^\| `[A-Z_]+` \|.*$", page, flags=re.MULTILINE)
    assert table == settings_rows()


def test_every_make_target_that_the_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / page).read_text()))
        assert named <= targets, page
