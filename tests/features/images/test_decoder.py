"""The one decoder: what every kind of file becomes, and why a file is set aside."""

from __future__ import annotations

import io
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from dermfuse.cache.recipe import canonical_json
from dermfuse.features.images import decoder
from dermfuse.features.images.decoder import MAX_ASPECT, MAX_PIXELS, BadImage, decode, decode_bytes, decoder_recipe
from tests.features.pictures import EXIF_ORIENTATION, encoded, huge_png, scene, turned

SCENE = scene()
KINDS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
HTML = b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n"


def pixels(data: bytes) -> np.ndarray:
    """What the decoder makes of a file, as (height, width, 3), after checking its form."""
    tensor = decode_bytes(data).pixels
    assert tensor.dtype == torch.uint8
    assert tensor.ndim == 3
    assert tensor.shape[0] == 3
    return tensor.permute(1, 2, 0).numpy()


def far(a: np.ndarray, b: np.ndarray) -> int:
    """The largest difference of two pictures of one shape, in 8-bit levels."""
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def reason(data: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        decode_bytes(data)
    assert str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# formats and modes


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_its_pixels(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert far(pixels(encoded(SCENE, kind, **options)), SCENE) <= (6 if kind == "JPEG" else 0)


@pytest.mark.parametrize("name", ["x.png", "x.txt", "x"])
def test_the_format_is_found_in_the_bytes_and_not_in_the_name(name, tmp_path):
    (tmp_path / name).write_bytes(encoded(SCENE, "JPEG"))
    assert decode(tmp_path / name).pixels.shape == (3, 24, 32)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_grey_becomes_three_equal_channels(kind):
    grey = Image.fromarray(SCENE).convert("L")
    got = pixels(encoded(grey, kind))
    assert (got == got[:, :, :1]).all()
    assert far(got[:, :, 0], np.asarray(grey)) <= (6 if kind == "JPEG" else 0)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_black_and_white_becomes_0_and_255(kind):
    bits = Image.fromarray(SCENE).convert("1")
    got = pixels(encoded(bits, kind))
    assert (got[:, :, 0] == np.asarray(bits) * 255).all()
    assert set(np.unique(got)) == {0, 255}


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_converted_and_not_inverted(kind):
    data = encoded(SCENE, kind, mode="CMYK")
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert far(pixels(data), SCENE) <= 8


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_palette_is_looked_up(kind):
    palette = Image.fromarray(SCENE).quantize(16)
    assert far(pixels(encoded(palette, kind)), np.asarray(palette.convert("RGB"))) == 0


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": "4:2:0"}, {"subsampling": "4:4:4"}])
def test_jpegs_of_every_make_are_read(options):
    assert far(pixels(encoded(SCENE, "JPEG", **options)), SCENE) <= 12


def test_a_jpeg_of_several_pictures_gives_the_first():
    other = Image.fromarray(255 - SCENE)
    data = encoded(SCENE, "MPO", save_all=True, append_images=[other])
    assert Image.open(io.BytesIO(data)).format == "MPO"
    assert far(pixels(data), SCENE) <= 12


def test_both_jpeg_decoders_give_the_same_pixels(monkeypatch):
    files = [encoded(SCENE, "JPEG"), encoded(SCENE, "JPEG", mode="L"), encoded(SCENE, "JPEG", exif=turned(6))]
    fast = [pixels(data) for data in files]
    assert decoder_recipe()["jpeg"].startswith("torchvision ")
    monkeypatch.setattr(decoder, "_torchvision_jpeg", lambda: None)
    assert decoder_recipe()["jpeg"].startswith("pillow ")
    for data, expected in zip(files, fast, strict=True):
        assert (pixels(data) == expected).all()


def test_decoding_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind in KINDS:
            pixels(encoded(SCENE, kind))


# depth


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_and_not_clipped(kind):
    ramp = np.linspace(0, 65535, 24 * 32).reshape(24, 32).astype(np.uint16)
    got = pixels(encoded(ramp, kind))[:, :, 0]
    assert (got == np.rint(ramp / 257)).all()
    assert (got.min(), got.max()) == (0, 255)
    assert len(np.unique(got)) == 256


def test_16_bit_big_endian_grey_is_scaled_too():
    ramp = np.linspace(0, 65535, 64).reshape(8, 8).astype(">u2")
    picture = Image.frombytes("I;16B", (8, 8), ramp.tobytes())
    assert (pixels(encoded(picture, "TIFF"))[:, :, 0] == np.rint(ramp / 257.0)).all()


def test_16_bit_colour_png_is_scaled_to_within_a_level():
    import struct
    import zlib

    ramp = np.linspace(0, 65535, 8 * 8 * 3).reshape(8, 8, 3).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in ramp)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    assert far(pixels(data), np.rint(ramp / 257.0)) <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_without_a_stated_range_are_refused(dtype):
    values = np.linspace(0, 70000, 64).reshape(8, 8).astype(dtype)
    assert "no stated range" in reason(encoded(values, "TIFF"))


# scale


@pytest.mark.parametrize(("side", "scale"), [(1535, 1), (1536, 2), (3071, 2), (3072, 4), (6144, 8)])
@pytest.mark.parametrize("upright", [True, False])
def test_a_large_jpeg_is_decoded_at_the_scale_that_leaves_enough(side, scale, upright):
    shape = (side, side + 1) if upright else (side + 1, side)
    picture = np.broadcast_to(np.uint8([90, 140, 200]), (*shape, 3))
    got = pixels(encoded(Image.fromarray(np.ascontiguousarray(picture))))
    assert min(got.shape[:2]) == -(-side // scale)
    assert min(got.shape[:2]) >= min(768, side)


def test_a_reduced_jpeg_is_the_mean_of_its_pixels_and_prepared_alike(monkeypatch):
    from dermfuse.features.images.transforms import ResizeAndCrop

    big = scene(4, 1600, 2000)
    data = encoded(big)
    reduced = decode_bytes(data).pixels
    monkeypatch.setattr(decoder, "KEPT_SIDE", 10**9)
    whole = decode_bytes(data).pixels
    assert reduced.shape == (3, 800, 1000)
    means = whole.float().reshape(3, 800, 2, 1000, 2).mean((2, 4))
    assert (reduced.float() - means).abs().max() <= 4
    prepare = ResizeAndCrop(256, 224)
    assert (prepare(reduced).int() - prepare(whole).int()).abs().max() <= 3


def test_a_large_jpeg_that_ends_early_is_refused_at_any_scale():
    whole = encoded(scene(5, 1600, 2000))
    for share in (0.3, 0.9):
        assert reason(whole[: int(len(whole) * share)])


# alpha


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_composited_over_white(kind):
    alpha = np.zeros((24, 32), np.uint8)
    alpha[:, 11:21], alpha[:, 21:] = 128, 255
    rgba = np.dstack([SCENE, alpha])
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    got = pixels(encoded(rgba, kind, **options))
    a = alpha[:, :, None] / 255
    assert far(got, np.rint(SCENE * a + 255 * (1 - a))) <= 1
    assert (got[:, :11] == 255).all()


def test_alpha_of_grey_is_composited_over_white():
    grey = np.full((4, 4), 100, np.uint8)
    alpha = np.array([[0, 85, 170, 255]] * 4, np.uint8)
    got = pixels(encoded(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG"))
    assert far(got[0, :, 0], np.array([255, 203, 152, 100])) <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB", "1"])
def test_a_transparent_colour_becomes_white(mode):
    picture = Image.new("RGB", (4, 4), (0, 0, 0))
    picture.paste((200, 200, 200), (0, 0, 2, 4))
    picture = picture.convert(mode)
    black = picture.getpixel((3, 3))
    data = encoded(picture, "PNG", transparency=black)
    assert "transparency" in Image.open(io.BytesIO(data)).info
    got = pixels(data)
    assert (got[:, 2:] == 255).all()
    assert (got[:, :2] == got[0, 0]).all()


# orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation, kind):
    stored = encoded(SCENE, kind, exif=turned(orientation), **({"lossless": True} if kind == "WEBP" else {}))
    expected = Image.fromarray(SCENE)
    expected.getexif()[EXIF_ORIENTATION] = orientation
    expected = np.asarray(ImageOps.exif_transpose(expected))
    assert expected.shape == ((24, 32, 3) if orientation < 5 else (32, 24, 3))
    assert far(pixels(stored), expected) <= (8 if kind == "JPEG" else 0)


def test_orientation_6_is_a_quarter_turn_clockwise():
    assert far(pixels(encoded(SCENE, "PNG", exif=turned(6))), np.rot90(SCENE, k=-1)) == 0


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_does_not_exist_changes_nothing(orientation, kind):
    assert far(pixels(encoded(SCENE, kind, exif=turned(orientation))), SCENE) <= 8


def test_damaged_exif_data_leave_the_picture():
    assert far(pixels(encoded(SCENE, "JPEG", exif=b"Exif\0\0" + b"\xff" * 40)), SCENE) <= 8


# animation


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_the_first_of_several_frames_is_taken(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    frames = [Image.fromarray(255 - SCENE), Image.fromarray(SCENE[::-1])]
    data = encoded(SCENE, kind, save_all=True, append_images=frames, **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    assert far(pixels(data), SCENE) == 0


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO", "PDF"])
def test_other_formats_are_refused(kind):
    message = reason(encoded(SCENE, kind, mode="RGB"))
    assert message.startswith("not a JPEG, PNG, WEBP, BMP, TIFF image")


# bad files


def test_a_page_that_is_named_like_an_image_is_refused_with_its_beginning(tmp_path):
    (tmp_path / "x.jpg").write_bytes(HTML)
    with pytest.raises(BadImage, match="not a JPEG.*begins with b'<!DOCTYPE ht'"):
        decode(tmp_path / "x.jpg")


def test_an_empty_file_is_called_empty():
    assert reason(b"") == "empty file"


@pytest.mark.parametrize("data", [b"\0", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM", b"\0" * 999])
def test_a_beginning_alone_is_refused(data):
    assert reason(data)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_ends_early_is_refused_wherever_it_ends(kind):
    whole = encoded(scene(1, 60, 80), kind)
    for share in np.linspace(0.01, 0.95, 40):
        assert reason(whole[: int(len(whole) * share)])


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_after_the_picture_change_nothing(kind):
    whole = encoded(SCENE, kind)
    assert (pixels(whole + b"\0trailing" * 9) == pixels(whole)).all()


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to("nowhere.jpg")
    for name, message in [
        ("folder.jpg", "Is a directory"),
        ("dangling.jpg", "No such file or directory"),
        ("absent.jpg", "No such file or directory"),
    ]:
        with pytest.raises(BadImage, match=message):
            decode(tmp_path / name)


@pytest.mark.parametrize("side", [10_001, 20_000, 60_000, 2**31 - 1])
def test_a_small_file_that_claims_to_be_huge_is_refused_before_it_is_decoded(side, monkeypatch):
    def decoded(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(decoder, "_decode_other", decoded)
    data = huge_png(side, side)
    assert len(data) < 100
    assert f"{side}" in reason(data) or "exceeds limit" in reason(data)


def test_the_cap_counts_pixels(monkeypatch):
    monkeypatch.setattr(decoder, "MAX_PIXELS", 24 * 32)
    assert pixels(encoded(SCENE)).shape == (24, 32, 3)
    monkeypatch.setattr(decoder, "MAX_PIXELS", 24 * 32 - 1)
    assert reason(encoded(SCENE)) == "32 x 24 pixels, more than the cap of 767"
    assert MAX_PIXELS > 60_000_000


def test_a_picture_between_pillows_limit_and_the_cap_warns_of_nothing(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(encoded(SCENE)).shape == (24, 32, 3)


def test_a_strip_is_refused_since_its_enlargement_would_fill_the_memory():
    strip = np.zeros((2, 2 * MAX_ASPECT, 3), np.uint8)
    assert pixels(encoded(strip, "PNG")).shape == strip.shape
    for shape in ((2, 2 * MAX_ASPECT + 1, 3), (60_000, 1, 3)):
        assert f"one side more than {MAX_ASPECT} times the other" in reason(encoded(np.zeros(shape, np.uint8), "PNG"))


def test_an_error_without_words_is_still_a_reason(monkeypatch):
    def fail(_):
        raise MemoryError

    monkeypatch.setattr(decoder, "_decode_other", fail)
    assert reason(encoded(SCENE, "PNG")) == "cannot be decoded: MemoryError"


SMALL = scene(2, 12, 16)
SMALL_FILES = [encoded(SMALL, "JPEG"), encoded(SMALL, "JPEG", progressive=True), encoded(SMALL, "PNG")]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(SMALL_FILES),
    st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), max_size=12),
    st.tuples(st.integers(0, 2**16), st.binary(max_size=12)),
    st.integers(0, 2**16),
)
def test_a_damaged_file_is_a_picture_or_a_bad_image_and_nothing_else(data, changes, insertion, end):
    damaged = bytearray(data)
    for place, value in changes:
        damaged[place % len(damaged)] = value
    place = insertion[0] % len(damaged)
    damaged[place:place] = insertion[1]
    try:
        got = pixels(bytes(damaged[: len(damaged) - end % 40]))
    except BadImage as bad:
        assert str(bad)
    else:
        assert got.size


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"BM", b"II*\0"]), st.binary())
def test_noise_is_a_bad_image_whatever_it_begins_with(beginning, noise):
    try:
        decode_bytes(beginning + noise)
    except BadImage as bad:
        assert str(bad)


def test_many_threads_decode_as_one_does():
    files = [encoded(scene(seed), kind) for seed in range(10) for kind in KINDS]
    with ThreadPoolExecutor(8) as pool:
        for got, data in zip(pool.map(pixels, files), files, strict=True):
            assert (got == pixels(data)).all()


def test_the_recipe_names_all_of_the_policy():
    recipe = decoder_recipe()
    canonical_json(recipe)
    assert set(recipe) == {"jpeg", "other", "reduced", "exif_orientation", "alpha", "depth", "animation"}
    assert all(isinstance(value, str) and value for value in recipe.values())
