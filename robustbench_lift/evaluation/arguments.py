"""What a call of `evaluate` may be given beside its models: run folders, facts for run.json, data and settings."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from robustbench_lift.errors import StorageError, UsageError, unknown
from robustbench_lift.evaluation.settings import Settings
from robustbench_lift.protocols.base import EvaluationProtocol
from robustbench_lift.protocols.request import Request
from robustbench_lift.text import printable

Data = str | Request | EvaluationProtocol | Sequence[EvaluationProtocol]
"""A data spec, a request, or protocols."""


def run_folders(run: object, models: int) -> list[Path]:
    """The run folders, one a model.

    Raises:
        UsageError: no paths, another number of them, or one folder for two models.
        StorageError: a path that no folder can have.
    """
    several = [run] if isinstance(run, str | os.PathLike) else run
    if not isinstance(several, list | tuple) or not all(isinstance(one, str | os.PathLike) for one in several):
        raise UsageError(f"run must be the path of a folder, for several models a list of them, not {run!r}.")
    if not all(os.fspath(one) for one in several):
        raise UsageError('run is empty; name a folder, such as run="runs/mine".')
    paths = [Path(one) for one in several]
    if models != len(paths) or not paths:
        raise UsageError(f"{models} models need as many run folders, not {len(paths)}; name one model or more.")
    places = []
    for path in paths:
        try:
            places.append(path.resolve())
            path.exists()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise StorageError(f"{printable(path)} cannot be a run folder: {reason}.") from None
    if len(set(places)) < len(places):
        raise UsageError(f"a run is one model's: {models} models need folders of their own, not one folder twice.")
    return paths


def run_facts(normaliser: object, provenance: object) -> tuple[str | None, Mapping[str, object] | None]:
    """What run.json takes from the caller, as it is written.

    Raises:
        UsageError: something that JSON cannot hold.
    """
    if normaliser is not None and not isinstance(normaliser, str | os.PathLike):
        raise UsageError(
            f"normaliser must be `alexnet` or the path of a run, not a {type(normaliser).__name__}: evaluate the "
            "network first, and name its folder relative to the run."
        )
    if provenance is not None and not isinstance(provenance, Mapping):
        raise UsageError(f"provenance must be a mapping of facts, not a {type(provenance).__name__}.")
    try:
        json.dumps(dict(provenance or {}), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"provenance holds what run.json cannot: {error}.") from None
    return None if normaliser is None else os.fspath(normaliser), provenance


def protocols_and_settings(
    data: Data,
    settings: Settings | None,
    options: dict[str, Any],
) -> tuple[list[EvaluationProtocol], Settings]:
    """Protocols and settings of a call; options go to the one whose field they are."""
    if settings is not None and not isinstance(settings, Settings):
        raise UsageError(f"settings must be Settings(...), not a {type(settings).__name__}.")
    of_settings = {f.name for f in dataclasses.fields(Settings)}
    of_request = {f.name for f in dataclasses.fields(Request)} - {"data"} if isinstance(data, str) else set()
    for name in options:
        if name not in of_settings | of_request:
            raise unknown("option", name, sorted(of_settings | of_request))
    chosen = {name: value for name, value in options.items() if name in of_settings}
    settings = replace(settings or Settings(), **chosen)
    if isinstance(data, str):
        data = Request(data=data, **{name: value for name, value in options.items() if name in of_request})
    if isinstance(data, Request):
        protocols = list(data.build())
    else:
        protocols = list(data) if isinstance(data, list | tuple) else [cast(EvaluationProtocol, data)]
    if not protocols or not all(hasattr(one, "cells") for one in protocols):
        raise UsageError(f"a data spec, a Request or protocols were expected, not {type(data).__name__}.")
    return protocols, settings
