"""Whether two records of a run (`run_folder.describe`) are of one run: what it is that going on would mix."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, get_type_hints

from o1_retriever.training.config import TrainConfig

FREE = ("versions.", "config.output")
"""May differ: a folder may be moved, a library mended."""


def differences(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """What differs, each as "setting: value there, value now", in the settings' order of names.

    Args:
        mine: the record of the run that is asked for, as JSON gives it back.
        theirs: the record in the folder. A setting that it lacks, since there was none when it was written, had its
            default.
    """
    now, there = _flat(mine), _flat(theirs)
    defaults = _flat({"config": json.loads(json.dumps(default_settings(TrainConfig)))})
    there |= {key: defaults[key] for key in (now.keys() - there.keys()) & defaults.keys()}
    keys = sorted(key for key in now.keys() | there.keys() if not key.startswith(FREE))
    return [_told(key, now, there) for key in keys if key not in now or key not in there or now[key] != there[key]]


def default_settings(settings: type[Any]) -> dict[str, Any]:
    """The defaults of a class of settings and of the sections in it; a field without a default is left out."""
    types = get_type_hints(settings)
    found: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            made: Any = field.default_factory()
            section = dataclasses.is_dataclass(made) and not isinstance(made, type)
            found[field.name] = dataclasses.asdict(made) if section else made
        elif dataclasses.is_dataclass(types[field.name]):
            found[field.name] = default_settings(types[field.name])
    return found


def _told(key: str, now: dict[str, Any], there: dict[str, Any]) -> str:
    values = (repr(side[key]) if key in side else "nothing" for side in (there, now))
    return "{}: {} there, {} now".format(key, *values)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted keys."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{prefix}.{key}" if prefix else key).items()}
