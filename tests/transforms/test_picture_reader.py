# Copyright (c) monai_bbox_mil contributors
# SPDX-License-Identifier: Apache-2.0
"""Pictures as people see them, and masks as their files hold them; right values by Pillow and NumPy."""

from __future__ import annotations

import struct

import itk
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from monai_bbox_mil.transforms import LabelToChannels, LoadBoxes, LoadCheckedImage, SaveLikeInput

SIZE = (5, 7)  # rows, columns
GREY = np.random.default_rng(0).integers(0, 255, SIZE, dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
INDEX = np.random.default_rng(2).integers(0, 3, SIZE, dtype=np.uint8)
COLOURS = np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0]], dtype=np.uint8)  # as of VOC
GREYS = np.array([[9, 9, 9], [200, 200, 200], [70, 70, 70]], dtype=np.uint8)
PALETTES = (".png", ".gif", ".bmp", ".tif")


def rows(image):
    """``(H, W)`` of an image of one channel, or ``(H, W, C)``."""
    array = image.numpy().transpose(2, 1, 0)
    return array[..., 0] if array.shape[2] == 1 else array


def palette(path, colours, **options):
    picture = Image.fromarray(INDEX).convert("P")
    picture.putpalette(colours.ravel().tolist())
    picture.putdata(INDEX.ravel().tolist())
    picture.save(path, **options)
    return path


def tiff(path, order, bits, data, sample_format=1):
    """A TIFF of one grey page, as Pillow does not write it."""
    tags = {256: (4, SIZE[1]), 257: (4, SIZE[0]), 258: (3, bits), 259: (3, 1), 262: (3, 1), 273: (4, 8), 277: (3, 1)}
    tags |= {278: (4, SIZE[0]), 279: (4, len(data)), 339: (3, sample_format)}
    data += b"\0" * (len(data) % 2)
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + "HI", 42, 8 + len(data))
    entries = b"".join(
        struct.pack(order + "HHI", tag, kind, 1) + struct.pack(order + {3: "HH", 4: "I"}[kind], *[value, 0][: 5 - kind])
        for tag, (kind, value) in sorted(tags.items())
    )
    path.write_bytes(head + data + struct.pack(order + "H", len(tags)) + entries + b"\0" * 4)
    return path


def packed(values, bits):
    """Rows of numbers of so many bits, each row from a new byte on."""
    digits = ["".join(f"{value:0{bits}b}" for value in row) for row in values]
    return b"".join(int(row + "0" * (-len(row) % 8), 2).to_bytes(-(-len(row) // 8), "big") for row in digits)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.jpg", {"quality": 100}), ("a.tif", {})])
@pytest.mark.parametrize("label_map", [False, True])
def test_pictures_are_turned_as_their_tag_says(tmp_path, orientation, name, options, label_map):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(GREY).save(tmp_path / name, exif=exif, **options)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / name)))
    image = LoadCheckedImage(1, label_map)(tmp_path / name)
    assert np.array_equal(rows(image), shown)
    assert image.meta["spatial_shape"].tolist() == [shown.shape[1], shown.shape[0]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_and_written_masks_of_turned_pictures_lie_on_what_is_shown(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = np.zeros((20, 30), np.uint8)
    picture[3:7, 16:26] = 255
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    shown = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.png")))
    (y0, x0), (y1, x1) = np.argwhere(shown).min(0), np.argwhere(shown).max(0) + 1
    image = LoadCheckedImage(1)(tmp_path / "a.png")
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "width": shown.shape[1], "height": shown.shape[0]}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [int(v) for v in (x0, y0, x1 - x0, y1 - y0)]}
        ],
        "categories": [{"id": 1, "name": "object"}],
    }
    boxes, _ = LoadBoxes(["object"])(coco, image)
    assert boxes.tolist() == [[x0, y0, x1, y1]]
    SaveLikeInput(tmp_path / "out")(image / 255)
    mask = Image.open(tmp_path / "out" / "a_segmentation.png")
    assert mask.getexif().get(0x0112, 1) == 1
    assert np.array_equal(np.asarray(mask) > 0, shown > 0)


@pytest.mark.parametrize("extension", PALETTES)
def test_palettes_are_colours_of_images_and_labels_of_masks(tmp_path, extension):
    path = palette(tmp_path / f"a{extension}", COLOURS)
    assert np.array_equal(rows(LoadCheckedImage()(path)), COLOURS[INDEX])
    mask = LoadCheckedImage(label_map=True)(path)
    assert np.array_equal(rows(mask), INDEX) and not mask.is_floating_point()
    with pytest.raises(ValueError, match="expected 1 channel"):
        LoadCheckedImage(1)(path)


