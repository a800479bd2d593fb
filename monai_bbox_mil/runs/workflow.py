# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Find the run that a configuration belongs to, for expressions in that configuration."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

from monai.bundle import ConfigWorkflow

__all__ = ["add_bundle_to_path", "running_workflow"]


def running_workflow() -> ConfigWorkflow | None:
    """Return the workflow that evaluates the calling expression; ``None`` if a ``ConfigParser`` is used without one."""
    # MONAI does not pass its workflow to expressions.
    owners = (info.frame.f_locals.get("self") for info in inspect.stack(context=0))
    return next((owner for owner in owners if isinstance(owner, ConfigWorkflow)), None)


def add_bundle_to_path() -> None:
    """Put the bundle's folder on Python's search path, where ``bundle_root`` looks for it; call it in ``initialize``.

    MONAI itself does so before ``run`` but only after ``initialize``, which already needs ``bundle_root``.
    """
    workflow = running_workflow()
    if workflow is not None:
        folder = Path(workflow.config_root_path)
        sys.path.insert(1, str(folder.parent if folder.name == "configs" else folder))
