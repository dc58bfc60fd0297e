"""Storage round trips: JPEG equals Pillow, H.264 costs what ImageNet-P's encoding costs, both are deterministic."""

from __future__ import annotations

import builtins
import io

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image

from corruptions import CorruptionError
from corruptions.storage import decode_jpeg, decode_video, encode_jpeg, encode_video, round_trip


def photograph(size: int) -> np.ndarray:
    return np.ascontiguousarray(skimage.data.astronaut()[40 : 40 + size, 150 : 150 + size])


def noisy_sequence(size: int) -> np.ndarray:
    clean = photograph(size)
    draws = np.random.default_rng(0).standard_normal((30, *clean.shape))
    noisy = np.clip(clean / 255.0 + 0.03 * draws, 0, 1) * 255
    return np.concatenate([clean[None], noisy.astype(np.uint8)])


def test_jpeg_is_pillows_file_byte_for_byte():
    pixels = photograph(224)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85, optimize=True)
    assert encode_jpeg(pixels) == buffer.getvalue()
    with Image.open(buffer) as image:
        assert image.layer[0][1:3] == (2, 2)  # luminance sampled twice as densely each way: 4:2:0
        expected = np.asarray(image.convert("RGB"))
    assert (round_trip(pixels, "jpeg85") == expected).all()
    assert (decode_jpeg(encode_jpeg(pixels)) == expected).all()


def test_jpeg_of_batches_and_sequences_is_image_by_image():
    images = torch.from_numpy(np.stack([photograph(64), photograph(64)[::-1].copy()])).permute(0, 3, 1, 2)
    stored = round_trip(images, "jpeg85")
    assert stored.shape == images.shape
    assert stored.dtype == torch.uint8
    for k in range(2):
        expected = round_trip(images[k].permute(1, 2, 0).numpy(), "jpeg85")
        assert (stored[k].permute(1, 2, 0).numpy() == expected).all()
    sequences = torch.stack([images, images], dim=1)
    assert torch.equal(round_trip(sequences, "jpeg85")[:, 1], stored)
    assert torch.equal(round_trip(images, "jpeg85", threads=1), stored)


def test_none_gives_the_images_back():
    images = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert round_trip(images, "none") is images


def test_h264_of_noise_loses_the_strength_that_imagenet_p_lost():
    sequence = noisy_sequence(224)[:16]
    stored = round_trip(sequence, "h264", noise=True)
    before = (sequence[1].astype(int) - sequence[0]).std()
    after = (stored[1].astype(int) - stored[0]).std()
    assert before == pytest.approx(7.4, abs=0.2)
    assert after == pytest.approx(5.8, abs=0.4)
    assert np.abs(stored.astype(int) - sequence).mean() == pytest.approx(4.4, abs=0.3)


def test_h264_of_a_smooth_sequence_costs_about_a_level():
    clean = photograph(224).astype(int)
    sequence = np.stack([np.clip(clean + 5 * (i - 15), 0, 255) for i in range(31)]).astype(np.uint8)
    stored = round_trip(sequence, "h264")
    assert np.abs(stored.astype(int) - sequence).mean() == pytest.approx(1.1, abs=0.25)


def test_h264_files_are_what_the_benchmarks_reader_expects(tmp_path):
    av = pytest.importorskip("av")
    sequence = noisy_sequence(64)
    content = encode_video(sequence, noise=True)
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.pix_fmt == "yuv444p"
        assert stream.average_rate == 1
        assert stream.codec_context.profile == "High 4:4:4 Predictive"
        assert [frame.key_frame for frame in container.decode(stream)] == [True] + [False] * 30
    settings = content[content.find(b"x264 - core") :][:800]  # x264 writes its settings into the stream
    for setting in (b"crf=23.0", b"deblock=1:-2:-2", b"qcomp=0.80", b"ref=16", b"me=umh", b"subme=10", b"keyint_min=1"):
        assert setting in settings, setting
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1][..., ::-1])
    assert (np.stack(frames) == decode_video(content)).all()


def test_h264_is_deterministic_and_independent_of_threads():
    sequences = np.stack([noisy_sequence(64), noisy_sequence(64)[::-1]])
    first = round_trip(sequences, "h264", noise=True, threads=1)
    assert (round_trip(sequences, "h264", noise=True, threads=2) == first).all()
    scratch = [np.full(10_000_000, 255, np.uint8) for _ in range(3)]  # so that fresh memory holds something else
    del scratch
    assert encode_video(sequences[0], noise=False) == encode_video(sequences[0], noise=False)
    as_torch = torch.from_numpy(sequences).permute(0, 1, 4, 2, 3)
    assert (round_trip(as_torch, "h264", noise=True).permute(0, 1, 3, 4, 2).numpy() == first).all()


def test_odd_sizes_survive():
    sequence = np.ascontiguousarray(noisy_sequence(64)[:4, :33, :47])
    assert round_trip(sequence, "h264").shape == sequence.shape


def test_a_missing_pyav_is_named(monkeypatch):
    real = builtins.__import__

    def without_av(name, *args, **kwargs):
        if name == "av":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(CorruptionError, match=r"needs PyAV: pip install 'robustbench-lift\[video\]'"):
        round_trip(np.zeros((2, 32, 32, 3), np.uint8), "h264")


@pytest.mark.parametrize(
    ("images", "name", "message"),
    [
        (np.zeros((32, 32, 3), np.uint8), "jpg85", "unknown storage 'jpg85'. Did you mean 'jpeg85'"),
        (np.zeros((32, 32, 3), np.float32), "jpeg85", "expected uint8 images, found float32"),
        (torch.zeros(1, 1, 32, 32, dtype=torch.uint8), "jpeg85", r"found \[1, 1, 32, 32\]"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "h264", r"expected sequences, \[N, T, 3, H, W\]"),
        (np.zeros((32, 32), np.uint8), "jpeg85", r"found \[32, 32\]"),
    ],
)
def test_errors_teach_storage(images, name, message):
    with pytest.raises(CorruptionError, match=message):
        round_trip(images, name)


def test_a_broken_video_is_one_error():
    content = encode_video(np.zeros((2, 32, 32, 3), np.uint8), noise=False)
    with pytest.raises(CorruptionError, match="not a video that can be read"):
        decode_video(content[: len(content) // 2])
    with pytest.raises(CorruptionError, match="not a video that can be read"):
        decode_video(b"nothing")
