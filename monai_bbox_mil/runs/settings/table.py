# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""The settings of the bundle's workflows, declared once for checks, resumes and documentation."""

from __future__ import annotations

from dataclasses import dataclass

from monai_bbox_mil.runs.settings.list_values import Either, ListOf, OrNone
from monai_bbox_mil.runs.settings.single_values import AXES, CLASSES, Device, Flag, Number, Place, Text, Values, Word

__all__ = ["DECIDES", "GOES_ON", "SETTINGS", "Setting", "settings_markdown", "settings_of"]

DECIDES, GOES_ON, NO_MATTER = "decides", "goes on", "no matter"
"""What a resume does with a changed value: refuse it, because it decides what is learned; use it and say so; use it."""

_WORKFLOWS = ("train", "evaluate", "inference")
_TRAIN, _EVALUATE, _INFERENCE = ("train", "evaluate"), ("evaluate",), ("inference",)


@dataclass(frozen=True)
class Setting:
    """A setting that a user may type on the command line or write in a file.

    Args:
        name: as on the command line and in the files.
        values: kind of its values.
        default: as a user would type it, or a description where it depends on something else.
        meaning: in one line.
        workflows: ``"train"``, ``"evaluate"``, ``"inference"``: those that have the setting, with this default.
        on_resume: :data:`DECIDES`, :data:`GOES_ON` or :data:`NO_MATTER`.
        late: whether its own expression can only be evaluated once the run has started.
        overlay: the file that adds it, if not the workflow's own.
    """

    name: str
    values: Values
    default: str
    meaning: str
    workflows: tuple[str, ...] = _TRAIN
    on_resume: str = NO_MATTER
    late: bool = False
    overlay: str = ""


_SHARE = Number(0, 1)
_COUNT = Number(0, whole=True)
_AT_LEAST_1 = Number(1, whole=True)
_WEIGHT = Number(0)
_PROBABILITY = Number(0, 1, open_low=True, open_high=True)
_AXIS = OrNone(Number(-3, 2, whole=True))
_SIZE = ListOf(_AT_LEAST_1, AXES)
_SPACING = OrNone(ListOf(Number(0, open_low=True), AXES))
_LABELS = ListOf(_AT_LEAST_1, distinct=True)
_THRESHOLD = Either(_PROBABILITY, ListOf(_PROBABILITY, CLASSES))
_FOLDER = Place()

