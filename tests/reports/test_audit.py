"""The audit's section: the worst first, nothing hidden, no pictures of patients unasked, older runs without one."""

from __future__ import annotations

import json

import pytest

from cache.errors import UserError
from reports.facts import facts
from reports.render import render
from reports.runfolder import read_run
from tests.reports.html import Page
from tests.reports.runs import VARIANTS, write


@pytest.fixture
def run(tmp_path):
    return write(tmp_path, VARIANTS["multiclass"])


def edit(run, change):
    document = json.loads((run / "audit.json").read_text())
    change(document)
    (run / "audit.json").write_text(json.dumps(document))


def text_of(run, with_images: bool = False) -> str:
    return Page(render(read_run(run), with_images)).text


def test_the_section_comes_right_after_the_headline_figures(run):
    sections = [section["id"] for section in Page(render(read_run(run))).all("section")]
    assert sections[:2] == ["headlines", "audit"]


def test_the_worst_finding_stands_first_and_is_told_at_the_top(run):
    told = facts(read_run(run))["audit"]
    assert [check["severity"] for check in told["found"]] == ["error", "warning", "note"]
    assert told["words"] == "4 checks looked for leakage and found 1 error, 1 warning and 1 note."
    assert "The leakage audit found 1 error" in text_of(run)


def test_notes_alone_are_no_alarm(run):
    def calm(document):
        document["checks"] = [
            check for check in document["checks"] if check["code"] not in ("GROUP_SPLIT", "LEAK_COLUMN")
        ]
        document.update(errors=0, warnings=0)

    edit(run, calm)
    assert facts(read_run(run))["audit"]["words"] == "2 checks looked for leakage and raised no alarm; 1 note to read."
    assert "The leakage audit found" not in text_of(run)


def test_every_check_is_on_the_page_whatever_became_of_it(run):
    text = text_of(run)
    for check in json.loads((run / "audit.json").read_text())["checks"]:
        assert check["title"] in text


def test_pictures_of_near_copies_are_shown_only_when_asked_for(run):
    assert "Pictures of the near-copies exist" in text_of(run)
    shown = text_of(run, with_images=True)
    assert "Pictures of the near-copies exist" not in shown
    assert "0.95" in shown


def test_a_run_of_an_older_version_says_that_it_was_not_audited(run):
    (run / "audit.json").unlink()
    (run / "audit_pairs.npz").unlink()
    assert "This run was not audited." in text_of(run)


def test_ids_and_paths_in_an_audit_do_not_reach_the_page(run):
    name = str(read_run(run).splits["id"].iloc[0])
    edit(run, lambda document: document["checks"][0].update(detail=f"{name} lies in /home/someone/scans"))
    text = text_of(run)
    assert name not in text
    assert "someone" not in text
    assert "[id] lies in [path]" in text


def test_an_audit_that_lacks_its_checks_is_refused(run):
    edit(run, lambda document: document.pop("checks"))
    with pytest.raises(UserError, match=r"audit\.json: lacks checks"):
        read_run(run)
