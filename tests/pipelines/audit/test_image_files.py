"""Facts of files: headers alone are read, what cannot be read is counted, names are ordered by their numbers."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
from PIL import Image

from dermfuse.pipelines.audit.image_files import check_file_facts, read_file_facts
from dermfuse.pipelines.audit.whole import labels_of


def test_facts_are_read_and_what_cannot_be_read_is_missing(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "camera"
    Image.new("RGB", (30, 20)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (10, 40)).save(tmp_path / "b.jpg", "PNG")
    (tmp_path / "c.jpg").write_bytes(b"GIF89a no")
    os.mkfifo(tmp_path / "pipe.jpg")
    names = ("a", "b", "c", "pipe", "absent")
    facts = read_file_facts([tmp_path / f"{name}.jpg" for name in names])
    assert facts["format"].tolist() == ["JPEG", "PNG", None, None, None]
    assert facts["exif"].tolist()[:2] == ["with", "without"]
    assert facts["width"].tolist()[:2] == [30, 10]
    assert facts["bytes"].tolist()[0] == (tmp_path / "a.jpg").stat().st_size
    assert np.isnan(facts["bytes"].to_numpy()[2:]).all()


def test_a_file_cut_off_after_its_header_still_has_its_facts(tmp_path):
    Image.effect_noise((300, 200), 50).convert("RGB").save(tmp_path / "whole.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    assert read_file_facts([tmp_path / "cut.jpg"])[["width", "height"]].to_numpy().tolist() == [[300, 200]]


def test_files_that_cannot_be_read_are_counted_in_the_sentence(clean, tmp_path):
    rows = clean.dataset.rows.copy()
    learning = np.flatnonzero(clean.fold >= 0)
    rows.loc[learning[:2], "path"] = tmp_path / "absent.jpg"
    given = replace(clean, dataset=replace(clean.dataset, rows=rows))
    assert all("2 files could not be read" in check.detail for check in check_file_facts(given, labels_of(given))[:5])


def test_without_images_only_names_are_looked_at(clean):
    given = replace(clean, dataset=replace(clean.dataset, rows=clean.dataset.rows.assign(path=None)))
    states = {check.code: check.state for check in check_file_facts(given, labels_of(given))}
    assert states.pop("NAME_ORDER") == "passed"
    assert set(states.values()) == {"not applicable"}
