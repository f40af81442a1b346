"""Pictures: every mode that Pillow reads, files that are none, and scaling against Pillow's own."""

from __future__ import annotations

import io
import os
import struct
import threading
import zipfile
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convlab as cl
from convlab import images

Image = pytest.importorskip("PIL.Image", reason="reading pictures needs Pillow")

# Three coloured corners and a grey one: an unlucky flip, turn or swap of channels shows.
COLOURS = np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [120, 120, 120]]], np.uint8)
GREYS = np.array([[0, 50], [130, 255]], np.uint8)


def write(folder: Path, picture, name: str = "picture.png", **options) -> Path:
    picture.save(folder / name, **options)
    return folder / name


def mode_of(path: Path) -> str:
    """Return the mode in which Pillow opens a file: what the test is about."""
    with Image.open(path) as picture:
        return picture.mode


def rgb(colours: np.ndarray = COLOURS):
    return Image.fromarray(colours)


# Modes


def test_rgb(tmp_path: Path) -> None:
    read = images.read(write(tmp_path, rgb()))
    assert (read.dtype, read.shape) == (np.uint8, (2, 2, 3))
    np.testing.assert_array_equal(read, COLOURS)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "webp", "gif", "ppm", "tga"])
def test_lossless_formats_agree(tmp_path: Path, ending: str) -> None:
    options = {"lossless": True} if ending == "webp" else {}
    np.testing.assert_array_equal(images.read(write(tmp_path, rgb(), f"p.{ending}", **options)), COLOURS)


def test_grey(tmp_path: Path) -> None:
    np.testing.assert_array_equal(images.read(write(tmp_path, Image.fromarray(GREYS))), np.dstack([GREYS] * 3))


def test_black_and_white(tmp_path: Path) -> None:
    bits = np.array([[True, False], [False, True]])
    np.testing.assert_array_equal(images.read(write(tmp_path, Image.fromarray(bits))), np.dstack([bits * 255] * 3))


def test_grey_with_alpha_is_laid_on_white(tmp_path: Path) -> None:
    alpha = np.array([[255, 0], [255, 0]], np.uint8)
    read = images.read(write(tmp_path, Image.merge("LA", [Image.fromarray(GREYS), Image.fromarray(alpha)])))
    np.testing.assert_array_equal(read, np.dstack([np.where(alpha == 255, GREYS, 255)] * 3))


def test_rgba_is_laid_on_white(tmp_path: Path) -> None:
    alpha = np.array([[255, 0], [128, 64]], np.uint8)
    read = images.read(write(tmp_path, Image.fromarray(np.dstack([COLOURS, alpha]))))
    cover = alpha[:, :, None] / 255
    np.testing.assert_allclose(read, COLOURS * cover + 255 * (1 - cover), atol=1)  # Pillow's rounding
    np.testing.assert_array_equal(read[0], [COLOURS[0, 0], [255, 255, 255]])


def palette(colours: np.ndarray = COLOURS):
    picture = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "L").convert("P")
    picture.putpalette(colours.reshape(-1).tolist())
    picture.paste(Image.frombytes("P", (2, 2), bytes([0, 1, 2, 3])))
    return picture


def test_palette(tmp_path: Path) -> None:
    path = write(tmp_path, palette())
    assert mode_of(path) == "P"
    np.testing.assert_array_equal(images.read(path), COLOURS)


def test_palette_with_a_transparent_colour(tmp_path: Path) -> None:
    expected = COLOURS.copy()
    expected[0, 1] = 255
    for name in ("p.png", "p.gif"):
        np.testing.assert_array_equal(images.read(write(tmp_path, palette(), name, transparency=1)), expected)


def test_palette_with_an_alpha_for_each_colour(tmp_path: Path) -> None:
    read = images.read(write(tmp_path, palette(), transparency=bytes([255, 0, 128, 255])))
    np.testing.assert_array_equal(read[0], [COLOURS[0, 0], [255, 255, 255]])
    np.testing.assert_allclose(read[1, 0], (COLOURS[1, 0] * 128.0 + 255 * 127) / 255, atol=1)


