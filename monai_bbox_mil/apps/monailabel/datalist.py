# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Turn what was drawn on a MONAI Label server into a data list."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from monai_bbox_mil.data.splits import split_by_patient

__all__ = ["BOX_TAG", "MASK_TAG", "labelled_items", "split_items"]

BOX_TAG = "boxes"
"""Tag of labels that are box files, in any format of :func:`monai_bbox_mil.annotations.read_boxes`."""

MASK_TAG = str(DefaultLabelTag.FINAL.value)
"""Tag of labels that are masks corrected by a person; viewers save under it."""


def labelled_items(datastore: Datastore) -> list[dict[str, Any]]:
    """List items of ``image``, ``patient``, and ``mask`` where there is a corrected one, else ``box``, sorted by id.

    The patient is ``patient`` in the datastore's information on the image, or ``PatientID`` for DICOM, or else the
    image's id. Images with neither a mask nor boxes are left out.
    """
    masks = {item["image"]: item["label"] for item in datastore.datalist()}  # a DICOM store downloads its segmentations
    items = []
    for image_id in sorted(datastore.list_images()):
        labels = datastore.get_labels_by_image_id(image_id)
        if not labels:  # a DICOM store would download the image
            continue
        image, info = datastore.get_image_uri(image_id), datastore.get_image_info(image_id)
        item = {"image": image, "patient": str(info.get("patient") or info.get("PatientID") or image_id)}
        if image in masks:
            items.append({**item, "mask": masks[image]})
        elif BOX_TAG in labels:
            items.append({**item, "box": datastore.get_label_uri(labels[BOX_TAG], BOX_TAG)})
    return items


def split_items(
    items: list[dict[str, Any]], validation_fraction: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Split items into training and validation by patient. If no patient is left for validation, use the training part.

    Raises:
        ValueError: when there are no items.
    """
    if not items:
        raise ValueError(
            f"Nothing to learn from: no image of the datastore has boxes (label tag '{BOX_TAG}') or a corrected mask "
            f"(tag '{MASK_TAG}'). Draw boxes, save them under that tag, and train again."
        )
    parts = split_by_patient(items, max(0.0, validation_fraction))
    return parts["training"], parts["validation"] or parts["training"]
