"""`trainshed train --file`."""

from pathlib import Path

import pytest

from tests.support.command_line import CommandLine

_TOML = 'kind = "train"\nname = "of the file"\ntags = ["a"]\n[spec]\nepochs = 3\nseed = 1\n'
_JSON = '{"kind": "train", "name": "of the file", "tags": ["a"], "spec": {"epochs": 3, "seed": 1}}'


@pytest.mark.parametrize(("name", "text"), [("spec.toml", _TOML), ("spec.json", _JSON)])
def test_a_request_is_read_from_a_file_and_options_replace_its_values(
    cli: CommandLine, tmp_path: Path, name: str, text: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert cli.run("train", "--file", path, "--epochs", 9, "--queue", "slow", "--detach").exit_code == 0
    assert cli.sent() == {
        "kind": "train",
        "name": "of the file",
        "tags": ["a"],
        "queue": "slow",
        "spec": {"epochs": 9, "seed": 1},
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("spec.yaml", "", "ends with .json or .toml"),
        ("spec.json", "{", "spec.json is not JSON: Expecting property name"),
        ("spec.toml", "epochs 3", "spec.toml is not TOML: Expected '='"),
        ("spec.json", "[]", "must hold an object"),
        (
            "spec.json",
            '{"spec": {"epoch": 3}}',
            "spec.json: spec.epoch: unknown field: did you mean `epochs`?",
        ),
        ("spec.json", '{"spec": []}', "spec.json: spec: must be an object"),
        ("spec.toml", 'kind = "evaluate"', "kind: must be train, not evaluate"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(
    cli: CommandLine, tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    result = cli.run("train", "--file", path)
    assert message in result.stderr
    assert result.stderr.startswith("Error: ")
    assert result.exit_code == 2


def test_a_missing_file_is_named(cli: CommandLine, tmp_path: Path) -> None:
    result = cli.run("train", "--file", tmp_path / "none.json")
    assert result.stderr.endswith("none.json cannot be read: No such file or directory\n")
    assert result.exit_code == 2
