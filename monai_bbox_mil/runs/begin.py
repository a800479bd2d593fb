# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The start of every run of the bundle."""

from __future__ import annotations

from monai_bbox_mil.runs.last_words import end_with_the_cause
from monai_bbox_mil.runs.settings.checking import check_settings
from monai_bbox_mil.runs.workflow import add_bundle_to_path

__all__ = ["begin_run"]


def begin_run() -> None:
    """Check the settings of the current run; call it first in ``initialize``.

    If a run from the command line fails, its last lines say what stopped it, see :func:`.end_with_the_cause`. The
    bundle is found from any working folder, see :func:`.add_bundle_to_path`.

    Raises:
        ValueError: for an unknown setting or an invalid value, see :func:`.check_settings`.

    Example:
        >>> begin_run()  # outside of a run there is nothing to check
    """
    end_with_the_cause()
    add_bundle_to_path()
    check_settings()
