"""Near-duplicates: exact neighbours in bounded memory, and pixels that tell a copy from another picture."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from dermfuse.features.data.dataset import load_dataset
from dermfuse.features.demo.drawing import draw, make_lesion
from dermfuse.pipelines.audit.near import candidate_pairs, check_near
from dermfuse.pipelines.audit.neighbours import Neighbours, neighbours
from dermfuse.pipelines.audit.pictures import AGREEMENT, Pictures


def test_one_group_has_no_pairs():
    found = neighbours(np.eye(4, dtype=np.float32), np.array(["a"] * 4))
    assert candidate_pairs(found) == []


def test_a_pair_that_stands_out_is_a_candidate_though_others_are_more_alike():
    found = Neighbours(np.array([1, 0, 3, 2]), np.array([0.9, 0.9, 0.6, 0.6]), np.array([0.89, 0.89, 0.1, 0.1]))
    assert candidate_pairs(found, most=1) == [(0, 1), (2, 3)]


def saved(picture: Image.Image, path, quality: int = 90):
    picture.save(path, quality=quality)
    return path


COPIES = {
    "compressed": lambda picture: Image.open(io.BytesIO(_jpeg(picture, 50))),
    "halved": lambda picture: picture.resize((64, 64)),
    "doubled": lambda picture: picture.resize((256, 256)),
    "cropped by 3 %": lambda picture: picture.crop((2, 2, 126, 126)).resize((128, 128)),
    "cropped by 10 %": lambda picture: picture.crop((6, 6, 122, 122)).resize((128, 128)),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "brightened": lambda picture: ImageEnhance.Brightness(picture).enhance(1.15),
}


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def lesion(seed: int) -> Image.Image:
    return Image.fromarray(draw(make_lesion("nv", np.random.default_rng(seed)), 128, np.random.default_rng(seed))[0])


@pytest.mark.parametrize("kind", COPIES)
def test_a_changed_copy_agrees_and_another_lesion_does_not(kind, tmp_path):
    for seed in range(4):
        paths = [
            saved(lesion(seed), tmp_path / f"{seed}.jpg"),
            saved(COPIES[kind](lesion(seed)), tmp_path / f"{seed}-copy.jpg"),
            saved(lesion(seed + 50), tmp_path / f"{seed}-other.jpg"),
        ]
        pictures = Pictures(paths)
        assert pictures.agreement(0, 1) >= AGREEMENT
        assert pictures.agreement(0, 2) < AGREEMENT


def test_a_picture_that_cannot_be_read_or_is_blank_agrees_with_nothing(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    blank = saved(Image.new("RGB", (40, 40), "grey"), tmp_path / "blank.jpg")
    pictures = Pictures([tmp_path / "bad.jpg", blank, saved(lesion(0), tmp_path / "lesion.jpg")])
    assert np.isnan(pictures.agreement(0, 2))
    assert pictures.agreement(1, 2) == 0


def test_without_embeddings_it_does_not_apply(clean):
    check, pairs = check_near(replace(clean, table=None))
    assert (check.state, check.detail, pairs) == ("not applicable", "no embeddings; run extract", None)


@pytest.mark.real_data
def test_distinct_pictures_of_ham10000_are_not_taken_for_copies(shared):
    paths = list(load_dataset(shared / "ham10000").rows["path"].iloc[:400])
    pictures = Pictures(paths)
    assert max(pictures.agreement(i, i + 1) for i in range(0, 400, 2)) < AGREEMENT
