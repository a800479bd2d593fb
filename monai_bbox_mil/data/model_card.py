# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Model card: a file beside the weights that says what the model was trained on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from monai_bbox_mil.data.image_settings import save_image_settings
from monai_bbox_mil.runs.files import replacing

__all__ = ["announce_model", "describe_model", "finish_training", "recorded_classes", "save_model_card"]

_MODEL, _CARD, _IMAGE_SETTINGS = "model.pt", "model_card.json", "image_settings.json"


def save_model_card(
    ckpt_dir: str | os.PathLike[str],
    classes: Sequence[str],
    training_images: int,
    validation_images: int,
    name: str | None = None,
    data: str | None = None,
) -> None:
    """Write ``model_card.json`` beside the weights ``model.pt`` that a training has left.

    The card includes the hash of the weights, so that it is never shown for other weights.

    Args:
        ckpt_dir: folder of the weights.
        classes: names of the classes.
        training_images: number of images, not slices, that the weights were learned from.
        validation_images: number of images by which the epoch and the threshold were chosen.
        name: name of the model, for weights that are published.
        data: name of the data set, for weights that are published.

    Raises:
        FileNotFoundError: if there is no ``model.pt``.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "model.pt").write_bytes(b"weights")
        ...     save_model_card(folder, ["prostate"], 40, 10)
        ...     describe_model(folder).partition(" on ")[2]
        '40 images. Classes: prostate.'
    """
    model = Path(ckpt_dir, _MODEL)
    card = {
        "name": name,
        "data": data,
        "classes": [str(each) for each in classes],
        "trained": _day(model),
        "training_images": int(training_images),
        "validation_images": int(validation_images),
        "model_sha256": _hash(model),
    }
    with replacing(model.with_name(_CARD)) as unfinished:
        unfinished.write_text(
            json.dumps({key: value for key, value in card.items() if value is not None}, indent=2) + "\n"
        )


def finish_training(
    ckpt_dir: str | os.PathLike[str],
    classes: Sequence[str],
    spacing_mm: Sequence[float] | None,
    image_size: Sequence[int],
    training_images: int,
    validation_images: int,
) -> None:
    """Write ``image_settings.json`` and ``model_card.json`` beside the weights ``model.pt`` of a finished training.

    With several processes, the first one writes and the others wait, so that each can read the best model afterwards.

    Args:
        ckpt_dir: folder of the weights.
        classes: names of the classes.
        spacing_mm: spacing after resampling; ``None`` where images kept their own.
        image_size: pixels after padding or cropping.
        training_images: images, not slices, that the weights were learned from.
        validation_images: those that chose the epoch and the threshold.

    Raises:
        FileNotFoundError: when there is no ``model.pt``.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "model.pt").write_bytes(b"weights")
        ...     finish_training(folder, ["prostate"], None, [96, 96], 40, 10)
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['image_settings.json', 'model.pt', 'model_card.json']
    """
    if idist.get_rank() == 0:
        save_image_settings(Path(ckpt_dir, _IMAGE_SETTINGS), spacing_mm, image_size)
        save_model_card(ckpt_dir, classes, training_images, validation_images)
    idist.barrier()


def describe_model(ckpt_dir: str | os.PathLike[str]) -> str:
    """Describe in one line the model in a folder, and what its card says about its training.

    Raises:
        FileNotFoundError: when there is no ``model.pt``.
        ValueError: when the card cannot be read.
    """
    model, card = Path(ckpt_dir, _MODEL), _load(ckpt_dir)
    if card is None:
        return f"{model}, written {_day(model)}; no {_CARD} there says what it was trained on."
    parts = [f"{model}, {card['name']}" if "name" in card else f"{model}", f"trained {card['trained']}"]
    images = f"{card['training_images']} images" + (f" of {card['data']}" if "data" in card else "")
    return f"{', '.join(parts)} on {images}. Classes: {', '.join(card['classes'])}."


def announce_model(ckpt_dir: str | os.PathLike[str], others: Sequence[str | os.PathLike[str]] = ()) -> None:
    """Print which model a run uses, and what it was trained on.

    Args:
        ckpt_dir: folder of the model.
        others: folders of models that the user may want instead. They are named when ``ckpt_dir`` has no model, or
            the one that came with the bundle.

    Raises:
        FileNotFoundError: when there is no model.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, "model.pt").write_bytes(b"weights")
        ...     save_model_card(folder, ["prostate"], 40, 10, name="Prostate in T2 MR", data="PROMISE12")
        ...     announce_model(folder, others=["/no/such/folder"])  # doctest: +ELLIPSIS
        Model: ...model.pt, Prostate in T2 MR, trained ... on 40 images of PROMISE12. Classes: prostate.
    """
    there = [Path(folder) for folder in others if Path(folder, _MODEL).is_file()]
    if not Path(ckpt_dir, _MODEL).is_file():
        hint = "".join(f" A model lies in {folder}: --ckpt_dir {folder}" for folder in there)
        raise FileNotFoundError(
            f"ckpt_dir {ckpt_dir}: expected the weights {_MODEL}, got no such file. Train first, or name the folder of "
            f"your model.{hint}"
        )
    print(f"Model: {describe_model(ckpt_dir)}")
    if "name" in (_load(ckpt_dir) or {}):
        for folder in there:
            print(f"A training of your own left another: {describe_model(folder)} To use it: --ckpt_dir {folder}")


def recorded_classes(ckpt_dir: str | os.PathLike[str], label_values: Sequence[int]) -> list[str]:
    """Return the class names in the card of a model; ``class V`` for each value if there is no card that fits.

    Args:
        ckpt_dir: folder of the model.
        label_values: value of each class in its masks.

    Raises:
        ValueError: when the card cannot be read.

    Example:
        >>> recorded_classes("no/such/folder", [1, 3])
        ['class 1', 'class 3']
    """
    card = _load(ckpt_dir)
    names = [] if card is None else [str(name) for name in card["classes"]]
    return names if len(names) == len(label_values) else [f"class {value}" for value in label_values]


def _load(ckpt_dir: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Load the card, if there is one for exactly these weights."""
    path = Path(ckpt_dir, _CARD)
    if not path.is_file():
        return None
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        described = {"classes", "trained", "training_images", "model_sha256"} <= card.keys()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path}: expected what a training writes there, got something else ({error}).") from error
    return card if described and card["model_sha256"] == _hash(path.with_name(_MODEL)) else None


def _hash(model: Path) -> str:
    return hashlib.sha256(model.read_bytes()).hexdigest()


def _day(model: Path) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(model.stat().st_mtime))
