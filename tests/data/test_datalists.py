# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Data lists of MONAI and of the Decathlon, and recognition of a folder's layout."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from monai_bbox_mil.data.datalists import decathlon_datalist, get_datalist, load_datalist
from monai_bbox_mil.data.image_files import find_images
from monai_bbox_mil.data.splits import split_by_patient
from tests.data.layouts import patients, touch, write_cases, write_list

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
real_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared real images are not beside the repository")


class TestLoadDatalist:
    @pytest.fixture
    def folder(self, tmp_path):
        for number in range(6):
            touch(tmp_path / "images" / f"p{number}.nii.gz", tmp_path / "masks" / f"p{number}.nii.gz")
        touch(tmp_path / "boxes" / "p0.json")
        return tmp_path

    def entries(self, numbers, **more):
        return [{"image": f"images/p{n}.nii.gz", "label": f"./masks/p{n}.nii.gz", **more} for n in numbers]

    def test_masks(self, folder):
        write_list(folder, {"name": "x", "training": self.entries([0, 1]), "validation": self.entries([2])})
        parts = load_datalist(folder)
        assert parts["validation"] == [
            {
                "image": str(folder / "images" / "p2.nii.gz"),
                "mask": str(folder / "masks" / "p2.nii.gz"),
                "patient": "p2",
            }
        ]
        assert patients(parts["training"]) == ["p0", "p1"]
        assert set(parts) == {"training", "validation"}

    def test_lists_of_files(self, folder):
        entry = {
            "image": ["images/p0.nii.gz", "images/p1.nii.gz"],
            "label": ["masks/p0.nii.gz", "masks/p1.nii.gz"],
        }
        (item,) = load_datalist(write_list(folder, {"training": [entry]}), section="training")
        assert item["image"] == [str(folder / "images" / f"p{n}.nii.gz") for n in (0, 1)]
        assert item["mask"] == [str(folder / "masks" / f"p{n}.nii.gz") for n in (0, 1)]
        assert item["patient"] == "p0"

    def test_plain_test_list_and_sections(self, folder):
        content = {"training": self.entries([0, 1, 2]), "test": ["images/p4.nii.gz", "./images/p5.nii.gz"]}
        write_list(folder, content)
        expected = [{"image": str(folder / "images" / f"p{n}.nii.gz")} for n in (4, 5)]
        assert load_datalist(folder, section="test") == expected
        parts = load_datalist(folder)
        assert parts["test"] == expected
        for name in parts:
            assert load_datalist(folder, section=name) == parts[name]

    def test_only_the_section_asked_for_needs_its_files(self, folder):
        write_list(folder, {"training": self.entries([0, 1]), "test": ["images/absent.nii.gz"]})
        assert len(load_datalist(folder, section="training")) == 1
        with pytest.raises(ValueError, match=r"got 1 missing: .*images/absent\.nii\.gz"):
            load_datalist(folder)

    def test_only_a_test_part(self, folder):
        parts = load_datalist(write_list(folder, {"test": self.entries([3])}))
        assert (parts["training"], parts["validation"], patients(parts["test"])) == ([], [], ["p3"])

    @pytest.mark.parametrize("empty", [{}, {"validation": []}])
    def test_validation_is_drawn_where_there_is_none(self, folder, empty):
        entries = [{**entry, "patient": f"q{i // 2}"} for i, entry in enumerate(self.entries(range(6)))]
        write_list(folder, {"training": entries, **empty})
        parts = load_datalist(folder, validation_fraction=0.34, seed=3)
        assert len(parts["training"]) == 4 and len(set(patients(parts["validation"]))) == 1
        assert parts == load_datalist(folder, validation_fraction=0.34, seed=3)
        assert parts == split_by_patient(load_datalist(folder, validation_fraction=0)["training"], 0.34, 3)

    def test_inline_boxes(self, folder):
        entry = {
            "image": "images/p0.nii.gz",
            "box": [[1, 2, 3, 4, 5, 6]],
            "label": [1],
            "box_mode": "xyzwhd",
            "space": "world",
            "fold": 3,
        }
        empty = {"image": "images/p1.nii.gz", "box": [], "label": []}
        named = {"image": "images/p2.nii.gz", "box": [[1, 2, 3, 4]], "label": ["masks"]}
        both = {"image": "images/p3.nii.gz", "box": [[1, 2, 3, 4]], "label": "masks/p3.nii.gz"}
        kept = {"image": "images/p4.nii.gz", "box": {"box": [], "label": []}, "mask": "masks/p4.nii.gz"}
        items = load_datalist(write_list(folder, {"test": [entry, empty, named, both, kept]}), section="test")
        assert items[0] == {
            "image": str(folder / "images" / "p0.nii.gz"),
            "box": {"box": [[1, 2, 3, 4, 5, 6]], "label": [1], "box_mode": "xyzwhd", "space": "world"},
            "patient": "p0",
        }
        assert items[1]["box"] == {"box": [], "label": []}
        # A folder of that name exists, and must not turn the class into a path.
        assert items[2]["box"] == {"box": [[1, 2, 3, 4]], "label": ["masks"]} and "mask" not in items[2]
        assert items[3]["box"] == {"box": [[1, 2, 3, 4]]}
        assert items[3]["mask"] == str(folder / "masks" / "p3.nii.gz")
        assert items[4]["box"] == {"box": [], "label": []}
        assert items[4]["mask"] == str(folder / "masks" / "p4.nii.gz")

    def test_several_box_files(self, folder):
        entry = {"image": "images/p0.nii.gz", "label": ["masks/p0.nii.gz"], "box": ["boxes/p0.json", "boxes/q.json"]}
        write_list(folder, {"training": [entry]})
        with pytest.raises(ValueError, match=r"got 1 missing: .*boxes/q\.json"):
            load_datalist(folder)
        touch(folder / "boxes" / "q.json")
        (item,) = load_datalist(folder, section="training")
        assert item["box"] == [str(folder / "boxes" / name) for name in ("p0.json", "q.json")]
        assert item["mask"] == [str(folder / "masks" / "p0.nii.gz")]
        write_list(folder, {"training": [{"image": "sub-1.nii", "box": ["sub-1_a.json", "sub-2_a.json"]}]})
        with pytest.raises(ValueError, match="expected the files of one subject, got sub-1 and sub-2"):
            load_datalist(folder)

    def test_inline_boxes_are_what_the_transform_reads(self, folder):
        transforms = pytest.importorskip("monai_bbox_mil.transforms")
        entry = {"image": "images/p0.nii.gz", "box": [[1, 2, 3, 4]], "label": [1]}
        (item,) = load_datalist(write_list(folder, {"test": [entry]}), section="test")
        image = MetaTensor(np.zeros((1, 8, 8), dtype=np.float32), meta={"original_affine": np.eye(4)})
        read = transforms.LoadBoxesd("box")({**item, "image": image})
        assert read["box"].tolist() == [[1, 2, 3, 4]] and read["box_class"].tolist() == [1]

    def test_box_files(self, folder):
        entry = {"image": "images/p0.nii.gz", "box": "boxes/p0.json"}
        (item,) = load_datalist(write_list(folder, {"test": [entry]}), section="test")
        assert item["box"] == str(folder / "boxes" / "p0.json") and "mask" not in item

    def test_datalist_elsewhere(self, folder, tmp_path_factory):
        lists = tmp_path_factory.mktemp("lists")
        write_list(lists, {"test": ["images/p0.nii.gz"]}, "fold.json")
        expected = [{"image": str(folder / "images" / "p0.nii.gz")}]
        assert load_datalist(folder, lists / "fold.json", "test") == expected
        write_list(folder / "images", {"test": ["p0.nii.gz"]}, "fold.json")
        assert load_datalist(folder, "images/fold.json", "test") == expected

    def test_absolute_paths_stay(self, folder, tmp_path_factory):
        write_list(folder, {"test": [str(folder / "images" / "p0.nii.gz")]})
        assert load_datalist(folder, section="test") == [{"image": str(folder / "images" / "p0.nii.gz")}]

    def test_patients(self, tmp_path):
        images = ["a/sub-7_ses-1.nii.gz", "b/sub-7_ses-2.nii.gz", "a/x.mha", "b/x.mha", "a/y.v2.nrrd", "a/z.nii.gz"]
        touch(*(tmp_path / image for image in images), tmp_path / "7")
        entries = [{"image": image} for image in images]
        entries[-1]["patient"] = 7
        items = load_datalist(write_list(tmp_path, {"test": entries}), section="test")
        # A file with the name of a patient exists, and must not turn the name into a path.
        assert patients(items) == ["sub-7", "sub-7", "a/x", "b/x", "y.v2", "7"]

    def test_patients_of_folders_of_one_name(self, tmp_path):
        """Check that names have enough of the path: two people must not become one."""
        images = ["s1/p1/i.nii.gz", "s2/p1/i.nii.gz", "s2/p2/i.nii.gz", "s2/p2/i.png", "s2/p2/j.nii.gz"]
        touch(*(tmp_path / image for image in images))
        items = load_datalist(write_list(tmp_path, {"test": [{"image": image} for image in images]}), section="test")
        assert patients(items) == ["s1/p1/i", "s2/p1/i", "p2/i", "p2/i", "j"]

    @pytest.mark.parametrize("name", ["NA", "None", "null", "nan", "", "007", "1e5", "1.0"])
    def test_patients_stay_what_they_are_called(self, tmp_path, name):
        touch(tmp_path / "a.nii")
        entries = [{"image": "a.nii", "patient": name}]
        assert patients(load_datalist(write_list(tmp_path, {"test": entries}), section="test")) == [name]

    def test_a_patient_in_two_parts(self, folder):
        content = {"training": self.entries([0], patient="Ann"), "validation": self.entries([1], patient="Ann")}
        message = r"datalist\.json: .* got 1 patient\(s\) in both training and validation: Ann\. .*key 'patient'"
        with pytest.raises(ValueError, match=message):
            load_datalist(write_list(folder, content))
        # The check covers the other parts even if only one is asked for.
        with pytest.raises(ValueError, match=message):
            load_datalist(folder, section="training")
        content = {"training": self.entries([0, 1]), "test": self.entries([1])}
        with pytest.raises(ValueError, match=r"in both training and test: p1\."):
            load_datalist(write_list(folder, content), validation_fraction=0)

    def test_missing_files_are_counted(self, folder):
        entries = [*self.entries([0, 6, 7, 8]), {"image": "images/p1.nii.gz", "box": "boxes/p1.json"}]
        with pytest.raises(ValueError, match=r"datalist\.json: .* got 7 missing: .*images/p6\.nii\.gz, .*, \.\.\.\.$"):
            load_datalist(write_list(folder, {"training": entries}))

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{nonsense", r"datalist .*datalist\.json: expected JSON, got "),
            ("[1]", r"expected an object .*, got a list\."),
            ({"trainings": [{}]}, r"expected a non-empty list training, .*, got the keys \['trainings'\]"),
            ({"training": [], "test": []}, r"expected a non-empty list .*, got the keys \['training', 'test'\]"),
            ({"training": {"image": "a"}}, r"expected training to be a list, got a dict\."),
            ({"training": ["a.nii.gz"]}, r"expected training\[0\] to be an object with an image, got 'a\.nii\.gz'"),
            ({"training": [{"label": "a"}]}, r"expected training\[0\] .* with an image, got \{'label': 'a'\}"),
            ({"test": ["a", 3]}, r"expected test\[0\] to be an object with an image, got 'a'"),
            ({"training": [{"image": "a", "label": [1, 2]}]}, r"training\[0\]: expected label .*, got \[1, 2\]"),
            ({"training": [{"image": "a", "label": 3}]}, r"training\[0\]: expected label to be a mask's path.*, got 3"),
            (
                {"training": [{"image": "a", "box": [[1, 2, 3, 4]], "label": [0, 1]}]},
                r"training\[0\]: expected a label for each of 1 boxes, got 2\.",
            ),
        ],
    )
    def test_errors(self, tmp_path, content, message):
        with pytest.raises(ValueError, match=message):
            load_datalist(write_list(tmp_path, content))

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
    def test_encodings_of_other_programs(self, tmp_path, encoding):
        """Notepad and PowerShell write byte order marks, and PowerShell UTF-16."""
        touch(tmp_path / "\u00e4.nii")
        (tmp_path / "datalist.json").write_bytes('{"test": [{"image": "\u00e4.nii"}]}'.encode(encoding))
        (item,) = load_datalist(tmp_path, section="test")
        assert item["image"] == str(tmp_path / "\u00e4.nii")
        (tmp_path / "datalist.json").rename(tmp_path / "dataset.json")
        assert get_datalist(tmp_path)["test"] == [item]

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
    def test_a_name_that_is_not_utf8(self, tmp_path):
        name = os.fsdecode(b"va\xff.nii")
        touch(tmp_path / name)
        (item,) = load_datalist(write_list(tmp_path, {"test": [{"image": name}]}), section="test")
        assert os.path.samefile(item["image"], tmp_path / name)
        assert item["patient"] == r"va\xff"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "got an empty file"),
            (b"\xef\xbb\xbf", "JSON, got"),
            ('{"test": ["\u00e4"]}'.encode("latin-1"), "a text file in UTF-8 or UTF-16, .* save it as UTF-8"),
            (b"[" * 100_000, "got lists nested too deeply"),
            (b'{"training": [], "training": [{"image": "a"}]}', "got the key 'training' twice in one object"),
            (b'{"training": [{"image": "a", "image": "b"}]}', "got the key 'image' twice in one object"),
        ],
    )
    def test_files_that_are_not_data_lists(self, tmp_path, content, message):
        (tmp_path / "datalist.json").write_bytes(content)
        with pytest.raises(ValueError, match=rf"datalist .*datalist\.json: expected .*{message}"):
            load_datalist(tmp_path)

    def test_a_warning_names_lists_that_are_not_read(self, folder):
        content = {"training": self.entries([0, 1]), "val": self.entries([2]), "labels": [{"name": "a"}], "fold": [1]}
        with pytest.warns(UserWarning, match=r"the lists 'val' are not read, only training, validation, test are\."):
            load_datalist(write_list(folder, content))

    def test_error_absent_or_unknown(self, folder):
        with pytest.raises(ValueError, match=r"datalist .*datalist\.json: expected a JSON file, got nothing\."):
            load_datalist(folder)
        with pytest.raises(ValueError, match=r"expected a JSON file, got a folder\."):
            load_datalist(folder, "images")
        write_list(folder, {"training": self.entries([0])})
        with pytest.raises(ValueError, match=r"section must be None or one of .*, got 'train'\."):
            load_datalist(folder, section="train")
        with pytest.raises(ValueError, match=r"expected the list 'test', got \['training'\]\."):
            load_datalist(folder, section="test")


