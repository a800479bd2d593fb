# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The app's own copy of the bundle, and a check that it is complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["Bundle"]


class Bundle:
    """A bundle's folder.

    Args:
        root: folder with ``configs/`` and, after the first training, ``models/``.

    Raises:
        FileNotFoundError: when it is not a bundle.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).resolve()
        for name in ("metadata.json", "train.yaml", "inference.yaml"):
            if not (self.root / "configs" / name).is_file():
                raise FileNotFoundError(
                    f"{self.root} is no bundle: it has no configs/{name}. The app brings one in its folder 'bundle'; "
                    f"another is named by --conf bundle PATH."
                )

    @property
    def model(self) -> Path:
        """Return the path of the trained weights, which may not exist yet."""
        return self.root / "models" / "model.pt"

    @property
    def version(self) -> int | None:
        """Return a number that changes with each training: the time of the weights; ``None`` before the first one."""
        return self.model.stat().st_mtime_ns if self.model.is_file() else None

    @property
    def labels(self) -> dict[str, int]:
        """Return the class names and their values in the masks, from ``metadata.json``."""
        outputs = self.metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
        return {name: int(value) for value, name in outputs.items() if name != "background"}

    @property
    def metadata(self) -> dict[str, Any]:
        """``configs/metadata.json``."""
        content: dict[str, Any] = json.loads((self.root / "configs" / "metadata.json").read_text())
        return content
