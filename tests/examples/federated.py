# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Federated averaging of the bundle by MONAI's own client, all sites in one process.

    python -m tests.examples.federated --out federated --rounds 3 --local_epochs 10

Each site has its part of the patients and its own :class:`monai.fl.client.MonaiAlgo`; the server sees weights and
counts, never an image or a box. With nothing else given the sites share out the phantom; ``--datalist``, once a site,
names data lists instead. Further arguments of the form NAME=VALUE override ``train.yaml``. In the end ``OUT/server``
holds ``model.pt`` and ``threshold.json``, for ``evaluate.yaml`` and ``inference.yaml``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, run
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, FlStatistics, WeightType
from monai.fl.utils.exchange_object import ExchangeObject
from torch import Tensor

from benchmarks.speed.bundle_parts import overrides_of
from monai_bbox_mil.data import make_phantom

BUNDLE = Path(__file__).parents[2] / "bundle"
CONFIGS = ["configs/train.yaml", "configs/federated.yaml"]


def write_site_datalists(datalist: Mapping[str, Sequence[Mapping]], num_sites: int, folder: Path) -> list[Path]:
    """Share out the patients of each part, one list a site.

    Args:
        datalist: ``{"training": [...], "validation": [...]}`` as :func:`monai_bbox_mil.data.get_datalist` gives it.
        num_sites: sites; every ``num_sites``-th item goes to the same one.
        folder: where ``site-N.json`` are written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"site-{number + 1}.json" for number in range(num_sites)]
    for number, path in enumerate(paths):
        part = {
            name: [{"label" if key == "mask" else key: value for key, value in item.items()} for item in items]
            for name, items in ((name, items[number::num_sites]) for name, items in datalist.items())
        }
        path.write_text(json.dumps(part, indent=1))
    return paths


def make_site(name: str, local_epochs: int, overrides: Mapping[str, Any]) -> MonaiAlgo:
    """A client that trains ``local_epochs`` epochs a round.

    Args:
        name: of the site, for its logs.
        local_epochs: passes over the site's slices in a round.
        overrides: of ``train.yaml``, as :func:`site_overrides` gives them.
    """
    site = MonaiAlgo(
        bundle_root=str(BUNDLE),
        local_epochs=local_epochs,
        config_train_filename=list(CONFIGS),
        config_evaluate_filename=None,
        train_kwargs=dict(overrides),
    )
    site.initialize({ExtraItems.CLIENT_NAME: name})
    return site


def site_overrides(datalist: Path, folder: Path, epochs: int, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides of ``train.yaml`` at one site.

    Args:
        datalist: of the site's own images.
        folder: for the site's own models and TensorBoard events.
        epochs: of all rounds together; learning rate and self-training are scheduled over them.
        shared: overrides that are the same at all sites.
    """
    return {
        **shared,
        "max_epochs": epochs,
        "dataset_dir": str(datalist.parent),
        "datalist": str(datalist),
        "ckpt_dir": str(folder / "models"),
        "output_dir": str(folder / "eval"),
    }


def initial_weights(overrides: Mapping[str, Any]) -> dict[str, Tensor]:
    """Weights of a new network of the bundle, which the server gives to all sites."""
    parser = ConfigParser(ConfigParser.load_config_files([str(BUNDLE / name) for name in CONFIGS]))
    parser.update(dict(overrides))
    torch.manual_seed(parser.get_parsed_content("seed"))
    return parser.get_parsed_content("network_def").state_dict()


def federated_average(weights: Mapping[str, Tensor], updates: Sequence[ExchangeObject]) -> dict[str, Tensor]:
    """McMahan et al., "Communication-efficient learning of deep networks from decentralized data" (AISTATS 2017).

    Args:
        weights: that the sites began with.
        updates: one a site, with the difference that its training made to ``weights``; a site counts by its steps.

    Raises:
        ValueError: for an update that holds no differences.
    """
    for update in updates:
        if update.weight_type != WeightType.WEIGHT_DIFF:
            raise ValueError(f"updates must hold differences of weights, got {update.weight_type}.")
    steps = [update.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS] for update in updates]
    return {
        name: value + sum(n * u.weights[name] for n, u in zip(steps, updates)).div(sum(steps)).to(value.dtype)
        for name, value in weights.items()
    }


def federate(sites: Sequence[MonaiAlgo], weights: dict[str, Tensor], rounds: int) -> list[dict[str, Tensor]]:
    """The server's weights after each round, ``weights`` being those before the first."""
    history = []
    for _ in range(rounds):
        updates = []
        for site in sites:
            site.train(ExchangeObject(weights=weights))
            updates.append(site.get_weights())
        weights = federated_average(weights, updates)
        history.append(weights)
    return history


def read_arguments(description: str | None, arguments: Sequence[str] | None) -> tuple[argparse.Namespace, dict, dict]:
    """The command line: its options, the overrides all sites share, and each site's overrides by its name."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("federated"), help="folder for all results (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--local_epochs", type=int, default=10, help="epochs of a site in a round (%(default)s)")
    parser.add_argument("--datalist", action="append", type=Path, help="one a site; without, two share the phantom")
    parser.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="of train.yaml")
    options = parser.parse_intermixed_args(arguments)
    try:
        shared = overrides_of(options.overrides)
    except ValueError as error:
        parser.error(str(error))
    out = options.out = options.out.resolve()
    lists = options.datalist or write_site_datalists(make_phantom(out / "phantom"), 2, out / "datalists")
    epochs = options.rounds * options.local_epochs
    sites = {
        f"site-{number}": site_overrides(path.resolve(), out / f"site-{number}", epochs, shared)
        for number, path in enumerate(lists, start=1)
    }
    return options, shared, sites


def main(arguments: Sequence[str] | None = None) -> None:
    options, shared, settings = read_arguments(__doc__, arguments)
    sites = [make_site(name, options.local_epochs, overrides) for name, overrides in settings.items()]
    weights = federate(sites, initial_weights(shared), options.rounds)[-1]
    for site in sites:
        site.finalize()
    server = options.out / "server"
    server.mkdir(exist_ok=True)
    torch.save(weights, server / "model.pt")
    # One site lends its validation boxes for the threshold; they do not leave it either.
    files = [str(BUNDLE / name) for name in CONFIGS]
    overrides = {**settings["site-1"], "ckpt_dir": str(server)}
    run("calibration", "calibration_initialize", config_file=files, bundle_root=str(BUNDLE), **overrides)


if __name__ == "__main__":
    main()
