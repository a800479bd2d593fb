# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Check values of settings against their declarations."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from monai.bundle import ConfigParser

from monai_bbox_mil.runs.last_words import stopped_by
from monai_bbox_mil.runs.settings.relations import misfits
from monai_bbox_mil.runs.settings.single_values import AXES, CLASSES, Device, Place, Text
from monai_bbox_mil.runs.settings.table import Setting, settings_of
from monai_bbox_mil.runs.settings.words import (
    as_typed,
    is_computed,
    keep_as_it_is,
    typed_words,
    unquoted,
    with_hash,
)

__all__ = ["check_setting", "check_values", "workflow_of"]


def check_setting(
    name: str, value: Any, workflow: str = "train", axes: int | None = None, classes: int | None = None
) -> Any:
    """Check the value of one setting, as it came from a file, a command line, a request or another program.

    Args:
        name: of the setting.
        value: treated as a value, never as an expression: text that begins with ``$`` or ``@`` is text here, and
            refused where a number or a word is expected.
        workflow: ``"train"``, ``"evaluate"`` or ``"inference"``.
        axes: number of axes that the network sees, for lists with one number per axis; 2 or 3 when ``None``.
        classes: number of classes, for lists with one item per class; any number when ``None``.

    Returns:
        The value as the run needs it: ``False`` for the word ``false``, a list for a tuple, text for a ``Path``.

    Raises:
        ValueError: naming the setting, what was expected, what came and what to type.
        KeyError: for a setting that is not declared.

    Example:
        >>> check_setting("resume", "false"), check_setting("max_epochs", 60.0)
        (False, 60)
        >>> check_setting("image_size", 64, axes=2)
        Traceback (most recent call last):
        ValueError: image_size: expected a list of 2 whole numbers, each at least 1 (one per axis), got 64. Type
        --image_size "[64,64]"
    """
    lengths = {key: count for key, count in ((AXES, axes), (CLASSES, classes)) if count is not None}
    return _read(settings_of(workflow)[name], value, lengths)


def workflow_of(config: Mapping[str, Any]) -> str:
    """Return ``"train"``, ``"evaluate"`` or ``"inference"``: what a configuration of the bundle is for."""
    return "evaluate" if "evaluated" in config else "train" if "train" in config else "inference"


def check_values(parser: ConfigParser) -> None:
    """Check all declared settings of a configuration, and correct values whose meaning is clear in spite of their form.

    Nothing is evaluated in ``parser`` itself, so that the run still makes all objects on its own.

    Args:
        parser: of the whole configuration.

    Raises:
        ValueError: with a message for each setting whose value cannot be used.
    """
    config: dict[str, Any] = parser.get()
    workflow = workflow_of(config)
    table, typed = settings_of(workflow), typed_words()
    came = {n: _as_meant(table[n], config[n], typed.get(n)) for n in table if n in config}
    probe = ConfigParser({**config, **came})
    values: dict[str, Any] = {}
    right: dict[str, Any] = {}
    # Literal values first, because expressions are computed from them.
    for computed in (False, True):
        names = [name for name in came if is_computed(came[name]) == computed]
        faults = []
        for name in sorted(names, key=lambda each: each not in _LENGTHS):
            lengths = {key: count(values[n]) for n, (key, count) in _LENGTHS.items() if n in values}
            try:
                value = _compute(table[name], probe) if computed else came[name]
                if value is not _LATER:
                    values[name] = _read(table[name], value, lengths)
            except ValueError as error:
                faults.append(str(error))
                continue
            if name in values and (not computed or not _same(value, values[name])):
                kept = keep_as_it_is(values[name])
                if not _same(kept, config[name]):
                    right[name] = probe[name] = kept
        if faults:
            raise ValueError("\n".join(faults))
    faults = list(misfits(values, probe, training=workflow == "train"))
    if faults:
        raise ValueError("\n".join(faults))
    for name, value in right.items():
        parser[name] = value


_LENGTHS: dict[str, tuple[str, Callable[[Any], int]]] = {"spatial_dims": (AXES, int), "label_values": (CLASSES, len)}
_LATER = object()


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def _as_meant(setting: Setting, came: Any, typed: str | None) -> Any:
    """Return the value that the user meant, where the command line and MONAI have changed it."""
    if typed == "None":  # MONAI drops it
        return None
    place = isinstance(getattr(setting.values, "of", setting.values), Place)
    if typed and (place or isinstance(setting.values, Text)) and (not isinstance(came, str) or "#" in typed):
        return unquoted(typed)
    return came if is_computed(came) else with_hash(came, place)


def _compute(setting: Setting, probe: ConfigParser) -> Any:
    """Return the value of an expression; ``_LATER`` where only the run itself can know it."""
    came = probe[setting.name]
    if setting.late or "dist." in str(came):  # there is no process group yet
        return _LATER
    try:
        return probe.get_parsed_content(setting.name)
    except Exception as error:  # an expression may raise anything
        hint = f" To use it as a path, begin with a dot: ./{came}" if _may_be_a_place(setting, came) else ""
        raise ValueError(
            f"{setting.name}: expected {setting.values.expected()}, got {came!r}, an expression that MONAI cannot "
            f"compute ({stopped_by(error)}).{hint}"
        ) from error


def _may_be_a_place(setting: Setting, came: Any) -> bool:
    return isinstance(came, str) and isinstance(getattr(setting.values, "of", setting.values), Place)


def _read(setting: Setting, value: Any, lengths: Mapping[str, int]) -> Any:
    try:
        return setting.values.read(value, lengths)
    except ValueError as error:
        reason = f" ({error})" if str(error) else ""
        kind = f" the text {value!r}" if isinstance(value, str) else f" {value!r}"
        example = setting.values.example(value, lengths)
        examples = [*([] if example is None else [example]), _literal(setting.default)]
        good = [as_typed(setting.name, each) for each in examples if _fits(setting, each, lengths)]
        to_type = f" Type {good[0]}" if good else ""
        raise ValueError(
            f"{setting.name}: expected {setting.values.expected(lengths)}, got{kind}{reason}.{to_type}"
        ) from error


def _literal(default: str) -> Any:
    """Parse a default value; return its text where it is not Python, as a word or a description."""
    try:
        return ast.literal_eval(default)
    except (SyntaxError, ValueError):
        return default


def _fits(setting: Setting, value: Any, lengths: Mapping[str, int]) -> bool:
    try:
        setting.values.read(value, lengths)
    except ValueError:
        return False
    return not (value == setting.default and isinstance(setting.values, (Place, Text, Device)))
