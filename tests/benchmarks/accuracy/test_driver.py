# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The driver as a person uses it: real runs of seconds, some of them killed, some of them failing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.accuracy import (
    EarlierResults,
    gather_results,
    load_matrix,
    plan_runs,
    read_results,
    run_jobs,
    stale_folders,
    write_results,
)
from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.results import RESULT_COLUMNS
from monai_bbox_mil.runs.run_lock import RunLock
from tests.benchmarks.accuracy.conftest import TINY, command, drive, environment, matrix_content, write_matrix
from tests.bundle.conftest import run_bundle

METRICS = ("train_loss", "val_loss", "val_dice")


def plan(matrix_path, data_root, out):
    matrix = load_matrix(matrix_path)
    return plan_runs(matrix, matrix.runs, out, data_root)


def test_every_case_has_a_row(driven):
    table = read_results(driven / "out" / "results.csv")
    assert tuple(table.columns) == RESULT_COLUMNS
    groups = table.groupby(["system", "variant", "evaluation"])["case"].agg(list)
    assert groups.to_dict() == {
        ("full", "", "0.5"): ["Case06", "Case07"],
        ("paper", "", "0.5"): ["Case06", "Case07"],
        ("paper", "", "calibrated"): ["Case06", "Case07"],
        ("paper", "margin_2", "0.5"): ["Case06", "Case07"],
        ("paper", "margin_2", "calibrated"): ["Case06", "Case07"],
    }
    assert table["dice"].between(0, 1).all()
    assert (table.loc[table["evaluation"] == "0.5", "threshold"] == 0.5).all()
    assert (table.filter(like="_seconds") > 0).all(axis=None)
    assert table["peak_memory_mb"].between(100, 5000).all()
    assert table["num_parameters"].nunique() == 1
    assert (table["num_threads"] == 1).all()
    assert table["hash"].nunique() == 5  # of three trainings and of their evaluations


def test_curves_hold_the_epochs(driven):
    curves = read_results(driven / "out" / "curves.csv")
    assert set(curves["metric"]) == set(METRICS)
    assert (curves["epoch"] == 1).all()
    assert curves["iteration"].nunique() == 1
    assert curves["iteration"].iloc[0] == 15  # steps of an epoch, which protocol.yaml sets
    assert len(curves) == 3 * 3
    dice = curves[curves["metric"] == "val_dice"]["value"]
    assert dice.between(0, 1).all()
    assert str(driven) not in json.loads((driven / "out" / "results.json").read_text())["command"]


def test_a_finished_run_has_one_line(driven):
    lines = [line for line in (driven / "stdout.txt").read_text().splitlines() if "mean Dice" in line]
    assert len(lines) == 3
    assert sum("phantom paper margin_2 fold0_seed0: mean Dice calibrated 0." in line for line in lines) == 1


def test_alone_and_in_the_driver_a_run_is_the_same(driven, data_root, tmp_path):
    places = {"dataset_dir": str(data_root / "phantom"), "ckpt_dir": str(tmp_path / "models"), "progress": False}
    options = {**TINY, **places, "output_dir": str(tmp_path / "eval"), "seed": 0}
    run_bundle("train", "experiments/protocol", "paper", **options)
    run_bundle("train", "experiments/protocol", "paper", "evaluate", **options)
    (folder,) = (driven / "out" / "runs" / "phantom" / "paper" / "fold0_seed0").glob("*/evaluations/calibrated-*")
    alone = pd.read_csv(tmp_path / "eval" / "cases.csv")
    pd.testing.assert_frame_equal(alone, pd.read_csv(folder / "cases.csv"), check_exact=True)


def test_the_last_epochs_weights_are_kept_and_nothing_else(driven):
    folders = list((driven / "out" / "runs").glob("phantom/*/**/models"))
    assert len(folders) == 3
    for folder in folders:
        files = {"model.pt", "image_settings.json", "threshold.json", "model_card.json"}
        assert {path.name for path in folder.iterdir()} == files


