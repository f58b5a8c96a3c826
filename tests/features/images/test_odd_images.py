"""Odd and bad files: each decodes to what it holds, or is set aside with its reason; none costs its neighbours."""

from __future__ import annotations

import csv
import io
import os
import re
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dermfuse.features.embedding.loop import Work, extract
from dermfuse.features.images import decoder
from dermfuse.features.images.decoder import MAX_BYTES, BadImage, decode, decode_bytes
from dermfuse.features.images.quarantine import FILE
from dermfuse.features.images.transforms import ResizeAndCrop
from dermfuse.features.images.workers import Task, prepared_images
from tests.features.odd_images import JPEG_NEAR, SCENE, Odd, corpus, sparse
from tests.features.pictures import encoded, scene, turned
from tests.features.toys import MeanColours, content_of, dataset_of, expected, pictures

CORPUS = corpus()
GOOD = [odd for odd in CORPUS if odd.pixels is not None]
JPEG_FILES = [odd for odd in CORPUS if isinstance(odd.data, bytes) and odd.data[:2] == b"\xff\xd8"]
every_odd = pytest.mark.parametrize("odd", CORPUS, ids=lambda odd: odd.name)


class Small:
    """The picture in a fixed small size, whatever its own; picklable."""

    shape = (3, 24, 24)

    def __init__(self):
        self._resize = ResizeAndCrop(24, 24)

    def __call__(self, image):
        return self._resize(image)


class SmallColours(MeanColours):
    """Mean colours of the whole picture: the corpus holds pictures smaller than a corner."""

    prepare = Small()


def far(got: np.ndarray, wanted: np.ndarray) -> int:
    """The largest difference of two pictures of one shape, in 8-bit levels."""
    assert got.shape == wanted.shape
    return int(np.abs(got.astype(int) - wanted.astype(int)).max())


def outcome(data: bytes) -> np.ndarray | str:
    """Pixels, (height, width, 3), or the reason."""
    try:
        return decode_bytes(data).pixels.permute(1, 2, 0).numpy()
    except BadImage as bad:
        return str(bad)


def test_the_corpus_is_large():
    assert len(GOOD) >= 40
    assert len(CORPUS) - len(GOOD) >= 40


@every_odd
def test_an_odd_file_is_its_picture_or_set_aside_with_its_reason(odd: Odd, tmp_path):
    path = odd.write(tmp_path)
    if odd.pixels is None:
        with pytest.raises(BadImage) as caught:
            decode(path)
        assert re.search(odd.reason, str(caught.value))
        assert str(caught.value).isprintable()
    else:
        picture = decode(path)
        assert far(picture.pixels.permute(1, 2, 0).numpy(), odd.pixels) <= odd.near
        assert picture.frames_left_out == odd.several


def test_a_dataset_of_odd_files_costs_none_of_its_good_ones(tmp_path, store, console):
    names = pictures(tmp_path, 12)
    # A name's suffix is no part of its id.
    odds = [replace(odd, name=f"{number:03}-{odd.name}") for number, odd in enumerate(CORPUS)]
    for odd in odds:
        odd.write(tmp_path)
    dataset = dataset_of(tmp_path, [*names, *(odd.name for odd in odds)])
    assert len(dataset.rows) == len(names) + len(odds)
    content = content_of(dataset, console)
    extractor = SmallColours()
    summary = extract(dataset, content, [extractor], store, console, Work(workers=2))

    paths = [str(Path(p).absolute()) for p in dataset.rows["path"]]
    by_name = {odd.name: odd for odd in odds}
    aside = {row.path: row for row in summary.set_aside}
    wanted = {p for p in paths if os.path.basename(p) in by_name and by_name[os.path.basename(p)].pixels is None}
    assert set(aside) == wanted
    for path, row in aside.items():
        assert re.search(by_name[os.path.basename(path)].reason, row.reason), (path, row.reason)
        assert row.reason.isprintable()
        assert "the decoder" not in row.reason
    with open(store.root / FILE, encoding="utf-8", newline="") as file:
        listed = {row["path"]: row for row in csv.DictReader(file)}
    assert set(listed) == wanted
    for path, row in listed.items():
        data = by_name[os.path.basename(path)].data
        assert row["reason"] == aside[path].reason
        assert not isinstance(data, bytes) or int(row["bytes"]) == len(data)

    usable = dataset.keep([p not in wanted for p in paths])
    keys = [key for key, path in zip(content.keys, paths, strict=True) if path not in wanted]
    plain = SmallColours()
    by_hand = [plain.forward(plain.prepare(decode(path).pixels)[None]).numpy()[0] for path in usable.rows["path"]]
    block = store.find("colours", summary.blocks[0].key)
    assert np.allclose(block.gather(keys), np.stack(by_hand), atol=1e-6)
    assert summary.frames_left_out == sum(odd.several for odd in GOOD)
    assert expected(extractor, dataset_of(tmp_path, names)).shape == (12, 12)


