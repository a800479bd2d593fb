# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Federated averaging of the bundle as an NVFlare job, run by NVFlare's simulator: each site in processes of its own.

    python -m pip install nvflare
    python -m tests.examples.nvflare_job --out federated --rounds 3 --local_epochs 10

Arguments are those of ``tests.examples.federated``. In the end ``OUT/server`` holds ``model.pt``, and ``OUT/job`` the
job as ``nvflare job submit`` takes it; in a real federation each site has its own ``OUT/settings/SITE.json``.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch
from monai.bundle import ConfigParser

from tests.examples.federated import BUNDLE, CONFIGS, initial_weights, read_arguments

NAME = "monai_bbox_mil"


def main(arguments: Sequence[str] | None = None) -> None:
    from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
    from nvflare.recipe import SimEnv

    options, shared, settings = read_arguments(__doc__, arguments)
    for folder in ("settings", "server"):
        (options.out / folder).mkdir(exist_ok=True)
    for name, overrides in settings.items():
        (options.out / "settings" / f"{name}.json").write_text(json.dumps(overrides, indent=1))
    first = options.out / "server" / "first.pt"
    torch.save(initial_weights(shared), first)
    parser = ConfigParser(ConfigParser.load_config_files([str(BUNDLE / name) for name in CONFIGS]))
    parser.update(shared)
    network = parser.get_parsed_content("network_def", instantiate=False).get_config()
    client = {"bundle": BUNDLE, "settings": options.out / "settings", "local_epochs": options.local_epochs}
    recipe = FedAvgRecipe(
        name=NAME,
        model={"class_path": network.pop("_target_"), "args": network},
        initial_ckpt=str(first),
        min_clients=len(settings),
        num_rounds=options.rounds,
        train_script=str(Path(__file__).with_name("nvflare_client.py")),
        train_args=shlex.join(f"--{name}={value}" for name, value in client.items()),
    )
    recipe.export(str(options.out / "job"))
    result = recipe.execute(SimEnv(clients=list(settings), workspace_root=str(options.out / "simulator"))).get_result()
    (found,) = Path(result).rglob("FL_global_model.pt")
    torch.save(torch.load(found, map_location="cpu", weights_only=True)["model"], options.out / "server" / "model.pt")


if __name__ == "__main__":
    main()
