# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Which entry of a table means an image: by the end of its path, never by its base name alone where that says less."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from monai_bbox_mil.annotations import read_boxes
from monai_bbox_mil.annotations.image_names import ImageEntry, ImageNames
from monai_bbox_mil.transforms import LoadCheckedImage
from tests.annotations.annotations import make_image, write

HEADER = "image,x_min,y_min,x_max,y_max\n"


def find(entries, path, table="/elsewhere/boxes.csv"):
    """Entries that are found, as written."""
    return [entries[index] for index in ImageNames([ImageEntry(entry) for entry in entries]).find(path, table)]


PATIENTS = ["p1/frame_0001.png", "p2/frame_0001.png"]
FOUND = {
    "folders": (PATIENTS, "/data/p2/frame_0001.png", ["p2/frame_0001.png"]),
    "absolute": (["/data/p1/a.png", "/data/p2/a.png"], "/data/p2/a.png", ["/data/p2/a.png"]),
    "absolute elsewhere": (["/home/ann/p1/a.png", "/home/ann/p2/a.png"], "/mnt/p2/a.png", ["/home/ann/p2/a.png"]),
    "Windows": (["D:\\set\\p1\\a.png", "D:\\set\\p2\\a.png"], "/data/p1/a.png", ["D:\\set\\p1\\a.png"]),
    "here": (["./p1/a.png", "./p2/a.png"], "/data/p1/a.png", ["./p1/a.png"]),
    "above": (["../images/p1/a.png", "../images/p2/a.png"], "/images/p1/a.png", ["../images/p1/a.png"]),
    "without extension": (["p1/a", "p2/a"], "/data/p1/a.nii.gz", ["p1/a"]),
    "uncompressed": (["a.nii"], "/data/a.nii.gz", ["a.nii"]),
    "compressed": (["a.nii.gz"], "/data/a.nii", ["a.nii.gz"]),
    "both": (["a.nii", "a.nii.gz"], "/data/a.nii.gz", ["a.nii.gz"]),
    "upper case extension": (["case1"], "/data/case1.NII.GZ", ["case1"]),
    "a dot in the name": (["case.1", "case.10"], "/data/case.10.nii.gz", ["case.10"]),
    "two dots": (["a", "a.b"], "/data/a.b.nii.gz", ["a.b"]),
    "a number behind a dot": (["1.2.840", "1.2.840.1"], "/data/1.2.840.1", ["1.2.840.1"]),
    "a name in a name": (["case1", "case11", "1"], "/data/case11.png", ["case11"]),
    "spaces": ([" a.png "], "/data/a.png", [" a.png "]),
    "a shared folder that is another now": (["images/a.png", "images/b.png"], "/data/b.png", ["images/b.png"]),
    "deeper": (["a.png", "p1/a.png", "x/p1/a.png"], "/x/p1/a.png", ["x/p1/a.png"]),
    "shallower": (["a.png", "p1/a.png"], "/data/p2/a.png", ["a.png"]),
    "accents as on macOS": (["Ren\u00e9.png"], "/data/Rene\u0301.png", ["Ren\u00e9.png"]),
    "two spellings of one": (["p1/a", "p1/a.png"], "/data/p1/a.png", ["p1/a.png", "p1/a"]),
    "patient not in the table": (PATIENTS, "/data/p3/frame_0001.png", []),
    "patient whose number begins alike": (["p1/a.png", "p10/a.png"], "/data/p100/a.png", []),
    "other extension": (["a.jpg"], "/data/a.png", []),
    "other case": (["A.png"], "/data/a.png", []),
    "a part of the name": (["case1"], "/data/case11.png", []),
    "number in the name": (["case"], "/data/case.1", []),
}


@pytest.mark.parametrize("name", FOUND)
def test_entries(name):
    entries, path, expected = FOUND[name]
    assert find(entries, path) == expected


