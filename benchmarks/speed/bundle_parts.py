# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Parts of the bundle's configurations, for the benchmarks to time."""

from __future__ import annotations

import sys
from ast import literal_eval
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

BUNDLE = Path(__file__).parents[2] / "bundle"


def bundle_parser(*names: str, **overrides: object) -> ConfigParser:
    """Return a parser of the named configurations, as ``monai.bundle run`` would read them."""
    if str(BUNDLE) not in sys.path:
        sys.path.insert(1, str(BUNDLE))
    parser = ConfigParser(ConfigParser.load_config_files([str(BUNDLE / "configs" / f"{name}.yaml") for name in names]))
    parser.update(overrides)
    return parser


def overrides_of(arguments: list[str]) -> dict[str, Any]:
    """Parse ``["batch_size=16", "network_def#features=[8,8]"]`` ; a value that is not a Python literal is text."""
    overrides = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals:
            raise ValueError(f"an override must have the form NAME=VALUE, got {argument!r}.")
        try:
            overrides[name] = literal_eval(value)
        except (SyntaxError, ValueError):
            overrides[name] = value
    return overrides
