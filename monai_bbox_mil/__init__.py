# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation networks from bounding boxes: generalized multiple-instance learning for MONAI."""

from importlib import import_module
from types import ModuleType

__all__ = [
    "__version__",
    "annotations",
    "bags",
    "boxes",
    "check_boxes",
    "data",
    "exports",
    "handlers",
    "inferers",
    "losses",
    "metrics",
    "networks",
    "runs",
    "smooth_max",
    "transforms",
    "visualize",
]

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    # Rooms are imported on first use, so that importing the losses does not also import the image readers.
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
