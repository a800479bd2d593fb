# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What keeps a run safe: locks, checkpoints, resume, signals, faults, settings. Nothing here depends on boxes."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "AdvisedError": "advice",
    "AtomicCheckpointSaver": "checkpoint_saver",
    "BufferBroadcaster": "buffer_broadcaster",
    "CheckedCheckpointLoader": "checkpoint_loader",
    "EngineExtras": "engine_extras",
    "FaultAdvice": "advice",
    "FolderInUseError": "run_lock",
    "LogRewinder": "log_rewinder",
    "ResumedSchedule": "resumed_schedule",
    "RunLock": "run_lock",
    "SettingsRecord": "settings",
    "StepSeeder": "step_seeder",
    "StopOnNaN": "stop_on_nan",
    "StopOnSignal": "stop_on_signal",
    "add_bundle_to_path": "workflow",
    "as_typed": "settings",
    "begin_run": "begin",
    "changed_settings": "settings",
    "check_resume": "resume",
    "check_scores_folder": "bundle_folders",
    "check_setting": "settings",
    "check_settings": "settings",
    "complete_checkpoint": "checkpoint_content",
    "end_with_the_cause": "last_words",
    "fault_advice": "advice",
    "find_bundle": "bundle_folders",
    "join_processes": "processes",
    "last_word": "last_words",
    "latest_checkpoint": "checkpoint_files",
    "part_processes": "processes",
    "process_device": "processes",
    "recorded_settings": "settings",
    "refuse_changes": "settings",
    "set_aside_earlier_run": "earlier_run",
    "settings_markdown": "settings",
    "stopped_by": "last_words",
    "training_folder": "bundle_folders",
    "unknown_settings": "settings",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    # Loaded on first use: files and locks do not need MONAI.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
