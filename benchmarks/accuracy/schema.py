# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Checks of what a person wrote into a matrix file: errors name the place, what is expected and what came."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["ExperimentError", "as_list", "as_mapping", "as_name", "as_names", "as_text", "check_keys", "known"]


class ExperimentError(ValueError):
    """Something in the matrix file or on the command line that the person who wrote it can mend."""


def as_mapping(value: Any, where: str) -> dict[str, Any]:
    """A mapping with text keys; nothing at all counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ExperimentError(f"{where}: expected a mapping, got {value!r:.100}.")
    return {str(key): item for key, item in value.items()}


def check_keys(value: Any, allowed: Iterable[str], where: str, required: Iterable[str] = ()) -> dict[str, Any]:
    """A mapping that has no keys but the ``allowed`` ones, and all that are ``required``."""
    mapping, allowed = as_mapping(value, where), list(allowed)
    for key in mapping:
        if key not in allowed:
            raise ExperimentError(f"{where}: unknown key {key!r}; expected {', '.join(allowed)}.")
    for key in required:
        if key not in mapping:
            raise ExperimentError(f"{where}: the key {key!r} is missing; got {', '.join(mapping) or 'nothing'}.")
    return mapping


def as_list(value: Any, where: str) -> list[Any]:
    """A list; a single text or number counts as a list of one."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        raise ExperimentError(f"{where}: expected a list, got a mapping with {', '.join(map(str, value))}.")
    return list(value) if isinstance(value, (list, tuple)) else [value]


def as_text(value: Any, where: str) -> str:
    """A text."""
    if not isinstance(value, str):
        raise ExperimentError(f"{where}: expected a text, got {value!r:.100}.")
    return value


def as_name(value: str, where: str) -> str:
    """A name that can be a folder's."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", value):
        raise ExperimentError(f"{where}: expected a name of letters, digits and . _ + -, got {value!r}.")
    return value


def known(name: Any, names: Iterable[str], where: str) -> str:
    """A name that is among ``names``."""
    names = list(names)
    if str(name) not in names:
        raise ExperimentError(f"{where}: unknown name {str(name)!r}; expected one of {', '.join(names) or 'none'}.")
    return str(name)


def as_names(value: Any, names: Iterable[str], where: str) -> list[str]:
    """A list of names, each among ``names``."""
    names = list(names)
    return [known(name, names, where) for name in as_list(value, where)]
