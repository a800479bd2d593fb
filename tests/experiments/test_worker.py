# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The process of a run, which the server forks."""

from __future__ import annotations

import json
import multiprocessing

from tests.experiments.loaders import tell_parents


def test_processes_of_a_data_loader_have_the_run_for_parent(tmp_path):
    """They end when it does, even killed: torch's loaders watch the parent that the system tells."""
    process = multiprocessing.get_context("forkserver").Process(target=tell_parents, args=(tmp_path,))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    run, parent = json.loads((tmp_path / "parents.json").read_text())
    assert run == process.pid == parent
