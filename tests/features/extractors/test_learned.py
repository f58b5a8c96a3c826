"""Autoencoders kept in the cache: what they may learn from, when they serve again, and when they do not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from dermfuse.cache.errors import UserError
from dermfuse.features.embedding.loop import extract
from dermfuse.features.extractors import learned
from dermfuse.features.extractors.autoencoder import AutoencoderConfig, config_as_dict
from dermfuse.features.extractors.learned import autoencoder_for, learning_record, load_autoencoder, reconstructions
from dermfuse.features.images.decoder import decode
from tests.features.pictures import write_pictures
from tests.features.toys import content_of, dataset_of, pictures

TINY = AutoencoderConfig(size=16, channels=(4, 4, 4, 8), latent=6, epochs=2, batch=16)


@pytest.fixture
def paths(tmp_path):
    """Forty images by row key."""
    files = write_pictures(tmp_path / "data", [f"p{i:03}.jpg" for i in range(40)])
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in files}


@pytest.fixture
def trainings(monkeypatch):
    """How many images each training had, in order."""
    counts = []
    train = learned.train_autoencoder

    def counted(images, *rest):
        counts.append(len(images))
        return train(images, *rest)

    monkeypatch.setattr(learned, "train_autoencoder", counted)
    return counts


@pytest.fixture
def decoded(monkeypatch):
    """Row keys of the images that were looked at."""
    keys = set()

    def counted(path, *rest):
        keys.add(hashlib.sha256(path.read_bytes()).hexdigest())
        return decode(path, *rest)

    monkeypatch.setattr(learned, "decode", counted)
    return keys


@pytest.fixture
def make(paths, store, console):
    """Ask for an autoencoder that may learn from these row keys; by default all are allowed."""

    def make(learn, allowed=None, config=TINY, dtype="float32"):
        return autoencoder_for(
            paths, list(learn), set(paths if allowed is None else allowed), store, config, "cpu", dtype, console, 0
        )

    return make


def weights_of(extractor) -> str:
    return extractor.recipe()["weights"]


# what it learns from


def test_it_learns_from_the_images_it_is_given_and_from_no_other(make, paths, decoded, trainings):
    learn = list(paths)[:20]
    extractor = make(learn)
    assert decoded == set(learn) == extractor.learned_from
    assert trainings == [20]


def test_images_that_it_may_not_learn_from_do_not_change_it(make, paths, store, tmp_path):
    learn = list(paths)[:20]
    first = weights_of(make(learn))
    for key in list(paths)[20:]:
        paths[key].write_bytes(b"something else")
    (store.learned_folder("cae", first) / "record.json").unlink()
    assert weights_of(make(learn)) == first


def test_a_larger_training_split_is_subsampled_by_seed_and_told(make, paths, console, trainings):
    extractor = make(paths, config=replace(TINY, max_images=18))
    assert trainings == [18]
    assert len(extractor.learned_from) == 18
    assert extractor.learned_from < set(paths)
    assert console.notices == ["cae learns from 18 of 40 training images, drawn by seed"]


def test_the_same_seed_subsamples_the_same_images(make, paths, store):
    drawn = []
    for seed in (0, 0, 1):
        extractor = make(paths, config=replace(TINY, max_images=18, epochs=1, seed=seed))
        (store.learned_folder("cae", weights_of(extractor)) / "record.json").unlink()
        drawn.append(extractor.learned_from)
    assert drawn[0] == drawn[1] != drawn[2]


def test_bad_images_are_not_learned_from(make, paths):
    learn = list(paths)[:20]
    paths[learn[3]].write_bytes(b"")
    assert make(learn).learned_from == set(learn) - {learn[3]}


def test_an_image_that_changed_since_it_was_hashed_is_not_learned_from(make, paths):
    learn = list(paths)[:20]
    paths[learn[3]].write_bytes(paths[learn[30 - 20]].read_bytes())
    assert make(learn).learned_from == set(learn) - {learn[3]}


def test_too_few_images_are_refused_with_the_way_out(make, paths):
    learn = list(paths)[:16]
    make(learn)
    paths[learn[0]].write_bytes(b"")
    with pytest.raises(UserError, match="needs at least 16 readable training images, got 15. Leave cae out of --feat"):
        make(learn, allowed=learn[:15])
    with pytest.raises(UserError, match="got 0"):
        make([], allowed=[])


# when it serves again


def test_it_is_trained_once(make, paths, trainings):
    learn = list(paths)[:20]
    first, second = make(learn), make(learn)
    assert trainings == [20]
    assert weights_of(first) == weights_of(second)
    assert first.learned_from == second.learned_from


def test_new_images_do_not_make_it_train_again(make, paths, trainings):
    keys = list(paths)
    first = make(keys[:20], allowed=keys[:25])
    second = make(keys[:30], allowed=keys[:38])
    assert trainings == [20]
    assert weights_of(first) == weights_of(second)


def test_one_that_learned_from_an_image_of_the_test_split_does_not_serve(make, paths, trainings):
    keys = list(paths)
    first = make(keys[:20])
    now_in_test = keys[7]
    allowed = [key for key in keys if key != now_in_test]
    second = make(allowed[:20], allowed=allowed)
    assert trainings == [20, 20]
    assert weights_of(first) != weights_of(second)
    assert now_in_test in first.learned_from
    assert now_in_test not in second.learned_from


def test_images_held_back_for_stopping_count_as_learned_from(make, paths, store):
    extractor = make(list(paths)[:20])
    record = learning_record(store, weights_of(extractor))
    assert record["rows_held_back"] == 2
    assert len(record["rows"]) == len(extractor.learned_from) == 20


@pytest.mark.parametrize("change", [{"seed": 1}, {"epochs": 1}, {"latent": 5}, {"max_images": 19}])
def test_one_of_another_configuration_does_not_serve(change, make, paths, trainings):
    learn = list(paths)[:20]
    make(learn)
    make(learn, config=replace(TINY, **change))
    assert len(trainings) == 2


def test_the_one_made_last_serves_among_several(make, paths, store, trainings):
    keys = list(paths)
    old, new = make(keys[:20], allowed=keys[:20]), make(keys[20:], allowed=keys[20:])
    assert trainings == [20, 20]
    assert weights_of(make(keys)) == weights_of(new) != weights_of(old)


def test_it_serves_in_the_dtype_that_is_asked_for(make, paths, trainings):
    learn = list(paths)[:20]
    assert make(learn, dtype="float32").recipe()["dtype"] == "float32"
    assert make(learn, dtype="float16").recipe()["dtype"] == "float16"
    assert len(trainings) == 1


def test_a_training_that_was_interrupted_leaves_nothing_that_serves(make, paths, monkeypatch, trainings):
    def interrupt(*_):
        raise KeyboardInterrupt

    learn = list(paths)[:20]
    keep = learned._keep_reconstructions
    monkeypatch.setattr(learned, "_keep_reconstructions", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make(learn)
    monkeypatch.setattr(learned, "_keep_reconstructions", keep)
    make(learn)
    assert len(trainings) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"created": 1}', "null"])
def test_a_damaged_record_is_passed_over(content, make, paths, store, trainings):
    learn = list(paths)[:20]
    first = weights_of(make(learn))
    (store.learned_folder("cae", first) / "record.json").write_text(content)
    assert weights_of(make(learn)) == first
    assert len(trainings) == 2


# what is kept


def test_the_record_tells_how_it_was_learned(make, paths, store):
    extractor = make(list(paths)[:20])
    record = learning_record(store, weights_of(extractor))
    assert record["config"] == config_as_dict(TINY)
    assert record["weights"] == weights_of(extractor)
    assert len(record["curve"]["train_loss"]) == len(record["curve"]["validation_loss"]) == 2
    assert record["seconds"] >= 0
    assert learning_record(store, "0" * 64) == {}


def test_reconstructions_of_images_that_were_held_back_are_kept(make, paths, store):
    extractor = make(list(paths)[:20])
    with np.load(reconstructions(store, weights_of(extractor)), allow_pickle=False) as kept:
        assert kept["originals"].shape == kept["reconstructions"].shape == (2, 16, 16, 3)
        assert kept["originals"].dtype == kept["reconstructions"].dtype == np.uint8
        assert (kept["originals"] != kept["reconstructions"]).any()


def test_it_is_loaded_as_it_was_kept(make, paths, store):
    made = make(list(paths)[:20])
    loaded = load_autoencoder(store, weights_of(made), "cpu", "float32")
    assert loaded.recipe() == made.recipe()
    assert loaded.learned_from == made.learned_from
    batch = np.stack([made.prepare(decode(path).pixels).numpy() for path in list(paths.values())[:3]])
    import torch

    assert torch.equal(made.forward(torch.from_numpy(batch)), loaded.forward(torch.from_numpy(batch)))


def test_one_that_is_gone_is_refused_with_what_to_do(store):
    with pytest.raises(UserError, match="the autoencoder 000000000000 is not in .* Run 'extract' and 'fit' again"):
        load_autoencoder(store, "0" * 64, "cpu", "float32")


@pytest.mark.parametrize("damage", ["truncated", "another's", "gone"])
def test_damaged_weights_are_refused(damage, make, paths, store):
    first = weights_of(make(list(paths)[:20]))
    other = weights_of(make(list(paths)[:20], config=replace(TINY, seed=1)))
    path, foreign = (store.learned_folder("cae", key) / "weights.safetensors" for key in (first, other))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes(foreign.read_bytes())
    with pytest.raises(UserError, match="weights.safetensors"):
        load_autoencoder(store, first, "cpu", "float32")


def test_a_record_with_damaged_json_is_not_the_autoencoder(make, paths, store):
    first = weights_of(make(list(paths)[:20]))
    record = store.learned_folder("cae", first) / "record.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "rows": []})[:-4])
    with pytest.raises(UserError, match="is not in"):
        load_autoencoder(store, first, "cpu", "float32")


# through the loop


def test_a_new_image_is_embedded_alone_and_by_the_autoencoder_that_was_there(tmp_path, store, console, trainings):
    folder = tmp_path / "images"
    folder.mkdir()
    names = pictures(folder, 20)

    def run(names):
        dataset = dataset_of(folder, names)
        content = content_of(dataset, console)
        keys = content.paths(dataset)
        extractor = autoencoder_for(keys, sorted(keys), set(keys), store, TINY, "cpu", "float16", console)
        return extract(dataset, content, [extractor], store, console).blocks[0]

    first = run(names)
    second = run([*names, *pictures(folder, 1, first=700)])
    assert (first.computed, first.reused) == (20, 0)
    assert (second.computed, second.reused) == (1, 20)
    assert second.key == first.key
    assert trainings == [20]