@pytest.mark.parametrize("extension", PALETTES)
def test_grey_palettes_are_grey(tmp_path, extension):
    path = palette(tmp_path / f"a{extension}", GREYS)
    assert np.array_equal(rows(LoadCheckedImage()(path)), GREYS[INDEX][..., 0])
    assert np.array_equal(rows(LoadCheckedImage(1)(path)), GREYS[INDEX][..., 0])
    assert np.array_equal(rows(LoadCheckedImage(3)(path)), GREYS[INDEX])
    assert np.array_equal(rows(LoadCheckedImage(label_map=True)(path)), INDEX)


def test_a_palette_with_a_transparent_colour(tmp_path):
    path = palette(tmp_path / "a.png", COLOURS, transparency=0)
    with pytest.raises(ValueError, match=rf"a\.png: expected an opaque picture, got {(INDEX == 0).sum()} of 35"):
        LoadCheckedImage()(path)
    assert np.array_equal(rows(LoadCheckedImage(label_map=True)(path)), INDEX)


@pytest.mark.parametrize("extension", [".png", ".tif"])
@pytest.mark.parametrize(("samples", "channels"), [(GREY[..., None], 1), (COLOUR, 3)])
def test_alpha_is_left_out_where_it_changes_nothing(tmp_path, extension, samples, channels):
    path, alpha = tmp_path / f"a{extension}", np.full((*SIZE, 1), 255, np.uint8)
    Image.fromarray(np.concatenate([samples, alpha], -1)).save(path)
    for label_map in (False, True):
        assert np.array_equal(rows(LoadCheckedImage(channels, label_map)(path)), samples.squeeze())
    assert np.array_equal(rows(LoadCheckedImage(channels + 1)(path))[..., -1:], alpha)
    alpha[2, 3] = 254
    Image.fromarray(np.concatenate([samples, alpha], -1)).save(path)
    for options in ({}, {"label_map": True}):
        with pytest.raises(ValueError, match="expected an opaque picture, got 1 of 35 pixels that are transparent"):
            LoadCheckedImage(**options)(path)
    assert len(LoadCheckedImage(channels + 1)(path)) == channels + 1


def test_a_mask_drawn_on_a_transparent_layer(tmp_path):
    """Today's any-channel rule would take every opaque pixel for label 255."""
    mask = np.zeros((*SIZE, 4), np.uint8)
    mask[1:3, 2:5] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")
    label = LoadCheckedImage(label_map=True)(tmp_path / "a.png")
    assert len(label) == 1 and LabelToChannels((255,))(label).sum() == 6
    mask[..., 3] = 255
    Image.fromarray(mask).save(tmp_path / "a.png")
    assert LabelToChannels((255,))(LoadCheckedImage(label_map=True)(tmp_path / "a.png")).sum() == 6


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_kept_in_grey_and_in_colour(tmp_path, name, channels):
    deep = np.random.default_rng(0).integers(0, 65535, (*SIZE, channels)).astype(np.uint16)
    image = itk.image_view_from_array(deep.squeeze(), is_vector=channels > 1)
    itk.imwrite(image, str(tmp_path / name))
    assert np.array_equal(rows(LoadCheckedImage(channels)(tmp_path / name)), deep.squeeze())
    assert np.array_equal(rows(LoadCheckedImage(label_map=True)(tmp_path / name)), deep.squeeze())


def test_16_bits_beside_alpha(tmp_path):
    deep = np.random.default_rng(0).integers(0, 65535, (*SIZE, 2)).astype(np.uint16)
    deep[..., 1] = 65535
    itk.imwrite(itk.image_view_from_array(deep, is_vector=True), str(tmp_path / "a.png"))
    assert np.array_equal(rows(LoadCheckedImage(1)(tmp_path / "a.png")), deep[..., 0])


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("dtype", "sample_format"),
    [(np.uint8, 1), (np.uint16, 1), (np.int16, 2), (np.uint32, 1), (np.int32, 2), (np.float32, 3)],
)
def test_tiffs_of_every_type_and_byte_order(tmp_path, order, dtype, sample_format):
    wide = {np.uint32: 4_000_000_000, np.uint16: 60_000, np.uint8: 250}.get(dtype, 30_000)
    values = np.linspace(-wide if sample_format > 1 else 0, wide, GREY.size).astype(dtype).reshape(SIZE)
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    path = tiff(tmp_path / "a.tif", order, values.itemsize * 8, data, sample_format)
    assert np.array_equal(rows(LoadCheckedImage(1)(path)), values.astype(np.float32))
    if sample_format < 3:
        assert np.array_equal(rows(LoadCheckedImage(1, label_map=True)(path)), values)


