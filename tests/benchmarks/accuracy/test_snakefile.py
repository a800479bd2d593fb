# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The Snakefile as a person uses it: real runs of seconds, some of them killed, some of them failing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from benchmarks.accuracy import (
    EarlierResults,
    Settings,
    gather_results,
    load_matrix,
    open_experiment,
    plan_runs,
    read_results,
    stale_folders,
    write_results,
)
from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.score_tables import RESULT_COLUMNS
from benchmarks.accuracy.worker import main as run_worker
from benchmarks.accuracy.worker import run_job
from monai_bbox_mil.runs.run_lock import FolderInUseError, RunLock
from tests.benchmarks.accuracy.conftest import (
    REPOSITORY,
    TINY,
    command,
    drive,
    environment,
    matrix_content,
    write_matrix,
)
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
    lines = [line for line in (driven / "messages.txt").read_text().splitlines() if "mean Dice" in line]
    assert len(lines) == 3
    assert sum("phantom paper margin_2 fold0_seed0: mean Dice calibrated 0." in line for line in lines) == 1


def test_the_page_and_its_pictures_are_made(driven):
    page = (driven / "report" / "results.md").read_text()
    assert page.startswith("# Results\n\nMade by\n\n```bash\nsnakemake --snakefile benchmarks/accuracy/Snakefile ")
    assert str(driven) not in page
    assert "3 trainings: " in page
    assert "torch " in page
    assert "What a person wrote." in page
    names = {path.name for path in (driven / "report").glob("*.png")}
    kinds = ("patients1", "learning2", "curve3", "pictures4_phantom")
    assert names == {f"results_boxes_against_masks_{kind}.png" for kind in kinds}
    for name in names:
        assert f"]({name})" in page
        assert (driven / "report" / name).stat().st_size < 300_000
        with Image.open(driven / "report" / name) as picture:
            assert min(picture.size) > 100
            assert len(picture.convert("RGB").getcolors(1 << 24)) > 10


def test_the_page_can_be_made_again_from_the_tables_alone(driven, tmp_path, capsys):
    for name in ("results.csv", "curves.csv", "results.json"):
        shutil.copy(driven / "out" / name, tmp_path)
    picture = "results_boxes_against_masks_pictures4_phantom.png"
    shutil.copy(driven / "report" / picture, tmp_path)
    arguments = [
        "report",
        "--matrix",
        driven / "matrix.yaml",
        "--results",
        tmp_path / "results.csv",
        "--report",
        tmp_path,
    ]
    assert main(list(map(str, arguments))) == 0
    assert (tmp_path / "results.md").read_text() == (driven / "report" / "results.md").read_text()
    assert "Report: " in capsys.readouterr().out


def test_alone_and_by_snakemake_a_run_is_the_same(driven, data_root, tmp_path):
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
        assert {path.name for path in folder.iterdir()} == {
            "model.pt",
            "model_card.json",
            "image_settings.json",
            "threshold.json",
        }


def settings(matrix, data_root, out, **more):
    return [f"{k}={v}" for k, v in {"matrix": matrix, "data": data_root, "out": out, **more}.items()]


def test_what_is_done_is_not_done_again(driven, data_root, capsys):
    jobs = plan(driven / "matrix.yaml", data_root, driven / "out")
    assert all(job.done and job.mark.is_file() for job in jobs)
    assert main(["plan", *settings(driven / "matrix.yaml", data_root, driven / "out", only="paper")]) == 0
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
    assert main(["plan", *settings(matrix, data_root, out)]) == 0
    told = capsys.readouterr()
    assert "1 earlier runs with other code, configurations, data or library versions are left alone" in told.err
    assert str(stale) in told.err
    assert "2 runs, 1 to do." in told.out


def test_earlier_results_spare_runs_of_the_same_hash_alone(driven, data_root, tmp_path, capsys):
    """The tables are all that is left of the first computation; one system is then another one."""
    earlier, content = driven / "out" / "results.csv", matrix_content()
    content["runs"].append({"datasets": ["phantom"], "systems": ["paper"], "seeds": [0], "variants": ["margin_2"]})
    jobs = plan(write_matrix(tmp_path, content), data_root, tmp_path / "out")
    assert not any(job.done for job in jobs)
    assert all(EarlierResults(earlier).holds(job) for job in jobs)
    arguments = settings(tmp_path / "matrix.yaml", data_root, tmp_path / "out", earlier=earlier)
    assert main(["tables", *arguments, f"report={tmp_path / 'report'}"]) == 0
    for name in ("results.csv", "curves.csv"):
        assert (tmp_path / "out" / name).read_text() == earlier.with_name(name).read_text()
    for name in ("results.csv", "curves.csv", "results.json"):
        assert (tmp_path / "report" / name).read_text() == (tmp_path / "out" / name).read_text()
    assert "Boxes against masks" in (tmp_path / "report" / "results.md").read_text()
    assert not (tmp_path / "out" / "runs").exists()
    content["systems"]["paper"]["overrides"] = {"learning_rate": 0.5}
    write_matrix(tmp_path, content)
    capsys.readouterr()
    assert main(["plan", *arguments]) == 0
    told = capsys.readouterr().out
    assert "phantom full fold0_seed0: done earlier" in told
    options = dict(text.split("=") for text in arguments)
    assert [job.key.system for job in open_experiment(Settings.read(options)).wanted] == ["paper", "paper"]
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


