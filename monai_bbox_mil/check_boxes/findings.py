# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Define the kinds of findings: how severe each is, what it is called, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["KINDS", "SEVERITIES", "Finding", "Kind"]

SEVERITIES = ("error", "warning", "note")
"""The most severe first: training stops or learns something wrong; it learns less well; no action is needed."""


class Kind(NamedTuple):
    """What all findings of one kind have in common."""

    severity: str
    title: str
    advice: str


KINDS: dict[str, Kind] = {
    # --- files -------------------------------------------------------------------------------------------------------
    "unreadable_image": Kind(
        "error", "Image cannot be read", "Restore the file, or correct its path in the data list. Training stops here."
    ),
    "unreadable_mask": Kind(
        "error", "Mask cannot be read", "Restore the file, or correct its path in the data list. Training stops here."
    ),
    "unreadable_boxes": Kind(
        "error", "Annotation cannot be read", "Correct the box file as the message says. Training stops here."
    ),
    "no_annotation": Kind(
        "error",
        "Neither boxes nor mask",
        "Name a box file or a mask in the data list, or remove the image from training and validation.",
    ),
    "size_mismatch": Kind(
        "error",
        "Image and mask differ in size",
        "They belong to two cases, or one was resampled or cropped: name the mask that belongs to the image.",
    ),
    "place_mismatch": Kind(
        "error",
        "Image and mask lie in different places",
        "Their affines disagree: resample one to the other, or correct the wrong header. Training stops here.",
    ),
    "wrong_channels": Kind(
        "error",
        "Wrong number of channels",
        "Convert all images to grey or all to RGB, and set in_channels to 1 or 3. Training stops here.",
    ),
    # --- the data set ------------------------------------------------------------------------------------------------
    "patient_in_two_parts": Kind(
        "error",
        "Patient in two parts",
        "Move all images of the patient to one part, or validation scores come out too good. If these are different "
        "people, give each a name under the key 'patient'.",
    ),
    "image_in_two_parts": Kind(
        "error", "Same image in two parts", "Remove it from one of them, or validation scores come out too good."
    ),
    "image_twice": Kind(
        "warning",
        "Same image twice",
        "Keep one entry, with the boxes of both: an object with a box in one entry only is background in the other.",
    ),
    "contrast_elsewhere": Kind(
        "warning",
        "Grey values suggest swapped or flipped axes",
        "Look at the pictures: if boxes miss their objects, correct the axes in the program that exports the boxes.",
    ),
    "no_object": Kind(
        "error",
        "Nothing to learn from",
        "Check label_values, box_classes and min_size: training needs objects of every class, validation at least one "
        "object. Training stops here.",
    ),
    "small_image_size": Kind(
        "warning",
        "Boxes cut by image_size",
        "Train with an image_size that holds all boxes, or with a coarser spacing_mm. Training takes a cut box to end "
        "at the edge of the crop, and never sees a lost one.",
    ),
    # --- single boxes ------------------------------------------------------------------------------------------------
    "malformed_box": Kind("error", "Box cannot be read", "Correct the box as the message says. Training stops here."),
    "not_finite": Kind("error", "Box without numbers", "Draw the box again, or delete its row. Training stops here."),
    "min_not_below_max": Kind(
        "error",
        "Minimum not below maximum",
        "Exchange the corners, or delete an empty box. If all boxes have this fault, their numbers may mean x, y, "
        'width and height: set "box_mode".',
    ),
    "unknown_class": Kind(
        "error",
        "Unknown class",
        "Correct the label, or list the classes in box_classes (with one of label_values for each), in the order of "
        "the channels. Without box_classes, labels are channel numbers, counted from 0.",
    ),
    "outside": Kind("error", "Box outside of the image", "Delete or redraw the box. Training stops here."),
    "partly_outside": Kind(
        "warning",
        "Box reaches out of the image",
        "Training clips it to the image. If many boxes reach out, check whether coordinates count from 1 or belong to "
        "another version of the image (before cropping or resampling).",
    ),
    "duplicate": Kind("warning", "Same box twice", "Delete one of the two: the object counts twice in the loss."),
    "near_duplicate": Kind(
        "warning", "Nearly the same box twice", "Keep the tighter of the two: the object counts twice in the loss."
    ),
    "tiny": Kind(
        "warning",
        "Box narrower than 2 voxels",
        "Drawn by accident, or an object too small to learn from: delete or redraw it. For boxes cut from masks, set "
        "min_size.",
    ),
    "covers_image": Kind(
        "warning",
        "Box covers nearly the whole image",
        "Redraw it tightly around its object: hardly any pixel is left outside to teach what background is.",
    ),
    "thick": Kind(
        "warning",
        "Box of several slices for a 2D network",
        "A box around a whole object is loose in most slices: draw one box per slice and object, or train a 3D network "
        "with volumes.yaml (here: --slice_dim None).",
    ),
    # --- coordinates -------------------------------------------------------------------------------------------------
    "axis_swap": Kind(
        "error",
        "Axes seem to be swapped",
        "Export the boxes with the axes in the image's own order (x is axis 0 as MONAI loads the image; NumPy and "
        "OpenCV often give row, column).",
    ),
    "wrong_space": Kind(
        "error",
        "Wrong coordinate system",
        'Set the right "space" and "coordinate_system" in the annotation, or convert the coordinates.',
    ),
    "misplaced": Kind(
        "error",
        "Boxes fit the mask after swapping or flipping axes",
        "Boxes and mask disagree on axes or directions: correct the export of the boxes (or of the mask).",
    ),
    # --- objects -----------------------------------------------------------------------------------------------------
    "no_box": Kind(
        "warning",
        "Image without any box",
        "Draw its boxes. If it shows no object, leave it as it is: the whole image teaches background.",
    ),
    "unnamed_values": Kind(
        "warning",
        "Mask values without a class",
        "List in label_values all values of the mask that are objects; others count as background.",
    ),
    "loose": Kind(
        "warning",
        "Loose box",
        "Redraw it tightly. If most boxes are loose, train with a core below 1, such as --core 0.8.",
    ),
    "cuts_object": Kind(
        "warning",
        "Box cuts its object",
        "Enlarge it: pixels outside teach background. (Two touching objects count as one here.)",
    ),
    "box_without_object": Kind("warning", "Box without object", "Delete or move the box, or correct the mask."),
    "object_without_box": Kind(
        "warning",
        "Object without box",
        "Draw its box: without one, the object teaches background. Set min_size to skip specks of the mask.",
    ),
    "ignored_region": Kind(
        "note",
        "Ignored region",
        "No action is needed: the annotation marks it, and its pixels count neither as object nor as background.",
    ),
    "left_out": Kind("note", "Box left out by the reader", "See the message."),
}
"""Each kind by its name in ``findings.csv``."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with the data.

    Attributes:
        kind: key of :data:`KINDS`.
        detail: what is wrong, with numbers.
        box: position of the box in the annotation, and its corners; empty when the finding is about no single box.
        region: where to look, as minima and maxima along three axes in voxels; ``None`` for the whole image.

    Raises:
        ValueError: for an unknown kind.

    Example:
        >>> Finding("tiny", "1 x 9 pixels", box="box[3]").severity
        'warning'
    """

    kind: str
    detail: str
    box: str = ""
    region: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {sorted(KINDS)}, got {self.kind!r}.")

    @property
    def severity(self) -> str:
        """Return one of :data:`SEVERITIES`."""
        return KINDS[self.kind].severity
