# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Write the page: one HTML file that needs no other file, no network and no script.

What it says in which order is in ``templates/page.html.jinja``, which escapes all texts that come from files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from tqdm import tqdm

from monai_bbox_mil.check_boxes.findings import KINDS, SEVERITIES
from monai_bbox_mil.check_boxes.groups import group_findings, spell_finding
from monai_bbox_mil.check_boxes.pictures import draw_report
from monai_bbox_mil.check_boxes.reports import CheckResult, ImageReport
from monai_bbox_mil.check_boxes.sizes import describe_tightness, draw_sizes
from monai_bbox_mil.runs.files import printable
from monai_bbox_mil.visualize import class_color

__all__ = ["write_page"]

_SAMPLE = 12  # pictures of images without findings
_LISTED = 20  # findings of one kind, and images of one finding; the table of findings has all
_MOST_COLUMNS = 6  # with more classes, the table of images has no column per class


def write_page(
    result: CheckResult,
    path: str | os.PathLike[str],
    source: str = "",
    pictures: int = 60,
    tables: Sequence[str | os.PathLike[str]] = (),
    progress: bool = False,
) -> Path:
    """Write the result of a check as one HTML file.

    Args:
        result: the result of :func:`.check_items`.
        path: file to write; its folder must exist.
        source: name of the data list or folder, for the heading.
        pictures: number of images with findings to draw at most, the most severe first; up to 12 others follow.
        tables: files beside the page that it links to.
        progress: whether to show a progress bar.

    Returns:
        the path of the page.

    Example:
        >>> import tempfile
        >>> from monai_bbox_mil.check_boxes.checking import check_items
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_page(check_items({"training": [{"image": "nowhere.png"}]}), Path(folder, "check.html"))
        ...     "Image cannot be read" in page.read_text(encoding="utf-8")
        True
    """
    drawn = {}
    for image in tqdm(_choose(result.images, pictures), "Drawing", disable=not progress):
        slices = draw_report(image, result.options)
        if slices:
            drawn[image.number] = slices
    shown = [image for image in result.images if image.number in drawn]
    names = result.options.class_names
    environment = Environment(
        loader=PackageLoader("monai_bbox_mil.check_boxes"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["at_least"] = max
    page = environment.get_template("page.html.jinja").render(
        source=source,
        errors=result.count("error"),
        warnings=result.count("warning"),
        tiles=_tiles(result),
        facts=_facts(result),
        tables=[{"name": name, "address": quote_from_bytes(os.fsencode(name))} for name in _names(tables)],
        kinds=KINDS,
        groups=group_findings(result),
        sentence=spell_finding,
        listed=_LISTED,
        classes=[{"name": name, "color": class_color(channel)} for channel, name in enumerate(names)],
        by_class=1 < len(names) <= _MOST_COLUMNS,
        charts=draw_sizes(result),
        rows=[_row(image, result) for image in result.images],
        any_cut=any(map(_describe_crop, result.images)),
        pictures=drawn,
        drawn_faulty=[image for image in shown if image.findings],
        drawn_clean=[image for image in shown if not image.findings],
    )
    path = Path(path)
    path.write_text(printable(page), encoding="utf-8")
    return path


def _choose(images: Sequence[ImageReport], pictures: int) -> list[ImageReport]:
    """Choose the images to draw; return them in the order of the data list."""
    ranks = [*SEVERITIES, ""]
    faulty = sorted((image for image in images if image.findings), key=lambda image: ranks.index(image.severity))
    clean = [image for image in images if not image.findings and image.shape is not None]
    spread = np.linspace(0, len(clean) - 1, min(len(clean), _SAMPLE, pictures)).round().astype(int)
    return sorted([*faulty[:pictures], *(clean[i] for i in spread)], key=lambda image: image.number)


def _names(tables: Sequence[str | os.PathLike[str]]) -> list[str]:
    return [Path(table).name for table in tables]


def _tiles(result: CheckResult) -> list[tuple[int, str, str, str]]:
    """Return the counts at the top of the page: number, singular, plural, style."""
    sound = sum(image.severity in ("", "note") for image in result.images)
    return [
        (len(result.images), "image", "images", ""),
        (sound, "image without error or warning", "images without error or warning", ""),
        (sum(len(image.boxes) for image in result.images), "box", "boxes", ""),
        (result.count("error"), "error", "errors", "error"),
        (result.count("warning"), "warning", "warnings", "warning"),
    ]


def _facts(result: CheckResult) -> list[tuple[str, str]]:
    """Return what was checked and how; the page leaves out a fact without text."""
    options = result.options
    boxes = sum(len(image.boxes) for image in result.images)
    drawn = sum(len(image.boxes) for image in result.images if image.drawn)
    origins = []
    if drawn:
        origins.append(f"{drawn} from annotations")
    if boxes > drawn:
        loosened = f"then loosened by up to {options.margin:g} voxels" if options.margin else "so they are tight"
        origins.append(f"{boxes - drawn} cut from masks, {loosened}")
    counts = Counter(image.part for image in result.images)
    return [
        ("Images", ", ".join(f"{count} {part}" for part, count in counts.items())),
        ("Boxes", "; ".join(origins)),
        ("Tightness", describe_tightness(result)),
        ("Classes", ", ".join(options.class_names)),
        (
            "Checked for",
            "a 3D network (slice_dim None)"
            if options.slice_dim is None
            else f"a 2D network that sees slices along axis {options.slice_axis} (slice_dim {options.slice_dim})",
        ),
    ]


def _describe_crop(image: ImageReport) -> str:
    """Say how many boxes ``image_size`` cuts and loses; empty where it holds all."""
    cut, lost = (image.crop.cut, image.crop.lost) if image.crop is not None else (0, 0)
    return ", ".join(f"{count} {name}" for count, name in ((cut, "cut"), (lost, "lost")) if count)


def _row(image: ImageReport, result: CheckResult) -> dict[str, Any]:
    """Return one row of the table of images."""
    sides = (image.boxes[:, 3:] - image.boxes[:, :3])[:, result.options.plane_axes(image.shape or (1, 1, 1))]
    counts = image.classes.bincount(minlength=len(result.options.class_names)).tolist()
    read = image.shape is not None
    return {
        "image": image,
        "shape": " × ".join(map(str, image.shape or ())),
        "spacing_mm": " × ".join(f"{mm:.3g}" for mm in image.spacing_mm),
        "boxes": len(image.boxes) if read else "",
        "counts": counts if read else [""] * len(counts),
        "sides": f"{float(sides.min()):.3g} to {float(sides.max()):.3g}" if sides.numel() else "",
        "crop": _describe_crop(image),
        "kinds": list(dict.fromkeys(finding.kind for finding in image.findings)),
    }
