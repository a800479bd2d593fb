# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Save a checkpoint and exit when the process is asked to end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events

__all__ = ["StopOnSignal"]


class StopOnSignal:
    """On ``SIGTERM``, which schedulers send before they kill a process, finish the step, save a checkpoint and exit.

    The engine terminates (``Engine.terminate``), and an :class:`AtomicCheckpointSaver` saves the state it has reached.
    Then the process exits through ``SystemExit`` with 128 plus the signal's number, as a shell would report it. The
    last step of an epoch and its validation are finished first.

    With several processes, a signal to any one of them ends all of them after the same step, and none exits before the
    checkpoint is written. They ask each other after each step (``all_reduce``), so attach this handler in every
    process.

    Python delivers signals to the main thread only: in any other thread, this handler does nothing. While the engine is
    not running, signals do what they did before.

    Args:
        signals: names, such as ``SIGUSR1``, which some schedulers can be configured to send.

    Raises:
        ValueError: for a name that is not a signal's.

    Example:
        >>> trainer = Engine(lambda *_: None)
        >>> StopOnSignal().attach(trainer)
        >>> _ = trainer.add_event_handler(Events.ITERATION_STARTED(once=5), lambda: signal.raise_signal(signal.SIGTERM))
        >>> try:
        ...     _ = trainer.run([0, 1, 2], max_epochs=3)
        ... except SystemExit as leaving:
        ...     print(leaving.code, trainer.state.iteration)
        143 5
    """

    def __init__(self, signals: Sequence[str] = ("SIGTERM",)) -> None:
        unknown = [name for name in signals if not hasattr(signal, name)]
        if unknown:
            raise ValueError(f"signals must be names such as SIGTERM, got {unknown}.")
        self.signals = [signal.Signals[name] for name in signals]
        self._received: int | None = None
        self._before: dict[int, Any] = {}
        self._process = 0
        self._engine: Engine | None = None

    def attach(self, engine: Engine) -> None:
        """Listen for the signals while ``engine`` runs."""
        engine.add_event_handler(Events.STARTED, self._listen)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._after_step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._after_epoch)
        engine.add_event_handler(Events.COMPLETED, self._ignore)

    def _listen(self, engine: Engine) -> None:
        # Added only now, so that it comes after all other handlers, such as those that save.
        if not engine.has_event_handler(self._leave, Events.TERMINATE):
            engine.add_event_handler(Events.TERMINATE, self._leave)
        if threading.current_thread() is not threading.main_thread():
            return
        self._received, self._process, self._engine = None, os.getpid(), engine
        for number in self.signals:
            former = signal.signal(number, self._receive)
            self._before.setdefault(number, former)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a process forked from this one, which has nothing to save
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._is_running(frame):
            self._received = number
        else:  # an error ended the run: ignite has no suitable event, since handlers of exceptions must raise them
            self._ignore()
            os.kill(os.getpid(), number)

    def _is_running(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code.co_name == "run" and frame.f_locals.get("self") is self._engine:
                return True
            frame = frame.f_back
        return False

    def _after_step(self, engine: Engine) -> None:
        length = engine.state.epoch_length
        if (length is None or engine.state.iteration % length) and self._received_by_any() is not None:
            engine.terminate(skip_completed=True)

    def _after_epoch(self, engine: Engine) -> None:
        if self._received_by_any() is not None:
            engine.terminate(skip_completed=True)

    def _received_by_any(self) -> int | None:
        """Return the signal that this or another process received; all processes must ask after the same step."""
        if idist.get_world_size() == 1:
            return self._received
        # Not stored in _received, which a signal may set in the meantime.
        return int(idist.all_reduce(self._received or 0, op="MAX")) or None

    def _leave(self, engine: Engine) -> None:
        number = self._received_by_any()  # also waits for rank 0, which saves before it gets here
        self._ignore()
        if number is not None:
            engine.logger.warning(
                f"{signal.Signals(number).name} received: training ends after iteration {engine.state.iteration} "
                f"(epoch {engine.state.epoch}); resume goes on from there."
            )
            raise SystemExit(128 + number)

    def _ignore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before, self._received = {}, None