def test_what_is_done_is_not_done_again(driven, data_root, capsys):
    jobs = plan(driven / "matrix.yaml", data_root, driven / "out")
    assert all(job.done for job in jobs)
    before = [(job.folder / "trained.json").stat().st_mtime_ns for job in jobs]
    assert run_jobs(jobs) == []
    assert [(job.folder / "trained.json").stat().st_mtime_ns for job in jobs] == before
    arguments = ["--matrix", driven / "matrix.yaml", "--data", data_root, "--out", driven / "out"]
    assert main([*map(str, arguments), "--dry-run", "--only", "paper"]) == 0
    assert "2 runs, 0 to do." in capsys.readouterr().out


def test_results_of_another_configuration_are_never_mixed_in(driven, data_root, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(driven / "out", out)
    content = matrix_content()
    content["systems"]["paper"]["overrides"] = {"learning_rate": 0.5}
    matrix = write_matrix(tmp_path, content)
    jobs = plan(matrix, data_root, out)
    assert {job.key.system: job.done for job in jobs} == {"full": True, "paper": False}
    table, curves = gather_results(jobs, METRICS)
    assert set(table["system"]) == set(curves["system"]) == {"full"}
    (stale,) = stale_folders(jobs)
    assert stale.parent == out / "runs" / "phantom" / "paper" / "fold0_seed0"
    write_results(jobs, out, METRICS, "command")
    assert set(read_results(out / "results.csv")["system"]) == {"full"}
    assert main(["--matrix", str(matrix), "--data", str(data_root), "--out", str(out), "--dry-run"]) == 0
    told = capsys.readouterr()
    assert "1 earlier runs of other code, configurations, data or library versions are left alone" in told.err
    assert str(stale) in told.err
    assert "2 runs, 1 to do." in told.out


def test_earlier_results_spare_runs_of_the_same_hash_alone(driven, data_root, tmp_path, capsys):
    """The tables are all that is left of the first computation; one system is then another one."""
    earlier, content = driven / "out" / "results.csv", matrix_content()
    content["runs"].append({"datasets": ["phantom"], "systems": ["paper"], "seeds": [0], "variants": ["margin_2"]})
    jobs = plan(write_matrix(tmp_path, content), data_root, tmp_path / "out")
    assert not any(job.done for job in jobs)
    assert all(EarlierResults(earlier).holds(job) for job in jobs)
    arguments = ["--matrix", tmp_path / "matrix.yaml", "--data", data_root, "--out", tmp_path / "out"]
    arguments = [*map(str, arguments), "--earlier", str(earlier)]
    assert main([*arguments, "--report", str(tmp_path / "report")]) == 0
    for name in ("results.csv", "curves.csv"):
        assert (tmp_path / "out" / name).read_text() == earlier.with_name(name).read_text()
    for name in ("results.csv", "curves.csv", "results.json"):
        assert (tmp_path / "report" / name).read_text() == (tmp_path / "out" / name).read_text()
    assert "Boxes against masks" in (tmp_path / "report" / "results.md").read_text()
    assert not (tmp_path / "out" / "runs").exists()
    content["systems"]["paper"]["overrides"] = {"learning_rate": 0.5}
    write_matrix(tmp_path, content)
    capsys.readouterr()
    assert main([*arguments, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "phantom full fold0_seed0: done earlier" in told
    assert "3 runs, 2 to do." in told
    left = gather_results(plan(tmp_path / "matrix.yaml", data_root, tmp_path / "out"), METRICS, EarlierResults(earlier))
    assert [set(table["system"]) for table in left] == [{"full"}, {"full"}]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return not Path("/proc/self").exists()
    return state != "Z"


def wait_until(condition, seconds=120.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_killing_the_driver_ends_its_runs_and_the_next_one_mends_all(driven, data_root, tmp_path, number):
    """Killed while it trains; then again, with a run that fails before the one that was interrupted."""
    content = matrix_content()
    content["systems"]["broken"] = {"overrides": {"network_def#features": "none"}}
    content["runs"] = [{"datasets": ["phantom"], "systems": ["paper"]}]
    matrix, out = write_matrix(tmp_path, content), tmp_path / "out"
    arguments = ("--matrix", matrix, "--data", data_root, "--out", out, "--threads", 1)
    driver = subprocess.Popen(
        command(*arguments), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )  # fmt: skip
    started = out / "runs" / "phantom" / "paper" / "fold0_seed0"
    (facts,) = wait_until(lambda: list(started.glob("*/run.json")))
    pid = json.loads(facts.read_text())["pid"]
    assert is_alive(pid)
    driver.send_signal(number)
    assert driver.wait(timeout=60) == (128 + number if number == signal.SIGTERM else -number)
    wait_until(lambda: not is_alive(pid), seconds=20)
    (job,) = plan(matrix, data_root, out)
    assert not job.trained
    if number == signal.SIGTERM:
        assert len(pd.read_csv(out / "results.csv")) == 0
        return
    (job.folder / "left_behind").write_text("of the interrupted run")
    content["runs"] = [{"datasets": ["phantom"], "systems": ["broken", "paper"]}]
    write_matrix(tmp_path, content)
    done = drive(*arguments)
    assert done.returncode == 1
    assert "phantom broken fold0_seed0: FAILED, exit status 1; the end of" in done.stderr
    assert "log.txt" in done.stderr and "What stopped the run" in done.stderr
    assert "1 failed: phantom broken fold0_seed0" in done.stderr
    assert not (job.folder / "left_behind").exists()
    columns = ["evaluation", "case", "dice", "hd95_mm", "box_iou", "threshold", "hash"]
    uninterrupted = read_results(driven / "out" / "results.csv").query("system == 'paper' and variant == ''")
    found = read_results(out / "results.csv")[columns]
    pd.testing.assert_frame_equal(found, uninterrupted[columns].reset_index(drop=True), check_exact=True)


def test_one_driver_a_folder(driven, data_root):
    out = driven / "out"
    with RunLock(out, "experiments"):
        done = drive("--matrix", driven / "matrix.yaml", "--data", data_root, "--out", out)
    assert done.returncode == 2
    assert f"error: --out: folder {out}: process {os.getpid()} on " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x", "--matrix", "nowhere.yaml"], "error: matrix nowhere.yaml: expected a YAML file, got nothing."),
        (["--matrix", "{matrix}"], "error: --out DIR is missing"),
        (["--matrix", "{matrix}", "--out", "x", "--only", "ful"], "error: --only: unknown name 'ful'; expected one of"),
        (["--matrix", "{matrix}", "--results", "x.csv"], "error: --results needs --report DIR"),
        (["--matrix", "{matrix}", "--results", "x.csv", "--report", "x"], "error: results x.csv: expected a CSV file"),
        (["--matrix", "{matrix}", "--out", "x", "--earlier", "y.csv"], "error: results y.csv: expected a CSV file"),
        (["--matrix", "{matrix}", "--results", "x", "--report", "x", "--earlier", "y"], "error: --earlier spares runs"),
        (["--matrix", "{matrix}", "--out", "x", "--curves", "y"], "error: --curves belongs to --results CSV."),
        (["--matrix", "{matrix}", "--out", "x", "--data", "nowhere", "--dry-run"], "error: data set "),
    ],
)
def test_wrong_arguments_are_told_in_one_line(driven, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main([text.format(matrix=driven / "matrix.yaml") for text in arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith(message)
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_is_there_and_holds_the_schema():
    done = drive("--help")
    assert done.returncode == 0
    assert "evaluations: [NAME, ...]" in done.stdout
    assert "--dry-run" in done.stdout
    wrong = drive("--matrix", "x", "--jobs", "0")
    assert wrong.returncode == 2
    assert "expected a whole number of at least 1, got '0'" in wrong.stderr
