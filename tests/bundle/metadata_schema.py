# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""What the model zoo's schema of July 2024 asks of a bundle's metadata, stated anew, so that tests need no network."""

_TEXTS = (
    "schema", "version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors",
    "copyright", "data_source", "data_type", "image_classes", "label_classes", "pred_classes", "intended_use",
)  # fmt: skip
_OBJECTS = ("changelog", "required_packages_version", "eval_metrics", "supported_apps")
_OPTIONAL = {
    "changelog", "data_source", "data_type", "image_classes", "label_classes", "pred_classes", "eval_metrics",
    "intended_use", "supported_apps",
}  # fmt: skip

_TENSOR = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "format": {"type": "string"},
        "num_channels": {"type": "integer"},
        "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
        "dtype": {"type": "string"},
        "value_range": {"type": "array", "items": {"type": "number"}},
        "is_patch_data": {"type": "boolean"},
        "channel_def": {"type": "object"},
    },
    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"],
}
# A network may take and return plain values too; that of this bundle does not.
_NAMED_TENSORS = {"type": "object", "additionalProperties": _TENSOR}

SCHEMA = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in _TEXTS},
        **{name: {"type": "object"} for name in _OBJECTS},
        "references": {"type": "array", "items": {"type": "string"}},
        "network_data_format": {
            "type": "object",
            "properties": {"inputs": _NAMED_TENSORS, "outputs": _NAMED_TENSORS},
            "required": ["inputs", "outputs"],
        },
    },
    "required": [*sorted({*_TEXTS, *_OBJECTS} - _OPTIONAL), "network_data_format"],
}
