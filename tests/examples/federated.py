# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Federated averaging of the bundle by MONAI's own client, all sites in one process.

    python tests/examples/federated.py --out federated --rounds 3 --local_epochs 10

Each site has its part of the patients and its own :class:`monai.fl.client.MonaiAlgo`; the server sees weights and
counts, never an image or a box. With nothing else given the sites share out the phantom; ``--datalist``, once a
site, names data lists instead. Further arguments of the form NAME=VALUE override ``train.yaml``. In the end ``OUT/server`` holds
``model.pt`` and ``threshold.json``, for ``evaluate.yaml`` and ``inference.yaml``.
"""

from __future__ import annotations

import argparse
import json
from ast import literal_eval
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, run
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, FlStatistics, WeightType
from monai.fl.utils.exchange_object import ExchangeObject
from torch import Tensor

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


def make_site(name: str, folder: Path, rounds: int, local_epochs: int, overrides: Mapping[str, Any]) -> MonaiAlgo:
    """A client that trains ``local_epochs`` epochs a round.

    Args:
        name: of the site, for its logs.
        folder: for the site's own models and TensorBoard events.
        rounds: of the whole federation; learning rate and self-training are scheduled over all of them.
        local_epochs: passes over the site's slices in a round.
        overrides: of ``train.yaml``, among them ``dataset_dir`` or ``datalist``.
    """
    site = MonaiAlgo(
        bundle_root=str(BUNDLE),
        local_epochs=local_epochs,
        config_train_filename=list(CONFIGS),
        config_evaluate_filename=None,
        train_kwargs={
            "max_epochs": rounds * local_epochs,
            "ckpt_dir": str(folder / "models"),
            "output_dir": str(folder / "eval"),
            **overrides,
        },
    )
    site.initialize({ExtraItems.CLIENT_NAME: name})
    return site


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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("federated"), help="folder for all results (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--local_epochs", type=int, default=10, help="epochs of a site in a round (%(default)s)")
    parser.add_argument("--datalist", action="append", type=Path, help="one a site; without, two share the phantom")
    parser.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="of train.yaml")
    options = parser.parse_intermixed_args(arguments)
    overrides: dict[str, Any] = {}
    for argument in options.overrides:
        name, equals, value = argument.partition("=")
        if not equals:
            parser.error(f"an override must have the form NAME=VALUE, got {argument!r}.")
        try:
            overrides[name] = literal_eval(value)
        except (SyntaxError, ValueError):
            overrides[name] = value
    out = options.out.resolve()
    lists = options.datalist or write_site_datalists(make_phantom(out / "phantom"), 2, out / "sites")
    own = [{**overrides, "dataset_dir": str(path.parent), "datalist": str(path)} for path in lists]
    sites = [
        make_site(path.stem, out / path.stem, options.rounds, options.local_epochs, site)
        for path, site in zip(lists, own)
    ]
    history = federate(sites, initial_weights(overrides), options.rounds)
    for site in sites:
        site.finalize()
    server = out / "server"
    server.mkdir(exist_ok=True)
    torch.save(history[-1], server / "model.pt")
    # One site lends its validation boxes for the threshold; they do not leave it either.
    files = [str(BUNDLE / name) for name in CONFIGS]
    run("calibration", config_file=files, bundle_root=str(BUNDLE), ckpt_dir=str(server), **own[0])


if __name__ == "__main__":
    main()
