"""The reference page of rights: which API key may request which operation, from the OpenAPI document.

`python -m tests.support.rights_page` writes it; a test compares, and requests each operation with each key.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from api.app import create_app
from shared.schemas import Scope
from tests.support.factories import make_settings
from tests.support.paths import ROOT

PAGE = ROOT / "docs/rights.md"

OWNED = {
    "PATCH /v1/jobs/{job_id}": "the job",
    "DELETE /v1/jobs/{job_id}": "the job and its model",
    "POST /v1/jobs/{job_id}/cancel": "the job",
    "POST /v1/jobs/batch": "each job that is cancelled or deleted; the answer says which were not",
    "PATCH /v1/models/{model_id}": "the model, and the one that has the alias",
    "DELETE /v1/models/{model_id}": "the model",
    "POST /v1/sweeps/{sweep_id}/cancel": "the sweep",
}
"""What an operation changes, of which it matters whose it is."""

KEYS = ("no key", "read", "others' submit", "team's submit", "own submit", "admin")
"""The columns of the table: who requests an operation on what the key `own submit` has submitted."""

_HEAD = """# Rights

Written by `python -m tests.support.rights_page` from the OpenAPI document. A test requests each
operation with each key (`tests/integration/test_rights.py`). While no key exists, the API serves its
own host only and lets it do everything; the table is for an API that has keys.

A job, a sweep and a model belong to the key that submitted them. *own* is that key, *team's* another
one of its team, *others'* any other key with the scope `submit`. Reading is open to all keys:
everybody may follow, clone, retry and evaluate others' jobs, and run jobs `after` them; the new jobs
are their own. Only administrators change a job, sweep or model without a key: it was submitted with one
of `API_KEYS`, or before there were keys. `urgent` needs a key of the scope `admin`, or one made with
`--urgent`, in each operation that submits a job or changes its priority. A refusal has the status
403 and the type `/problems/forbidden`, and names the owner and who may.
"""


def scopes() -> dict[str, Scope | None]:
    """The scope that each operation of the API needs, by method and path; None: it is open to everyone."""
    with TemporaryDirectory() as folder:
        document = create_app(make_settings(Path(folder))).openapi()
    return {
        f"{method.upper()} {path}": operation.get("x-scope") and Scope(operation["x-scope"])
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def allowed(operation: str, scope: Scope | None) -> Mapping[str, bool]:
    """Return which key may request an operation."""
    least = {None: 0, Scope.READ: 1, Scope.SUBMIT: 3 if operation in OWNED else 2, Scope.ADMIN: 5}[scope]
    return {key: number >= least for number, key in enumerate(KEYS)}


def render() -> str:
    """Return the page."""
    table = scopes()
    head = f"| operation | scope | {' | '.join(KEYS)} | the caller must own |\n|{'---|' * (len(KEYS) + 3)}\n"
    rows = [
        f"| `{operation}` | {f'`{scope}`' if scope else 'none'} | "
        f"{' | '.join('yes' if may else '' for may in allowed(operation, scope).values())} | "
        f"{OWNED.get(operation, '')} |\n"
        for operation, scope in table.items()
    ]
    return f"{_HEAD}\n{len(table)} operations:\n\n{head}{''.join(rows)}"


if __name__ == "__main__":
    PAGE.write_text(render())
