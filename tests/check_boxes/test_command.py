# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The command line: what it takes, writes, prints and returns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import monai_bbox_mil
from monai_bbox_mil.check_boxes.__main__ import main
from monai_bbox_mil.csv_tables import read_table


def test_a_clean_data_set_gives_0(clean, tmp_path, capsys):
    clean().write()
    assert main(["--dataset_dir", str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    captured = capsys.readouterr()
    assert "Images: 3, boxes: 4, errors: 0, warnings: 0" in captured.out
    assert f"Page: {tmp_path / 'out' / 'check_boxes.html'}" in captured.out
    assert "Checking" in captured.err and "Drawing" in captured.err and "3/3" in captured.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "check_boxes.html", "check_boxes_findings.csv", "check_boxes_boxes.csv"
    }  # fmt: skip
    assert pd.read_csv(tmp_path / "out" / "check_boxes_findings.csv").empty


def test_a_warning_gives_0_and_an_error_1(clean, tmp_path, capsys):
    data = clean()
    data.add("d", box=[[5, 6, 6, 20]])
    path = data.write("own.json")
    arguments = ["--datalist", str(path), "--output", str(tmp_path / "page.html")]
    assert main(arguments) == 0
    assert "Box narrower than 2 voxels" in capsys.readouterr().out
    data.add("e", box=[[90, 6, 99, 20], [5, 6, 15, 20], [20, 6, 30, 20]])
    data.write("own.json")
    assert main(arguments) == 1
    printed = capsys.readouterr().out
    assert "Images: 5, boxes: 8, errors: 1, warnings: 1" in printed
    assert "e.nii.gz: box[0]: (90, 6, 0) to (99, 20, 1): the image has 40 x 30 x 1 voxels" in printed
    table = pd.read_csv(tmp_path / "page_findings.csv", keep_default_na=False)
    assert table[["severity", "kind", "part", "image", "patient"]].values.tolist() == [
        ["warning", "tiny", "training", "d.nii.gz", "patient d"],
        ["error", "outside", "training", "e.nii.gz", "patient e"],
    ]
    assert table["box"].iloc[1] == "box[0]: (90, 6, 0) to (99, 20, 1)" and table["advice"].str.len().min() > 10
    boxes = pd.read_csv(tmp_path / "page_boxes.csv")
    corners = boxes[["x_min", "y_min", "z_min", "x_max", "y_max", "z_max"]].values.tolist()
    assert corners[0] == [5, 6, 0, 15, 20, 1] and [90, 6, 0, 99, 20, 1] in corners
    assert boxes[boxes["image"] == "b.nii.gz"]["margin_x_min"].tolist() == [0, 0]


@pytest.mark.skipif(sys.platform == "win32", reason="names of files are texts there")
def test_names_of_any_kind_are_written_and_printed(data, tmp_path):
    """A file that is no UTF-8, a formula, a patient called NA, HTML: in tables, on the page and in the terminal."""
    names = [os.fsdecode(b"va\xff"), "=1+1", "$\\frac$", "<b>"]
    for name in names:
        data.add(name, box=[[90, 6, 99, 20]], patient=name if name != "<b>" else "NA")
    data.write()
    arguments = ["--dataset_dir", str(tmp_path), "--output", str(tmp_path / os.fsdecode(b"out\xfe"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8:strict"}
    command = [sys.executable, "-m", "monai_bbox_mil.check_boxes", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 1, done.stderr
    printed = done.stdout.decode("utf-8")
    assert r"va\xff.nii.gz: box[0]" in printed and r"out\xfe" in printed
    (folder,) = tmp_path.glob("out*")
    table = read_table(folder / "check_boxes_findings.csv", texts=["image", "patient", "detail"])
    assert dict(zip(table["image"], table["patient"])) == {
        r"va\xff.nii.gz": r"va\xff", "=1+1.nii.gz": "=1+1", "$\\frac$.nii.gz": "$\\frac$", "<b>.nii.gz": "NA"
    }  # fmt: skip
    assert ",=" not in (folder / "check_boxes_findings.csv").read_text(encoding="utf-8")
    page = (folder / "check_boxes.html").read_text(encoding="utf-8")
    assert r"va\xff.nii.gz" in page and "&lt;b&gt;.nii.gz" in page and "<b>.nii.gz" not in page


def test_box_classes_bring_as_many_label_values(data, tmp_path):
    data.add(box={"box": [[5, 6, 15, 20], [20, 3, 30, 9]], "label": ["prostate", "tumour"]})
    data.write()
    arguments = ["--dataset_dir", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert main([*arguments, "--box_classes", "['prostate','tumour']"]) == 0


def test_arguments_reach_the_check(data, tmp_path, capsys):
    data.add(shape=(40, 30, 8), objects=[(5, 6, 2, 15, 20, 6, 2)], box=[[3, 4, 2, 15, 20, 6]])
    data.write()
    arguments = ["--dataset_dir", str(tmp_path), "--output", str(tmp_path / "out"), "--label_values", "None"]
    for extra, kind in [([], "several slices"), (["--slice_dim", "None", "--tolerance", "1"], "Loose box")]:
        assert main([*arguments, *extra]) == 0
        assert kind in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "expected --datalist FILE or --dataset_dir DIR, got neither"),
        (["--dataset_dir", "FOLDER", "--label_values", "[1,"], "such as \"[1, 2]\", got '[1,'"),
        (["--dataset_dir", "FOLDER", "--label_values", "3"], "label_values must be None or a list of int, got 3"),
        (["--dataset_dir", "FOLDER", "--box_classes", "'ab'"], "box_classes must be None or a list of int or str"),
        (["--dataset_dir", "FOLDER", "--slice_dim", "1.5"], "slice_dim must be a whole number or None, got 1.5"),
        (["--dataset_dir", "FOLDER", "--slice_dim", "5"], "axis from -3 to 2, got 5"),
        (["--dataset_dir", "FOLDER", "--pictures", "-1"], "whole number of at least 0, got '-1'"),
        (["--dataset_dir", "FOLDER", "--label_values", "[1,2]", "--box_classes", "['a']"], "one class for each"),
        (["--dataset_dir", "FOLDER"], "got an empty folder"),
        (["--dataset_dir", "FOLDER/none"], "got no such folder"),
        (["--datalist", "FOLDER/none.json"], "expected a JSON file, got nothing"),
        (["--datalist", "FOLDER"], "expected a JSON file, got a folder"),
        (["--unknown"], "unrecognized arguments"),
    ],
)
def test_wrong_arguments_give_2(tmp_path, capsys, arguments, message):
    arguments = [argument.replace("FOLDER", str(tmp_path / "empty")) for argument in arguments]
    (tmp_path / "empty").mkdir()
    try:
        status = main([*arguments, "--output", str(tmp_path / "out")])
    except SystemExit as error:  # argparse's own way out
        status = error.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_broken_data_list_gives_2(data, tmp_path, capsys):
    (tmp_path / "datalist.json").write_text('{"training": []}')
    assert main(["--dataset_dir", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "expected a non-empty list" in capsys.readouterr().err


def test_an_output_that_cannot_be_a_folder_gives_2(clean, tmp_path, capsys):
    clean().write()
    (tmp_path / "file").write_text("")
    assert main(["--dataset_dir", str(tmp_path), "--output", str(tmp_path / "file")]) == 2
    assert "file" in capsys.readouterr().err


def test_it_runs_as_a_module(clean, tmp_path):
    clean().write()
    command = [sys.executable, "-m", "monai_bbox_mil.check_boxes", "--datalist", "datalist.json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(monai_bbox_mil.__file__).parents[1])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "box_check" / "check_boxes.html").is_file()


@pytest.mark.parametrize("output", ["case.html", "images/../case.htm"])
def test_a_file_that_is_checked_is_not_written_over(clean, tmp_path, capsys, output):
    data = clean()
    table = tmp_path / "case_boxes.csv"
    table.write_text("x_min,y_min,x_max,y_max\n5,6,15,20\n")
    (tmp_path / "images").mkdir()
    data.add("d", box=table.name)
    data.write()
    assert main(["--dataset_dir", str(tmp_path), "--output", str(tmp_path / output)]) == 2
    assert "case_boxes.csv, which would be overwritten, is one of the files to check." in capsys.readouterr().err
    assert table.read_text().startswith("x_min,y_min")
    assert main(["--dataset_dir", str(tmp_path), "--output", str(tmp_path / "case2.html")]) != 2
