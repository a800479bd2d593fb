# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Compare the loss of a batch split over two processes with that of one process with the whole batch."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import spawn

from monai_bbox_mil.losses import BoxSelfTrainingLoss, GeneralizedMILLoss
from monai_bbox_mil.losses.process_mean import mean_over_processes

# One process has two images, the other has one. Class 0 has boxes in the first process only, class 1 in both, and
# class 2 in neither.
SHARES = (slice(0, 2), slice(2, 3))
TARGET = torch.tensor(
    [
        [[1.0, 1, 7, 9, 0], [2, 6, 5, 11, 1]],
        [[0.0, 3, 4, 8, 0], [6, 2, 9, 9, 0]],
        [[3.0, 1, 10, 8, 1], [0, 0, 0, 0, -1]],
    ]
)
CASES = [
    {"unary": unary, "negatives": negatives, "pairwise_region": region}
    for unary, negatives, region in product(("focal", "bce"), ("pixels", "lines"), ("box", "image"))
]


def logits():
    return torch.randn(3, 3, 12, 14, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()


def value_and_gradient(loss, share):
    whole = logits()
    value = loss(whole[share], TARGET[share])
    return value.detach(), torch.autograd.grad(value, whole)[0]


def work(rank, folder):
    """Compute every case in one of the two processes, and save the results for the test to compare."""
    dist.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = []
    for case, sync in product(CASES, (False, True)):
        loss = GeneralizedMILLoss(reduction="sum", sync_normalizer=sync, **case)
        found.append(value_and_gradient(BoxSelfTrainingLoss(loss) if rank else loss, SHARES[rank]))
    loss = GeneralizedMILLoss(sync_normalizer=True)
    if rank == 0:  # only one rank: if validation were a collective call, the later calls would not match
        loss(logits().detach()[:2], TARGET[:2])
    float32 = loss(logits()[SHARES[rank]].float(), TARGET[SHARES[rank]])
    torch.save({"cases": found, "float32": float32.detach()}, f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    spawn(work, (str(folder),), nprocs=2)
    return [torch.load(Path(folder, f"rank{rank}.pt"), weights_only=True) for rank in range(2)]


def mean_of_ranks(ranks, index):
    return [torch.stack(parts).mean(0) for parts in zip(*(rank["cases"][index] for rank in ranks))]


@pytest.mark.parametrize("case", range(len(CASES)), ids=["-".join(case.values()) for case in CASES])
def test_the_mean_over_processes_equals_the_loss_of_the_whole_batch(two_ranks, case):
    expected = value_and_gradient(GeneralizedMILLoss(reduction="sum", **CASES[case]), slice(None))
    for got, want in zip(mean_of_ranks(two_ranks, 2 * case + 1), expected):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("case", range(len(CASES)), ids=["-".join(case.values()) for case in CASES])
def test_without_the_option_each_rank_uses_its_own_counts(two_ranks, case):
    for rank, share in enumerate(SHARES):
        alone = value_and_gradient(GeneralizedMILLoss(reduction="sum", **CASES[case]), share)
        for got, want in zip(two_ranks[rank]["cases"][2 * case], alone):
            assert torch.equal(got, want)
    expected = value_and_gradient(GeneralizedMILLoss(reduction="sum", **CASES[case]), slice(None))
    assert abs(mean_of_ranks(two_ranks, 2 * case)[0] / expected[0] - 1) > 0.01


def test_float32_stays_float32(two_ranks):
    values = [rank["float32"] for rank in two_ranks]
    assert all(value.dtype == torch.float32 for value in values)
    whole = GeneralizedMILLoss()(logits().float(), TARGET)
    torch.testing.assert_close(sum(values) / 2, whole.detach())


def test_one_process_needs_no_process_group():
    loss = GeneralizedMILLoss(sync_normalizer=True)
    for got, want in zip(value_and_gradient(loss, slice(None)), value_and_gradient(GeneralizedMILLoss(), slice(None))):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)
    assert mean_over_processes(torch.tensor([3, 4]), torch.float64).tolist() == [3, 4]
