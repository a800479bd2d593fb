# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The page: one HTML file that needs no other, no network and no script."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote_from_bytes

import numpy as np
from tqdm import tqdm

from monai_bbox_mil.check_boxes.findings import KINDS, SEVERITIES, Finding
from monai_bbox_mil.check_boxes.pictures import draw_report
from monai_bbox_mil.check_boxes.sizes import draw_sizes, tell_tightness
from monai_bbox_mil.check_boxes.survey import CheckResult, ImageReport
from monai_bbox_mil.runs.files import printable

__all__ = ["write_page"]

_SAMPLE = 12  # pictures of images without findings
_LISTED = 20  # findings of one kind on the page; all are in the table of findings

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1c1c1c; background: #fff; max-width: 1160px; margin: 1.5em auto;
  padding: 0 1em; }
h1 { font-size: 1.5em; margin-bottom: .2em; } h2 { font-size: 1.2em; margin: 1.8em 0 .5em; } h3 { font-size: 1em; }
.tiles { display: flex; flex-wrap: wrap; gap: .8em; margin: 1em 0; }
.tile { border: 1px solid #d5d5d5; border-radius: 6px; padding: .4em 1em; }
.tile b { display: block; font-size: 1.5em; }
.error { color: #b3261e; } .warning { color: #8a5a00; } .note { color: #4a5568; } .good { color: #1b6e33; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .25em .7em .25em 0;
  border-bottom: 1px solid #e4e4e4; vertical-align: top; } td.number, th.number { text-align: right; }
td.path { overflow-wrap: anywhere; min-width: 9em; } td.size { white-space: nowrap; }
.long { max-height: 40em; overflow-y: auto; } .long th { position: sticky; top: 0; background: #fff; }
details { border: 1px solid #d5d5d5; border-radius: 6px; padding: .5em .9em; margin: .6em 0; }
summary { cursor: pointer; font-weight: 600; } .advice { margin: .5em 0; } li { overflow-wrap: anywhere; }
.case { border-top: 1px solid #d5d5d5; padding: .4em 0 1em; } .slices { display: flex; flex-wrap: wrap; gap: 1em; }
.list { flex: 1 1 20em; }
figure { margin: 0; } figcaption { font-size: .85em; color: #555; }
.case svg { background: #ececec; max-width: 100%; height: auto; } .case svg rect { fill: none; stroke-width: 1.5;
  vector-effect: non-scaling-stroke; } .case svg rect.edge { stroke: #999; stroke-width: 1; }
.case svg rect.found { stroke: #ff2d20; stroke-width: 2; stroke-dasharray: 5 3; }
.case svg text { fill: #ff2d20; font: bold 12px sans-serif; paint-order: stroke; stroke: #fff; stroke-width: 3px; }
.charts { display: flex; flex-wrap: wrap; gap: 1.5em; } .chart text { font: 11px sans-serif; fill: #555; }
.chart line { stroke: #888; } .chart figcaption { font-weight: 600; color: #1c1c1c; }
"""


def write_page(
    result: CheckResult,
    path: str | os.PathLike[str],
    source: str = "",
    pictures: int = 60,
    tables: Sequence[str | os.PathLike[str]] = (),
    progress: bool = False,
) -> Path:
    """Write what was found as one HTML file.

    Args:
        result: of :func:`.check_items`.
        path: file to write; its folder is there.
        source: name of what was checked, for the heading.
        pictures: at most so many images with findings are drawn, the gravest first, and up to 12 of the others.
        tables: files beside the page that it links to.
        progress: whether to show a progress bar.

    Returns:
        the path.

    Example:
        >>> import tempfile
        >>> from monai_bbox_mil.check_boxes.survey import check_items
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = write_page(check_items({"training": [{"image": "nowhere.png"}]}), Path(folder, "check.html"))
        ...     "Image cannot be read" in page.read_text(encoding="utf-8")
        True
    """
    chosen = _choose(result.images, pictures)
    drawn: dict[int, list[str]] = {}
    for image in tqdm(chosen, "Drawing", disable=not progress):
        figures = draw_report(image, result.options)
        if figures:
            drawn[image.number] = figures
    body = [
        f"<h1>Box check{f' of {escape(source)}' if source else ''}</h1>",
        *_summary(result, tables),
        *_findings(result, drawn),
        *draw_sizes(result),
        *_image_table(result, drawn),
        *_pictures(result, drawn),
    ]
    path = Path(path)
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Box check</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )
    path.write_text(printable(page), encoding="utf-8")
    return path


def _choose(images: Sequence[ImageReport], pictures: int) -> list[ImageReport]:
    """Images to draw, in the order of the data list."""
    ranks = [*SEVERITIES, ""]
    faulty = sorted((image for image in images if image.findings), key=lambda image: ranks.index(image.severity))
    clean = [image for image in images if not image.findings and image.shape is not None]
    spread = np.linspace(0, len(clean) - 1, min(len(clean), _SAMPLE, pictures)).round().astype(int)
    return sorted([*faulty[:pictures], *(clean[i] for i in spread)], key=lambda image: image.number)


def _summary(result: CheckResult, tables: Sequence[str | os.PathLike[str]]) -> list[str]:
    images, errors, warned = result.images, result.count("error"), result.count("warning")
    boxes = sum(len(image.boxes) for image in images)
    drawn = sum(len(image.boxes) for image in images if image.drawn)
    verdict = (
        f'<p class="error">{_count(errors, "error")} to mend before training.</p>'
        if errors
        else f'<p class="warning">No error; {_count(warned, "warning")} to look at before training.</p>'
        if warned
        else '<p class="good">Nothing wrong was found.</p>'
    )
    tiles = [
        (_spell(len(images), "image"), len(images), ""),
        ("without finding", sum(not image.findings for image in images), ""),
        (_spell(boxes, "box", "boxes"), boxes, ""),
        (_spell(errors, "error"), errors, "error" if errors else ""),
        (_spell(warned, "warning"), warned, "warning" if warned else ""),
    ]
    counts = Counter(image.part for image in images)
    origin = [f"{drawn} boxes come from annotations"] if drawn else []
    if boxes > drawn:
        origin.append(
            f"{boxes - drawn} were cut from masks, so they are tight but for margin={result.options.margin:g}"
        )
    network = (
        "a 3D network" if result.options.slice_dim is None else f"a 2D network, slice_dim={result.options.slice_dim}"
    )
    facts = [
        f"Images: {', '.join(f'{count} {part}' for part, count in counts.items()) or 'none'}.",
        *([f"Of the boxes, {' and '.join(origin)}."] if origin else []),
        f"Classes: {', '.join(result.options.class_names)}. Checked for {network}.",
        *tell_tightness(result),
    ]
    links = ", ".join(
        f'<a href="{quote_from_bytes(os.fsencode(Path(table).name))}">{escape(Path(table).name)}</a>'
        for table in tables
    )
    return [
        verdict,
        f'<div class="tiles">{"".join(_tile(*tile) for tile in tiles)}</div>',
        f"<p>{' '.join(map(escape, facts))}</p>",
        *([f"<p>Tables beside this page: {links}.</p>"] if links else []),
    ]


def _tile(name: str, value: int, style: str) -> str:
    return f'<div class="tile {style}"><b>{value}</b>{escape(name)}</div>'


def _findings(result: CheckResult, drawn: Iterable[int]) -> list[str]:
    groups: dict[str, list[tuple[ImageReport | None, Finding]]] = defaultdict(list)
    for image, finding in result.all_findings:
        groups[finding.kind].append((image, finding))
    if not groups:
        return []
    kinds = sorted(groups, key=lambda kind: (SEVERITIES.index(KINDS[kind].severity), -len(groups[kind])))
    rows = [
        f'<tr><td class="{KINDS[kind].severity}">{KINDS[kind].severity}</td>'
        f'<td><a href="#{kind}">{escape(KINDS[kind].title)}</a></td><td class="number">{len(groups[kind])}</td>'
        f'<td class="number">{len({image.number for image, _ in groups[kind] if image}) or ""}</td></tr>'
        for kind in kinds
    ]
    lines = [
        "<h2>Findings</h2>",
        '<table><tr><th></th><th>Kind</th><th class="number">Findings</th><th class="number">Images</th></tr>',
        *rows,
        "</table>",
    ]
    for kind in kinds:
        found, entry = groups[kind], KINDS[kind]
        lines.append(
            f'<details id="{kind}"{" open" if entry.severity == "error" else ""}><summary>'
            f'<span class="{entry.severity}">{entry.severity}</span> {escape(entry.title)} ({len(found)})</summary>'
            f'<p class="advice"><b>What to do:</b> {escape(entry.advice)}</p><ul>'
        )
        for image, finding in found[:_LISTED]:
            where = f"{_link(image, drawn)}: " if image else ""
            lines.append(f"<li>{where}{_sentence(finding)}</li>")
        if len(found) > _LISTED:
            lines.append(f"<li>and {len(found) - _LISTED} more, which are in the table of findings.</li>")
        lines.append("</ul></details>")
    return lines


def _sentence(finding: Finding) -> str:
    return escape(f"{finding.box}: {finding.detail}" if finding.box else finding.detail)


def _link(image: ImageReport, drawn: Iterable[int]) -> str:
    name = escape(image.name)
    return f'<a href="#image-{image.number}">{name}</a>' if image.number in drawn else name


def _image_table(result: CheckResult, drawn: Iterable[int]) -> list[str]:
    names = result.options.class_names
    lines = [
        "<h2>Images</h2>",
        '<div class="long"><table>'
        "<tr><th>Image</th><th>Part</th><th>Patient</th><th>Voxels</th><th>mm</th>"
        '<th class="number">Boxes</th><th>Sides, voxels</th><th>Findings</th></tr>',
    ]
    for image in result.images:
        sides = (image.boxes[:, 3:] - image.boxes[:, :3])[:, result.options.plane_axes(image.shape or (1, 1, 1))]
        span = f"{float(sides.min()):.3g} to {float(sides.max()):.3g}" if sides.numel() else ""
        boxes = str(len(image.boxes)) if image.shape is not None else ""
        if len(names) > 1 and len(image.boxes):
            boxes += f" ({' + '.join(str(int((image.classes == channel).sum())) for channel in range(len(names)))})"
        kinds = dict.fromkeys(finding.kind for finding in image.findings)
        faults = ", ".join(f'<a class="{KINDS[k].severity}" href="#{k}">{escape(KINDS[k].title)}</a>' for k in kinds)
        size = f'<td class="size">{" x ".join(map(str, image.shape or ()))}</td>'
        lines.append(
            f'<tr><td class="path">{_link(image, drawn)}</td><td>{escape(image.part)}</td>'
            f'<td class="path">{escape(image.patient)}</td>{size}'
            f'<td class="size">{" x ".join(f"{mm:.3g}" for mm in image.spacing_mm)}</td>'
            f'<td class="number">{boxes}</td><td>{span}</td><td>{faults}</td></tr>'
        )
    return [*lines, "</table></div>"]


def _pictures(result: CheckResult, drawn: dict[int, list[str]]) -> list[str]:
    if not drawn:
        return []
    lines = [
        "<h2>Pictures</h2>",
        "<p>Boxes have the colour of their class; what a finding is about is dashed in red, with the finding's number. "
        "Masks, where there are any, shine through. Point at a box to read where it stands in its file.</p>",
    ]
    for image in result.images:
        if image.number not in drawn:
            continue
        findings = "".join(
            f'<li><span class="{f.severity}">{escape(KINDS[f.kind].title)}</span>: {_sentence(f)}</li>'
            for f in image.findings[:_LISTED]
        )
        more = len(image.findings) - _LISTED
        lines.append(
            f'<div class="case" id="image-{image.number}"><h3>{escape(image.name)} ({escape(image.part)})</h3>'
            f'<div class="slices">{"".join(drawn[image.number])}<div class="list"><ol>{findings}</ol>'
            f"{f'<p>and {more} more, which are in the table of findings.</p>' if more > 0 else ''}</div></div></div>"
        )
    return lines


def _count(number: int, name: str) -> str:
    return f"{number} {_spell(number, name)}"


def _spell(number: int, one: str, several: str | None = None) -> str:
    return one if number == 1 else several or f"{one}s"
