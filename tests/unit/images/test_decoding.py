"""Encoded images to arrays."""

import io
import zlib

import numpy as np
import pytest
from pictures import CHINA, encoded, small, turned
from PIL import Image, ImageOps

from common.images import decoding
from common.images.decoding import Undecodable


def by_pillow(data):
    return np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_cameras_turned_any_way(orientation):
    data = turned(CHINA, orientation)
    found = decoding.rgb(data, "a.jpg")
    assert np.array_equal(found, by_pillow(data))
    assert decoding.size(data, "a.jpg") == found.shape[:2]


@pytest.mark.parametrize("order", ["little", "big"])
def test_both_byte_orders_of_exif(order):
    mark, number = {"little": (b"II", "little"), "big": (b"MM", "big")}[order]
    entry = b"".join(n.to_bytes(size, number) for n, size in ((0x0112, 2), (3, 2), (1, 4), (6, 2), (0, 2)))
    directory = (1).to_bytes(2, number) + entry + bytes(4)
    block = b"Exif\0\0" + mark + (42).to_bytes(2, number) + (8).to_bytes(4, number) + directory
    plain = encoded(CHINA)
    data = plain[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + plain[2:]
    assert np.array_equal(decoding.rgb(data, "a.jpg"), by_pillow(data))
    assert decoding.rgb(data, "a.jpg").shape == (640, 427, 3)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_of_any_colours(mode, progressive):
    data = encoded(CHINA, "JPEG", mode, progressive=progressive)
    assert np.array_equal(decoding.rgb(data, "a.jpg"), by_pillow(data))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_pngs_of_any_colours(mode):
    data = encoded(CHINA, "PNG", mode)
    assert np.array_equal(decoding.rgb(data, "a.png"), by_pillow(data))


def test_sixteen_bits_become_eight():
    grey = CHINA[:, :, 0].astype(np.uint16) * 257
    assert np.array_equal(decoding.rgb(encoded(grey, "PNG"), "a.png"), np.stack([CHINA[:, :, 0]] * 3, 2))


@pytest.mark.parametrize("form", ["BMP", "GIF", "TIFF", "WEBP"])
def test_other_files_are_read_too(form):
    assert decoding.rgb(encoded(CHINA, form), "a").shape == CHINA.shape


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_smaller_scale_is_enough_where_less_is_needed(orientation):
    data = turned(CHINA, orientation)
    whole = decoding.rgb(data, "a.jpg")
    found = decoding.rgb(data, "a.jpg", (200, 100))
    assert found.shape[0] >= 200
    assert found.shape[1] >= 100
    assert found.size < whole.size / 1.5
    scaled = np.array(Image.fromarray(whole).resize(found.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(found.astype(int) - scaled).mean() < 12


@pytest.mark.parametrize("shape", [(1, 1), (20, 3000), (3000, 1)])
def test_odd_shapes(shape):
    pixels = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    assert np.array_equal(decoding.rgb(encoded(pixels, "PNG"), "a.png"), pixels)
    assert decoding.rgb(encoded(pixels), "a.jpg", (300, 300)).shape == pixels.shape


@pytest.mark.parametrize("mode", ["P", "L", "1"])
def test_a_masks_values_stay_as_they_are(mode):
    values = np.random.default_rng(0).integers(0, 2 if mode == "1" else 200, (31, 17), np.uint8)
    image = Image.fromarray(values * 255 if mode == "1" else values).convert("1" if mode == "1" else "L")
    if mode == "P":
        image = Image.fromarray(values)
        image.putpalette(np.random.default_rng(1).integers(0, 255, 768, np.uint8).tobytes())
    assert np.array_equal(decoding.indices(encoded(image, "PNG"), "m.png"), values)


def test_a_mask_of_colours_is_refused():
    with pytest.raises(Undecodable, match=r"m\.png is an image of mode RGB; accepted: one channel of 8 bits"):
        decoding.indices(encoded(small(), "PNG"), "m.png")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"\xff\xd8\xff",
        encoded(CHINA)[:2000],
        encoded(CHINA)[:-3000],
        encoded(CHINA, "PNG")[:9000],
    ],
    ids=["empty", "garbage", "head", "start", "cut", "png"],
)
def test_what_is_no_whole_image_is_named(data):
    for read in (decoding.rgb, lambda data, where: decoding.rgb(data, where, (20, 20))):
        with pytest.raises(Undecodable, match=r"^a\.jpg .*; accepted: a"):
            read(data, "a.jpg")


def test_a_bomb_takes_no_memory():
    plain = encoded(small(), "PNG")
    head = plain[12:16] + (1 << 20).to_bytes(4, "big") * 2 + plain[24:29]
    huge = plain[:12] + head + zlib.crc32(head).to_bytes(4, "big") + plain[33:]
    for read in (decoding.rgb, decoding.indices, decoding.size):
        with pytest.raises(Undecodable, match="pixels; accepted: at most 268435456"):
            read(huge, "bomb.png")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_random_damage_is_refused_or_survived():
    random = np.random.default_rng(0)
    files = [encoded(small()), encoded(small(), "PNG"), encoded(small(), "PNG", "P"), turned(small(), 5)]
    for number in range(400):
        data = bytearray(files[number % len(files)])
        for at in random.integers(0, len(data), 1 + number % 8):
            data[at] = random.integers(256)
        for read in (decoding.rgb, decoding.indices, decoding.size):
            try:
                read(bytes(data), "a")
            except Undecodable:
                continue
