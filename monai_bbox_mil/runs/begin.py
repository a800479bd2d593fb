# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""How every run of the bundle begins."""

from __future__ import annotations

from monai_bbox_mil.runs.last_words import end_with_the_cause
from monai_bbox_mil.runs.settings.checking import check_settings
from monai_bbox_mil.runs.workflow import add_bundle_to_path

__all__ = ["begin_run"]


def begin_run() -> None:
    """Check the settings of the run that this is called in; call it first in ``initialize``.

    A run from the command line that fails ends with what stopped it, see :func:`.end_with_the_cause`, and the bundle is
    found from any working folder, see :func:`.add_bundle_to_path`.

    Raises:
        ValueError: for a setting that is unknown or cannot be right, see :func:`.check_settings`.

    Example:
        >>> begin_run()  # outside of a run there is nothing to check
    """
    end_with_the_cause()
    add_bundle_to_path()
    check_settings()