@pytest.mark.parametrize(("mode", "transparent"), [("L", 50), ("RGB", (0, 250, 0))])
def test_one_transparent_colour(tmp_path: Path, mode: str, transparent: object) -> None:
    picture = Image.fromarray(GREYS) if mode == "L" else rgb()
    read = images.read(write(tmp_path, picture, transparency=transparent))
    expected = np.dstack([GREYS] * 3) if mode == "L" else COLOURS.copy()
    expected[0, 1] = 255
    np.testing.assert_array_equal(read, expected)


def test_palette_with_alpha_in_memory() -> None:
    """No common file format yields mode PA, so it is converted without one."""
    with rgb().convert("RGBA") as picture:
        picture.putalpha(Image.fromarray(np.array([[255, 0], [255, 255]], np.uint8)))
        read = images._rgb(picture.convert("PA"))
    np.testing.assert_array_equal(read[0, 1], [255, 255, 255])
    assert np.abs(read[0, 0].astype(int) - COLOURS[0, 0]).max() < 60  # the palette of 216 colours


def test_cmyk(tmp_path: Path) -> None:
    path = write(tmp_path, rgb().convert("CMYK"), "p.tif")
    assert mode_of(path) == "CMYK"
    np.testing.assert_allclose(images.read(path), COLOURS, atol=2)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(tmp_path: Path, mode: str) -> None:
    """JPEG holds YCbCr. Whole blocks of one colour survive its compression but for rounding."""
    blocks = COLOURS.repeat(16, 0).repeat(16, 1)
    path = write(tmp_path, rgb(blocks).convert(mode), "p.jpg", quality=100, subsampling=0)
    expected = np.asarray(rgb(blocks).convert(mode).convert("RGB"))
    np.testing.assert_allclose(images.read(path).astype(int), expected, atol=4)


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces(tmp_path: Path, mode: str) -> None:
    colours = COLOURS // 2 + 60  # muted: near a pure colour one step of LAB's eight bits is many of RGB's
    if mode == "LAB":
        cms = pytest.importorskip("PIL.ImageCms", reason="this Pillow has no LittleCMS")
        picture = cms.profileToProfile(rgb(colours), cms.createProfile("sRGB"), cms.createProfile("LAB"), outputMode="LAB")
    else:
        picture = rgb(colours).convert(mode)
    path = write(tmp_path, picture, "p.tif")
    if mode == "YCbCr" and int(Image.__version__.split(".")[0]) < 13:  # which took every such TIFF for a compressed one
        with pytest.raises(ValueError, match="not a picture that Pillow can read: image file is truncated"):
            images.read(path)
        return
    assert mode_of(path) == mode
    np.testing.assert_allclose(images.read(path).astype(int), colours, atol=6)  # 8 bits a channel, twice


def test_hsv_in_memory() -> None:
    """Pillow writes no file in HSV."""
    np.testing.assert_allclose(images._rgb(rgb().convert("HSV")).astype(int), COLOURS, atol=3)


@pytest.mark.parametrize("name", ["p.png", "p.tif"])
def test_16_bits_use_their_whole_range(tmp_path: Path, name: str) -> None:
    deep = np.array([[0, 257], [32896, 65535]], np.uint16)
    path = write(tmp_path, Image.fromarray(deep), name)
    assert mode_of(path).startswith("I")
    np.testing.assert_array_equal(images.read(path), np.dstack([np.array([[0, 1], [128, 255]], np.uint8)] * 3))


def test_32_bit_integers(tmp_path: Path) -> None:
    deep = np.array([[0, 32896], [65535, 70000]], np.int32)
    np.testing.assert_array_equal(images.read(write(tmp_path, Image.fromarray(deep), "p.tif"))[:, :, 0], [[0, 128], [255, 255]])


def test_floats_are_stretched_from_least_to_largest(tmp_path: Path) -> None:
    deep = np.array([[-2.0, 0.0], [1.0, 2.0]], np.float32)
    np.testing.assert_array_equal(images.read(write(tmp_path, Image.fromarray(deep), "p.tif"))[:, :, 0], [[0, 128], [191, 255]])


@pytest.mark.parametrize("value", [0.0, 7.5, np.nan])
def test_floats_without_a_range_are_black(tmp_path: Path, value: float) -> None:
    path = write(tmp_path, Image.fromarray(np.full((2, 2), value, np.float32)), "p.tif")
    assert not images.read(path).any()