@pytest.mark.parametrize("suffix", ["csv", "json"])
@pytest.mark.parametrize("spell", [lambda name: name, lambda name: name.removesuffix(".png")])
def test_images_of_one_name_in_a_folder_for_each_patient(tmp_path, suffix, spell):
    boxes = {"p1/frame_0001.png": [5, 6, 15, 16], "p2/frame_0001.png": [30, 20, 50, 35]}
    table = tmp_path / f"boxes.{suffix}"
    if suffix == "csv":
        write(table, HEADER + "".join(f"{spell(name)},{','.join(map(str, box))}\n" for name, box in boxes.items()))
    else:
        images = [{"id": str(number), "file_name": spell(name)} for number, name in enumerate(boxes)]
        made = [
            {"image_id": number, "category_id": 0, "bbox": [x, y, a - x, b - y]}
            for number, (x, y, a, b) in enumerate(boxes.values())
        ]
        write(table, {"images": images, "annotations": made})
    for name, box in boxes.items():
        (tmp_path / name).parent.mkdir()
        Image.fromarray(np.zeros((40, 60), dtype=np.uint8)).save(tmp_path / name)
        assert read_boxes(table, LoadCheckedImage(1)(tmp_path / name))[0].tolist() == [box]


def two_images(tmp_path):
    for name in ("p1", "p2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").touch()
    return [make_image((20, 16), name=str(tmp_path / name / "a.png")) for name in ("p1", "p2")]


def test_a_base_name_that_two_images_have_is_refused(tmp_path):
    table = write(tmp_path / "boxes.csv", HEADER + "a.png,1,1,4,4\na.png,8,8,9,9\n")
    first, second = two_images(tmp_path)
    assert len(read_boxes(table, first)[0]) == 2 and len(read_boxes(table, first)[0]) == 2
    with pytest.raises(ValueError, match=r"boxes\.csv: .* got 'a.png' for both .*p1/a\.png and .*p2/a\.png; name the"):
        read_boxes(table, second)


def test_a_table_beside_other_images_warns_of_a_base_name_that_two_have(tmp_path):
    (tmp_path / "tables").mkdir()
    table = write(tmp_path / "tables" / "boxes.csv", HEADER + "a.png,1,1,4,4\n")
    first, second = two_images(tmp_path)
    read_boxes(table, first)
    with pytest.warns(UserWarning, match=r"boxes\.csv: .* got 'a.png' for both"):
        assert len(read_boxes(table, second)[0]) == 1


def test_an_image_that_was_moved_or_linked_keeps_its_entry(tmp_path):
    table = write(tmp_path / "boxes.csv", HEADER + "a.png,1,1,4,4\n")
    first, second = two_images(tmp_path)
    read_boxes(table, first)
    (tmp_path / "p2" / "a.png").unlink()
    (tmp_path / "p2" / "a.png").symlink_to(tmp_path / "p1" / "a.png")
    read_boxes(table, second)
    (tmp_path / "p2" / "a.png").unlink()
    (tmp_path / "p2" / "a.png").touch()
    (tmp_path / "p1" / "a.png").unlink()
    assert len(read_boxes(table, second)[0]) == 1


def test_an_entry_that_leads_to_another_file_is_not_this_image(tmp_path):
    """Without the file on disk, the folder could be one that has moved."""
    table = write(tmp_path / "boxes.csv", HEADER + "p1/a.png,1,1,4,4\n")
    _, second = two_images(tmp_path)
    with pytest.raises(ValueError, match=r"boxes\.csv: expected .*p2/a\.png in the column 'image' .* 'p1/a\.png'"):
        read_boxes(table, second)
    (tmp_path / "p1" / "a.png").unlink()
    assert len(read_boxes(table, second)[0]) == 1


def test_a_case_distinguishes_images_of_one_name(tmp_path):
    header = "case,image,x_min,y_min,x_max,y_max\n"
    table = write(tmp_path / "boxes.csv", header + "p1,a.png,1,1,4,4\np2,a.png,5,5,9,9\nNA,b.png,2,2,3,3\n")
    assert read_boxes(table, make_image((20, 16), name="/data/p2/images/a.png"))[0].tolist() == [[5, 5, 9, 9]]
    assert read_boxes(table, make_image((20, 16), name="/data/p1/b.png"))[0].tolist() == [[2, 2, 3, 3]]
    with pytest.raises(ValueError, match=r"boxes\.csv: expected one entry for .* got 'a\.png' of 'p1' and 'a\.png' of"):
        read_boxes(table, make_image((20, 16), name="/data/a.png"))