def launch(**config) -> subprocess.Popen:
    return subprocess.Popen(
        command(**config), cwd=REPOSITORY, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )  # fmt: skip


def process_that_trains(out: Path, system: str) -> int:
    facts = wait_until(lambda: list((out / "runs" / "phantom" / system).glob("*/*/run.json")))
    return json.loads(facts[0].read_text())["pid"]


def test_two_nodes_are_stopped_and_one_command_mends_all(driven, data_root, tmp_path):
    """SIGKILL ends the runs too; SIGTERM lets a run end and starts no other. Then one fails before the one left."""
    content = matrix_content()
    content["systems"]["broken"] = {"overrides": {"network_def#features": "none"}}
    content["runs"] = [
        {"datasets": ["phantom"], "systems": ["broken", "full", "paper"]},
        {"datasets": ["phantom"], "systems": ["full"], "seeds": [1]},
    ]
    config = {"matrix": write_matrix(tmp_path, content), "data": data_root, "out": tmp_path / "out"}
    first, second = launch(**config, only="paper"), launch(**config, only="full")
    run_of_first = process_that_trains(config["out"], "paper")
    first.kill()
    process_that_trains(config["out"], "full")
    second.terminate()
    assert first.wait(timeout=60) == -signal.SIGKILL
    wait_until(lambda: not is_alive(run_of_first), seconds=20)
    assert second.wait(timeout=120) == 1
    assert set(read_results(config["out"] / "results.csv")["system"]) == {"full"}
    del content["runs"][1]
    write_matrix(tmp_path, content)
    broken, full, paper = plan(config["matrix"], data_root, config["out"])
    assert full.done and not paper.trained
    (paper.folder / "left_behind").write_text("of the interrupted run")
    done = drive(*command(**config))
    assert done.returncode == 1
    assert f"phantom broken fold0_seed0: FAILED; the end of {broken.log}:" in done.stderr
    assert "What stopped the run" in done.stderr
    assert "2 of 3 runs are done" in done.stdout
    assert not (paper.folder / "left_behind").exists()
    columns = ["evaluation", "case", "dice", "hd95_mm", "box_iou", "threshold", "hash"]
    uninterrupted = read_results(driven / "out" / "results.csv").query("variant == ''")
    pd.testing.assert_frame_equal(
        read_results(config["out"] / "results.csv")[columns], uninterrupted[columns], check_exact=True
    )


def test_one_process_per_run(driven, data_root, tmp_path):
    out = tmp_path / "out"
    job = plan(driven / "matrix.yaml", data_root, out)[0]
    with ThreadPoolExecutor(1) as other:
        lock = RunLock(job.folder.parent, f"run_{job.hash}")
        other.submit(lock.acquire).result()
        with pytest.raises(FolderInUseError, match=f"folder {job.folder.parent}: thread"):
            run_job(job, 1)
        lock.release()


def test_a_run_of_other_code_than_planned_is_refused(driven, data_root, tmp_path, capsys):
    """As where code or data were changed after Snakemake was started."""
    job = plan(driven / "matrix.yaml", data_root, driven / "out")[0]
    places = ["--matrix", driven / "matrix.yaml", "--data", data_root, "--out", tmp_path, "--threads", 1]
    arguments = [*places, "--run", job.key.folder, "--mark", job.mark]
    assert run_worker([str(argument) for argument in arguments]) == 1
    assert f"have changed since snakemake was started: it asks for {job.mark}" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plan", "out=x", "matrix=nowhere.yaml"], "error: matrix nowhere.yaml: expected a YAML file, got nothing."),
        (["plan", "matrix={matrix}"], "error: --config: the key 'out' is missing; got matrix."),
        (["plan", "out=x", "thread=2"], "error: --config: unknown key 'thread'; expected out, data, matrix"),
        (["plan", "out=x", "threads=0"], "error: --config: threads: expected whole numbers of at least 1, got '0'."),
        (["plan", "out"], "error: expected KEY=VALUE, such as out=RUNS, got 'out'."),
        (["plan", "matrix={matrix}", "out=x", "only=ful"], "error: only: unknown name 'ful'; expected one of"),
        (["tables", "matrix={matrix}", "out=x", "earlier=y.csv"], "error: results y.csv: expected a CSV file"),
        (["plan", "matrix={matrix}", "out=x", "data=nowhere"], "error: data set "),
        (["report", "--matrix", "{matrix}", "--results", "x.csv", "--report", "x"], "error: results x.csv: expected a"),
    ],
)
def test_wrong_arguments_are_reported_in_one_line(driven, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main([text.format(matrix=driven / "matrix.yaml") for text in arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith(message)
    assert told.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help_is_there_and_holds_the_schema(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert "evaluations: [NAME, ...]" in capsys.readouterr().out
