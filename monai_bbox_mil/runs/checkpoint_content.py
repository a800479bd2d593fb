# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds besides what its configuration can name."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from monai_bbox_mil.runs.engine_extras import EngineExtras

__all__ = ["complete_checkpoint"]


def complete_checkpoint(
    checkpoint: MutableMapping[str, Any], trainer: Any, evaluator: Any = None, handlers: Iterable[Any] = ()
) -> None:
    """Add the trainer, what the engines leave out of their state, and each handler that has a state of its own.

    A configuration cannot name these in ``checkpoint``: the trainer's handlers save it, so it would refer to itself.
    Call this before the trainer runs.

    Args:
        checkpoint: ``save_dict`` of the trainer's savers and ``load_dict`` of its loader; changed in place.
        trainer: MONAI's.
        evaluator: MONAI's, of the validation, if there is one.
        handlers: those with a ``checkpoint_name`` are added under that name; ``None`` is passed over.

    Raises:
        ValueError: when a name is taken.

    Example:
        >>> from types import SimpleNamespace
        >>> checkpoint = {"network": "weights"}
        >>> complete_checkpoint(checkpoint, "trainer", None, [None, SimpleNamespace(checkpoint_name="sums")])
        >>> list(checkpoint)
        ['network', 'sums', 'trainer', 'extras']
    """
    named = [(name, each) for each in handlers if (name := getattr(each, "checkpoint_name", None)) is not None]
    for name, content in [*named, ("trainer", trainer), ("extras", EngineExtras(trainer, evaluator))]:
        if name in checkpoint:
            raise ValueError(f"checkpoint: expected one object for each name, got a second one for {name!r}.")
        checkpoint[name] = content
