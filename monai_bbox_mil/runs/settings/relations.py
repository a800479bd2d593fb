# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Check settings that must fit each other, the network or the disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from monai.bundle import ConfigParser

from monai_bbox_mil.runs.last_words import stopped_by
from monai_bbox_mil.runs.settings.words import as_typed

__all__ = ["misfits", "network_misfit"]

_TAKEN_BY_ANY = 32
"""From twice this number on, its multiples suit any network that halves its images at most five times."""


def misfits(values: Mapping[str, Any], probe: ConfigParser, training: bool) -> Iterator[str]:
    """Yield messages about settings that are valid on their own but do not fit together.

    Args:
        values: known settings by name.
        probe: of the configuration; its network and loss are built for the check.
        training: whether the network will train, which needs more than prediction.
    """
    yield from _places(values, probe.get())
    size = values.get("image_size")
    if size and values.get("rotate_prob") and size[0] != size[1]:
        square = [max(size[:2])] * 2 + size[2:]
        yield (
            f"rotate_prob: expected 0, since image_size {size} is not square and a quarter turn would change it, got "
            f"{values['rotate_prob']}. Type --rotate_prob 0 or {as_typed('image_size', square)}"
        )
    if values.get("mask_connectivity") == 0 and values.get("min_size", 0) > 1:
        yield (
            "min_size: expected 0 with mask_connectivity 0, which gives each pixel its own box, got "
            f"{values['min_size']}. Type --min_size 0 or --mask_connectivity 1"
        )
    if size and "@network_def" in str(probe.get("network")):
        batch = min(2, values.get("batch_size", 1)) if training else 1
        channels = values.get("in_channels", 1)
        if not all(n % _TAKEN_BY_ANY == 0 and n >= 2 * _TAKEN_BY_ANY for n in size):
            yield from network_misfit(lambda: probe.get_parsed_content("network_def"), size, channels, batch, training)
    if training and "@box_loss" in str(probe.get("loss")):
        try:
            probe.get_parsed_content("box_loss")
        except Exception as error:  # a custom loss may raise anything
            yield f"box_loss: {stopped_by(error)}"


def network_misfit(
    make: Callable[[], torch.nn.Module], size: list[int], channels: int = 1, batch: int = 1, training: bool = True
) -> Iterator[str]:
    """Yield a message if a network refuses images of a size but accepts another size.

    If it refuses both, the size is not the reason, and the network's own error will give it later.

    Args:
        make: function that returns a new network.
        size: of the images, one number per axis.
        channels: of the images.
        batch: number of images at once.
        training: whether it is to train.

    Example:
        >>> from monai.networks.nets import BasicUNet
        >>> for message in network_misfit(lambda: BasicUNet(spatial_dims=2, features=(4, 4, 8, 8, 8, 4)), [16, 16]):
        ...     print(message.split(": ")[1].split(" (")[0])
        expected a size that the network takes, got [16, 16]
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            network = make().train(training)
        except Exception:  # the run builds it again, and its error is raised there
            return
        # A smaller image with the same remainder gives the same answer in a fraction of the time.
        small = [n if n < 96 else 64 + n % _TAKEN_BY_ANY for n in size]
        if _refusal(network, [batch, channels, *small]) is None:
            return
        reason = _refusal(network, [batch, channels, *size])
        if reason is None:
            return
        larger: dict[tuple[int, ...], None] = {}
        for multiple in (16, 32):
            rounded = [-(-n // multiple) * multiple for n in size]
            larger |= {tuple(rounded): None, tuple(max(n, 2 * multiple) for n in rounded): None}
        for other in map(list, larger):
            if other != size and _refusal(network, [batch, channels, *other]) is None:
                yield (
                    f"image_size: expected a size that the network takes, got {size} ({reason}). "
                    f"Type {as_typed('image_size', other)}"
                )
                return


def _refusal(network: torch.nn.Module, shape: list[int]) -> str | None:
    """Return why a network refuses images of a shape or returns another one; ``None`` if it accepts them."""
    try:
        output = network(torch.zeros(shape))
    except Exception as error:  # a custom network may raise anything
        return f"{' '.join(str(error).split()):.200}"
    output = output[0] if isinstance(output, (list, tuple)) else output
    given = list(output.shape[2:])
    return None if given == shape[2:] else f"its output has the size {given}"


def _places(values: Mapping[str, Any], config: Mapping[str, Any]) -> Iterator[str]:
    folder = values.get("dataset_dir")
    read_by = str(config.get("data_items", config.get("images", "")))
    # The phantom is created if it does not exist, and a data list may give complete paths of its images.
    if folder is None or "@dataset_dir" not in read_by or folder == values.get("phantom_dir") or values.get("datalist"):
        return
    if not os.path.isdir(folder):
        what = "a file" if os.path.exists(folder) else "no such folder"
        yield (
            f"dataset_dir: expected an existing folder, got {folder!r} ({what}, looked for from {os.getcwd()}). "
            f"Type --dataset_dir FOLDER"
        )
