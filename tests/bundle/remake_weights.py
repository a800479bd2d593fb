# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Train the bundle's weights again, and write their scores and hashes where the bundle publishes them.

    python -m tests.bundle.remake_weights --dataset_dir SUNNYBROOK

runs the commands of the section "Weights" in ``bundle/docs/README.md`` that name SUNNYBROOK, copies what they leave in
``bundle/trained`` to ``bundle/models``, with a card that says what the weights are, then writes ``eval_metrics`` and
``weights_sha256`` into ``bundle/configs/metadata.json`` and the table of scores into that README.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from monai_bbox_mil.data import save_model_card

BUNDLE = Path(__file__).parents[2] / "bundle"
README, METADATA = BUNDLE / "docs" / "README.md", BUNDLE / "configs" / "metadata.json"
WEIGHTS = ("model.pt", "image_settings.json", "threshold.json", "model_card.json")
NAME = "Left ventricle in short-axis cine MR"
DATA = "Sunnybrook Cardiac Data (MICCAI 2009 left ventricle challenge), CC0"
TABLE = re.compile(r"(?<=<!-- scores of the weights -->\n).*?(?=<!-- end of scores -->)", re.DOTALL)


def readme_commands(section: str) -> list[str]:
    """The indented commands under a heading of the bundle's README, in their order."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", README.read_text(), re.MULTILINE | re.DOTALL)
    if text is None:
        raise ValueError(f"{README} has no section '## {section}'.")
    return re.findall(r"^ {4}(python .*)$", text[1], re.MULTILINE)


def scores_of(cases: pd.DataFrame) -> dict[str, float]:
    """Mean and standard deviation over patients, whose cases count as their mean, from the table ``cases.csv``."""
    patients = cases.groupby("patient")[["dice", "hd95_mm", "box_iou"]].mean()
    scores: dict[str, float] = {"patients": len(patients), "threshold": float(cases["threshold"].iloc[0])}
    for name in patients:
        scores[f"mean_{name}"] = round(float(patients[name].mean()), 4)
        scores[f"std_{name}"] = round(float(patients[name].std()), 4)
    return scores


def table_of(scores: dict[str, float]) -> str:
    """The scores as the README's table."""
    rows = [("3D Dice", "dice", 3), ("95 % Hausdorff distance, mm", "hd95_mm", 1), ("box IoU", "box_iou", 3)]
    lines = [f"| {scores['patients']} validation patients | mean | standard deviation |", "|---|---|---|"]
    for title, name, digits in rows:
        lines.append(f"| {title} | {scores[f'mean_{name}']:.{digits}f} | {scores[f'std_{name}']:.{digits}f} |")
    return "\n".join(lines) + "\n"


def sha256_of(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def publish(trained: Path, models: Path) -> None:
    """Copy the weights of a training, and say in their card what they are."""
    for name in WEIGHTS:
        shutil.copy2(trained / name, models / name)
    card = json.loads((trained / "model_card.json").read_text())
    save_model_card(models, card["classes"], card["training_images"], card["validation_images"], NAME, DATA)


def record(cases: Path, models: Path) -> None:
    """Write the scores in ``cases`` and the hashes of the files in ``models`` into metadata and README."""
    metadata = json.loads(METADATA.read_text())
    metadata["eval_metrics"] = scores_of(pd.read_csv(cases))
    metadata["weights_sha256"] = {name: sha256_of((models / name).read_bytes()) for name in WEIGHTS}
    METADATA.write_text(json.dumps(metadata, indent=4) + "\n")
    README.write_text(TABLE.sub(lambda _: table_of(metadata["eval_metrics"]), README.read_text()))


def main() -> None:
    """Train, evaluate, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset_dir", required=True, type=Path, help="folder of the Sunnybrook images")
    folder = str(parser.parse_args().dataset_dir.resolve())
    for command in readme_commands("Weights"):
        if "SUNNYBROOK" in command:
            words = [folder if word == "SUNNYBROOK" else word for word in shlex.split(command)]
            subprocess.run([sys.executable, *words[1:]], cwd=BUNDLE, check=True)
    publish(BUNDLE / "trained", BUNDLE / "models")
    record(BUNDLE / "eval" / "cases.csv", BUNDLE / "models")


if __name__ == "__main__":
    main()
