# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Naive twins of the fast paths: plain loops over boxes, lines and pixels, written from the paper's equations."""
