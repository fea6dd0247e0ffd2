"""`--preprocess` and picture files: what a user types, and the numbers that reach the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lightkern import FormatError, Port
from lightkern.cli.files import Inputs
from lightkern.cli.pictures import IMAGENET, Preprocess, parse_preprocess, picture_files, read_picture

RGB = Port("x", "x", (6, 6, 3))


def gradient(height: int, width: int, channels: int = 3) -> np.ndarray:
    """A smooth picture whose channels differ."""
    y, x, c = np.ogrid[:height, :width, :channels]
    return ((y * 5 + x * 3 + c * 40) % 256).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(path)
    return path


def test_presets_and_keys_combine() -> None:
    assert parse_preprocess("imagenet") == IMAGENET
    assert parse_preprocess("imagenet,crop=192") == Preprocess(
        crop=192, crop_ratio=0.875, mean=IMAGENET.mean, std=IMAGENET.std
    )
    full = parse_preprocess("resize=256,crop=224,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=NCHW")
    assert full == Preprocess(256, 224, mean=IMAGENET.mean, std=IMAGENET.std, layout="NCHW")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("imagnet", "'imagnet' is no preset"),
        ("imagenet,tf", "'tf' is no preset"),
        ("size=3", "unknown key 'size'"),
        ("resize=0", "resize='0' is not a number of pixels"),
        ("crop=a", "crop='a' is not a number of pixels"),
        ("std=0", "std='0' is not a list of positive numbers"),
        ("mean=1:nan", "mean='1:nan' is not a list of numbers"),
        ("mean=", "mean='' is not a list of numbers"),
        ("scale=-1", "scale='-1' is not a positive number"),
        ("layout=CHW", "layout='CHW' is not NCHW or NHWC"),
        ("interpolation=lanczos", "interpolation='lanczos' is not bilinear, bicubic or nearest"),
    ],
)
def test_a_wrong_preprocess_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_preprocess(text)


def test_a_picture_of_the_right_size_keeps_its_pixels() -> None:
    pixels = gradient(6, 6)
    x = parse_preprocess("unit").apply(pixels, RGB)
    assert x.shape == (3, 6, 6)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, (pixels.astype(np.float32) / 255).transpose(2, 0, 1))


def test_tf_maps_pixels_to_minus_one_to_one() -> None:
    port = Port("x", "x", (1, 2, 1), "NHWC")
    x = parse_preprocess("tf").apply(np.array([[[0], [255]]], np.uint8), Port("x", "x", (1, 1, 1), "NHWC"))
    assert abs(float(x[0, 0, 0])) <= 1
    black_and_white = Preprocess(scale=127.5, mean=(1.0,)).apply(np.array([[[0], [255]]], np.uint8), port)
    assert black_and_white.ravel().tolist() == [-1.0, 1.0]


def test_mean_and_std_apply_per_channel() -> None:
    x = Preprocess(scale=1, mean=(1, 2, 3), std=(1, 2, 4)).apply(np.full((6, 6, 3), 7, np.uint8), RGB)
    assert x[:, 0, 0].tolist() == [6.0, 2.5, 1.0]


def test_resize_and_crop_take_the_centre() -> None:
    pixels = gradient(40, 20)
    x = Preprocess(resize=20, scale=1).apply(pixels, RGB)
    np.testing.assert_array_equal(x, pixels[17:23, 7:13].transpose(2, 0, 1).astype(np.float32))


def test_imagenet_crops_seven_eighths_of_any_input_size() -> None:
    pixels = gradient(64, 64)
    x = Preprocess(crop_ratio=0.875, scale=1).apply(pixels, Port("x", "x", (56, 56, 3)))
    np.testing.assert_array_equal(x, pixels[4:60, 4:60].transpose(2, 0, 1).astype(np.float32))


@pytest.mark.parametrize(
    ("preprocess", "pixels", "message"),
    [
        (Preprocess(layout="NHWC"), gradient(6, 6), "layout=NHWC: input 'x' of the model is NCHW"),
        (Preprocess(crop=5), gradient(6, 6), "crop=5: input 'x' of the model is 6x6"),
        (Preprocess(resize=5), gradient(9, 9), "resize=5 is smaller than the crop of 6x6"),
        (Preprocess(mean=(1, 2)), gradient(6, 6), "mean has 2 values for 3 channels"),
        (Preprocess(), gradient(6, 6, 1), "picture has 1 colour channels, input 'x' needs 3"),
    ],
)
def test_a_preprocess_that_does_not_fit_the_model_is_refused(
    preprocess: Preprocess, pixels: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        preprocess.apply(pixels, RGB)


def test_pictures_are_read_as_grey_or_rgb(tmp_path: Path) -> None:
    pixels = gradient(4, 5)
    path = save(tmp_path / "a.png", pixels)
    np.testing.assert_array_equal(read_picture(path, 3), pixels)
    grey = read_picture(path, 1)
    assert grey.shape == (4, 5, 1)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[:, :, 0] - luma).max() <= 1
    with pytest.raises(ValueError, match="1 or 3 channels, the model takes 4"):
        read_picture(path, 4)


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    whole = save(tmp_path / "whole.png", gradient(32, 32)).read_bytes()
    for name, content in {"cut.png": whole[: len(whole) // 2], "text.jpg": b"no picture", "empty.png": b""}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(FormatError, match=f"{name}: not a readable picture"):
            read_picture(path, 3)


def test_a_folder_is_read_in_order_with_its_sub_folders(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("z.png", "a.PNG", "b/c.jpg"):
        save(tmp_path / name, gradient(6, 6))
    (tmp_path / "notes.txt").write_text("not a picture")
    assert [p.name for p in picture_files(tmp_path)] == ["a.PNG", "c.jpg", "z.png"]
    inputs = Inputs(tmp_path, [RGB], parse_preprocess("unit"), limit=2)
    assert len(inputs) == 2
    assert [batch["x"].shape for batch in inputs.batches(1)] == [(1, 3, 6, 6)] * 2
    assert [batch["x"].shape for batch in inputs.batches(5)] == [(2, 3, 6, 6)]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="contains no pictures"):
        picture_files(tmp_path)


def test_uint8_arrays_are_pictures(tmp_path: Path) -> None:
    pixels = np.stack([gradient(6, 6), gradient(6, 6) + 1])
    np.save(tmp_path / "x.npy", pixels)
    inputs = Inputs(tmp_path / "x.npy", [RGB], parse_preprocess("unit"))
    (batch,) = inputs.batches(8)
    np.testing.assert_array_equal(batch["x"], pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    with pytest.raises(ValueError, match="uint8 pictures: say --preprocess"):
        Inputs(tmp_path / "x.npy", [RGB])
    np.save(tmp_path / "y.npy", pixels.astype(np.float32))
    with pytest.raises(ValueError, match=r"applies to pictures \(uint8\), the file holds float32"):
        Inputs(tmp_path / "y.npy", [RGB], parse_preprocess("unit"))