def test_a_row_of_no_image_is_refused(tmp_path):
    """As in a spreadsheet that names the image in its first row only."""
    table = write(tmp_path / "boxes.csv", HEADER + "a.png,1,1,4,4\n,5,5,9,9\n")
    with pytest.raises(ValueError, match=r"boxes\.csv, row 3: expected an image in the column 'image', got none"):
        read_boxes(table, make_image((20, 16), name="/data/a.png"))


def test_a_patient_called_na_is_found(tmp_path):
    table = write(tmp_path / "boxes.csv", HEADER + "NA,1,1,4,4\nnan,5,5,9,9\nnull,,,,\n")
    assert read_boxes(table, make_image((20, 16), name="/data/NA.png"))[0].tolist() == [[1, 1, 4, 4]]
    assert read_boxes(table, make_image((20, 16), name="/data/nan.png"))[0].tolist() == [[5, 5, 9, 9]]
    assert len(read_boxes(table, make_image((20, 16), name="/data/null.png"))[0]) == 0


def coco(images, ids, **changes):
    made = [{"image_id": number, "category_id": 0, "bbox": [4, 3, 6, 5]} for number in ids]
    images = [{"id": number, "file_name": name} for number, name in images]
    return {"images": images, "annotations": made, **changes}


@pytest.mark.parametrize(
    ("image", "annotation"), [(1, "1"), ("1", 1), (1.0, 1), ("01", 1), (" a", "a"), (2**60, str(2**60))]
)
def test_ids_compare_as_text(tmp_path, image, annotation):
    table = write(tmp_path / "a.json", coco([(image, "case1"), ("other", "b.png")], [annotation, annotation]))
    assert len(read_boxes(table, make_image((20, 16)))[0]) == 2


def test_large_ids_that_differ_stay_apart(tmp_path):
    """As floats they would be one."""
    table = write(tmp_path / "a.json", coco([(2**53, "b.png"), (2**53 + 1, "case1")], [str(2**53 + 1)]))
    assert len(read_boxes(table, make_image((20, 16)))[0]) == 1
    assert len(read_boxes(table, make_image((20, 16), name="/data/b.png"))[0]) == 0


def test_annotations_of_images_that_are_not_listed_are_reported(tmp_path):
    table = write(tmp_path / "a.json", coco([(1, "case1")], [1, 7, 7, "x"]))
    with pytest.warns(UserWarning, match=r"a\.json: .* got 3 of 4 annotations with another image_id, such as 7, 'x'"):
        assert len(read_boxes(table, make_image((20, 16)))[0]) == 1
    table = write(tmp_path / "b.json", coco([(1, "case1")], ["case1"]))
    with pytest.raises(ValueError, match=r"b\.json: .* got 1 of 1 annotations with another image_id, such as 'case1'"):
        read_boxes(table, make_image((20, 16)))


REFUSED = {
    "one id for two images": (coco([(1, "case1"), ("1", "b.png")], []), r"images\[1\]: expected a unique id"),
    "one file twice": (coco([(1, "case1.nii"), (2, "case1.nii")], []), "once among the images, got 2 of 2"),
    "one category id for two names": (
        coco([(1, "case1")], [], categories=[{"id": 0, "name": "a"}, {"id": "0", "name": "b"}]),
        r"categories\[1\]: expected a unique id, got '0'",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_ids_that_are_not_unique_are_refused(tmp_path, name):
    content, message = REFUSED[name]
    with pytest.raises(ValueError, match=rf"a\.json.*{message}"):
        read_boxes(write(tmp_path / "a.json", content), make_image((20, 16)))


def test_one_image_listed_twice_with_one_id_is_one(tmp_path):
    assert len(read_boxes(write(tmp_path / "a.json", coco([(1, "case1")] * 2, [1])), make_image((20, 16)))[0]) == 1


def test_sizes_may_be_text(tmp_path):
    content = json.loads(json.dumps(coco([(1, "case1")], [1])))
    content["images"][0] |= {"width": "20", "height": "16"}
    assert len(read_boxes(write(tmp_path / "a.json", content), make_image((20, 16)))[0]) == 1


def test_classes_must_differ():
    with pytest.raises(ValueError, match=r"classes must differ, .* got \('a', 'b', 'a '\)"):
        read_boxes([], make_image(), classes=("a", "b", "a "))
