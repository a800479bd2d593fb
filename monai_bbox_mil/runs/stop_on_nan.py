# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Stop a training when its loss becomes NaN or infinite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from torch import Tensor

__all__ = ["StopOnNaN"]


class StopOnNaN:
    """Raise an error that names the batch's cases when a number is NaN or infinite, before it reaches any weight.

    ignite's ``TerminateOnNan`` acts after the step and ends the run as if it were complete. This handler checks the
    network's output before the loss, whose own error would not name the case. It checks the loss before the backward
    pass. It checks the network's weights at the end of each epoch, before a checkpoint is written, so put it before
    validation and ``CheckpointSaver``. The existing checkpoints stay good.

    Args:
        network: network whose weights are checked; with ``None``, only output and loss are checked.
        case_names: function from a batch to the name of each of its cases; with ``None``, the file names of its
            ``MetaTensor``. A :class:`~monai_bbox_mil.data.SliceDataset` has one.
        options: current values of ``learning_rate``, ``amp`` and ``checkpoint_interval``, for specific advice; without
            them, the advice is general.

    Example:
        >>> trainer = Engine(lambda engine, batch: {"loss": batch["image"].sum()})
        >>> StopOnNaN(case_names=lambda batch: ["patient 7"]).attach(trainer)
        >>> try:
        ...     _ = trainer.run([{"image": torch.tensor([float("nan")])}])
        ... except FloatingPointError as error:
        ...     print(str(error).split(". ")[0])
        the loss is nan at iteration 1 (epoch 1), with a batch of patient 7 (image not finite)
    """

    def __init__(
        self,
        network: torch.nn.Module | None = None,
        case_names: Callable[[Any], Iterable[str]] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.network = network
        self.case_names = case_names or _file_names
        self.options = dict(options or {})

    def attach(self, engine: Engine) -> None:
        """Check ``engine``, a trainer whose output has the key ``loss``."""
        # MONAI's trainers fire events for output and loss; for any other engine, both are checked after the step.
        if engine.has_registered_events(IterationEvents.LOSS_COMPLETED):
            engine.add_event_handler(IterationEvents.FORWARD_COMPLETED, self._check_output)
            engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self._check_loss)
        else:
            engine.add_event_handler(Events.ITERATION_COMPLETED, self._check_loss)
        if self.network is not None:
            engine.add_event_handler(Events.EPOCH_COMPLETED, self._check_weights)
            engine.add_event_handler(Events.TERMINATE, self._check_weights)

    def _check_output(self, engine: Engine) -> None:
        output: Any = engine.state.output
        # Deep supervision has several outputs, which come from the same features.
        pred = output["pred"] if isinstance(output["pred"], Tensor) else output["pred"][0]
        if not torch.isfinite(pred).all():
            raise self._error("the network's output is not finite", engine)

    def _check_loss(self, engine: Engine) -> None:
        output: Any = engine.state.output
        loss = output["loss"]
        if not torch.isfinite(loss).all():
            raise self._error(f"the loss is {float(loss.detach().float().mean())}", engine)

    def _error(self, what: str, engine: Engine) -> FloatingPointError:
        cases = self._describe(engine.state.batch, engine.state.output)
        if any("image not finite" in case for case in cases):
            advice = f"Repair these images: no setting helps. {self._way_on('')}"
        else:
            advice = f"Look at these images and their boxes. If they are sound, {self._advise(engine)}"
        return FloatingPointError(
            f"{what} at iteration {engine.state.iteration} (epoch {engine.state.epoch}), with a batch of "
            f"{', '.join(cases)}. {advice}"
        )

    def _check_weights(self, engine: Engine) -> None:
        assert self.network is not None
        bad = [name for name, weight in self.network.named_parameters() if not torch.isfinite(weight).all()]
        if bad:
            advice = self._advise(engine)
            raise FloatingPointError(
                f"{len(bad)} weights of the network ({bad[0]}, ...) are not finite after iteration "
                f"{engine.state.iteration} (epoch {engine.state.epoch}), because a gradient was not finite. "
                f"{advice[0].upper()}{advice[1:]}"
            )

    def _advise(self, engine: Engine) -> str:
        rate, typed = self.options.get("learning_rate"), ""
        groups = getattr(getattr(engine, "optimizer", None), "param_groups", [])
        used = [group.get("initial_lr", group.get("lr")) for group in groups]
        ways = ["lower the learning rate"]
        if rate is not None and all(each == rate for each in used):
            ways, typed = [f"lower learning_rate (now {rate:g})"], f" --learning_rate {rate / 10:g}"
        if self.options.get("amp", True):
            ways.append("turn half precision off")
            typed += " --amp False" if "amp" in self.options else ""
        return f"{' and '.join(ways)}. {self._way_on(typed)}"

    def _way_on(self, typed: str) -> str:
        if not self.options:
            return "No checkpoint was touched."
        if self.options.get("checkpoint_interval"):
            return f"The latest checkpoint is older than this error: resume from it with --resume True{typed}"
        return f"No checkpoint is kept (checkpoint_interval 0), so start over{' with' if typed else ''}{typed}"

    def _describe(self, batch: Any, output: Any) -> list[str]:
        names = list(self.case_names(batch))
        notes: list[list[str]] = [[] for _ in names]
        for what, source in (("image", batch), ("pred", output)):
            values = source.get(what) if isinstance(source, dict) else None
            if isinstance(values, Tensor) and len(values) == len(names):
                for note, value in zip(notes, values):
                    note.extend([] if torch.isfinite(value).all() else [f"{what} not finite"])
        return [f"{name} ({', '.join(note)})" if note else name for name, note in zip(names, notes)]


def _file_names(batch: Any) -> list[str]:
    image = batch.get("image") if isinstance(batch, dict) else None
    names = image.meta.get("filename_or_obj") if isinstance(image, MetaTensor) else None
    return [names] if isinstance(names, str) else [str(name) for name in names or ["unknown cases"]]
