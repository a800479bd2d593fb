# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Every property of the phantom that users rely on, measured, and its behaviour when interrupted."""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from monai.transforms import LoadImage

from monai_bbox_mil.data import phantom as module
from monai_bbox_mil.data.datalists import get_datalist
from monai_bbox_mil.data.phantom import make_phantom, simulate_patient

SMALL = {"num_patients": 3, "image_size": (48, 48), "num_slices": (6, 8), "spacing_mm": (3.0, 3.0, 6.0)}


@pytest.fixture(scope="module")
def patients():
    return [simulate_patient(seed=0, index=index) for index in range(8)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    return folder, make_phantom(folder, progress=False, **SMALL)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * float((first & second).sum()) / float(first.sum() + second.sum())


def boxes_of_slices(mask: np.ndarray) -> np.ndarray:
    rows, columns = mask.any(axis=1, keepdims=True), mask.any(axis=0, keepdims=True)
    filled_rows = np.maximum.accumulate(rows, axis=0) & np.maximum.accumulate(rows[::-1], axis=0)[::-1]
    filled_columns = np.maximum.accumulate(columns, axis=1) & np.maximum.accumulate(columns[:, ::-1], axis=1)[:, ::-1]
    return filled_rows & filled_columns


def best_threshold_dice(image: np.ndarray, mask: np.ndarray) -> float:
    """Return the best Dice of all single thresholds, and of all intervals between 30 quantiles of the organ's grey."""
    edges = np.unique(np.concatenate([[image.min()], np.quantile(image[mask], np.linspace(0, 1, 30)), [image.max()]]))
    inside = np.histogram(image[mask], bins=edges)[0].cumsum()
    everything = np.histogram(image, bins=edges)[0].cumsum()
    inside, everything = np.concatenate([[0], inside]), np.concatenate([[0], everything])
    low, high = np.triu_indices(len(edges), k=1)
    hits, sizes = inside[high] - inside[low], everything[high] - everything[low]
    return float((2 * hits / (sizes + int(mask.sum()))).max())


class TestAnatomy:
    def test_organ_is_in_the_middle_slices_only(self, patients):
        for patient in patients:
            held = np.flatnonzero(patient.mask.any(axis=(0, 1)))
            assert held[0] >= 1 and held[-1] <= patient.mask.shape[2] - 2
            assert np.array_equal(held, np.arange(held[0], held[-1] + 1))
            assert 0.3 < len(held) / patient.mask.shape[2] < 0.85

    def test_organ_tapers(self, patients):
        for patient in patients:
            area = patient.mask.sum(axis=(0, 1))
            held = area[area > 0]
            assert max(held[0], held[-1]) < 0.75 * held.max()

    def test_organ_is_large_enough_and_off_the_border(self, patients):
        for patient in patients:
            held = np.argwhere(patient.mask)
            assert patient.mask.sum(axis=(0, 1)).max() > 150
            assert held[:, :2].min() > 10 and held[:, :2].max() < 85

    def test_box_does_not_determine_the_outline(self, patients):
        scores = [dice(boxes_of_slices(p.mask > 0), p.mask > 0) for p in patients]
        assert max(scores) < 0.9 and np.mean(scores) < 0.85

    def test_lookalike_lies_beside_the_box_in_every_slice(self, patients):
        for patient in patients:
            everywhere = np.broadcast_to(patient.mask.any(axis=2, keepdims=True), patient.mask.shape)
            assert not (boxes_of_slices(everywhere) & (patient.lookalike > 0)).any()

    def test_lookalike_is_alike(self, patients):
        ratios = []
        for patient in patients:
            organ, other = patient.mask > 0, patient.lookalike > 0
            grey = patient.image[organ].mean() / patient.image[other].mean()
            spread = patient.image[organ].std() / patient.image[organ].mean()
            assert abs(grey - 1) < 0.35
            assert abs(grey - 1) < 3 * spread
            ratios.append(organ.sum() / other.sum())
            assert (organ.any(axis=(0, 1)) & other.any(axis=(0, 1))).sum() >= 3
        assert min(ratios) > 0.4 and max(ratios) < 2.5

    def test_lookalike_is_in_slices_without_the_organ(self, patients):
        alone = [(~p.mask.any(axis=(0, 1)) & p.lookalike.any(axis=(0, 1))).sum() for p in patients]
        assert min(alone) >= 1

    def test_no_interval_of_grey_values_segments_the_organ(self, patients):
        for patient in patients:
            assert best_threshold_dice(patient.image, patient.mask > 0) < 0.6

    def test_threshold_search_finds_a_threshold(self):
        mask = np.zeros((9, 9), dtype=bool)
        mask[2:5, 3:8] = True
        image = np.where(mask, 50, 10) + np.arange(9)
        assert best_threshold_dice(image, mask) == 1

    def test_patients_differ(self, patients):
        sizes = np.array([p.mask.sum() for p in patients])
        centres = np.array([np.argwhere(p.mask)[:, :2].mean(axis=0) for p in patients])
        ranges = [np.argwhere(p.mask.any(axis=2)) for p in patients]
        aspect = [np.divide(*(np.ptp(r, axis=0) + 1)) for r in ranges]
        levels = [p.image[p.mask > 0].mean() for p in patients]
        assert sizes.max() > 1.5 * sizes.min()
        assert centres.std(axis=0).min() > 1.5
        assert max(aspect) > 1.3 * min(aspect)
        assert max(levels) > 2 * min(levels)
        assert len({p.image.shape[2] for p in patients}) > 2
        others = np.array([np.argwhere(p.lookalike)[:, :2].mean(axis=0) for p in patients])
        sides = set(np.sign(others[:, 0] - centres[:, 0]))
        assert sides == {-1, 1}


class TestImaging:
    def test_values(self, patients):
        for patient in patients:
            assert patient.image.dtype == np.int16 and patient.image.min() >= 0
            assert patient.mask.dtype == np.uint8 and set(np.unique(patient.mask)) == {0, 1}

    def test_noise_is_rician_in_air(self, patients):
        for patient in patients:
            corner = patient.image[:8, :8].astype(float)
            # The ratio of a Rayleigh distribution is 1.91; Gaussian noise around 0 would give another.
            assert 1.5 < corner.mean() / corner.std() < 2.5

    def test_edges_are_blurred(self, patients):
        for patient in patients:
            # Averaging over slices removes the noise, but not the skin, which is the same in all slices.
            rows = patient.image[:, 46:50].astype(float).mean(axis=2).T
            between = ((rows > 0.15 * rows.max()) & (rows < 0.85 * rows.max()))[:, :16].sum(axis=1)
            assert between.min() >= 1

    def test_field_is_not_flat(self, patients):
        spread = []
        for patient in patients:
            # Compares one kind of tissue, the fat below the skin, on the left and on the right.
            profile = patient.image[:, 40:56].astype(float).mean(axis=(1, 2))
            spread.append(abs(np.log(profile[:24].max() / profile[-24:].max())))
        assert max(spread) > 0.1


class TestArguments:
    def test_a_patient_does_not_depend_on_the_others(self, written):
        arguments = [SMALL[key] for key in ("image_size", "num_slices", "spacing_mm")]
        expected = simulate_patient(0, 2, *arguments)
        loader = LoadImage(image_only=True)
        assert np.array_equal(loader(written[1]["validation"][0]["image"]).numpy(), expected.image)
        assert np.array_equal(loader(written[1]["validation"][0]["mask"]).numpy(), expected.mask)

    def test_seeds_differ(self):
        first, second = (simulate_patient(seed, 0, (48, 48), (6, 6), (3, 3, 6)) for seed in (0, 1))
        assert not np.array_equal(first.mask, second.mask)

    def test_anatomy_scales_with_the_field_of_view(self):
        coarse = simulate_patient(0, 0, (48, 48), (12, 12), (3, 3, 4))
        fine = simulate_patient(0, 0, (96, 96), (12, 12), (1.5, 1.5, 4))
        near = simulate_patient(0, 0, (48, 48), (12, 12), (1.5, 1.5, 4))
        assert 4 * int(coarse.mask.sum()) == pytest.approx(int(fine.mask.sum()), rel=0.05)
        assert int(near.mask.sum()) == pytest.approx(int(coarse.mask.sum()), rel=0.05)

    @pytest.mark.parametrize("num_slices", [(6, 6), (7, 7), (40, 40)])
    def test_end_slices_are_empty_whatever_the_number(self, num_slices):
        for index in range(4):
            mask = simulate_patient(3, index, (48, 48), num_slices, (3, 3, 4)).mask
            assert mask.shape[2] == num_slices[0] and mask.any()
            assert not mask[..., 0].any() and not mask[..., -1].any()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"num_patients": 0}, r"num_patients must be from 1 to 100, got 0"),
            ({"num_patients": 101}, r"num_patients must be from 1 to 100, got 101"),
            ({"seed": -1}, r"seed must be at least 0, got -1"),
            ({"image_size": (96,)}, r"image_size must be two .* got \(96,\)"),
            ({"image_size": (96, 32)}, r"image_size .* at least 48, got \(96, 32\)"),
            ({"num_slices": (5, 9)}, r"num_slices must be \(fewest, most\).* got \(5, 9\)"),
            ({"num_slices": (9, 8)}, r"num_slices .* in this order .* got \(9, 8\)"),
            ({"spacing_mm": (1.5, 0, 4)}, r"spacing_mm must be three positive lengths, got \(1.5, 0, 4\)"),
        ],
    )
    def test_errors(self, tmp_path, arguments, message):
        with pytest.raises(ValueError, match=message):
            make_phantom(tmp_path / "new", progress=False, **arguments)
        assert not (tmp_path / "new").exists()


