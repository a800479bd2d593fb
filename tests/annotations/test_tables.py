# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Tables of all images: parsed once, as they are on disk, by whatever thread or process comes first."""

from __future__ import annotations

import multiprocessing
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from monai_bbox_mil.annotations import coco, csv_table, opening, read_boxes
from monai_bbox_mil.annotations.formats import FORMATS
from monai_bbox_mil.annotations.tables import TABLES, TableCache
from tests.annotations.annotations import FILES, FLAT, make_image, write

HEADER = "image,x_min,y_min,x_max,y_max\n"
AGO_NS = 10**12


def image(name):
    return make_image((20, 16), name=f"/data/{name}.png")


def csv_of(path, names, box="1,1,4,4", age=True):
    write(path, HEADER + "".join(f"{name}.png,{box}\n" for name in names))
    if age:
        os.utime(path, ns=(AGO_NS, AGO_NS))
    return path


def coco_of(path, names):
    images = [{"id": name, "file_name": f"{name}.png"} for name in names]
    return write(
        path,
        {"images": images, "annotations": [{"image_id": n, "category_id": 0, "bbox": [1, 1, 3, 3]} for n in names]},
    )


@pytest.fixture
def parsed(monkeypatch):
    """Names of the files that are parsed, in their order."""
    names = []
    for name, format in FORMATS.items():

        def parse(path, format=format):
            names.append(path.name)
            return format.parse(path)

        monkeypatch.setitem(opening.FORMATS, name, format._replace(parse=parse))
    return names


@pytest.mark.parametrize(("name", "make"), [("a.csv", csv_of), ("a.json", coco_of)])
def test_a_table_is_parsed_once(tmp_path, parsed, name, make):
    table = make(tmp_path / name, "xyz")
    for letter in "xyzxyz":
        assert read_boxes(table, image(letter))[0].tolist() == [[1, 1, 4, 4]]
    assert parsed == [name]


def test_a_file_of_one_image_is_not_kept(tmp_path, parsed):
    path = write(tmp_path / "a.json", {"box": [[1, 1, 4, 4]]})
    for _ in range(2):
        read_boxes(path, image("x"))
    assert parsed == ["a.json"] * 2


@pytest.mark.parametrize("age", [True, False])
def test_a_table_that_changes_is_read_anew(tmp_path, age):
    """Also at once, with as many bytes, and with the old time set back."""
    table = csv_of(tmp_path / "a.csv", "x", age=age)
    for box in ("2,2,4,4", "3,3,4,4"):
        read_boxes(table, image("x"))
        csv_of(table, "x", box, age=age)
        assert read_boxes(table, image("x"))[0].tolist() == [[*map(int, box.split(","))]]
    table.unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.csv"):
        read_boxes(table, image("x"))


def test_another_format_of_the_same_file_is_not_mixed_up(tmp_path):
    content = {"images": [{"id": 1, "file_name": "x"}], "annotations": [], "box": [[1, 1, 4, 4]]}
    path = write(tmp_path / "a.json", content)
    for _ in range(2):
        assert len(read_boxes(path, image("x"), format="coco")[0]) == 0
        assert len(read_boxes(path, image("x"))[0]) == 1


@pytest.mark.parametrize(("name", "module", "options"), [("table.csv", csv_table, {}), ("coco.json", coco, FLAT)])
def test_what_is_kept_is_not_changed_by_readers(name, module, options):
    content = module.FORMAT.by_image(module.FORMAT.parse(FILES / name), name)
    for _ in range(2):
        read_boxes(FILES / name, make_image(**options), ("prostate", "tumour"))
    kept = TABLES._kept[os.path.realpath(FILES / name)].loaded[1]
    assert kept._replace(names=None) == content._replace(names=None)


def test_only_the_latest_are_kept(tmp_path):
    cache = TableCache(2)
    for name in "abcb":
        path = csv_of(tmp_path / f"{name}.csv", "x")
        cache.load(path, "csv", lambda: (FORMATS["csv"], None))
    assert [os.path.basename(path) for path in cache._kept] == ["c.csv", "b.csv"]


def test_threads_share_one_parse(tmp_path, parsed):
    table = csv_of(tmp_path / "a.csv", [f"im{i}" for i in range(500)])
    barrier = threading.Barrier(8)

    def read(number):
        barrier.wait()
        return read_boxes(table, image(f"im{number}"))[0].tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [[[1, 1, 4, 4]]] * 8
    assert parsed == ["a.csv"]


def test_a_reader_that_fails_leaves_no_lock(tmp_path):
    table = write(tmp_path / "a.csv", "a,b\n")
    for _ in range(2):
        with pytest.raises(ValueError, match="expected the columns"):
            read_boxes(table, image("x"))
    assert not TABLES._busy
    assert len(read_boxes(csv_of(table, "x"), image("x"))[0]) == 1


def read_in_child(path, queue):
    queue.put(read_boxes(path, image("x"))[0].tolist())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_forked_while_a_table_is_parsed_is_not_stuck(tmp_path):
    table = csv_of(tmp_path / "a.csv", "x")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def fork():
        child = context.Process(target=read_in_child, args=(table, queue), daemon=True)
        child.start()
        found.append(queue.get(timeout=30))
        child.join(30)
        return FORMATS["csv"], FORMATS["csv"].by_image(table.read_text(), "a.csv")

    found = []
    TABLES.load(table, "csv", fork)
    assert found == [[[1, 1, 4, 4]]]
