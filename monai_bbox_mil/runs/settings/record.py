# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Record the settings of a training in its checkpoints, for a later resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai_bbox_mil.runs.settings.table import GOES_ON, NO_MATTER, settings_of
from monai_bbox_mil.runs.settings.words import as_typed
from monai_bbox_mil.runs.workflow import running_workflow

__all__ = ["SettingsRecord", "changed_settings", "recorded_settings", "refuse_changes"]

# Users may change the trainer and optimizer in different ways: only what these two finally get matters.
_USED = {"max_epochs": "train#trainer#max_epochs", "learning_rate": "optimizer#lr"}
_SECTIONS = ("network_def", "box_loss", "full_loss", "self_training", "optimizer#_target_", "lr_scheduler#_target_")


class SettingsRecord:
    """The settings of a run, for a checkpoint (``save_dict``).

    Loading a record changes no setting: a resume compares it before anything else is read, see
    :func:`changed_settings`.

    Args:
        values: settings by name.

    Example:
        >>> SettingsRecord({"batch_size": 8}).state_dict()
        {'batch_size': 8}
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values = dict(values)
        self.former: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the settings by name."""
        return dict(self.values)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Store the settings of the checkpoint as ``former``."""
        self.former = dict(state_dict)


def recorded_settings() -> SettingsRecord:
    """Return the settings of the run whose configuration calls this: all that can change what is learned.

    For network, losses, optimizer and scheduler, the record has what is written in the configuration. If a
    ``ConfigParser`` is used without a workflow, the record is empty.
    """
    workflow = running_workflow()
    if workflow is None:
        return SettingsRecord({})
    parser, values = workflow.parser, {}
    for name, setting in settings_of("train").items():
        if setting.on_resume != NO_MATTER and name in parser:
            used = _USED.get(name, name)
            values[name] = _plain(parser.get_parsed_content(used if used in parser else name))
    for name in _SECTIONS:
        if name in parser:
            values.update(_flat(name, parser[name]))
    return SettingsRecord(values)


def changed_settings(former: Mapping[str, Any], present: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return former and present value of each changed setting in both records, or in a section of either one.

    Example:
        >>> changed_settings({"batch_size": 8, "seed": 0, "network_def#act": "RELU"}, {"batch_size": 4, "seed": 0})
        {'batch_size': (8, 4), 'network_def#act': ('RELU', None)}
    """
    names = [name for name in {**former, **present} if "#" in name or (name in former and name in present)]
    pairs = {name: (former.get(name), present.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def refuse_changes(changed: Mapping[str, tuple[Any, Any]], where: str) -> dict[str, tuple[Any, Any]]:
    """Refuse to resume if settings that decide what is learned have changed.

    Args:
        changed: see :func:`changed_settings`.
        where: the checkpoint.

    Returns:
        The other changes, which a resumed run accepts.

    Raises:
        ValueError: naming each such setting, its former and its present value, and what to type.

    Example:
        >>> refuse_changes({"batch_size": (8, 4)}, "checkpoint_epoch=3.pt")
        {'batch_size': (8, 4)}
        >>> refuse_changes({"image_size": ([96, 96], [64, 64])}, "checkpoint_epoch=3.pt")
        Traceback (most recent call last):
        ValueError: resume: expected the settings of the training that wrote checkpoint_epoch=3.pt, got image_size
        [64, 64] (it had [96, 96]). They decide what is learned, so they cannot change on the way. To go on with that
        training, type --image_size "[96,96]". To train with the new ones, start over with --resume False.
    """
    table = settings_of("train")
    obeyed = {name: pair for name, pair in changed.items() if name in table and table[name].on_resume == GOES_ON}
    refused = {name: pair for name, pair in changed.items() if name not in obeyed}
    if refused:
        got = ", ".join(f"{name} {new!r} (it had {old!r})" for name, (old, new) in refused.items())
        former = [f"leave out {name}" if "#" in name and old is None else None for name, (old, _) in refused.items()]
        typed = [as_typed(name, old) for (name, (old, _)), left_out in zip(refused.items(), former) if left_out is None]
        way = " and ".join([*filter(None, former), *([f"type {' '.join(typed)}"] if typed else [])])
        raise ValueError(
            f"resume: expected the settings of the training that wrote {where}, got {got}. They decide what is "
            f"learned, so they cannot change on the way. To go on with that training, {way}. To train with the "
            "new ones, start over with --resume False."
        )
    return obeyed


def _flat(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {key: item for part in value for key, item in _flat(f"{name}#{part}", value[part]).items()}
    return {name: _plain(value)}


def _plain(value: Any) -> Any:
    """Convert a value to a form that ``torch.load`` reads as weights and that stays equal when saved and loaded."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)
