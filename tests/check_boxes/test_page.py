# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The page: whole in itself, with links that lead somewhere and names that cannot do harm."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from monai_bbox_mil.check_boxes import CheckOptions, check_items, write_page, write_tables
from monai_bbox_mil.check_boxes.charts import histogram
from monai_bbox_mil.data import get_datalist

EVIL = '<script>alert("1")</script>&amp;\'"'
_EMPTY_TAGS = {"meta"}


class Page(HTMLParser):
    """Tags, attributes and text, and whether every tag is closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.folder, self.open, self.tags, self.text = path.parent, [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _EMPTY_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def values(self, name):
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def make(data, tmp_path, pictures=60, **options) -> Page:
    result = data.check(**options)
    tables = write_tables(result, tmp_path / "check")
    return Page(write_page(result, tmp_path / "check.html", "the data list", pictures, tables))


@pytest.fixture
def faulty(clean):
    data = clean()
    data.add("d", shape=(40, 30, 8), box=[[90, 6, 2, 99, 20, 3], [5, 6, 3, 15, 20, 4], [5, 6, 6, 15, 20, 7]])
    data.add("e", box=[[9, 6, 2, 20]])
    data.add("f", objects=[(5, 6, 0, 15, 20, 1)], box=[[5, 6, 15, 20], [25, 2, 30, 9]])
    return data


def test_every_link_resolves_and_nothing_is_loaded(faulty, tmp_path):
    page = make(faulty, tmp_path)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    links = page.values("href")
    assert {"#outside", "#image-4", "check_findings.csv", "check_boxes.csv"} <= set(links)
    for link in links:
        known = link.startswith("data:image/") or link.removeprefix("#") in ids or (tmp_path / link).is_file()
        assert known, link
    assert not page.values("src") and not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    text = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert "//" not in re.sub('base64,[^"]*', "", text)
    assert "url(" not in text and "@import" not in text


def test_it_says_what_is_wrong_where_and_what_to_do(faulty, tmp_path):
    text = " ".join(make(faulty, tmp_path).text)
    for part in (
        "2 errors to fix before training.",
        "Box outside of the image",
        "box[0]: (90, 6, 2) to (99, 20, 3): the image has 40 x 30 x 8 voxels",
        "Delete or redraw the box.",
        "expected min < max on every axis, got min [9.0, 6.0] and max [2.0, 20.0]",
        "box[1]: (25, 2, 0) to (30, 9, 1): no voxel of its class in the mask",
        "the data list",
        "6 images",
    ):
        assert part in text.replace("6  images", "6 images"), part


def test_names_from_files_are_escaped(data, tmp_path):
    # A name of a file cannot hold "/", which closing tags need; names of patients and labels can.
    data.add(box={"box": [[5, 6, 15, 20], [1, 1, 9, 9]], "label": [EVIL, "good"]}, patient=EVIL)
    data.add("b", box=f"{EVIL}.json")
    page = make(data, tmp_path, box_classes=("good",))
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script" not in (tmp_path / "check.html").read_text(encoding="utf-8")
    assert EVIL in " ".join(page.text)
    classes = make(data, tmp_path, label_values=(1, 2), box_classes=(EVIL, "good"))
    assert "script" not in {tag for tag, _ in classes.tags} and EVIL in " ".join(classes.text)


def test_pictures_are_limited_and_the_most_severe_come_first(clean, tmp_path):
    data = clean()
    for number in range(4):
        data.add(f"tiny{number}", box=[[5, 6, 6, 20]])
    data.add("bad", box=[[9, 6, 2, 20]])
    page = make(data, tmp_path, pictures=2)
    cases = [value for value in page.values("id") if value.startswith("image-")]
    assert cases == [
        "image-3",
        "image-7",
        "image-1",
        "image-8",
    ]  # the first tiny one, the bad one, examples
    assert not [value for value in make(data, tmp_path, pictures=0).values("id") if value.startswith("image-")]


def test_a_picture_shows_boxes_outside_and_the_slices_of_findings(faulty, tmp_path):
    page = make(faulty, tmp_path)
    views = [attributes["viewbox"] for _, attributes in page.tags if attributes.get("class") == "slice"]
    widths = [float(view.split()[2]) for view in views]
    assert widths[0] > 1.9 * widths[-1]  # image d, whose box lies far to the right, and image c
    assert any("slice 2 (numbered 0 to 7)" in text for text in page.text)
    marked = [attributes for tag, attributes in page.tags if attributes.get("class") == "found"]
    assert len(marked) == 2  # the box outside, and the one without object
    assert "1: Box outside of the image, the image has 40 x 30 x 8 voxels" in page.text


def test_an_upright_axis_is_drawn_downward(data, tmp_path):
    """World y grows with axis 1 in these images, so that axis 1 runs upward."""
    data.add(box=[[5, 6, 15, 20]])
    page = make(data, tmp_path)
    (box,) = [a for tag, a in page.tags if tag == "rect" and a.get("stroke", "").startswith("#")]
    assert [float(box[name]) for name in ("x", "y", "width", "height")] == [37.5, 75, 75, 105]  # 7.5 units a voxel


def test_a_number_is_as_large_beside_a_box_far_outside(data, tmp_path):
    data.add(box=[[5, 6, 6, 20]])
    data.add("b", box=[[75, 6, 79, 20]])
    page = make(data, tmp_path)
    drawings = [attributes for _, attributes in page.tags if attributes.get("class") == "slice"]
    near, far = (
        float(drawing["font-size"]) * float(drawing["width"]) / float(drawing["viewbox"].split()[2])
        for drawing in drawings
    )
    assert near == pytest.approx(far, rel=0.02) and float(drawings[1]["viewbox"].split()[2]) > 590


def test_what_image_size_cuts_is_one_finding_and_a_column(data, tmp_path):
    for name in "abcdefgh":
        data.add(name, box=[[2, 6, 4, 20], [5, 6, 15, 20]])
    page = make(data, tmp_path, image_size=(24, 24))
    text = " ".join(page.text)
    assert text.count("cuts 8 and loses 8 of 16 boxes, in 8 of 8 images (a.nii.gz, b.nii.gz, c.nii.gz, d.nii.gz, ") == 1
    assert page.text.count("1 cut, 1 lost") == 8
    assert not [attributes for _, attributes in page.tags if attributes.get("class") == "found"]


def test_many_findings_are_cut_short_on_the_page(data, tmp_path):
    data.add(box=[[x, y, x + 1, y + 5] for x in range(10) for y in (0, 6, 12)])
    page = make(data, tmp_path)
    assert " ".join(page.text).count("and 10 more, which are in the table of findings.") == 2


def test_an_empty_result_makes_a_page(tmp_path):
    result = check_items({"training": []})
    assert "Nothing wrong was found." in Page(write_page(result, tmp_path / "check.html")).text


def read_bars(svg):
    """Left, top, right, bottom and colour of each bar, by its title."""
    found = re.findall('<title>([^<]*)</title><path d="([^"]*)" style="fill: (#\\w+)', svg)
    bars = {}
    for title, path, color in found:
        numbers = [float(number) for number in re.findall(r"[\d.]+", path)]
        bars[title] = (min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2]), color)
    return bars


def test_histograms_stack_classes():
    bars = read_bars(histogram({"a": [3, 3, 3], "b": [3, 8]}, "voxels", "boxes"))
    below, above, alone = (
        bars[title] for title in ("a (voxels: 3; boxes: 3)", "b (voxels: 3; boxes: 1)", "b (voxels: 8; boxes: 1)")
    )
    heights = [bottom - top for _, top, _, bottom, _ in (below, above, alone)]
    assert heights == pytest.approx([3 * heights[1], heights[1], heights[1]], rel=1e-4)
    assert below[:3:2] == above[:3:2] and below[1] == pytest.approx(above[3]) and below[3] == alone[3]
    assert below[4] != above[4] == alone[4]
    assert histogram({"a": []}, "voxels", "boxes") == ""


@pytest.mark.parametrize(
    "values, title",
    [
        ([5] * 3, "a (mm: 5; boxes: 3)"),
        ([0.5, 0.7], "a (mm: 0 to 1; boxes: 2)"),
        ([*range(100)], "a (mm: 5 to 9; boxes: 5)"),
        ([1e7, float("nan")], "a (mm: 10000000; boxes: 1)"),
        ([-3, -3, 2], "a (mm: -3; boxes: 2)"),
    ],
)
def test_a_bar_names_its_values(values, title):
    assert title in read_bars(histogram({"a": values}, "mm", "boxes"))


def test_a_histogram_is_always_the_same_and_names_cannot_break_it():
    drawn = histogram({EVIL: [1, 2], "$x$": [2]}, "voxels", "boxes")
    assert drawn == histogram({EVIL: [1, 2], "$x$": [2]}, "voxels", "boxes")
    assert "<script" not in drawn and "$x$ (voxels: 2; boxes: 1)" in drawn
    assert not re.findall(r"\bid=|<style|<defs|xlink", drawn)


def test_it_opens_from_disk_in_a_browser(faulty, tmp_path):
    browser = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if browser is None:
        pytest.skip("no Chromium is installed")
    make(faulty, tmp_path)
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    address = (tmp_path / "check.html").as_uri()
    shot = tmp_path / "shot.png"
    subprocess.run(
        [*command, f"--screenshot={shot}", "--window-size=1200,1600", address],
        check=True,
        capture_output=True,
        timeout=120,
    )
    assert shot.stat().st_size > 20_000
    dom = subprocess.run([*command, "--dump-dom", address], check=True, capture_output=True, timeout=120, text=True)
    assert "2 errors to fix before training." in dom.stdout and dom.stdout.count("<svg") >= 6


@pytest.mark.parametrize("folder", ["soop_flair"])
def test_a_page_of_real_images_is_small(real_data, tmp_path, folder):
    parts = {part: items[:30] for part, items in get_datalist(real_data / folder, check=False).items()}
    page = write_page(check_items(parts, CheckOptions()), tmp_path / "check.html")
    assert 50_000 < page.stat().st_size < 1_000_000
