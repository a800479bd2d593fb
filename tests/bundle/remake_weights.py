# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Train the bundle's weights again, and write their scores and hashes where the bundle publishes them.

    python -m tests.bundle.remake_weights --weights SUNNYBROOK --dataset_dir FOLDER

runs the commands of the section "Weights" in ``bundle/docs/README.md`` that name SUNNYBROOK (or HIPPOCAMPUS), copies
what they leave in ``bundle/trained`` to the folder of these weights, with a card that says what they are, then writes
``eval_metrics`` and ``weights_sha256`` into ``bundle/configs/metadata.json`` and the table of scores into that README.
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
from typing import Any, NamedTuple

import pandas as pd

from monai_bbox_mil.data import save_model_card

BUNDLE = Path(__file__).parents[2] / "bundle"
README, METADATA = BUNDLE / "docs" / "README.md", BUNDLE / "configs" / "metadata.json"
FILES = ("model.pt", "image_settings.json", "threshold.json", "model_card.json")


class Weights(NamedTuple):
    """Weights that the bundle publishes."""

    folder: str
    """Relative to the bundle."""
    name: str
    data: str


PUBLISHED = {
    "SUNNYBROOK": Weights(
        "models",
        "Left ventricle in short-axis cine MR",
        "Sunnybrook Cardiac Data (MICCAI 2009 left ventricle challenge), CC0",
    ),
    "HIPPOCAMPUS": Weights(
        "models/hippocampus",
        "Anterior and posterior hippocampus in T1-weighted MR",
        "Medical Segmentation Decathlon, Task04, CC-BY-SA 4.0",
    ),
}
"""Published weights by the word that stands for the folder of their images in the README's commands."""


def table_pattern(key: str) -> re.Pattern[str]:
    """Return the pattern of the README's table of scores of some weights."""
    return re.compile(rf"(?<=<!-- scores of {key} -->\n).*?(?=<!-- end of scores -->)", re.DOTALL)


def readme_commands(section: str) -> list[str]:
    """The indented commands under a heading of the bundle's README, in their order."""
    text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", README.read_text(), re.MULTILINE | re.DOTALL)
    if text is None:
        raise ValueError(f"{README} has no section '## {section}'.")
    return re.findall(r"^ {4}(python .*)$", text[1], re.MULTILINE)


def scores_of(cases: pd.DataFrame) -> dict[str, Any]:
    """Mean and standard deviation over patients, from ``cases.csv``; a patient is the mean of its cases and classes."""
    patients = cases.groupby("patient")[["dice", "hd95_mm", "box_iou"]].mean()
    scores: dict[str, Any] = {
        "patients": len(patients),
        "threshold": cases.drop_duplicates("class")["threshold"].tolist(),
    }
    for name in patients:
        scores[f"mean_{name}"] = round(float(patients[name].mean()), 4)
        scores[f"std_{name}"] = round(float(patients[name].std()), 4)
    return scores


def table_of(scores: dict[str, Any]) -> str:
    """The scores as the README's table."""
    rows = [("3D Dice", "dice", 3), ("95 % Hausdorff distance, mm", "hd95_mm", 1), ("box IoU", "box_iou", 3)]
    lines = [f"| {scores['patients']} validation patients | mean | standard deviation |", "|---|---|---|"]
    for title, name, digits in rows:
        lines.append(f"| {title} | {scores[f'mean_{name}']:.{digits}f} | {scores[f'std_{name}']:.{digits}f} |")
    return "\n".join(lines) + "\n"


def sha256_of(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def publish(trained: Path, key: str) -> None:
    """Copy the weights of a training, and say in their card what they are."""
    folder, name, data = PUBLISHED[key]
    (BUNDLE / folder).mkdir(exist_ok=True)
    for file in FILES:
        shutil.copy2(trained / file, BUNDLE / folder / file)
    card = json.loads((trained / "model_card.json").read_text())
    counts = card["training_images"], card["validation_images"]
    save_model_card(BUNDLE / folder, card["classes"], *counts, name, data)


def record(cases: Path, key: str) -> None:
    """Write the scores in ``cases`` and the hashes of some weights into metadata and README."""
    metadata, folder = json.loads(METADATA.read_text()), BUNDLE / PUBLISHED[key].folder
    scores = metadata["eval_metrics"][key.lower()] = scores_of(pd.read_csv(cases))
    metadata["weights_sha256"][key.lower()] = {name: sha256_of((folder / name).read_bytes()) for name in FILES}
    METADATA.write_text(json.dumps(metadata, indent=4) + "\n")
    README.write_text(table_pattern(key).sub(lambda _: table_of(scores), README.read_text(), count=1))


def main() -> None:
    """Train, evaluate, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, choices=PUBLISHED, help="which weights to make")
    parser.add_argument("--dataset_dir", required=True, type=Path, help="folder of their images")
    arguments = parser.parse_args()
    folder = str(arguments.dataset_dir.resolve())
    for command in readme_commands("Weights"):
        if arguments.weights in command:
            words = [folder if word == arguments.weights else word for word in shlex.split(command)]
            subprocess.run([sys.executable, *words[1:]], cwd=BUNDLE, check=True)
    publish(BUNDLE / "trained", arguments.weights)
    record(BUNDLE / "eval" / "cases.csv", arguments.weights)


if __name__ == "__main__":
    main()