SETTINGS = (
    # --- places and machine ---
    Setting("bundle_root", _FOLDER, "found beside the configuration", "the bundle's own folder", _WORKFLOWS),
    Setting("dataset_dir", _FOLDER, "phantom_dir", "folder of the images and of their data list"),
    Setting("dataset_dir", _FOLDER, "data/phantom in bundle_root", "folder of volumes or of 2D pictures", _INFERENCE),
    Setting("datalist", OrNone(Place("file")), "None", "data list (JSON), if none of a known name is in dataset_dir"),
    Setting("phantom_dir", _FOLDER, "data/phantom in bundle_root", "where the phantom is made, once"),
    Setting("ckpt_dir", _FOLDER, "trained in bundle_root", "model, threshold, image settings, checkpoints"),
    Setting("ckpt_dir", _FOLDER, "models in bundle_root", "model.pt, image_settings.json, threshold.json", _INFERENCE),
    Setting("output_dir", _FOLDER, "eval in bundle_root", "curves of a training; scores and pictures of an evaluation"),
    Setting("output_dir", _FOLDER, "eval/masks in bundle_root", "folder of the predicted masks", _INFERENCE),
    Setting(
        "export",
        OrNone(Either(Text(), ListOf(Text(), distinct=True))),
        "None",
        "formats of other tools to write too, such as coco,csv",
        _INFERENCE,
    ),
    Setting("output_postfix", Text(), "_segmentation", "added to the image's name", _INFERENCE),
    Setting("extensions", ListOf(Text(".")), "image formats", "file extensions of images", _INFERENCE),
    Setting("device", Device(), "cuda:0 where there is a GPU, else cpu", "device of the network", _WORKFLOWS),
    Setting("num_workers", _COUNT, "4 with a GPU, else 0", "processes that prepare batches"),
    Setting("num_workers", _COUNT, "0", "processes that read images ahead", _INFERENCE),
    Setting("cache_rate", _SHARE, "1.0", "share of the volumes kept in memory"),
    Setting("amp", Flag(), "True with a GPU, else False", "half precision", _TRAIN, GOES_ON),
    Setting("amp", Flag(), "True with a GPU, else False", "half precision", _INFERENCE),
    Setting("rank", _COUNT, "0", "number of this process; multi_gpu_train.yaml sets it", late=True),
    Setting("progress", Flag(), "True", "progress bars", _WORKFLOWS),
    Setting("resume", Flag(), "False", "continue from the latest checkpoint in ckpt_dir"),
    Setting("resume", Flag(), "False", "continue: masks that exist are not predicted again", _INFERENCE),
    # --- what is learned ---
    Setting(
        "supervision",
        Word(("boxes", "boxes_as_masks", "full")),
        "boxes",
        "learn from boxes, from boxes filled in, or from masks",
        on_resume=DECIDES,
    ),
    Setting("require_objects", Flag(), "True", "each class needs an object in the training images"),
    Setting("label_values", _LABELS, "[1]", "values of the classes in masks", _WORKFLOWS, DECIDES),
    Setting(
        "mask_values",
        OrNone(ListOf(_AT_LEAST_1, CLASSES, distinct=True)),
        "label_values",
        "values in the masks that are read; None: any above 0 is the one class",
        on_resume=DECIDES,
    ),
    Setting(
        "class_names",
        ListOf(Text(numbers=True), CLASSES, distinct=True),
        "class 1, class 2, ...",
        "for tables and pictures",
    ),
    Setting(
        "class_names",
        ListOf(Text(numbers=True), CLASSES, distinct=True),
        "from model_card.json in ckpt_dir",
        "names of the classes in exports",
        _INFERENCE,
    ),
    Setting(
        "box_classes",
        OrNone(ListOf(Text(numbers=True), CLASSES, distinct=True)),
        "None",
        "class names in box files, in the order of label_values",
        on_resume=DECIDES,
    ),
    Setting(
        "margin",
        Either(_WEIGHT, ListOf(_WEIGHT, 2, also=3)),
        "0",
        "pixels by which boxes cut from masks are loosened",
        on_resume=DECIDES,
    ),
    Setting("margin_seed", OrNone(_COUNT), "None", "draws each side's margin from 0 to margin", on_resume=DECIDES),
    Setting("min_size", _COUNT, "0", "components of fewer pixels are ignored instead of boxed", on_resume=DECIDES),
    Setting(
        "mask_connectivity",
        Number(0, 3, whole=True),
        "1",
        "1: boxes of components; 0: each pixel its own box, so masks stay masks",
        on_resume=DECIDES,
    ),
    Setting("in_channels", _AT_LEAST_1, "1", "channels of an image", _WORKFLOWS, DECIDES),
    Setting("spatial_dims", Number(2, 3, whole=True), "2", "axes that the network sees", _WORKFLOWS, DECIDES),
    Setting("spacing_mm", _SPACING, "None", "resampling; None keeps the file's own", on_resume=DECIDES),
    Setting("spacing_mm", _SPACING, "the training's", "resampling; None keeps the file's own", _INFERENCE, late=True),
    Setting("image_size", _SIZE, "[96, 96]", "pixels after padding or central crop", on_resume=DECIDES),
    Setting("image_size", _SIZE, "the training's", "pixels after padding or central crop", _INFERENCE, late=True),
    Setting("slice_dim", _AXIS, "-1", "axis along which slices run; None keeps volumes whole", on_resume=DECIDES),
    Setting(
        "box_slice_dim",
        _AXIS,
        "slice_dim",
        "axis along which masks are boxed slice by slice; None boxes objects as a whole",
        on_resume=DECIDES,
    ),
    # --- optimisation ---
    Setting("seed", Number(0, 2**32 - 1, whole=True), "0", "seed of all random numbers", on_resume=GOES_ON),
    Setting("max_epochs", _AT_LEAST_1, "60", "passes over all slices", on_resume=GOES_ON),
    Setting("batch_size", _AT_LEAST_1, "8", "slices (volumes in 3D) per step", on_resume=GOES_ON),
    Setting("batch_size", _AT_LEAST_1, "16", "slices that the network predicts at once", _INFERENCE),
    Setting(
        "learning_rate",
        Number(0, open_low=True),
        "0.001",
        "initial rate; a cosine lowers it to 0 over the epochs",
        on_resume=GOES_ON,
    ),
    Setting("val_interval", _AT_LEAST_1, "1", "epochs between validations", on_resume=GOES_ON),
    Setting(
        "keep_best",
        Flag(),
        "True without self-training",
        "save model.pt at the lowest validation loss; otherwise at the last epoch",
        on_resume=DECIDES,
    ),
    Setting("flip_prob", ListOf(_SHARE, AXES, also=2), "[0.5, 0.0]", "flip probability per axis", on_resume=GOES_ON),
    Setting("rotate_prob", _SHARE, "0.0", "probability of quarter turns; square image_size only", on_resume=GOES_ON),
    Setting("rotate_deg", _WEIGHT, "0.0", "largest random rotation in degrees, seen by the network", on_resume=GOES_ON),
    Setting("zoom", _WEIGHT, "0.0", "largest random zoom, 1 + zoom, seen by the network", on_resume=GOES_ON),
    Setting("checkpoint_interval", _COUNT, "1", "epochs between checkpoints to resume from; 0 keeps none"),
    # --- loss ---
    Setting(
        "smooth_max",
        Word(("alpha_softmax", "alpha_quasimax", "max")),
        "alpha_softmax",
        "smooth maximum that combines the pixels of a line",
        on_resume=DECIDES,
    ),
    Setting("alpha", Number(0, 50, open_low=True), "4.0", "sharpness of the smooth maximum", on_resume=DECIDES),
    Setting(
        "angles_deg",
        ListOf(Number(-90, 90, open_low=True, open_high=True)),
        "[-40, 40, 20]",
        "crossing lines: start, stop, step, or the angles themselves",
        on_resume=DECIDES,
    ),
    Setting("beta", _SHARE, "0.75", "weight of positive bags; negative ones get 1 - beta", on_resume=DECIDES),
    Setting("gamma", _WEIGHT, "2.0", "focusing exponent", on_resume=DECIDES),
    Setting("pairwise_weight", _WEIGHT, "1.0", "weight of the smoothness term", on_resume=DECIDES),
    Setting("self_training_weight", _WEIGHT, "0.0", "weight of a mean teacher's labels; 0: none", on_resume=DECIDES),
    Setting("self_training_start", _COUNT, "a fifth of max_epochs", "epochs of the box loss alone", on_resume=GOES_ON),
    Setting("roundness", _WEIGHT, "2.0", "weight of the prior that objects are round", on_resume=DECIDES),
    Setting("outside_weight", _WEIGHT, "5.0", "self-training weight of pixels outside all boxes", on_resume=DECIDES),
    Setting(
        "core",
        Number(0, 1, open_low=True),
        "1.0",
        "share of a loose box's rows that meet the object",
        on_resume=DECIDES,
    ),
    Setting("sync_normalizer", Flag(), "False", "one normaliser for all processes", on_resume=DECIDES),
    Setting("deepcut_interval", _AT_LEAST_1, "10", "epochs per phase", on_resume=GOES_ON, overlay="deepcut.yaml"),
    Setting("rounds", _COUNT, "1", "networks after the first", on_resume=DECIDES, overlay="pseudo_labels.yaml"),
    Setting("edge_sigma_px", _WEIGHT, "1.5", "smoothing distance", on_resume=DECIDES, overlay="pseudo_labels.yaml"),
    Setting(
        "edge_intensity",
        Number(0, open_low=True),
        "0.2",
        "smoothing over intensity, in standard deviations of the image",
        on_resume=DECIDES,
        overlay="pseudo_labels.yaml",
    ),
    Setting("shape_weight", _WEIGHT, "0.5", "that of the mean shape", on_resume=DECIDES, overlay="pseudo_labels.yaml"),
    Setting(
        "usual_level", Number(0, 1), "0.5", "quantile of the levels", on_resume=DECIDES, overlay="pseudo_labels.yaml"
    ),
    Setting("barrier_t", Number(0, open_low=True), "5.0", "initial t of the barrier", overlay="global_constraint.yaml"),
    Setting("barrier_factor", Number(1), "1.1", "factor of t per epoch", overlay="global_constraint.yaml"),
    # --- evaluation and prediction ---
    Setting("evaluated", Word(("training", "validation", "test")), "validation", "part of the data list", _EVALUATE),
    Setting("threshold", _THRESHOLD, "that of ckpt_dir", "of the mask's probability", ("evaluate", "inference"),
    late=True), Setting("num_pictures", _AT_LEAST_1, "3", "rows of the picture grid, from the best case to the worst",
    _EVALUATE), Setting("keep_pictures", Flag(), "False", "also save a slice of every case as arrays", _EVALUATE),
)  # fmt: skip


