"""What is wrong with the environment that settings are read from: invalid values, names of no setting."""

import os

from pydantic import ValidationError
from pydantic_settings import SettingsError

from shared.settings.settings import Settings


def unknown_variables() -> list[str]:
    """Return the variables of the environment that begin like settings and are none."""
    known = {f"TRAINSHED_{name.upper()}" for name in Settings.model_fields}
    variables = set(os.environ)  # noqa: TID251 (this is where the environment is read)
    return sorted(name for name in variables if name.startswith("TRAINSHED_") and name not in known)


def invalid_settings(error: ValidationError | SettingsError) -> list[str]:
    """Return a line for each invalid setting: its variable, its value and what is wrong."""
    if not isinstance(error, ValidationError):
        return [str(error)]
    lines = []
    for detail in error.errors():
        variable = "_".join(["TRAINSHED", *(str(part).upper() for part in detail["loc"])])
        is_short = isinstance(detail["input"], str | int | float)
        shown = f"{variable} {detail['input']}" if is_short else variable
        message = detail["msg"].removeprefix("Value error, ")
        lines.append(f"{shown}: {message}" if detail["loc"] else message)
    return lines