def test_nothing_of_a_decoders_own_talk_reaches_the_terminal(tmp_path, capfd):
    odds = [odd for odd in CORPUS if odd.name.startswith(("cut-", "zeros-", "tags-", "exif-broken"))]
    tasks = [Task(None, odd.write(tmp_path), (0,)) for odd in odds]
    list(prepared_images(tasks, [Small()], 1, decode))
    assert capfd.readouterr() == ("", "")


def test_a_file_above_the_cap_is_refused_before_it_is_read(tmp_path, monkeypatch):
    sparse(tmp_path / "x.jpg", 2 * 1024**3)
    monkeypatch.setattr(decoder.Path, "read_bytes", lambda _path: pytest.fail("read"))
    with pytest.raises(BadImage, match=f"2,147,483,648 bytes, more than the cap of {MAX_BYTES:,}"):
        decode(tmp_path / "x.jpg")


def test_the_cap_counts_bytes(tmp_path, monkeypatch):
    data = encoded(SCENE)
    (tmp_path / "x.jpg").write_bytes(data)
    monkeypatch.setattr(decoder, "MAX_BYTES", len(data))
    decode(tmp_path / "x.jpg")
    monkeypatch.setattr(decoder, "MAX_BYTES", len(data) - 1)
    with pytest.raises(BadImage, match="more than the cap"):
        decode(tmp_path / "x.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    said = []
    thread = threading.Thread(target=lambda: said.append(_reason(tmp_path / "x.jpg")), daemon=True)
    thread.start()
    thread.join(20)
    assert said == ["not a regular file"]


def _reason(path) -> str:
    with pytest.raises(BadImage) as caught:
        decode(path)
    return str(caught.value)


# the two JPEG decoders


@pytest.mark.parametrize("odd", JPEG_FILES, ids=lambda odd: odd.name)
def test_both_jpeg_decoders_accept_the_same_and_give_the_same(odd, monkeypatch):
    fast = outcome(odd.data)
    monkeypatch.setattr(decoder, "_torchvision_jpeg", lambda: None)
    slow = outcome(odd.data)
    assert isinstance(fast, str) == isinstance(slow, str)
    if not isinstance(fast, str):
        assert far(fast, slow) == 0


MAKES = {
    "plain": {},
    "progressive": {"progressive": True},
    "444": {"subsampling": "4:4:4"},
    "restarts": {"restart_marker_blocks": 2},
    "grey": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
    "turned": {"exif": turned(5)},
}


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["cut", "cut and ended"])
def test_a_jpeg_that_is_cut_anywhere_is_set_aside(make, end):
    whole = encoded(scene(2, 40, 56), **MAKES[make])
    scan = whole.index(b"\xff\xda") + 14
    picture = outcome(whole)
    # Of a progressive file, whole scans may lack: that is a JPEG too, of lower quality.
    last = whole.index(b"\xff\xc4", scan) - 1 if make == "progressive" and end else len(whole) - 2
    for place in range(scan, last, 3):
        got = outcome(whole[:place] + end)
        # Where not all of the last block lacks, nobody can tell it from another picture.
        lacks = None if isinstance(got, str) else int((got != picture).any(axis=2).sum())
        assert lacks is None or (end and lacks <= 18 * 18), place


