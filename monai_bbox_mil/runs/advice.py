# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Explain common errors of a run and say what to do about them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine, Events

from monai_bbox_mil.runs.files import free_bytes
from monai_bbox_mil.runs.last_words import stopped_by

__all__ = ["AdvisedError", "FaultAdvice", "fault_advice"]

_GPU_MEMORY = ("CUDA out of memory", "CUDNN_STATUS_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC_FAILED", "HIP out of memory")
_HOST_MEMORY = (
    "can't allocate memory",
    "DefaultCPUAllocator",
    "Cannot allocate memory",
    "MemoryError",
    "bad_alloc",
    "bad allocation",
)
_SHARED_MEMORY = (
    "Bus error",
    "bus error",
    "shared memory (shm)",
    "unable to open shared memory",
)
_DISK = ("No space left on device", "Disk quota exceeded")
_OTHER_RANK = ("gloo/transport", "ncclRemoteError", "NCCL communicator was aborted")
_WORKER = ("DataLoader worker", "killed by signal", "exited unexpectedly")
_FILE = (
    "No such file or directory",
    "FileNotFoundError",
    "The file doesn't exist",  # ITK
    "Could not create IO object",  # likewise
    "Stale file handle",
    "Input/output error",
)

# Settings that use memory on each side, in the order to try them, each with the value that cannot be improved.
_ON_GPU = {"batch_size": 1, "amp": True, "image_size": None}
_ON_HOST = {"cache_rate": 0, "num_workers": 0, "batch_size": 1, "image_size": None}


class AdvisedError(RuntimeError):
    """A run failed for a known reason; the message says what to do, and ``__cause__`` is the original error."""


class FaultAdvice:
    """Replace errors that come from outside the program with ones that say what to do.

    See :func:`fault_advice` for the known ones; all others are raised unchanged. Attach this handler before
    ``StatsHandler`` and ``CheckpointSaver``, because ignite stops at the first exception handler that raises.

    Args:
        options: current values of the user's settings ``batch_size``, ``image_size``, ``amp``, ``cache_rate`` and
            ``num_workers``, by name; some may be absent.
        folders: folders that the run writes to, because the error of a full disk does not say which one it is.

    Example:
        >>> def step(engine, batch):
        ...     raise MemoryError
        >>> engine = Engine(step)
        >>> FaultAdvice({"batch_size": 64}).attach(engine)
        >>> try:
        ...     _ = engine.run([0])
        ... except AdvisedError as error:
        ...     print(error)
        the memory of this machine is used up at iteration 1 (epoch 1). To need less: make batch_size (now 64) smaller.
    """

    def __init__(
        self, options: Mapping[str, Any] | None = None, folders: Sequence[str | os.PathLike[str]] = ()
    ) -> None:
        self.options = dict(options or {})
        self.folders = tuple(folders)

    def attach(self, engine: Engine) -> None:
        """Explain errors of ``engine``."""
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._explain)

    def _explain(self, engine: Engine, error: BaseException) -> None:
        advice = None if isinstance(error, AdvisedError) else fault_advice(error, self.options, self.folders)
        if advice is None:
            raise error
        what, to_do = advice
        state = engine.state
        raise AdvisedError(f"{what} at iteration {state.iteration} (epoch {state.epoch}). {to_do}") from error


def fault_advice(
    error: BaseException, options: Mapping[str, Any] | None = None, folders: Sequence[str | os.PathLike[str]] = ()
) -> tuple[str, str] | None:
    """Return what an error means for the person who runs a training, and what to do about it.

    These are known: GPU memory, machine memory or shared memory is used up; a disk is full; a data loader process died;
    another process of a distributed training ended; a file can no longer be read. The known error may be the cause of
    other errors, or arrive as text from a data loader process.

    Args:
        error: as it was raised.
        options, folders: see :class:`FaultAdvice`.

    Returns:
        both sentences, or ``None`` for any other error.

    Example:
        >>> fault_advice(torch.OutOfMemoryError("CUDA out of memory."), {"batch_size": 8, "amp": False})[1]
        'To need less: make batch_size (now 8) smaller; set amp (now False) to True.'
        >>> fault_advice(ValueError("negative"))
    """
    options = options or {}
    chain, cause = list(_chain(error)), stopped_by(error)
    text = "\n".join(f"{type(e).__name__}: {e}" for e in chain)
    if any(isinstance(e, torch.OutOfMemoryError) for e in chain) or _any(_GPU_MEMORY, text):
        return "the memory of the GPU is used up", _less(_ON_GPU, options)
    # If a disk error comes from a loader process, the disk is shared memory: batches are all that these processes
    # write.
    if _any(_SHARED_MEMORY, text) or (_any(_DISK, text) and _any(_WORKER, text)):
        return (
            "the shared memory is used up, through which processes of the data loader hand over batches",
            f"{_now('num_workers', options)}: 0 needs none; or give the container more (docker run --shm-size=8g). "
            f"({cause})",
        )
    if _any(_DISK, text):
        room = "; ".join(f"{folder}: {free_bytes(folder)}" for folder in folders)
        return "a disk is full", f"Make room and resume. {f'{room}. ' if room else ''}({cause})"
    if any(isinstance(e, MemoryError) for e in chain) or _any(_HOST_MEMORY, text):
        return "the memory of this machine is used up", _less(_ON_HOST, options)
    if _any(_WORKER, text) and "Caught" not in text:
        return (
            "a process of the data loader died",
            "Usually the system killed it because memory ran out. "
            + _less(_ON_HOST, options)
            + " To see the error itself, use num_workers 0. "
            + f"({cause})",
        )
    if _any(_OTHER_RANK, text):
        return (
            "another process of this training is gone or does not answer",
            f"Its own output and torchrun's report say why it ended. Fix that and resume. ({cause})",
        )
    if any(isinstance(e, (FileNotFoundError, ConnectionError)) for e in chain) or _any(_FILE, text):
        return "a file cannot be read", f"Put it back, or its disk, and resume. ({cause})"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _any(marks: tuple[str, ...], text: str) -> bool:
    return any(mark in text for mark in marks)


def _now(name: str, options: Mapping[str, Any]) -> str:
    return f"{name} (now {options[name]})" if name in options else name


def _less(limits: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    names = [name for name in limits if name in options] or list(limits)
    ways = [
        f"set {_now(name, options)} to True"
        if name == "amp"
        else f"make {_now(name, options)} smaller{', in a new training' if name == 'image_size' else ''}"
        for name in names
        if name not in options or options[name] != limits[name]
    ]
    return f"To need less: {'; '.join(ways)}." if ways else "A machine with more memory is needed."
