"""Stage 1's loop: every image once, nothing twice, bad ones aside, and always the same values."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dermfuse.cache.errors import UserError
from dermfuse.cache.hashes import ContentIndex
from dermfuse.cache.store import Store
from dermfuse.features.console import Console
from dermfuse.features.data.content import open_index, read_content
from dermfuse.features.embedding import loop as module
from dermfuse.features.embedding import sink
from dermfuse.features.embedding.loop import Work, embed, extract
from dermfuse.features.images.decoder import decode
from dermfuse.features.images.quarantine import read_quarantine
from dermfuse.features.runtimes.choice import Choice, network_key, runtime_of
from tests.features.decoders import scripted
from tests.features.pictures import encoded, scene
from tests.features.toys import MeanColours, content_of, dataset_of, expected, pictures

HTML = b"<!DOCTYPE html><title>404</title>"


@pytest.fixture
def folder(tmp_path):
    """An empty image folder."""
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def dataset(folder):
    """Ten images and their table."""
    return dataset_of(folder, pictures(folder, 10))


@pytest.fixture
def decoded(monkeypatch):
    """Names of the files that were decoded, in no order."""
    names = []

    def counted(path, *rest):
        names.append(path.name)
        return decode(path, *rest)

    monkeypatch.setattr(module, "decode", counted)
    return names


def run(dataset, store, *extractors, **options):
    console = options.pop("console", None) or Console(quiet=True)
    work = Work(**{"workers": 0, **options})
    return extract(dataset, content_of(dataset, console), list(extractors), store, console, work)


def kept(store, extractor, dataset) -> np.ndarray:
    """The cache's embeddings of every row, in the dataset's order."""
    block = store.find(extractor.name, store.open_block(*block_of(extractor)).key)
    return block.gather(content_of(dataset, Console(quiet=True)).keys)


def block_of(extractor):
    return extractor.name, extractor.recipe(), extractor.width, extractor.dtype


# once


def test_every_image_is_embedded_and_found_again_under_its_own_bytes(dataset, store):
    extractor = MeanColours()
    summary = run(dataset, store, extractor)
    assert summary.images == extractor.seen == 10
    assert [(b.name, b.computed, b.reused) for b in summary.blocks] == [("colours", 10, 0)]
    assert summary.set_aside == []
    np.testing.assert_allclose(kept(store, extractor, dataset), expected(extractor, dataset), atol=1e-6)


def test_a_second_extraction_computes_and_decodes_nothing(dataset, store, decoded):
    run(dataset, store, MeanColours())
    decoded.clear()
    again = MeanColours()
    summary = run(dataset, store, again)
    assert again.seen == 0
    assert decoded == []
    assert [(b.computed, b.reused) for b in summary.blocks] == [(0, 10)]


def test_a_new_image_adds_only_itself(dataset, store, folder, decoded):
    run(dataset, store, MeanColours())
    decoded.clear()
    grown = dataset_of(folder, [f"{i}.jpg" for i in dataset.rows.id] + pictures(folder, 1, first=500))
    extractor = MeanColours()
    summary = run(grown, store, extractor)
    assert decoded == ["p500.jpg"]
    assert (summary.blocks[0].computed, summary.blocks[0].reused) == (1, 10)
    np.testing.assert_allclose(kept(store, extractor, grown), expected(extractor, grown), atol=1e-6)


def test_files_that_moved_are_not_computed_again(dataset, store, folder, tmp_path):
    run(dataset, store, MeanColours())
    shutil.copytree(folder, tmp_path / "moved")
    extractor = MeanColours()
    run(dataset_of(tmp_path / "moved", [f"{i}.jpg" for i in dataset.rows.id]), store, extractor)
    assert extractor.seen == 0


def test_a_file_that_changed_is_computed_again(dataset, store):
    extractor = MeanColours()
    run(dataset, store, extractor)
    Path(dataset.rows.path[3]).write_bytes(encoded(scene(999)))
    changed = MeanColours()
    assert run(dataset, store, changed).blocks[0].computed == 1
    np.testing.assert_allclose(kept(store, changed, dataset), expected(changed, dataset), atol=1e-6)


def test_another_recipe_is_another_block(dataset, store):
    run(dataset, store, MeanColours())
    other = MeanColours(scale=2.0)
    assert run(dataset, store, other).blocks[0].computed == 10
    np.testing.assert_allclose(kept(store, other, dataset), 2 * kept(store, MeanColours(), dataset), atol=1e-6)


def test_several_extractors_share_one_decoding(dataset, store, decoded):
    first, second = MeanColours("first"), MeanColours("second", scale=3.0)
    run(dataset, store, first, second)
    assert sorted(decoded) == sorted(Path(path).name for path in dataset.rows.path)
    assert (first.seen, second.seen) == (10, 10)
    for extractor in (first, second):
        np.testing.assert_allclose(kept(store, extractor, dataset), expected(extractor, dataset), atol=1e-6)


def test_an_extractor_is_given_only_what_it_lacks(dataset, store):
    run(dataset.keep(np.arange(10) < 7), store, MeanColours("first"))
    first, second = MeanColours("first"), MeanColours("second")
    summary = run(dataset, store, first, second)
    assert (first.seen, second.seen) == (3, 10)
    assert [(b.name, b.computed, b.reused) for b in summary.blocks] == [("first", 3, 7), ("second", 10, 0)]


def test_two_files_of_the_same_bytes_share_one_row(dataset, store, folder):
    shutil.copy(folder / "p000.jpg", folder / "twin.jpg")
    twins = dataset_of(folder, [f"{i}.jpg" for i in dataset.rows.id] + ["twin.jpg"])
    extractor = MeanColours()
    summary = run(twins, store, extractor)
    assert (summary.images, extractor.seen) == (11, 10)
    vectors = kept(store, extractor, twins)
    assert (vectors[0] == vectors[-1]).all()
    np.testing.assert_allclose(vectors, expected(extractor, twins), atol=1e-6)


# always the same values


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(10)), batch_size=st.integers(1, 12), workers=st.sampled_from([0, 1, 4]))
def test_order_batch_size_and_workers_do_not_change_the_values(order, batch_size, workers, dataset, tmp_path_factory):
    extractor = MeanColours()
    store = Store(tmp_path_factory.mktemp("cache"))
    shuffled = dataset.keep(np.ones(10, bool))
    shuffled.rows.iloc[:] = dataset.rows.iloc[list(order)].to_numpy()
    run(shuffled, store, extractor, batch_size=batch_size, workers=workers)
    assert extractor.seen == 10
    assert max(extractor.batches) <= batch_size
    np.testing.assert_allclose(kept(store, extractor, dataset), expected(extractor, dataset), atol=1e-6)


def test_values_do_not_depend_on_where_shards_end(dataset, store, monkeypatch):
    monkeypatch.setattr(sink, "SHARD_ROWS", 4)
    extractor = MeanColours()
    run(dataset, store, extractor, batch_size=2)
    block = store.open_block(*block_of(extractor))
    assert len({shard for shard, _ in block.row_keys.values()}) == 3
    np.testing.assert_allclose(kept(store, extractor, dataset), expected(extractor, dataset), atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-3), ("float32", 1e-6)])
def test_embeddings_are_stored_as_asked(dtype, tolerance, dataset, store):
    extractor = MeanColours(dtype=dtype)
    run(dataset, store, extractor)
    assert store.open_block(*block_of(extractor)).dtype == dtype
    plain = expected(MeanColours(), dataset)
    np.testing.assert_allclose(kept(store, extractor, dataset), plain, atol=tolerance)
    assert (kept(store, extractor, dataset) == plain.astype(dtype).astype("float32")).all()


def test_values_beyond_float16_are_refused_with_the_way_out(dataset, store):
    with pytest.raises(UserError, match="colours gives values for 10 images that float16 cannot hold.*--dtype float32"):
        run(dataset, store, MeanColours(dtype="float16", scale=1e6), batch_size=16)
    assert run(dataset, store, MeanColours(scale=1e6)).blocks[0].computed == 10


def test_values_that_are_no_numbers_are_refused(dataset, store):
    class NoNumbers(MeanColours):
        def forward(self, batch):
            return super().forward(batch) * float("nan")

    with pytest.raises(UserError, match="for 10 images that float32 cannot hold.*check its weights"):
        run(dataset, store, NoNumbers(), batch_size=16)


# bad images


@pytest.fixture
def spoiled(folder):
    """Ten images, of which one of each kind is bad, and what should be said of it."""
    names = pictures(folder, 10)
    whole = (folder / names[1]).read_bytes()
    (folder / names[1]).write_bytes(whole[: len(whole) * 9 // 10])
    (folder / names[3]).write_bytes(HTML)
    (folder / names[4]).write_bytes(b"")
    (folder / names[6]).unlink()
    (folder / names[6]).mkdir()
    (folder / names[8]).unlink()
    (folder / names[8]).symlink_to("nowhere.jpg")
    reasons = {1: "cannot be decoded", 3: "not a JPEG", 4: "empty file", 6: "not a file", 8: "not a file"}
    return dataset_of(folder, names), {str(folder / names[i]): reason for i, reason in reasons.items()}


def test_bad_images_are_set_aside_with_the_reason_and_the_others_stay_aligned(spoiled, store):
    dataset, reasons = spoiled
    extractor = MeanColours()
    summary = run(dataset, store, extractor)
    assert (summary.images, extractor.seen) == (10, 5)
    assert {row.path for row in summary.set_aside} == set(reasons)
    for row in summary.set_aside:
        assert row.reason.startswith(reasons[row.path])
    good = dataset.keep(~dataset.rows.path.map(str).isin(reasons))
    np.testing.assert_allclose(kept(store, extractor, good), expected(extractor, good), atol=1e-6)


def test_bad_images_are_listed_in_the_quarantine_with_size_and_content(spoiled, store):
    dataset, reasons = spoiled
    summary = run(dataset, store, MeanColours())
    assert summary.quarantine == store.root / "quarantine.csv"
    listed = {row.path: row for row in read_quarantine(store.root)}
    assert set(listed) == set(reasons)
    for path, row in listed.items():
        readable = os.path.isfile(path)
        assert row.bytes == (os.path.getsize(path) if readable else -1)
        assert len(row.content) == (64 if readable else 0)


def test_bad_images_are_told_again_by_the_next_extraction(spoiled, store):
    dataset, reasons = spoiled
    run(dataset, store, MeanColours())
    again = MeanColours()
    summary = run(dataset, store, again)
    assert again.seen == 0
    assert {row.path for row in summary.set_aside} == set(reasons)
    assert len(read_quarantine(store.root)) == len(reasons)


def test_a_bad_image_that_was_mended_is_computed_and_leaves_the_quarantine(spoiled, store, folder):
    dataset, reasons = spoiled
    run(dataset, store, MeanColours())
    (folder / "p003.jpg").write_bytes(encoded(scene(77)))
    extractor = MeanColours()
    run(dataset, store, extractor)
    assert extractor.seen == 1
    assert {row.path for row in read_quarantine(store.root)} == set(reasons) - {str(folder / "p003.jpg")}


def test_the_quarantine_keeps_what_another_dataset_set_aside(spoiled, store, tmp_path):
    dataset, reasons = spoiled
    run(dataset, store, MeanColours())
    (tmp_path / "other").mkdir()
    names = pictures(tmp_path / "other", 3)
    (tmp_path / "other" / names[0]).write_bytes(b"no image")
    summary = run(dataset_of(tmp_path / "other", names), store, MeanColours())
    assert len(summary.set_aside) == 1
    assert {row.path for row in read_quarantine(store.root)} == {*reasons, str(tmp_path / "other" / names[0])}


@pytest.mark.parametrize("content", [b"", HTML], ids=["empty", "the same page"])
def test_every_file_of_the_same_bad_content_is_set_aside(content, folder, store):
    names = pictures(folder, 6)
    for name in names[:4]:
        (folder / name).write_bytes(content)
    summary = run(dataset_of(folder, names), store, MeanColours())
    assert {row.path for row in summary.set_aside} == {str(folder / name) for name in names[:4]}
    assert len(read_quarantine(store.root)) == 4


@pytest.mark.parametrize(
    "name",
    ["=cmd().jpg", "+1.jpg", "-1.jpg", "@x.jpg", "'=1.jpg", "two\nlines.jpg", 'a"b.jpg', "a;=b.jpg", "na\u00efve.jpg"],
)
def test_a_bad_image_of_any_name_is_listed_safely_and_read_back(name, folder, store):
    good = pictures(folder, 2)
    (folder / name).write_bytes(b"no image")
    quoted = name.replace('"', '""')
    run(dataset_of(folder, [*good, quoted]), store, MeanColours())
    assert [row.path for row in read_quarantine(store.root)] == [str(folder / name)]
    assert all(line[:1] not in "=+-@" for line in (store.root / "quarantine.csv").read_text().splitlines())


def test_a_dataset_of_bad_images_alone_is_set_aside_as_a_whole(folder, store):
    names = pictures(folder, 3)
    for i, name in enumerate(names):
        (folder / name).write_bytes(b"x" * (i + 1))
    extractor = MeanColours()
    summary = run(dataset_of(folder, names), store, extractor)
    assert extractor.seen == 0
    assert len(summary.set_aside) == 3


@pytest.mark.parametrize("what", ["removed", "replaced"])
def test_a_file_that_changes_after_it_was_hashed_is_set_aside_and_never_mistaken(what, dataset, store, console):
    content = content_of(dataset, console)
    path = Path(dataset.rows.path[4])
    before = path.read_bytes()
    if what == "removed":
        path.unlink()
    else:
        path.write_bytes(encoded(scene(999)))
    extractor = MeanColours()
    summary = extract(dataset, content, [extractor], store, console, Work(workers=1))
    assert extractor.seen == 9
    assert [row.path for row in summary.set_aside] == [str(path)]
    assert summary.set_aside[0].bytes == (-1 if what == "removed" else path.stat().st_size)
    path.write_bytes(before)
    assert run(dataset, store, extractor).blocks[0].computed == 1
    np.testing.assert_allclose(kept(store, extractor, dataset), expected(extractor, dataset), atol=1e-6)


# interruption


def test_what_was_computed_before_an_interruption_is_kept(folder, store, monkeypatch):
    dataset = dataset_of(folder, pictures(folder, 30))

    def interrupted(path, *rest):
        if path.name == "p020.jpg":
            raise KeyboardInterrupt
        return decode(path, *rest)

    monkeypatch.setattr(module, "decode", interrupted)
    first = MeanColours()
    with pytest.raises(KeyboardInterrupt):
        run(dataset, store, first, batch_size=8, workers=0)
    monkeypatch.undo()
    held = len(store.open_block(*block_of(first)).row_keys)
    assert held == first.seen == 16
    second = MeanColours()
    summary = run(dataset, store, second)
    assert (summary.blocks[0].computed, summary.blocks[0].reused) == (30 - held, held)
    assert second.seen == 30 - held
    np.testing.assert_allclose(kept(store, second, dataset), expected(second, dataset), atol=1e-6)


def test_an_interruption_of_one_extractor_keeps_the_rows_of_all(dataset, store):
    class Interrupted(MeanColours):
        def forward(self, batch):
            if self.seen >= 4:
                raise KeyboardInterrupt
            return super().forward(batch)

    first, second = MeanColours("first"), Interrupted("second")
    with pytest.raises(KeyboardInterrupt):
        run(dataset, store, first, second, batch_size=2, workers=0)
    assert len(store.open_block(*block_of(first)).row_keys) == first.seen == 6
    assert run(dataset, store, MeanColours("first"), MeanColours("second")).blocks[1].computed == 6


def test_any_error_keeps_what_was_computed_before(dataset, store):
    class Failing(MeanColours):
        def forward(self, batch):
            if self.seen >= 6:
                raise RuntimeError("device lost")
            return super().forward(batch)

    first, second = MeanColours("first"), Failing("second")
    with pytest.raises(RuntimeError, match="device lost"):
        run(dataset, store, first, second, batch_size=2)
    assert run(dataset, store, MeanColours("first"), MeanColours("second")).blocks[1].computed == 4


def test_rows_before_a_value_that_cannot_be_stored_are_kept(dataset, store):
    class LateOverflow(MeanColours):
        def forward(self, batch):
            return super().forward(batch) * (1e9 if self.seen > 4 else 1)

    with pytest.raises(UserError, match="for 2 images"):
        run(dataset, store, LateOverflow(dtype="float16"), batch_size=2)
    assert run(dataset, store, MeanColours(dtype="float16"), batch_size=2).blocks[0].computed == 6


def test_a_shard_is_written_at_least_every_few_seconds(dataset, store, monkeypatch):
    monkeypatch.setattr(sink, "SHARD_SECONDS", -1.0)
    extractor = MeanColours()
    run(dataset, store, extractor, batch_size=2)
    block = store.open_block(*block_of(extractor))
    assert len({shard for shard, _ in block.row_keys.values()}) == 5
    np.testing.assert_allclose(kept(store, extractor, dataset), expected(extractor, dataset), atol=1e-6)


# what is told


def test_another_recipe_names_the_fields_that_differ(dataset, store, console):
    run(dataset, store, MeanColours(dtype="float16"), console=console)
    assert console.notices == []
    run(dataset, store, MeanColours(scale=2.0), console=console)
    [notice] = console.notices
    assert "the cache holds 10 images of another recipe" in notice
    assert 'dtype: "float16" -> "float32"' in notice
    assert "scale: 1.0 -> 2.0" in notice


def test_a_known_recipe_is_silent_about_others(dataset, store):
    for _ in range(2):
        console = Console(quiet=True)
        for scale in (1.0, 2.0):
            run(dataset, store, MeanColours(scale=scale), console=console)
    assert console.notices == []


def test_damage_is_told_and_its_rows_alone_are_computed_again(dataset, store, console, monkeypatch):
    monkeypatch.setattr(sink, "SHARD_ROWS", 4)
    extractor = MeanColours()
    run(dataset, store, extractor, batch_size=2)
    block = store.open_block(*block_of(extractor))
    shard = sorted(block.folder.glob("shard-*.h5"))[0]
    lost = sum(name == shard.stem for name, _ in block.row_keys.values())
    data = bytearray(shard.read_bytes())
    data[-3] ^= 1
    shard.write_bytes(data)
    again = MeanColours()
    assert run(dataset, store, again, console=console).blocks[0].computed == again.seen == lost
    assert shard.stem in console.notices[0]
    np.testing.assert_allclose(kept(store, extractor, dataset), expected(extractor, dataset), atol=1e-6)


@pytest.mark.parametrize("text", ["{", "{}", None])
def test_a_block_whose_recipe_is_damaged_or_lost_is_mended_and_keeps_its_rows(text, dataset, tmp_path):
    said = []
    store = Store(tmp_path / "embeddings", on_problem=said.append)
    run(dataset, store, MeanColours())
    (block,) = store.blocks()
    file = block.folder / "recipe.json"
    file.unlink() if text is None else file.write_text(text)
    (done,) = run(dataset, store, MeanColours()).blocks
    assert (done.computed, done.reused) == (0, 10)
    assert [b.key for b in store.blocks()] == [block.key]
    assert "recipe.json" in said[0]


def test_files_with_several_frames_are_counted(folder, store, console):
    from PIL import Image

    names = pictures(folder, 3)
    for name in names[:2]:
        frames = [Image.fromarray(scene(8))]
        (folder / name).write_bytes(
            encoded(scene(len(name)) + ord(name[-5]), "WEBP", save_all=True, append_images=frames)
        )
    summary = run(dataset_of(folder, names), store, MeanColours(), console=console)
    assert summary.frames_left_out == 2
    assert console.notices == ["images with several frames, of which the first was taken: 2"]


def test_an_image_that_crashes_its_decoder_costs_only_itself(dataset, store, monkeypatch):
    monkeypatch.setattr(module, "decode", scripted)
    Path(dataset.rows.path[4]).write_text("crash")
    extractor = MeanColours()
    summary = run(dataset, store, extractor, workers=2, batch_size=3)
    assert [row.path for row in summary.set_aside] == [str(dataset.rows.path[4])]
    assert "the decoder was ended by SIGSEGV" in summary.set_aside[0].reason
    assert "SIGSEGV" in (store.root / "quarantine.csv").read_text()
    good = dataset.keep(np.arange(10) != 4)
    np.testing.assert_allclose(kept(store, extractor, good), expected(extractor, good), atol=1e-6)


def test_a_replaced_image_of_the_same_size_and_time_is_found_by_verifying(dataset, store, console):
    old = time.time() - 3600
    for path in map(Path, dataset.rows.path):
        os.utime(path, (old, old))
    first = content_of(dataset, console).keys
    path = Path(dataset.rows.path[2])
    data = bytearray(path.read_bytes())
    data[-30] ^= 1
    path.write_bytes(data)
    os.utime(path, (old, old))
    with ContentIndex(dataset.folder / ".memo.sqlite") as index:
        unverified = read_content(dataset.rows["path"], index, console.progress)
        verified = read_content(dataset.rows["path"], index, console.progress, verify=True)
    assert unverified.keys == first
    assert [i for i in range(10) if verified.keys[i] != first[i]] == [2]


# hashing and embedding


def test_content_is_keyed_by_the_bytes(dataset, store, console):
    import hashlib

    with open_index(store) as index:
        content = read_content(dataset.rows.path, index, console.progress)
    assert content.keys == [hashlib.sha256(path.read_bytes()).hexdigest() for path in map(Path, dataset.rows.path)]
    assert content.unreadable == []
    assert content.paths(dataset) == dict(zip(content.keys, dataset.rows.path, strict=True))
    chosen = np.arange(10) % 2 == 0
    assert content.chosen(chosen) == set(content.keys[::2])


def test_files_that_cannot_be_read_have_no_key_and_a_reason(spoiled, console):
    dataset, _ = spoiled
    content = content_of(dataset, console)
    assert [key is None for key in content.keys] == [i in (6, 8) for i in range(10)]
    assert [row.reason for row in content.unreadable] == ["not a file", "not a file"]
    assert None not in content.chosen(np.ones(10, bool))
    assert len(content.paths(dataset)) == 8


def test_images_can_be_embedded_without_being_kept(spoiled, store, console):
    dataset, _ = spoiled
    content = content_of(dataset, console)
    paths = content.paths(dataset)
    extractor = MeanColours(dtype="float16")
    vectors, reasons = embed(paths, extractor, console)
    assert set(vectors) | set(reasons) == set(paths)
    assert len(vectors) == extractor.seen == 5
    assert {reason.split()[0] for reason in reasons.values()} == {"cannot", "not", "empty"}
    assert not list(store.root.glob("blocks/*"))
    run(dataset, store, MeanColours(dtype="float16"))
    block = store.open_block(*block_of(extractor))
    for key, vector in vectors.items():
        assert vector.dtype == np.float32
        assert (vector == block.gather([key])[0]).all()


def test_no_image_to_embed_gives_nothing(console):
    assert embed({}, MeanColours(), console) == ({}, {})


# the choice of runtimes


def test_rows_kept_in_a_precision_that_this_device_lacks_are_reused(dataset, store, console):
    there = MeanColours()
    there.runtime = runtime_of("float16", there, strict=True)
    run(dataset, store, there, console=console)
    here = MeanColours()
    summary = run(dataset, store, here, console=console, precision="auto")
    assert (summary.blocks[0].computed, summary.blocks[0].reused) == (0, 10)
    assert here.seen == 0
    assert console.notices == []


def test_an_image_that_is_always_bad_leads_to_no_new_choice(spoiled, store, monkeypatch):
    dataset, _ = spoiled
    asked = []

    def chosen(extractor, probe, left, *_rest):
        asked.append(left)
        return Choice(extractor.name, "here", network_key(extractor.recipe()), "reference", "float32", "", 8, 5, left)

    monkeypatch.setattr(module, "choose", chosen)
    for _ in range(2):
        run(dataset, store, MeanColours(), precision="auto")
    assert len(asked) == 1
