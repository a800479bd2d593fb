# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The cache of volumes, whose threads end before an error is raised."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from monai.transforms import Lambda, Transform

from monai_bbox_mil.data import SliceDataset
from monai_bbox_mil.data.volume_cache import VolumeCache


class Faulty(Transform):
    """A transform that fails at item 0 while other items are in progress, and counts how many began and ended."""

    def __init__(self, workers, fail):
        self.others = threading.Barrier(workers)
        self.fail = fail
        self.begun, self.ended, self.threads = [], [], set()

    def __call__(self, item):
        self.begun.append(item)
        self.threads.add(threading.current_thread())
        if item < self.others.parties:
            self.others.wait(timeout=20)
        if item == 0:
            self.fail()
        time.sleep(0.3)
        self.ended.append(item)
        return item

    def is_at_work(self):
        return any(thread.is_alive() for thread in self.threads - {threading.main_thread()})


def unreadable():
    raise ValueError("image 0 cannot be read")


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_leaves_no_thread_behind(workers):
    transform = Faulty(workers, unreadable)
    with pytest.raises(RuntimeError, match="applying transform") as error:
        VolumeCache(range(20), transform, num_workers=workers, progress=False)
    assert "image 0 cannot be read" in str(error.value.__cause__)
    assert not transform.is_at_work()
    assert sorted(transform.begun) == [0, *sorted(transform.ended)]
    assert len(transform.begun) < 20


@pytest.mark.parametrize("workers", [1, 3])
def test_an_interrupt_leaves_no_thread_behind(workers):
    transform = Faulty(workers, lambda: signal.raise_signal(signal.SIGINT))
    # In tests that a shell starts in the background, SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            VolumeCache(range(20), transform, num_workers=workers, progress=False)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not transform.is_at_work()
    assert len(transform.begun) < 20


@pytest.mark.parametrize("workers", [1, 3, None])
def test_items_keep_their_order_and_are_made_once(workers):
    made = []
    transform = Lambda(lambda item: made.append(item) or 10 * item)
    cache = VolumeCache(range(20), transform, num_workers=workers, progress=False)
    assert list(cache) == list(cache) == [10 * item for item in range(20)]
    assert sorted(made) == list(range(20))


def test_a_volume_that_cannot_be_read():
    transform = Faulty(3, unreadable)
    with pytest.raises(RuntimeError, match="applying transform"):
        SliceDataset(range(20), transform, num_workers=3, progress=False)
    assert not transform.is_at_work()
