"""Which extras of the distribution are installed: what a command needs beyond the client."""

from importlib.util import find_spec

from trainshed.errors import UsageError

# of each extra, a package that it brings; Redis may be the system's own
PACKAGES = {"server": "fastapi", "worker": "tensorflow", "local": "fastapi"}


def require(*extras: str) -> None:
    """Refuse to run a command whose extras are not all installed.

    Raises:
        UsageError: it says how to install them.
    """
    if any(find_spec(PACKAGES[extra]) is None for extra in extras):
        raise UsageError(f"this needs more than the client: pip install 'trainshed[{','.join(extras)}]'")