def test_a_gap_in_floats_is_black(tmp_path: Path) -> None:
    deep = np.array([[0.0, np.nan], [1.0, 2.0]], np.float32)
    np.testing.assert_array_equal(images.read(write(tmp_path, Image.fromarray(deep), "p.tif"))[:, :, 0], [[0, 0], [128, 255]])


def test_infinities_do_not_hide_the_rest(tmp_path: Path) -> None:
    deep = np.array([[-np.inf, 0.0], [1.0, np.inf]], np.float32)
    np.testing.assert_array_equal(images.read(write(tmp_path, Image.fromarray(deep), "p.tif"))[:, :, 0], [[0, 0], [255, 255]])


# Orientation and animation

TURNS = {  # what an upright picture looks like as stored, by the number of its EXIF tag
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x),
    7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
    8: lambda x: np.rot90(x, -1),
}


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_turns_upright(tmp_path: Path, orientation: int) -> None:
    upright = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(TURNS[orientation](upright))
    np.testing.assert_array_equal(images.read(write(tmp_path, rgb(stored), exif=exif)), upright)


def test_of_an_animation_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "lime", "blue")]
    for name in ("p.gif", "p.png", "p.tif"):
        path = write(tmp_path, frames[0], name, save_all=True, append_images=frames[1:])
        np.testing.assert_array_equal(images.read(path), np.full((2, 3, 3), (255, 0, 0), np.uint8))


