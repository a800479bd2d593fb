# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Keep buffers equal in all processes."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

__all__ = ["BufferBroadcaster"]


class BufferBroadcaster:
    """After each step, copy rank 0's buffers, such as running means of batch norm, to all other processes.

    ``DistributedDataParallel`` keeps weights equal. With ``broadcast_buffers`` it also copies buffers, but in the
    forward pass. The processes would then wait for each other in validation too, where one may have one more batch than
    another. Also, rank 0's checkpoint would lack what the others gathered in their last step, so that a resumed
    training would reach different weights.

    Attach it before any handler that reads the buffers after a step, such as :class:`MeanTeacher`. With one process, or
    a network without buffers, it does nothing.

    Args:
        network: the same in all processes.

    Example:
        >>> network = torch.nn.BatchNorm2d(1)
        >>> trainer = Engine(lambda engine, batch: network(batch).mean())
        >>> BufferBroadcaster(network).attach(trainer)
        >>> _ = trainer.run([torch.ones(1, 1, 2, 2)])
    """

    def __init__(self, network: torch.nn.Module) -> None:
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Watch ``engine``, a trainer, in every process."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._broadcast)

    @torch.no_grad()
    def _broadcast(self) -> None:
        # Integer buffers count batches, which are the same everywhere.
        buffers = [buffer for buffer in self.network.buffers() if buffer.is_floating_point()]
        if idist.get_world_size() == 1 or not buffers:
            return
        # One call for all buffers instead of one call per buffer.
        values: Any = idist.broadcast(torch.cat([buffer.flatten() for buffer in buffers]), 0)
        for buffer, value in zip(buffers, values.split([buffer.numel() for buffer in buffers])):
            buffer.copy_(value.view_as(buffer))
