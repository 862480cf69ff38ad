"""Every command of a page is found, with its output; one in a form that nothing would run is refused."""

import pytest

from tests.docs.pages import InvalidPage, examples
from tests.support.paths import ROOT

PAGE = """# A page

```console
$ curl localhost/jobs -d '{"kind": "train",
    "spec": {}}'
{"id": 1}
$ KEY=1   # no output
$ make test   # needs 8 minutes on 2 cores
...
$ trainshed show nosuch   # exit code 2
Error
```

```python
import trainshed

print(1)
```

```text
1
```

```python
train(**fields) -> Job
```
"""


def test_commands_are_found_with_their_outputs_and_lines() -> None:
    found = examples(PAGE)
    assert [(example.line, example.output, example.output_at) for example in found] == [
        (4, ['{"id": 1}'], 6),
        (7, [], 8),
        (8, ["..."], 9),
        (10, ["Error"], 11),
        (15, ["1"], 21),
    ]
    assert found[0].code.endswith('"spec": {}}\'')
    assert [example.needs for example in found] == ["", "", "8 minutes on 2 cores", "", ""]
    assert [example.exit_code for example in found] == [0, 0, 0, 2, 0]
    assert PAGE.splitlines()[found[4].output_at - 1] == "1"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("make up", True),
        (".venv/bin/trainshed worker", True),
        ("trainshed watch   # all jobs", True),
        ("trainshed watch last", False),
        ("trainshed workers", False),
        ("make demo", False),
    ],
)
def test_servers_run_until_they_are_stopped(code: str, expected: bool) -> None:
    [example] = examples(f"```console\n$ {code}\n```")
    assert example.runs_until_stopped is expected


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("```sh\nls\n```", "line 1: a block `sh`"),
        ("text\n\n```bash\nls\n```", "line 3: a block `bash`"),
        ("```console\nls\n```", "line 2: a `console` block begins with"),
        ("```console\n```", "line 2: a `console` block begins with"),
        ("```console\n$ echo 'open\n```", "line 2: the command does not end"),
    ],
)
def test_commands_that_nothing_would_run_are_refused(page: str, says: str) -> None:
    with pytest.raises(InvalidPage, match=says):
        examples(page)


@pytest.mark.parametrize("page", ["README.md", "docs/api.md", "docs/client.md", "docs/tutorial.md"])
def test_the_documents_have_commands_and_each_can_be_read(page: str) -> None:
    assert examples((ROOT / page).read_text())