# What is no picture


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """Return a PNG whose header claims a size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def encoded(ending: str) -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    rgb(noise).save(buffer, ending)
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"hello, world\n" * 50, b"\x89PNG\r\n\x1a\n", bytes(1000), b"GIF89a", b"\xff\xd8\xff\xe0"])
def test_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.png"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"notes\.png is not a picture that Pillow can read"):
        images.read(path)


@pytest.mark.parametrize("ending", ["png", "jpeg", "gif", "bmp", "tiff", "webp"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_cut_off_picture_is_refused(tmp_path: Path, ending: str, part: float) -> None:
    content = encoded(ending)
    path = tmp_path / f"cut.{ending}"
    path.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(ValueError, match=r"cut\.\w+ is not a picture that Pillow can read"):
        images.read(path)


@pytest.mark.parametrize("ending", ["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm", "tga", "ico", "jpeg2000", "pcx", "sgi", "dds"])
def test_damage_anywhere_is_a_clear_error_or_a_picture(tmp_path: Path, ending: str) -> None:
    content = encoded(ending)
    path = tmp_path / "damaged"
    positions = [*range(0, min(len(content), 120), 2), *range(120, len(content), 997)]
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        read, message = None, str(path)
        try:
            read = images.read(path)
        except ValueError as error:
            message = str(error)
        assert str(path) in message
        assert read is None or (read.dtype == np.uint8 and read.shape[2:] == (3,))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        images.read(tmp_path / "absent.png")
    with pytest.raises(IsADirectoryError):
        images.read(tmp_path)


@pytest.mark.parametrize("size", [(100_000, 100_000), (100_000, 1_001), (2**31 - 1, 2**31 - 1)])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(*size))
    with pytest.raises(ValueError, match=r"a picture may have 100,000,000 pixels at most: .*bomb\.png"):
        images.read(path)


def test_a_large_picture_within_the_limit_is_not_refused_for_its_size(tmp_path: Path) -> None:
    """90 million pixels: Pillow warns, convlab reads on, and meets the end of the file."""
    path = tmp_path / "large.png"
    path.write_bytes(png(9_000, 10_000))
    with pytest.raises(ValueError, match=r"large\.png is not a picture that Pillow can read"):
        images.read(path)


def test_pillows_limit_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, rgb())
    for limit in (Image.MAX_IMAGE_PIXELS, 1234, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        images.read(path)
        assert limit == Image.MAX_IMAGE_PIXELS


def test_pillows_limit_is_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set and put back, it would be lost where two threads read at once."""
    seen = []
    real = Image.open

    def watched(file, **options):
        seen.append(Image.MAX_IMAGE_PIXELS)
        return real(file, **options)

    monkeypatch.setattr(Image, "open", watched)
    images.read(write(tmp_path, rgb()))
    assert seen == [Image.MAX_IMAGE_PIXELS]
    assert seen != [None]


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    path, found = write(tmp_path, rgb()), []
    threads = [threading.Thread(target=lambda: found.extend(images.read(path) for _ in range(20))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    assert all(np.array_equal(read, COLOURS) for read in found)


# Arrays


def test_as_rgb_takes_arrays_and_paths(tmp_path: Path) -> None:
    np.testing.assert_array_equal(images.as_rgb(COLOURS), COLOURS)
    for grey in (GREYS, GREYS[:, :, None]):
        np.testing.assert_array_equal(images.as_rgb(grey), np.dstack([GREYS] * 3))
    path = write(tmp_path, rgb())
    np.testing.assert_array_equal(images.as_rgb(path), COLOURS)
    np.testing.assert_array_equal(images.as_rgb(str(path)), COLOURS)


@given(st.integers(0, 2**32 - 1))
def test_as_rgb_lays_alpha_on_white(seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    cover = pixels[:, :, 3:] / 255
    exact = pixels[:, :, :3] * cover + 255 * (1 - cover)
    read = images.as_rgb(pixels)
    assert read.dtype == np.uint8
    assert np.abs(read - exact).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(images.as_rgb(np.dstack([pixels[:, :, :3], np.full((3, 4), 255, np.uint8)])), pixels[:, :, :3])


# Opened pictures and files

BLOCKS = (COLOURS // 2 + 60).repeat(8, 0).repeat(8, 1)
CONVERTED = {  # by how much eight bits a channel may be off in each mode
    "RGB": 0,
    "RGBA": 0,
    "RGBX": 0,
    "RGBa": 0,
    "CMYK": 0,
    "YCbCr": 3,
    "HSV": 4,
    "LAB": 8,
    "L": 0,
    "LA": 0,
    "La": 0,
    "I": 0,
    "I;16": 0,
}


@pytest.mark.parametrize("mode", CONVERTED)
def test_an_opened_picture_may_be_of_any_mode(mode: str) -> None:
    grey = mode in ("L", "LA", "La", "I", "I;16")
    right = rgb(BLOCKS).convert("L") if grey else rgb(BLOCKS)
    if mode == "LAB":
        cms = pytest.importorskip("PIL.ImageCms", reason="this Pillow has no LittleCMS")
        given = cms.profileToProfile(right, cms.createProfile("sRGB"), cms.createProfile("LAB"), outputMode="LAB")
    else:
        given = right.convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode)).convert(mode)
    assert given.mode == mode
    before = given.tobytes()
    read = images.as_rgb(given)
    assert (read.dtype, read.shape) == (np.uint8, (16, 16, 3))
    np.testing.assert_allclose(read.astype(int), np.asarray(right.convert("RGB")), atol=CONVERTED[mode])
    assert (given.mode, given.tobytes()) == (mode, before)


def test_opened_pictures_of_few_colours() -> None:
    np.testing.assert_array_equal(images.as_rgb(palette()), COLOURS)
    bits = np.array([[True, False], [False, True]])
    np.testing.assert_array_equal(images.as_rgb(Image.fromarray(bits)), np.dstack([bits * 255] * 3))


def test_opened_pictures_of_floats_and_of_16_bits() -> None:
    deep = np.array([[0, 257], [32896, 65535]], np.uint16)
    right = np.dstack([np.array([[0, 1], [128, 255]], np.uint8)] * 3)
    np.testing.assert_array_equal(images.as_rgb(Image.fromarray(deep)), right)
    np.testing.assert_array_equal(images.as_rgb(Image.fromarray(deep.astype(np.int32))), right)
    np.testing.assert_array_equal(images.as_rgb(Image.fromarray(deep.astype(np.float32))), right)


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("ending", ["png", "tif", "webp"])
def test_opened_pictures_are_turned_upright(tmp_path: Path, orientation: int, ending: str) -> None:
    upright = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if ending == "webp" else {}
    path = write(tmp_path, rgb(np.ascontiguousarray(TURNS[orientation](upright))), f"p.{ending}", exif=exif, **options)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(images.as_rgb(picture), upright)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(images.as_rgb(file), upright)
    np.testing.assert_array_equal(images.read(path), upright)


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_an_orientation_that_is_none_turns_nothing(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(images.read(write(tmp_path, rgb(), exif=exif)), COLOURS)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("order", ["<", ">"])
def test_damaged_tags_are_no_damage_to_the_picture(tmp_path: Path, orientation: int, order: str) -> None:
    """A resolution of -5/1, which Pillow reads and cannot write, and a table of tags that is cut off."""
    upright = np.arange(16 * 24 * 3, dtype=np.uint16).reshape(16, 24, 3) // 5
    exif = Image.Exif()
    exif.endian = order
    exif[0x0112], exif[0x011A] = orientation, 5.0
    stored = np.ascontiguousarray(TURNS[orientation](upright.astype(np.uint8)))
    path = write(tmp_path, rgb(stored), "p.jpg", exif=exif, quality=100, subsampling=0)
    content, ratio = path.read_bytes(), struct.pack(f"{order}II", 5, 1)
    assert content.count(ratio) == 1
    path.write_bytes(content.replace(ratio, struct.pack(f"{order}iI", -5, 1)))
    np.testing.assert_allclose(images.read(path).astype(int), upright, atol=2)
    with Image.open(path) as picture:
        np.testing.assert_allclose(images.as_rgb(picture).astype(int), upright, atol=2)
    place = content.index(b"Exif\0\0") + 6
    path.write_bytes(content[:place] + b"\xff" * 20 + content[place + 20 :])
    np.testing.assert_allclose(images.read(path).astype(int), stored, atol=2)


def test_of_an_opened_animation_the_frame_where_it_stands(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "lime", "blue")]
    with Image.open(write(tmp_path, frames[0], "p.gif", save_all=True, append_images=frames[1:])) as picture:
        picture.seek(1)
        np.testing.assert_array_equal(images.as_rgb(picture), np.full((2, 3, 3), (0, 255, 0), np.uint8))
        assert picture.tell() == 1


class Connection(io.RawIOBase):
    """Gives bytes once, and cannot go back."""

    def __init__(self, content: bytes) -> None:
        self.content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self.content.readinto(buffer)


def test_files_that_are_open(tmp_path: Path) -> None:
    path = write(tmp_path, rgb())
    content = path.read_bytes()
    ways = (partial(open, path, "rb"), partial(open, path, "rb", buffering=0), partial(io.BytesIO, content))
    for way in (*ways, lambda: io.BufferedReader(Connection(content))):
        with way() as file:
            np.testing.assert_array_equal(images.as_rgb(file), COLOURS)
            assert not file.closed
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
        archive.write(path, "p.png")
    with zipfile.ZipFile(tmp_path / "p.zip") as archive, archive.open("p.png") as file:
        np.testing.assert_array_equal(images.as_rgb(file), COLOURS)


def test_files_that_are_no_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="the opened file is not a picture that Pillow can read"):
        images.as_rgb(io.BytesIO(b"hello"))
    with open(write(tmp_path, rgb()), encoding="latin-1") as file, pytest.raises(TypeError, match="must be opened in binary mode"):
        images.as_rgb(file)
    monkeypatch.setattr(images, "BYTES", 10)
    with pytest.raises(ValueError, match="a picture must be at most 10 bytes"):
        images.as_rgb(io.BufferedReader(Connection(bytes(11))))


def test_opened_pictures_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, rgb(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)))
    path.write_bytes(path.read_bytes()[:2000])
    with Image.open(path) as picture, pytest.raises(ValueError, match=r"picture\.png is not a picture that Pillow can read"):
        images.as_rgb(picture)
    with pytest.raises(ValueError, match="is not a picture that Pillow can read: it has no pixels"):
        images.as_rgb(Image.new("RGB", (0, 5)))
    (tmp_path / "bomb.png").write_bytes(png(100_000, 1_001))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    too_large = pytest.raises(ValueError, match=r"100,000,000 pixels at most: .*bomb\.png: it has 100000 x 1001")
    with Image.open(tmp_path / "bomb.png") as picture, too_large:
        images.as_rgb(picture)


