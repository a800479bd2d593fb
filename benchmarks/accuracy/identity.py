# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Identify what a result depends on besides its data: code, configuration and library versions.

Code is compared without comments and docstrings, and configurations after merging: what cannot change a result does not
change its hash.
"""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import torch
from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv

import monai_bbox_mil
from benchmarks.accuracy.mistakes import ExperimentError

__all__ = ["PACKAGE", "merged_config", "source_hash", "stable_hash", "versions"]

PACKAGE = Path(monai_bbox_mil.__file__).parent
"""Folder of the package whose code the runs execute."""

# Code that runs, draws and writes about the runs, but computes no score.
_WITHOUT_INFLUENCE = ("apps/", "check_boxes/", "visualize/")


def stable_hash(content: Any, length: int = 12) -> str:
    """Return a hexadecimal hash of any JSON content; the order of a mapping's keys does not matter.

    Example:
        >>> stable_hash({"a": 1, "b": [2.5]}) == stable_hash({"b": [2.5], "a": 1})
        True
    """
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def versions() -> dict[str, str]:
    """Return the versions of the libraries that compute the results."""
    return {"torch": torch.__version__, "monai": monai.__version__}


def source_hash(folder: str | os.PathLike[str] = PACKAGE) -> str:
    """Return the hash of all Python files under ``folder`` that can change a result, without comments and docstrings.

    ``apps``, ``check_boxes`` and the drawing of pictures cannot change one.
    """
    folder = Path(folder)
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.py"))}
    return stable_hash({n: _code_of(path) for n, path in files.items() if not n.startswith(_WITHOUT_INFLUENCE)})


def _code_of(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            # A string on its own is documentation and does nothing.
            node.body = [statement for statement in node.body if not _is_text(statement)] or [ast.Pass()]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def merged_config(files: Sequence[str], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that MONAI merges from the files and overrides, before anything in it is evaluated.

    Raises:
        ExperimentError: for a file or an override that cannot be merged.
    """
    parser = ConfigParser(config={})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in files:
            for key, value in _read(file, os.stat(file).st_mtime_ns).items():
                try:
                    merge_kv(parser, key, copy.deepcopy(value))
                except (KeyError, ValueError, TypeError, IndexError) as error:
                    raise ExperimentError(f"{file}: {key}: cannot be merged: {error}") from error
    for key, value in overrides.items():
        try:
            parser[key] = copy.deepcopy(value)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise ExperimentError(f"override {key}: does not fit the configuration {', '.join(files)}.") from error
    return dict(parser.get())


@functools.lru_cache(maxsize=256)
def _read(file: str, _changed: int) -> dict[str, Any]:
    try:
        content = ConfigParser.load_config_file(file)
    except Exception as error:  # the YAML or JSON reader may raise anything
        raise ExperimentError(f"config {file}: cannot be read: {' '.join(str(error).split())}") from error
    return content or {}