@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_tiffs_of_few_or_odd_bits(tmp_path, bits):
    values = np.random.default_rng(0).integers(0, 2**bits, SIZE)
    path = tiff(tmp_path / "a.tif", "<", bits, packed(values, bits))
    assert np.array_equal(rows(LoadCheckedImage(1, label_map=True)(path)), values)
    stretched = values * (255 // (2**bits - 1)) if bits in (2, 4) else values
    assert np.array_equal(rows(LoadCheckedImage(1)(path)), stretched)


def test_pages_of_a_tiff_are_slices(tmp_path):
    pages = [GREY, GREY + 1, GREY // 2]
    for name, mode in (("a.tif", "L"), ("b.tif", "1"), ("c.tif", "P")):
        first, *others = [Image.fromarray((page % 2 * 255) if mode == "1" else page).convert(mode) for page in pages]
        first.save(tmp_path / name, save_all=True, append_images=others)
        image = LoadCheckedImage(1, label_map=True)(tmp_path / name)
        expected = np.stack([np.asarray(page) for page in (first, *others)], -1)
        assert np.array_equal(image[0].numpy().transpose(1, 0, 2), expected)
    Image.fromarray(GREY).convert("P").save(
        tmp_path / "d.tif", save_all=True, append_images=[Image.fromarray(GREY[1:]).convert("P")]
    )
    with pytest.raises(ValueError, match=r"d\.tif: expected pages of one size"):
        LoadCheckedImage()(tmp_path / "d.tif")


@pytest.mark.parametrize("extension", [".png", ".gif"])
def test_moving_pictures_are_refused(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    Image.fromarray(GREY).save(path, save_all=True, append_images=[Image.fromarray(GREY // 2)])
    with pytest.raises(ValueError, match=r"a\.\w+: expected one picture, got 2 frames of a moving (PNG|GIF)"):
        LoadCheckedImage(1)(path)


def test_a_camera_picture_with_a_preview_behind_it(tmp_path):
    Image.fromarray(GREY).save(
        tmp_path / "a.jpg", format="MPO", quality=100, save_all=True, append_images=[Image.fromarray(GREY[:3])]
    )
    assert np.array_equal(rows(LoadCheckedImage(1)(tmp_path / "a.jpg")), np.asarray(Image.open(tmp_path / "a.jpg")))


def test_print_colours(tmp_path):
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg")
    expected = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB"))
    assert np.array_equal(rows(LoadCheckedImage(3)(tmp_path / "a.jpg")), expected)
    assert len(LoadCheckedImage(4)(tmp_path / "a.jpg")) == 4
    with pytest.raises(ValueError, match="expected a label map, got a picture in CMYK colours"):
        LoadCheckedImage(label_map=True)(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.JPG"])
def test_grey_pictures_are_equal_channels_beside_colour_ones(tmp_path, name):
    Image.fromarray(GREY).save(tmp_path / name)
    image = LoadCheckedImage(3)(tmp_path / name)
    assert len(image) == 3 and (image == image[:1]).all()
    assert torch.equal(image[:1].as_tensor(), LoadCheckedImage(1)(tmp_path / name).as_tensor())


def test_a_grey_volume_is_not_taken_for_three_channels(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((4, 5, 6), np.float32))
    with pytest.raises(ValueError, match="expected 3 channel"):
        LoadCheckedImage(3)(tmp_path / "a.npy")


def test_several_pictures_are_channels(tmp_path):
    for name, values in (("a.png", GREY), ("b.png", GREY // 2), ("c.png", GREY[1:])):
        Image.fromarray(values).save(tmp_path / name)
    image = LoadCheckedImage()([tmp_path / "a.png", tmp_path / "b.png"])
    assert torch.equal(image[0], torch.as_tensor(GREY.T).float()) and np.array_equal(image[1], (GREY // 2).T)
    with pytest.raises(ValueError, match="expected files of one size"):
        LoadCheckedImage()([tmp_path / "a.png", tmp_path / "c.png"])