def test_only_formats_on_the_list_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostScript is a program, which Pillow has Ghostscript run."""
    path = write(tmp_path, rgb(), "p.eps")
    path.rename(tmp_path / "photo.jpg")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("a program was started"))
    for program in (tmp_path / "photo.jpg", io.BytesIO((tmp_path / "photo.jpg").read_bytes())):
        with pytest.raises(ValueError, match=r"is not a picture that Pillow can read, of the formats .*JPEG.*PNG"):
            images.as_rgb(program)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(ValueError, match="only regular files are read, no pipe and no device"):
            images.read(path)


def test_bands_of_a_picture_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 4), dtype=np.uint8)
    arrays = pixels, pixels[:, :, :3], pixels[:, :, 0], pixels[:, :, 0].astype(np.float32)
    pictures = [Image.fromarray(np.ascontiguousarray(array)) for array in arrays]
    whole = [images.as_rgb(picture) for picture in pictures]
    for band in (1, 10, 13):
        monkeypatch.setattr(images, "BAND", band)
        for picture, right in zip(pictures, whole, strict=True):
            np.testing.assert_array_equal(images.as_rgb(picture), right)


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint16", "bool"])
def test_as_rgb_wants_uint8(dtype: str) -> None:
    with pytest.raises(TypeError, match=rf"a picture's numbers must be uint8 \(0 to 255\): dtype={dtype}"):
        images.as_rgb(COLOURS.astype(dtype))


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (4, 4, 5), (1, 4, 4, 3), (0, 4, 3), (4, 0), (4, 4, 0)])
def test_as_rgb_wants_a_picture(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"a picture must be \(H, W\), \(H, W, 1\), \(H, W, 3\) or \(H, W, 4\): shape=") as error:
        images.as_rgb(np.zeros(shape, np.uint8))
    assert str(error.value).endswith(str(shape))


# Scaling

sizes = st.integers(1, 40)


@given(sizes, sizes, sizes, sizes, st.integers(0, 2**32 - 1))
def test_resize_is_pillows_bilinear(height: int, width: int, to_height: int, to_width: int, seed: int) -> None:
    x = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    ours = images.resize(x[:, :, None], to_height, to_width)[:, :, 0]
    pillows = np.asarray(Image.fromarray(x).resize((to_width, to_height), Image.Resampling.BILINEAR))
    # Both weigh in float64 or float32 and store float32 between the axes; a result is a mean of numbers up to 255.
    np.testing.assert_allclose(ours, pillows, rtol=0, atol=255 * 50 * np.finfo(np.float32).eps)
    assert ours.dtype == np.float32


@given(sizes, sizes)
def test_weights_are_a_mean(source: int, target: int) -> None:
    weights = images.interpolation(source, target)
    assert weights.shape == (target, source)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-12)
    assert (weights.sum(0) > 0).all() or target > source  # where it shrinks, every old pixel counts
    np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-12)  # a mirrored picture scales to its mirror


@given(sizes)
def test_the_same_size_changes_nothing(size: int) -> None:
    np.testing.assert_array_equal(images.interpolation(size, size), np.eye(size))


@given(sizes, sizes)
def test_a_constant_picture_stays_constant(height: int, width: int) -> None:
    np.testing.assert_allclose(images.resize(np.full((7, 9, 3), 100, np.uint8), height, width), 100, rtol=1e-5)


@given(sizes, sizes)
def test_square_takes_the_middle(height: int, width: int) -> None:
    picture = np.arange(height * width).reshape(height, width, 1)
    cut = images.square(picture)
    side = min(height, width)
    assert cut.shape == (side, side, 1)
    top, left = (height - side) // 2, (width - side) // 2
    np.testing.assert_array_equal(cut, picture[top : top + side, left : left + side])
    assert 0 <= (height - side) - 2 * top <= 1
    assert 0 <= (width - side) - 2 * left <= 1


@pytest.mark.parametrize("to", [(2**31, 1), (1, 2**31), (20_000, 20_000), (10_001, 10_000)])
def test_scaling_beyond_measure_is_refused_before_it_takes_memory(to: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"a picture may be scaled to 100,000,000 pixels at most.*to {to[1]} x {to[0]}"):
        images.resize(np.zeros((1, 1, 3), np.uint8), *to)
    with pytest.raises(ValueError, match="from 1 x 1000000 to 101 x 1"):  # Pillow scales the width first
        images.resize(np.zeros((1_000_000, 1, 3), np.uint8), 1, 101, whole=True)
    assert images.resize(np.full((1_000_000, 1, 3), 7, np.uint8), 101, 1) == pytest.approx(7)


def test_a_strip_is_named_though_most_of_it_is_cut_off() -> None:
    """Its longer side would be 38,400 pixels: only what is looked at is scaled."""
    ready = cl.Preprocessing((224, 224), "shorter", 256, whole=True)
    assert ready(np.full((3000, 20, 3), 255, np.uint8)) == pytest.approx(1)
