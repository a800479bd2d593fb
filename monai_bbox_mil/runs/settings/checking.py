# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Check the settings of a run: misspelt names, which MONAI would accept but nothing uses, and invalid values."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from monai.bundle import ConfigParser
from monai.bundle.utils import DEFAULT_MLFLOW_SETTINGS, ID_REF_KEY, ID_SEP_KEY

from monai_bbox_mil.runs.settings.checked_values import check_values
from monai_bbox_mil.runs.workflow import running_workflow

__all__ = ["check_settings", "unknown_settings"]

_REFERENCE = re.compile(rf"{ID_REF_KEY}((?:\w|{re.escape(ID_SEP_KEY)}|#)+)")
# Names that MONAI itself reads or adds.
_TRACKING: Any = DEFAULT_MLFLOW_SETTINGS["configs"]
_MONAIS = {ConfigParser.meta_key, "imports", "initialize", "run", "finalize", *_TRACKING}


def check_settings() -> None:
    """Refuse a run with an invalid setting before anything is read or written; call it in ``initialize``.

    First, each name must occur in a file of the bundle. The bundle's files are those in the folder of the run's first
    configuration and below it. Then each value must be as :mod:`monai_bbox_mil.runs.settings.table` declares it. A
    value whose meaning is clear in spite of its form, such as ``--resume false`` or a ``Path``, is corrected. If a
    ``ConfigParser`` is used without a workflow, the bundle's files are unknown, and nothing is checked.

    Raises:
        ValueError: naming the unknown settings and the known ones with the most similar names; or each setting whose
            value is invalid, with what was expected, what came and what to type.
    """
    workflow = running_workflow()
    if workflow is None:
        return
    known: set[str] = set()
    for path in sorted(Path(workflow.config_root_path).rglob("*.yaml")):
        known.update(_ids(yaml.safe_load(path.read_text(encoding="utf-8"))))
    unknown = unknown_settings(workflow.parser.get(), known)
    if unknown:
        unexpected = "; ".join(f"{name!r}{_suggest(name, known)}" for name in unknown)
        raise ValueError(f"expected settings that the configuration knows, got {unexpected}.")
    check_values(workflow.parser)


def unknown_settings(config: Mapping[str, Any], known: set[str]) -> list[str]:
    """Return ids of a configuration that are neither known nor referred to by another of its values.

    Only sections, which are plain mappings, are searched. A component itself refuses an unknown argument.

    Args:
        config: as parsed from its files, with all overrides.
        known: ids, nested ones joined by ``#``.

    Example:
        >>> config = {"rate": 0.1, "lr": "@rate", "train": {"epochs": 3, "epoch": 4}, "mine": 1, "use": "$@mine + 1"}
        >>> unknown_settings(config, {"lr", "use", "train", "train#epochs"})
        ['train#epoch']
    """
    references = {name.replace(ID_SEP_KEY, "#").strip("#") for name in _references(config)}
    used = known | references | _MONAIS
    # A mapping may be a value, such as a data list written in place: its keys are not settings.
    sections = {"", *(name.rpartition("#")[0] for name in used)}
    named = [name for name in _ids(config) if name.rpartition("#")[0] in sections]
    return [name for name in named if name not in used and name.split("#")[0] not in _MONAIS]


def _ids(config: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the ids of all values in a section and in the sections below it."""
    for key, value in config.items():
        name = f"{above}{key}".replace(ID_SEP_KEY, "#").lstrip("+")
        yield from (name.rsplit("#", number)[0] for number in range(name.count("#"), -1, -1))
        if isinstance(value, Mapping) and "_target_" not in value:
            yield from _ids(value, f"{name}#")


def _references(value: Any) -> Iterator[str]:
    """Yield the ids that the strings of a configuration refer to, and the sections that contain these ids."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, str):
        for name in _REFERENCE.findall(value):
            parts = name.replace(ID_SEP_KEY, "#").split("#")
            yield from ("#".join(parts[: number + 1]) for number in range(len(parts)))


def _suggest(name: str, known: set[str]) -> str:
    alike = difflib.get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {alike[0]!r}?)" if alike else " (nothing refers to it)"