def settings_of(workflow: str) -> dict[str, Setting]:
    """Return the settings of a workflow by name.

    Args:
        workflow: ``"train"``, ``"evaluate"`` or ``"inference"``.

    Raises:
        ValueError: for any other word.

    Example:
        >>> settings_of("inference")["batch_size"].default
        '16'
    """
    if workflow not in _WORKFLOWS:
        raise ValueError(f"workflow must be one of {_WORKFLOWS}, got {workflow!r}.")
    return {setting.name: setting for setting in SETTINGS if workflow in setting.workflows}


def settings_markdown(workflow: str) -> str:
    """Return the settings of a workflow as a Markdown table.

    Args:
        workflow: ``"train"``, ``"evaluate"`` or ``"inference"``.

    Example:
        >>> print(settings_markdown("inference"))  # doctest: +ELLIPSIS
        | setting | default | expected | meaning |
        |---|---|---|---|
        | `bundle_root` | found beside the configuration | the path of a folder | the bundle's own folder |
        ...
    """
    lines = ["| setting | default | expected | meaning |", "|---|---|---|---|"]
    for setting in settings_of(workflow).values():
        meaning = f"{setting.meaning} ({setting.overlay})" if setting.overlay else setting.meaning
        lines.append(f"| `{setting.name}` | {setting.default} | {setting.values.expected()} | {meaning} |")
    return "\n".join(lines)
