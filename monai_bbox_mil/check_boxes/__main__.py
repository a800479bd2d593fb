# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Command line of :mod:`monai_bbox_mil.check_boxes`."""

from __future__ import annotations

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import monai_bbox_mil.check_boxes as check_boxes
from monai_bbox_mil.runs.files import same_place, show_any_name

_STEM = "check_boxes"
_PRINTED = 10  # errors in the terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, write the page and the tables, and print a summary; return the exit status."""
    show_any_name()
    parser = _parser()
    values = parser.parse_args(arguments)
    if values.datalist is None and values.dataset_dir is None:
        parser.error("expected --datalist FILE or --dataset_dir DIR, got neither")
    try:
        return _run(values)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monai_bbox_mil.check_boxes",
        description=check_boxes.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--datalist", metavar="FILE", help="data list (JSON); relative to --dataset_dir if that is given")
    add(
        "--dataset_dir",
        metavar="DIR",
        help="folder of the images: PROMISE12, ATLAS, Decathlon, with a data list, or with annotations beside them",
    )
    add("--output", metavar="DIR", default="box_check", help="folder to write to, or the page, *.html (%(default)s)")
    add(
        "--label_values",
        metavar="LIST",
        type=_literal,
        default=argparse.SUPPRESS,
        help='values of the classes in masks ("[1]", or 1, 2, ... for each of box_classes); None: any value above 0',
    )
    add("--box_classes", metavar="LIST", type=_literal, help="classes in box files, in the order of the channels")
    add("--slice_dim", metavar="N", type=_literal, default=-1, help="axis of the slices (-1); None: a 3D network")
    add("--margin", metavar="VOXELS", type=float, default=0.0, help="largest margin around boxes cut from masks (0)")
    add("--margin_seed", metavar="N", type=_literal, help="seed to draw the margin of each side from 0 to --margin")
    add("--min_size", metavar="VOXELS", type=int, default=0, help="objects of fewer voxels need no box (0)")
    add("--in_channels", metavar="N", type=int, default=1, help="channels of each image, 3 for RGB (1)")
    add("--image_size", metavar="LIST", type=_literal, help='voxels after padding or cropping ("[96, 96]")')
    add("--spacing_mm", metavar="LIST", type=_literal, help="spacing after resampling (the file's own)")
    add(
        "--tolerance",
        metavar="VOXELS",
        type=float,
        default=2.0,
        help="distance by which a side may miss the mask's object (2)",
    )
    add("--pictures", metavar="N", type=_count, default=60, help="number of images with findings to draw (%(default)s)")
    return parser


def _literal(text: str) -> Any:
    """Read a value as Python writes it, as on the bundle's command line."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise argparse.ArgumentTypeError(
            f'expected a value as Python writes it, such as "[1, 2]", got {text!r}'
        ) from error


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def _run(values: argparse.Namespace) -> int:
    options = _options(values)
    page = _page(Path(values.output))
    # Imported late, so that wrong arguments are reported before MONAI loads for seconds.
    from monai_bbox_mil.data import get_datalist

    root = Path(values.datalist).parent if values.dataset_dir is None else Path(values.dataset_dir)
    datalist = Path(values.datalist).name if values.dataset_dir is None else values.datalist
    parts = get_datalist(root, datalist, check=False)
    _check_output(page, [root / datalist] if datalist else [], parts)
    result = check_boxes.check_items(parts, options, progress=True)
    page.parent.mkdir(parents=True, exist_ok=True)
    tables = check_boxes.write_tables(result, page.with_suffix(""))
    source = str(values.datalist or values.dataset_dir)
    check_boxes.write_page(result, page, source, values.pictures, tables, progress=True)
    _print_summary(result)
    print(f"Page: {page}")
    return 1 if result.count("error") else 0


def _check_output(page: Path, lists: Sequence[Path], parts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Refuse to overwrite a file that is checked."""
    values = [value for items in parts.values() for item in items for value in item.values()]
    paths = [path for value in values for path in (value if isinstance(value, list) else [value])]
    files = [path for path in paths if isinstance(path, str)]
    read = {*map(same_place, lists), *map(same_place, files)}
    for output in (page, *check_boxes.table_paths(page.with_suffix(""))):
        if same_place(output) in read:
            raise ValueError(f"--output {page}: {output}, which would be overwritten, is one of the files to check.")


def _page(output: Path) -> Path:
    return output if output.suffix.lower() in (".html", ".htm") else output / f"{_STEM}.html"


def _options(values: argparse.Namespace) -> check_boxes.CheckOptions:
    classes = _sequence("box_classes", values.box_classes, (int, str))
    labels = _sequence("label_values", getattr(values, "label_values", range(1, 1 + len(classes or (1,)))), (int,))
    for name in ("slice_dim", "margin_seed"):
        value = getattr(values, name)
        if value is not None and not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number or None, got {value!r}.")
    return check_boxes.CheckOptions(
        label_values=labels,
        box_classes=classes,
        slice_dim=values.slice_dim,
        margin=values.margin,
        margin_seed=values.margin_seed,
        min_size=values.min_size,
        in_channels=values.in_channels,
        image_size=_sequence("image_size", values.image_size, (int,)),
        spacing_mm=_sequence("spacing_mm", values.spacing_mm, (int, float)),
        tolerance=values.tolerance,
    )


def _sequence(name: str, value: Any, kinds: tuple[type, ...]) -> tuple[Any, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple, range)) or not all(isinstance(entry, kinds) for entry in value):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"{name} must be None or a list of {expected}, got {value!r}.")
    return tuple(value)


def _print_summary(result: check_boxes.CheckResult) -> None:
    """Print the counts by kind and the first errors."""
    boxes, errors = sum(len(image.boxes) for image in result.images), result.count("error")
    print(f"Images: {len(result.images)}, boxes: {boxes}, errors: {errors}, warnings: {result.count('warning')}")
    counts = Counter(finding.kind for _, finding in result.all_findings)
    kinds = check_boxes.KINDS
    for kind, count in sorted(counts.items(), key=lambda entry: [*kinds].index(entry[0])):
        print(f"  {kinds[kind].severity:8}{count:6}  {kinds[kind].title}")
    errors_found = [(image, finding) for image, finding in result.all_findings if finding.severity == "error"]
    for image, finding in errors_found[:_PRINTED]:
        parts = (image.name if image else "", finding.box, finding.detail)
        print("  " + ": ".join(part for part in parts if part))
    if len(errors_found) > _PRINTED:
        print(f"  and {len(errors_found) - _PRINTED} more errors, which are on the page.")


if __name__ == "__main__":
    sys.exit(main())
