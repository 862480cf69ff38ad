"""Which Trainshed runs: its version, and the commit that it was built from if that is known."""

import json
import subprocess
from functools import cache
from importlib.metadata import Distribution, distribution
from urllib.parse import urlsplit
from urllib.request import url2pathname

_NAME = "trainshed"
_GIT_TIMEOUT_S = 5.0


@cache
def versions() -> dict[str, str]:
    """Return `trainshed`, its version, and `commit`: its commit, if it is known."""
    installed = distribution(_NAME)
    commit = commit_of(installed)
    return {"trainshed": installed.version, **({"commit": commit} if commit else {})}


def commit_of(installed: Distribution) -> str:
    """Return the commit of an installed distribution; empty if it is not known.

    An image's build has written it beside the metadata, pip has for an address of Git (PEP 610), and an
    editable installation has the state of its checkout, with `-dirty` appended if files were changed.
    """
    if written := (installed.read_text("COMMIT") or "").strip():
        return written
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if commit := origin.get("vcs_info", {}).get("commit_id", ""):
        return str(commit)
    if origin.get("dir_info", {}).get("editable"):
        return _checked_out(url2pathname(urlsplit(origin["url"]).path))
    return ""


def _checked_out(folder: str) -> str:
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):  # there is no Git
        return ""
    return described.stdout.strip() if described.returncode == 0 else ""
