# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What each site of ``nvflare_job.py`` runs: the bundle under MONAI's client, told by NVFlare when to train.

It needs this package, the bundle and the site's images, and nothing else of the repository.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def main() -> None:
    import nvflare.client as flare
    from monai.fl.client import MonaiAlgo
    from monai.fl.utils.constants import ExtraItems, FlStatistics
    from monai.fl.utils.exchange_object import ExchangeObject
    from nvflare.apis.fl_constant import FLMetaKey

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", required=True, help="folder of the bundle at the site")
    parser.add_argument("--settings", required=True, type=Path, help="folder of SITE.json, the site's overrides")
    parser.add_argument("--local_epochs", type=int, required=True, help="epochs of a round")
    options = parser.parse_args()

    flare.init()
    name = flare.get_site_name()
    site = MonaiAlgo(
        bundle_root=options.bundle,
        local_epochs=options.local_epochs,
        config_train_filename=["configs/train.yaml", "configs/federated.yaml"],
        config_evaluate_filename=None,
        train_kwargs=json.loads((options.settings / f"{name}.json").read_text()),
    )
    site.initialize({ExtraItems.CLIENT_NAME: name})
    while flare.is_running():
        received = flare.receive()
        if received is None:
            break
        site.train(ExchangeObject(weights=received.params))
        update = site.get_weights()
        steps = update.statistics[FlStatistics.NUM_EXECUTED_ITERATIONS]
        flare.send(
            flare.FLModel(
                params=update.weights,
                params_type=flare.ParamsType.DIFF,
                meta={FLMetaKey.NUM_STEPS_CURRENT_ROUND: steps},
            )
        )
    site.finalize()


if __name__ == "__main__":
    main()
