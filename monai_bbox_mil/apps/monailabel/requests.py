# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Check requests. Only checked parameters reach a configuration, where text can be code, or the file system."""

from __future__ import annotations

import difflib
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException

__all__ = ["check_device", "check_tag", "infer_request", "invalid", "train_request"]

logger = logging.getLogger(__name__)

EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha", ".png", ".tif", ".tiff")
DTYPES = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

_TAG = re.compile(r"\w[\w. -]{0,99}")
_WHOLE_NUMBER = re.compile(r"\s*[+-]?\d{1,9}\s*", re.ASCII)
_DEVICE = re.compile(r"cpu|mps|cuda(?::(\d{1,3}))?", re.ASCII)


def invalid(name: str, expected: str, value: object) -> MONAILabelException:
    """Return the error that names a parameter of a request, what was expected, and what came."""
    return MONAILabelException(MONAILabelError.INVALID_INPUT, f"{name}: expected {expected}, got {value!r:.200}.")


def check_device(name: str, value: object) -> str:
    """Return the name of a device that this machine has, as torch spells it.

    Clients choose from the names that the server offers, which for GPUs are those of the cards. They may send the whole
    list, of which the first name is used. ``cuda`` on a machine without a GPU means ``cpu``, as in MONAI Label.

    Args:
        name: of the parameter, for the error.
        value: from the request; if empty, the first GPU is used, or the CPU where there is none.

    Raises:
        MONAILabelException: for a device that this machine does not have.

    Example:
        >>> check_device("device", ["cpu"])
        'cpu'
    """
    chosen: Any = value[0] if isinstance(value, (list, tuple)) and value else value
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    cards = {card if len(gpus) == 1 else f"{card}:{i}": f"cuda:{i}" for i, card in enumerate(gpus)}
    if chosen in (None, "", []):
        return "cuda" if gpus else "cpu"
    if isinstance(chosen, str) and chosen in cards:
        return cards[chosen]
    found = _DEVICE.fullmatch(chosen) if isinstance(chosen, str) else None
    if found and chosen.startswith("cuda") and not gpus:
        return "cpu"
    if found and int(found[1] or 0) < max(1, len(gpus)) and (chosen != "mps" or torch.backends.mps.is_available()):
        return found[0]
    mps = ["mps"] if torch.backends.mps.is_available() else []
    raise invalid(name, f"one of {['cpu', *mps, *cards, *(f'cuda:{i}' for i in range(len(gpus)))]}", value)


def _whole_number(low: int, high: int) -> Callable[[str, object], int]:
    def check(name: str, value: object) -> int:
        number: Any = value
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
            number = int(value)
        whole = isinstance(number, int) or isinstance(number, float) and number.is_integer()
        if isinstance(number, bool) or not whole or not low <= number <= high:
            raise invalid(name, f"a whole number from {low} to {high}", value)
        return int(number)

    return check


def _number(low: float, high: float) -> Callable[[str, object], float]:
    def check(name: str, value: object) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not low <= number < high:
            raise invalid(name, f"a number from {low:g} to below {high:g}", value)
        return number

    return check


def _yes_or_no(name: str, value: object) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    word = str(value).strip().lower() if isinstance(value, (bool, int, str)) else ""
    if word not in words:
        raise invalid(name, "true or false", value)
    return words[word]


def _one_of(options: Sequence[str], upper: bool = False) -> Callable[[str, object], str]:
    def check(name: str, value: object) -> str:
        word = str(getattr(value, "value", value)) if isinstance(value, str) else ""
        word = word.upper() if upper else word
        if word not in options:
            raise invalid(name, f"one of {list(options)}", value)
        return word

    return check


def check_tag(name: str, value: object) -> str:
    """Return the tag of a label, which becomes the name of a folder.

    Raises:
        MONAILabelException: when it is not a plain name.

    Example:
        >>> check_tag("label_tag", "final")
        'final'
    """
    tag = str(getattr(value, "value", value)) if isinstance(value, str) else ""
    if not _TAG.fullmatch(tag):
        raise invalid(name, "a plain name of letters, digits, '_', '-', '.' and spaces", value)
    return tag


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise invalid(name, "a text", value)
    return value


def _numbers(name: str, value: object) -> list[float]:
    if not isinstance(value, (list, tuple)) or len(value) > 6:
        raise invalid(name, "a list of at most 6 numbers", value)
    for number in value:
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise invalid(name, "a list of numbers", value)
    return list(value)


_Checks = Mapping[str, Callable[[str, Any], Any]]

TRAIN: _Checks = {
    "model": _text,
    "device": check_device,
    "max_epochs": _whole_number(1, 1_000_000),
    "pretrained": _yes_or_no,
    "val_split": _number(-1.0, 1.0),
}
# Parameters of MONAI Label's own trainings that clients also send, and that this training does not use.
TRAIN_UNUSED = {
    *("multi_gpu", "force_multi_gpu", "gpus", "local_rank", "run_id", "run_sync", "enqueue"),
    *("tracking", "tracking_uri", "tracking_experiment_name", "tracking_run_name"),
    *("model_filename", "bundle_path", "name", "description", "client_id", "dataset", "dataloader", "amp"),
}

INFER: _Checks = {
    "model": _text,
    "image": _text,
    "device": check_device,
    "label": _text,
    "roi": _numbers,
    "result_extension": _one_of(EXTENSIONS),
    "result_dtype": _one_of(DTYPES),
    "result_compress": _yes_or_no,
    "save_label": _yes_or_no,
    "label_tag": check_tag,
    "timeout": _number(0.0, 86_400.0),
    "logging": _one_of(LEVELS, upper=True),
}


def train_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a training uses, each with the right type and range.

    Args:
        request: as it came.

    Raises:
        MONAILabelException: ``INVALID_INPUT``, for a value out of range or an unknown parameter.

    Example:
        >>> train_request({"model": "segmentation", "max_epochs": 3, "multi_gpu": True})
        {'model': 'segmentation', 'max_epochs': 3}
    """
    unknown = [name for name in request if name not in TRAIN and name not in TRAIN_UNUSED]
    if unknown:
        alike = difflib.get_close_matches(unknown[0], TRAIN, n=1)
        hint = f" (did you mean {alike[0]!r}?)" if alike else ""
        raise invalid("parameters of a training", f"some of {list(TRAIN)}{hint}", unknown[0])
    unused = [name for name in request if name not in TRAIN]
    if unused:
        logger.info("Parameters of the request that this training does not use: %s", ", ".join(unused))
    return _checked(request, TRAIN)


def infer_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a prediction uses, each with the right type and range. Others are ignored.

    Args:
        request: as it came.

    Raises:
        MONAILabelException: ``INVALID_INPUT``, for a value out of range.

    Example:
        >>> infer_request({"model": "segmentation", "image": "a", "device": "cpu", "threshold": "$code"})
        {'model': 'segmentation', 'image': 'a', 'device': 'cpu'}
    """
    return _checked(request, INFER)


def _checked(request: Mapping[str, Any], checks: _Checks) -> dict[str, Any]:
    # If a client sends a parameter without a value, the server's default applies.
    given = {name: request[name] for name in checks if request.get(name) not in (None, "")}
    return {name: checks[name](name, value) for name, value in given.items()}
