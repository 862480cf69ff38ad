"""Requests read from a JSON or TOML file, as for `trainshed train --file`."""

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from shared.schemas import TrainJobCreate, TrainRequest
from shared.schemas.refusals import place_of, told
from trainshed.errors import UsageError

_READERS: Mapping[str, Callable[[str], Any]] = {".json": json.loads, ".toml": tomllib.loads}


def read_train_request(path: Path, spec: Mapping[str, Any], job: Mapping[str, Any]) -> TrainJobCreate:
    """Return the request in a file, with values of options in place of the file's.

    Args:
        path: a file whose name ends with `.json` or `.toml`; its fields are those of `POST /v1/jobs`.
        spec, job: the values of options for the specification and for the job.

    Raises:
        UsageError: the file cannot be read, is not a table of fields, or one of them is unknown or invalid.
        ValidationError: an option has an invalid value.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise UsageError(f"{path}: the name of a request's file ends with .json or .toml")
    try:
        fields = read(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:  # from either parser, or for text that is not UTF-8
        raise UsageError(f"{path} is not {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(fields, dict):
        raise UsageError(f'{path} must hold an object, such as {{"spec": {{"epochs": 20}}}}')
    TrainJobCreate(spec=TrainRequest(**spec), **job)  # an error here is an option's, not the file's
    of_file = fields.get("spec", {})
    merged = {**of_file, **spec} if isinstance(of_file, dict) else of_file
    try:
        return TrainJobCreate.model_validate({**fields, **job, "spec": merged})
    except ValidationError as error:
        mistakes = (told(place_of(each["loc"]), each) for each in error.errors())
        raise UsageError(f"{path}: {'; '.join(mistakes)}") from error
