# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Settings of a run: misspelt ones, which MONAI would take for new ones that nothing uses, and wrong values."""

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
# What MONAI itself reads or adds.
_TRACKING: Any = DEFAULT_MLFLOW_SETTINGS["configs"]
_MONAIS = {ConfigParser.meta_key, "imports", "initialize", "run", "finalize", *_TRACKING}


def check_settings() -> None:
    """Refuse a run with a setting that cannot be used, before anything is read or written; call it in ``initialize``.

    Names first: refused is one that no file of the bundle knows. The bundle's files are those beside the first
    configuration of the run, and in folders below. Then values, as :mod:`monai_bbox_mil.runs.settings.table` declares
    them. One that is meant well and written otherwise, such as ``--resume false`` or a ``Path``, is put right. Where a
    ``ConfigParser`` is used without a workflow, nobody knows which files these are, and nothing is looked at.

    Raises:
        ValueError: naming the unknown settings and the known ones that are spelt most alike; or each setting whose
            value cannot be used, with what was expected, what came and what to type.
    """
    workflow = running_workflow()
    if workflow is None:
        return
    known: set[str] = set()
    for path in sorted(Path(workflow.config_root_path).rglob("*.yaml")):
        known.update(_ids(yaml.safe_load(path.read_text(encoding="utf-8"))))
    unknown = unknown_settings(workflow.parser.get(), known)
    if unknown:
        told = "; ".join(f"{name!r}{_suggest(name, known)}" for name in unknown)
        raise ValueError(f"expected settings that the configuration knows, got {told}.")
    check_values(workflow.parser)


def unknown_settings(config: Mapping[str, Any], known: set[str]) -> list[str]:
    """Ids of a configuration that are neither known nor referred to by another of its values.

    Looked at are sections, which are plain mappings; a component refuses an unknown argument itself.

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
    # A mapping may be a value, such as a data list given whole: what it holds are no settings.
    sections = {"", *(name.rpartition("#")[0] for name in used)}
    named = [name for name in _ids(config) if name.rpartition("#")[0] in sections]
    return [name for name in named if name not in used and name.split("#")[0] not in _MONAIS]


def _ids(config: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Ids of all values of a section and of the sections in it."""
    for key, value in config.items():
        name = f"{above}{key}".replace(ID_SEP_KEY, "#").lstrip("+")
        yield from (name.rsplit("#", number)[0] for number in range(name.count("#"), -1, -1))
        if isinstance(value, Mapping) and "_target_" not in value:
            yield from _ids(value, f"{name}#")


def _references(value: Any) -> Iterator[str]:
    """Ids that the strings of a configuration refer to, and the sections that these are in."""
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