def test_damage_within_the_data_is_judged_alike_by_both_jpeg_decoders(monkeypatch):
    rng = np.random.default_rng(11)
    alike = stricter = 0
    for make in ("plain", "444", "restarts", "progressive"):
        whole = encoded(scene(3, 40, 56), **MAKES[make])
        scan = whole.index(b"\xff\xda") + 14
        for _ in range(60):
            damaged = bytearray(whole)
            for place in rng.integers(scan, len(whole) - 2, 3):
                damaged[place] = rng.integers(256)
            fast = outcome(bytes(damaged))
            with monkeypatch.context() as patched:
                patched.setattr(decoder, "_torchvision_jpeg", lambda: None)
                slow = outcome(bytes(damaged))
            if isinstance(fast, str) == isinstance(slow, str):
                alike += isinstance(fast, str) or far(fast, slow) == 0
            else:
                stricter += isinstance(fast, str)
    # torchvision also refuses a few files whose damage seems to begin a segment longer than the file.
    assert alike + stricter == 240
    assert stricter <= 6


# damage by chance


SMALL = scene(2, 12, 16)
WHOLE = [
    encoded(SMALL, "JPEG"),
    encoded(SMALL, "JPEG", progressive=True, exif=turned(6)),
    encoded(SMALL, "JPEG", mode="CMYK"),
    encoded(SMALL, "PNG"),
    encoded(SMALL, "PNG", mode="P"),
    encoded(SMALL, "WEBP"),
    encoded(SMALL, "WEBP", lossless=True),
    encoded(SMALL, "TIFF"),
    encoded(SMALL, "TIFF", compression="tiff_lzw"),
    encoded(SMALL, "TIFF", compression="jpeg"),
    encoded(SMALL, "BMP"),
    encoded(SMALL, "BMP", mode="P"),
]
FILES_A_CALL = 30
places = st.integers(0, 2**16)
mutations = st.tuples(
    st.sampled_from(WHOLE),
    st.lists(st.tuples(places, st.integers(0, 255)), max_size=12),
    places,
    st.binary(max_size=12),
    st.integers(0, 40),
)


def mutated(data: bytes, changes: list[tuple[int, int]], place: int, insertion: bytes, lost: int) -> bytes:
    """A file with bytes changed, some put in, and some of its end lost; checksums of PNG chunks made right again."""
    out = bytearray(data)
    for where, value in changes:
        out[where % len(out)] = value
    where = place % len(out)
    out[where:where] = insertion
    out = bytes(out[: len(out) - lost])
    return _with_checksums(out) if place % 2 else out


def _with_checksums(data: bytes) -> bytes:
    """Chunks of a PNG with right checksums, so that damage gets beyond the first look."""
    import struct
    import zlib

    if data[:8] != b"\x89PNG\r\n\x1a\n":
        return data
    source, out = io.BytesIO(data[8:]), data[:8]
    while len(head := source.read(8)) == 8:
        body = source.read(min(struct.unpack(">I", head[:4])[0], len(data)))
        source.read(4)
        out += struct.pack(">I", len(body)) + head[4:] + body + struct.pack(">I", zlib.crc32(head[4:] + body))
    return out


@pytest.mark.slow
def test_no_damage_ends_a_decoding_process(tmp_path, long):
    calls = 0

    @settings(max_examples=200 if long else 5, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.lists(mutations, min_size=FILES_A_CALL, max_size=FILES_A_CALL))
    def check(made):
        nonlocal calls
        tasks = []
        for number, parts in enumerate(made):
            path = tmp_path / f"{number}.jpg"
            path.write_bytes(mutated(*parts))
            tasks.append(Task(None, path, (0,)))
        for task, got in zip(tasks, prepared_images(tasks, [Small()], 1, decode), strict=True):
            if got.bad is not None:
                assert got.bad.isprintable(), task.path.read_bytes()
                assert "the decoder" not in got.bad, (got.bad, task.path.read_bytes())
                assert "more than 60 s" not in got.bad, task.path.read_bytes()
                assert "cannot be prepared" not in got.bad, (got.bad, task.path.read_bytes())
            calls += 1

    check()
    assert calls >= (200 if long else 5) * FILES_A_CALL


def test_a_picture_near_the_tolerance_is_told_from_another():
    assert far(SCENE, np.clip(SCENE.astype(int) + JPEG_NEAR + 1, 0, 255).astype(np.uint8)) > JPEG_NEAR
