# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The kinds of findings: how grave each is, what it is called, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["KINDS", "SEVERITIES", "Finding", "Kind"]

SEVERITIES = ("error", "warning", "note")
"""From grave to harmless: training stops or learns what is wrong; it learns less well; nothing need be done."""


class Kind(NamedTuple):
    """What all findings of one kind have in common."""

    severity: str
    title: str
    advice: str


KINDS: dict[str, Kind] = {
    # --- files -------------------------------------------------------------------------------------------------------
    "unreadable_image": Kind(
        "error", "Image cannot be read", "Restore the file, or mend its path in the data list. Training stops here."
    ),
    "unreadable_mask": Kind(
        "error", "Mask cannot be read", "Restore the file, or mend its path in the data list. Training stops here."
    ),
    "unreadable_boxes": Kind(
        "error", "Annotation cannot be read", "Mend the box file as the message says. Training stops here."
    ),
    "no_annotation": Kind(
        "error",
        "Neither boxes nor mask",
        "Name a box file or a mask in the data list, or take the image out of training and validation.",
    ),
    "size_mismatch": Kind(
        "error",
        "Image and mask differ in size",
        "They are of two cases, or one was resampled or cropped: give the mask that belongs to the image.",
    ),
    "place_mismatch": Kind(
        "error",
        "Image and mask lie in different places",
        "Their affines disagree: resample one to the other, or mend the header that is wrong. Training stops here.",
    ),
    "wrong_channels": Kind(
        "error",
        "Image with another number of channels",
        "Convert all images to grey or all to RGB, and set in_channels to that number. Training stops here.",
    ),
    # --- the data set ------------------------------------------------------------------------------------------------
    "patient_in_two_parts": Kind(
        "error",
        "Patient in two parts",
        "Move all images of the patient to one part, else validation scores are too good. Where these are different "
        "people, name them with the key 'patient'.",
    ),
    "image_in_two_parts": Kind(
        "error", "Same image in two parts", "Take it out of one of them, else validation scores are too good."
    ),
    "image_twice": Kind(
        "warning",
        "Same image twice",
        "Keep one entry, with the boxes of both: objects boxed in one entry only are background in the other.",
    ),
    "contrast_elsewhere": Kind(
        "warning",
        "Grey values suggest turned boxes",
        "Look at the pictures: if boxes miss their objects, mend the axes where the boxes were exported.",
    ),
    "no_object": Kind(
        "error",
        "Nothing to learn from",
        "Look at label_values, box_classes and min_size: training and validation each need objects, and training those "
        "of every class. Training stops here.",
    ),
    "small_image_size": Kind(
        "warning",
        "Boxes cut by image_size",
        "Train with the image_size that holds all boxes, or with a coarser spacing_mm. A cut box is learned from as if "
        "it ended where the image does, a lost one not at all.",
    ),
    # --- single boxes ------------------------------------------------------------------------------------------------
    "malformed_box": Kind("error", "Box cannot be read", "Mend the box as the message says. Training stops here."),
    "not_finite": Kind("error", "Box without numbers", "Draw the box again, or delete its row. Training stops here."),
    "min_not_below_max": Kind(
        "error",
        "Minimum not below maximum",
        "Exchange the corners, or delete an empty box. If all boxes are so, their numbers may mean x, y, width and "
        'height: name the "box_mode".',
    ),
    "unknown_class": Kind(
        "error",
        "Unknown class",
        "Mend the label, or name the classes by box_classes (and one of label_values for each), in the order of the "
        "channels. Without box_classes, labels are channel numbers that count from 0.",
    ),
    "outside": Kind("error", "Box outside of the image", "Delete or redraw the box. Training stops here."),
    "partly_outside": Kind(
        "warning",
        "Box reaches out of the image",
        "It is cut at the rim in training. If many do, see whether coordinates count from 1 or belong to another "
        "version of the image (before cropping or resampling).",
    ),
    "duplicate": Kind("warning", "Same box twice", "Delete one of the two: the object counts double in the loss."),
    "near_duplicate": Kind(
        "warning", "Nearly the same box twice", "Keep the tighter one of the two: the object counts double in the loss."
    ),
    "tiny": Kind(
        "warning",
        "Box of fewer than 2 pixels",
        "A slip of the mouse, or an object too small to learn from: delete or redraw it. For boxes cut from masks, set "
        "min_size.",
    ),
    "covers_image": Kind(
        "warning",
        "Box covers nearly the whole image",
        "Redraw it tightly around its object: hardly a pixel is left outside that teaches what is background.",
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
        "Axes seem to be exchanged",
        "Write the axes in the image's own order where the boxes are exported (x is axis 0 as MONAI loads the image; "
        "NumPy and OpenCV often give row, column).",
    ),
    "wrong_space": Kind(
        "error",
        "Wrong coordinate system",
        'Name the right "space" and "coordinate_system" in the annotation, or convert the coordinates.',
    ),
    "misplaced": Kind(
        "error",
        "Boxes fit the mask if turned",
        "Boxes and mask disagree on axes or directions: mend the export of the boxes (or of the mask).",
    ),
    # --- objects -----------------------------------------------------------------------------------------------------
    "no_box": Kind(
        "warning",
        "Image without any box",
        "Draw its boxes. If it holds no object, leave it: the whole image is taught as background.",
    ),
    "unnamed_values": Kind(
        "warning",
        "Mask values without a class",
        "Name all values of the mask that are objects by label_values; others count as background.",
    ),
    "loose": Kind(
        "warning",
        "Loose box",
        "Redraw it tightly. If most boxes are loose, train with a core below 1, such as --core 0.8.",
    ),
    "cuts_object": Kind(
        "warning",
        "Box cuts its object",
        "Widen it: what lies outside is taught as background. (Two touching objects count as one here.)",
    ),
    "box_without_object": Kind("warning", "Box without object", "Delete or move the box, or mend the mask."),
    "object_without_box": Kind(
        "warning",
        "Object without box",
        "Draw its box: without one, the object is taught as background. Set min_size to pass over specks of the mask.",
    ),
    "ignored_region": Kind(
        "note",
        "Region to ignore",
        "Nothing need be done: the annotation marks it so, and its pixels count neither as object nor as background.",
    ),
    "left_out": Kind("note", "Left out when read", "See the message."),
}
"""By the name that ``findings.csv`` has."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: key of :data:`KINDS`.
        detail: what is wrong, with numbers.
        box: where the box stands in the annotation, and its corners; empty when it is not about one box.
        region: minima and maxima of three axes, voxels of the image: where to look; ``None`` for the whole image.

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
        """One of :data:`SEVERITIES`."""
        return KINDS[self.kind].severity