class TestFiles:
    def test_layout(self, written):
        folder, data = written
        cases = ["Case00", "Case01", "Case02"]
        names = [f"{c}{kind}.{suffix}" for c in cases for kind in ("", "_segmentation") for suffix in ("mhd", "raw")]
        assert {path.name for path in folder.iterdir()} == {*names, "cases.csv", "phantom.json"}
        items = [
            {"image": str(folder / f"{c}.mhd"), "mask": str(folder / f"{c}_segmentation.mhd"), "patient": c}
            for c in cases
        ]
        assert data == {"training": items[:2], "validation": items[2:]}
        headers = [(folder / f"Case00{kind}.mhd").read_text() for kind in ("", "_segmentation")]
        assert "MET_SHORT" in headers[0] and "MET_UCHAR" in headers[1]
        assert "ElementDataFile = Case00.raw" in headers[0]

    def test_list_is_the_folders(self, written):
        assert written[1] == get_datalist(written[0])

    def test_spacing_survives(self, written):
        for item in written[1]["training"]:
            for key in ("image", "mask"):
                volume = LoadImage(image_only=True)(item[key])
                assert np.allclose(volume.pixdim.numpy(), (3, 3, 6))
                assert volume.shape[:2] == (48, 48) and 6 <= volume.shape[2] <= 8

    @pytest.mark.parametrize(("number", "validation"), [(1, 0), (2, 1), (3, 1), (4, 1), (12, 3)])
    def test_split(self, number, validation):
        cases = [f"Case{i:02d}" for i in range(number)]
        rows = list(csv.DictReader(module._cases_csv(cases).splitlines()))
        assert [row["split"] for row in rows] == ["training"] * (number - validation) + ["validation"] * validation
        assert [row["case"] for row in rows] == [row["patient"] for row in rows] == cases

    def test_same_seed_same_bytes(self, written, tmp_path):
        make_phantom(tmp_path, progress=False, **SMALL)
        assert digests(tmp_path) == digests(written[0])

    def test_reused_without_writing(self, tmp_path, monkeypatch):
        first = make_phantom(tmp_path, progress=False, **SMALL)
        stamps = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        monkeypatch.setattr(module, "simulate_patient", None)
        # Lists equal tuples, and integers equal floats, in a comparison of parameters.
        again = {**SMALL, "image_size": [48, 48], "spacing_mm": (3, 3, 6)}
        assert make_phantom(tmp_path, progress=False, **again) == first
        assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps

    def test_other_parameters_are_named(self, written):
        before = digests(written[0])
        with pytest.raises(ValueError, match=r"seed is 0 there, 5 was asked for\. .*overwrite=True"):
            make_phantom(written[0], seed=5, progress=False, **SMALL)
        assert digests(written[0]) == before

    def test_overwrite_leaves_no_old_cases(self, tmp_path):
        make_phantom(tmp_path, progress=False, **SMALL)
        (tmp_path / "notes.txt").write_text("mine")
        make_phantom(tmp_path, progress=False, overwrite=True, **{**SMALL, "num_patients": 2})
        assert sorted(path.name for path in tmp_path.glob("*.mhd")) == [
            "Case00.mhd",
            "Case00_segmentation.mhd",
            "Case01.mhd",
            "Case01_segmentation.mhd",
        ]
        assert (tmp_path / "notes.txt").read_text() == "mine"
        assert json.loads((tmp_path / "phantom.json").read_text())["num_patients"] == 2

    def test_overwrite_repairs(self, written, tmp_path):
        make_phantom(tmp_path, progress=False, **SMALL)
        (tmp_path / "Case01.raw").write_bytes(b"broken")
        make_phantom(tmp_path, progress=False, overwrite=True, **SMALL)
        assert digests(tmp_path) == digests(written[0])

    def test_an_interrupted_run_is_not_mistaken_for_a_finished_one(self, written, tmp_path, monkeypatch):
        calls = []

        def interrupted(*arguments):
            calls.append(arguments)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return simulate_patient(*arguments)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module, "simulate_patient", interrupted)
            make_phantom(tmp_path, progress=False, **SMALL)
        assert (tmp_path / "Case00.mhd").exists() and not (tmp_path / "Case01.mhd").exists()
        make_phantom(tmp_path, progress=False, **SMALL)
        assert digests(tmp_path) == digests(written[0])

    def test_foreign_cases_are_not_touched(self, tmp_path):
        (tmp_path / "Case00.mhd").write_text("the only copy")
        for overwrite in (False, True):
            with pytest.raises(ValueError, match=r"1 file\(s\) that make_phantom did not write, such as Case00.mhd"):
                make_phantom(tmp_path, overwrite=overwrite, progress=False, **SMALL)
        assert [path.name for path in tmp_path.iterdir()] == ["Case00.mhd"]
        assert (tmp_path / "Case00.mhd").read_text() == "the only copy"

    def test_progress_bar(self, tmp_path, capsys):
        make_phantom(tmp_path / "loud", **SMALL)
        assert "Writing phantom" in capsys.readouterr().err
        make_phantom(tmp_path / "quiet", progress=False, **SMALL)
        assert capsys.readouterr().err == ""

    def test_two_processes_at_once(self, written, tmp_path):
        root = Path(module.__file__).parents[2]
        # An empty package replaces the real one, because importing it, with MONAI, would take most of the time.
        code = (
            "import hashlib, json, pathlib, sys, types\n"
            "package = sys.modules['monai_bbox_mil.data'] = types.ModuleType('monai_bbox_mil.data')\n"
            f"package.__path__ = [{str(Path(module.__file__).parent)!r}]\n"
            "from monai_bbox_mil.data.phantom import make_phantom\n"
            f"make_phantom(sys.argv[1], progress=False, **{SMALL!r})\n"
            "files = [path for path in pathlib.Path(sys.argv[1]).iterdir() if path.suffix in ('.mhd', '.raw')]\n"
            "print(json.dumps({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}))\n"
        )
        target = tmp_path / "shared"
        command = [sys.executable, "-c", code, str(target)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        runs = [subprocess.Popen(command, cwd=root, text=True, **pipes) for _ in range(2)]
        outputs = [run.communicate(timeout=120) for run in runs]
        assert [run.returncode for run in runs] == [0, 0], outputs
        expected = digests(written[0])
        assert digests(target) == expected
        # Each process checks the files as soon as the function returns, while the other may still be writing.
        volumes = {name: digest for name, digest in expected.items() if name.startswith("Case")}
        assert [json.loads(output) for output, _ in outputs] == [volumes, volumes]
