# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Values of settings against their declarations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monai.bundle import ConfigParser

from monai_bbox_mil.bundle.setting_relations import misfits
from monai_bbox_mil.bundle.setting_values import AXES, CLASSES, Place, Text
from monai_bbox_mil.bundle.setting_words import as_typed, is_computed, keep_as_it_is, typed_words
from monai_bbox_mil.bundle.settings_table import Setting, settings_of
from monai_bbox_mil.errors import stopped_by

__all__ = ["check_setting", "check_values", "workflow_of"]


def check_setting(
    name: str, value: Any, workflow: str = "train", axes: int | None = None, classes: int | None = None
) -> Any:
    """Check the value of one setting, as it came from a file, a command line, a request or another program.

    Args:
        name: of the setting.
        value: not an expression of MONAI's: text that begins with ``$`` or ``@`` is text here, and refused where a
            number or a word is expected.
        workflow: ``"train"``, ``"evaluate"`` or ``"inference"``.
        axes: that the network sees, for lists of one number per axis; 2 or 3 when ``None``.
        classes: for lists of one item per class; any number when ``None``.

    Returns:
        The value as the run needs it: ``False`` for the word ``false``, a list for a tuple, text for a ``Path``.

    Raises:
        ValueError: naming the setting, what was expected, what came and what to type.
        KeyError: for a name that is not declared.

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
    """``"train"``, ``"evaluate"`` or ``"inference"``: what a configuration of the bundle is for."""
    return "evaluate" if "evaluated" in config else "train" if "train" in config else "inference"


def check_values(parser: ConfigParser) -> None:
    """Check all declared settings of a configuration, and put right what is meant well and written otherwise.

    Nothing of the configuration is computed in ``parser`` itself, so that nothing is made before the run makes it.

    Args:
        parser: of the whole configuration.

    Raises:
        ValueError: with a message for each setting whose value cannot be used.
    """
    config: dict[str, Any] = parser.get()
    workflow = workflow_of(config)
    table, typed = settings_of(workflow), typed_words()
    probe = ConfigParser(config)
    values, right, faults = {}, {}, []
    lengths: dict[str, int] = {}
    for name in ("spatial_dims", "label_values", *table):
        if name not in config or name in values:
            continue
        setting, came = table[name], _as_typed_by_hand(table[name], config[name], typed.get(name))
        try:
            value = _compute(setting, came, probe)
            if value is _LATER:
                continue
            values[name] = _read(setting, value, lengths)
        except ValueError as error:
            if str(error) not in faults:
                faults.append(str(error))
            continue
        if name == "spatial_dims":
            lengths[AXES] = values[name]
        elif name == "label_values":
            lengths[CLASSES] = len(values[name])
        # A computed value is written over only where it is not what the run needs.
        computed = is_computed(came)
        before, after = (value, values[name]) if computed else (config[name], keep_as_it_is(values[name]))
        if type(before) is not type(after) or before != after:
            right[name] = keep_as_it_is(values[name])
    faults += [] if faults else [f"{fault}." for fault in misfits(values, probe, training=workflow == "train")]
    if faults:
        raise ValueError("\n".join(faults))
    for name, value in right.items():
        parser[name] = value


_LATER = object()


def _as_typed_by_hand(setting: Setting, came: Any, typed: str | None) -> Any:
    """What was meant on the command line, where its way through Python and MONAI has changed it."""
    if typed == "None":  # MONAI drops it
        return None
    holds_text = isinstance(setting.values, (Place, Text)) or isinstance(getattr(setting.values, "of", None), Place)
    if typed and holds_text and (not isinstance(came, str) or "#" in typed):
        return typed
    return came


def _compute(setting: Setting, came: Any, probe: ConfigParser) -> Any:
    """The value of an expression; ``_LATER`` where only the run itself can know it."""
    if not is_computed(came):
        return came
    if setting.late or "dist." in str(came):  # there is no process group yet
        return _LATER
    try:
        return probe.get_parsed_content(setting.name)
    except Exception as error:  # whatever an expression raises
        hint = f". A path is text when it begins with a dot: ./{came}" if _may_be_a_place(setting, came) else ""
        raise ValueError(
            f"{setting.name}: expected {setting.values.expected()}, got {came!r}, which MONAI computes, and cannot "
            f"({stopped_by(error)}){hint}."
        ) from error


def _may_be_a_place(setting: Setting, came: Any) -> bool:
    return isinstance(came, str) and isinstance(getattr(setting.values, "of", setting.values), Place)


def _read(setting: Setting, value: Any, lengths: Mapping[str, int]) -> Any:
    try:
        return setting.values.read(value, lengths)
    except ValueError as error:
        reason = f" ({error})" if str(error) else ""
        kind = f" the text {value!r}" if isinstance(value, str) else f" {value!r}"
        raise ValueError(
            f"{setting.name}: expected {setting.values.expected(lengths)}, got{kind}{reason}."
            + "".join(f" Type {word}" for word in _suggestions(setting, value, lengths))
        ) from error


def _suggestions(setting: Setting, value: Any, lengths: Mapping[str, int]) -> Iterator[str]:
    example = setting.values.example(value, lengths)
    if example is not None:
        yield as_typed(setting.name, example)
        return
    default = setting.default
    if default.startswith("[") or default.replace(".", "").replace("-", "").isalnum():
        yield (
            as_typed(setting.name, [float(n) if "." in n else int(n) for n in default[1:-1].split(",")])
            if (default.startswith("["))
            else f"--{setting.name} {default}"
        )
