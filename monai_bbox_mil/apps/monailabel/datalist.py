# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What was drawn on a MONAI Label server, as a data list."""

from __future__ import annotations

from typing import Any

from monailabel.interfaces.datastore import Datastore, DefaultLabelTag

from monai_bbox_mil.data.splits import split_by_patient

__all__ = ["BOX_TAG", "MASK_TAG", "labelled_items", "split_items"]

BOX_TAG = "boxes"
"""Tag of labels that are box files, in any format of :func:`monai_bbox_mil.annotations.read_boxes`."""

MASK_TAG = str(DefaultLabelTag.FINAL.value)
"""Tag of labels that are masks which a person has corrected, the one that viewers save under."""


def labelled_items(datastore: Datastore) -> list[dict[str, Any]]:
    """Items of ``image``, ``patient``, and ``mask`` where there is a corrected one, else ``box``, by id.

    The patient is the image's ``patient`` or, from DICOM, ``PatientID`` in the datastore's information, else its id.
    Images with neither mask nor boxes are left out.
    """
    masks = {item["image"]: item["label"] for item in datastore.datalist()}  # a DICOM store fetches its segmentations
    items = []
    for image_id in sorted(datastore.list_images()):
        labels = datastore.get_labels_by_image_id(image_id)
        if not labels:  # a DICOM store would fetch the image
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
    """Training and validation items, by patient. Where nothing is left for validation it is the training part again.

    Raises:
        ValueError: when there are no items.
    """
    if not items:
        raise ValueError(
            f"Nothing to learn from: no image of the datastore has boxes (label tag '{BOX_TAG}') or a mask that was "
            f"corrected (tag '{MASK_TAG}'). Draw boxes, save them under that tag, and train again."
        )
    parts = split_by_patient(items, max(0.0, validation_fraction))
    return parts["training"], parts["validation"] or parts["training"]