class TestGetDatalist:
    def test_the_content_determines_the_layout(self, tmp_path):
        touch(tmp_path / "Site1" / "031785" / "t01" / "031785_t1w_deface_stx.nii.gz")
        touch(tmp_path / "Site1" / "031785" / "t01" / "031785_LesionSmooth_stx.nii.gz")
        touch(tmp_path / "i1.nii.gz", tmp_path / "i2.nii.gz")

        def chosen(*arguments):
            return patients(get_datalist(tmp_path, *arguments)["training"])

        with pytest.warns(UserWarning, match="validation_patients"):
            assert chosen() == ["031785"]
        write_cases(tmp_path / "nested", [3])
        with pytest.warns(UserWarning, match="validation_cases"):
            assert chosen() == ["Case03"]
        write_list(tmp_path, {"training": [{"image": "i1.nii.gz", "patient": "datalist"}]})
        assert chosen() == ["datalist"]
        write_list(tmp_path, {"training": [{"image": "i1.nii.gz", "patient": "decathlon"}]}, "dataset.json")
        assert chosen() == ["decathlon"]
        write_list(tmp_path, {"training": [{"image": "i1.nii.gz", "patient": "own"}]}, "own.json")
        assert chosen("own.json") == ["own"]

    @pytest.mark.parametrize("name", ["dataset.json", "datalist.json", "own.json"])
    def test_fraction_and_seed_are_used(self, tmp_path, name):
        touch(*(tmp_path / f"{number}.nii" for number in range(10)))
        write_list(tmp_path, {"training": [{"image": f"{number}.nii"} for number in range(10)]}, name)
        parts = get_datalist(tmp_path, name if name == "own.json" else None, validation_fraction=0.4, seed=7)
        assert len(parts["validation"]) == 4
        assert parts == split_by_patient(sorted(sum(parts.values(), []), key=lambda item: item["image"]), 0.4, 7)

    def test_errors(self, tmp_path):
        with pytest.raises(ValueError, match=r"dataset_dir .*absent: expected dataset\.json .*, got no such folder\."):
            get_datalist(tmp_path / "absent")
        with pytest.raises(ValueError, match=r"got an empty folder\."):
            get_datalist(tmp_path)
        touch(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
        with pytest.raises(ValueError, match=r"CaseNN\.mhd \(PROMISE12\), .* or images .*, got a\.nii\.gz, b\.nii"):
            get_datalist(tmp_path)
        with pytest.raises(ValueError, match=r"datalist .*own\.json: expected a JSON file, got nothing"):
            get_datalist(tmp_path, "own.json")
        # An error in a recognised layout is raised; no other layout is tried.
        touch(tmp_path / "Case00.mhd", tmp_path / "Case01.mhd", tmp_path / "Case01_segmentation.mhd")
        with pytest.raises(ValueError, match=r"got 1 without: .*Case00\.mhd"):
            get_datalist(tmp_path)


class TestDecathlon:
    def test_as_published(self, tmp_path):
        for number in range(5):
            touch(tmp_path / "imagesTr" / f"la_00{number}.nii.gz", tmp_path / "labelsTr" / f"la_00{number}.nii.gz")
        touch(tmp_path / "imagesTs" / "la_009.nii.gz")
        training = [{"image": f"./imagesTr/la_00{n}.nii.gz", "label": f"./labelsTr/la_00{n}.nii.gz"} for n in range(5)]
        content = {"name": "LeftAtrium", "labels": {"0": "background", "1": "atrium"}, "numTraining": 5}
        write_list(tmp_path, {**content, "training": training, "test": ["./imagesTs/la_009.nii.gz"]}, "dataset.json")
        parts = decathlon_datalist(tmp_path)
        assert [len(parts[name]) for name in ("training", "validation", "test")] == [4, 1, 1]
        assert parts["training"][0]["mask"].startswith(str(tmp_path / "labelsTr"))
        assert parts["test"] == [{"image": str(tmp_path / "imagesTs" / "la_009.nii.gz")}]

    def test_error(self, tmp_path):
        with pytest.raises(ValueError, match=r"dataset\.json: expected a JSON file, got nothing"):
            decathlon_datalist(tmp_path)


@real_data
class TestRealData:
    @pytest.mark.parametrize(
        ("name", "images", "people"),
        [
            ("sunnybrook_lv", (52, 14), (26, 7)),
            ("soop_flair", (580, 120), (580, 120)),
            ("hippocampus", (160, 40), (160, 40)),
        ],
    )
    def test_counts(self, name, images, people):
        parts = get_datalist(SHARED / name)
        assert tuple(len(parts[part]) for part in ("training", "validation")) == images
        assert tuple(len(set(patients(parts[part]))) for part in ("training", "validation")) == people
        assert not set(patients(parts["training"])) & set(patients(parts["validation"]))

    @pytest.mark.parametrize("name", ["sunnybrook_lv", "soop_flair", "hippocampus"])
    def test_files_load(self, name):
        item = get_datalist(SHARED / name)["validation"][0]
        loaded = Compose([LoadImaged(["image", "mask"]), EnsureChannelFirstd(["image", "mask"])])(item)
        assert loaded["image"].shape == loaded["mask"].shape and loaded["mask"].max() >= 1

    def test_images_without_their_masks(self):
        assert len(find_images(SHARED / "sunnybrook_lv")) == 66
