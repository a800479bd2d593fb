# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Lower bounds of ``setup.cfg`` as exact versions, one a line, for ``pip install --constraint``."""

from __future__ import annotations

import sys
from configparser import ConfigParser
from pathlib import Path


def lowest(setup_cfg: Path, extras: list[str]) -> list[str]:
    """``name==version`` of each requirement ``name>=version``; those without a lower bound are left out.

    Raises:
        KeyError: for an extra that is not declared.

    Example:
        >>> setup_cfg = getfixture("tmp_path") / "setup.cfg"
        >>> extra = "[options.extras_require]\\nx = c\\n  d>=4; python_version >= '3.11'\\n"
        >>> text = f"[options]\\ninstall_requires = a>=1.2\\n  b==3\\n{extra}"
        >>> _ = setup_cfg.write_text(text)
        >>> lowest(setup_cfg, ["x"])
        ['a==1.2', 'd==4']
    """
    config = ConfigParser()
    config.read(setup_cfg, encoding="utf-8")
    texts = [config["options"]["install_requires"], *(config["options.extras_require"][extra] for extra in extras)]
    names = [line.partition(";")[0].strip() for text in texts for line in text.splitlines()]  # without their markers
    return [name.replace(">=", "==") for name in names if ">=" in name]


if __name__ == "__main__":
    print("\n".join(lowest(Path(__file__).parents[2] / "setup.cfg", sys.argv[1:])))
