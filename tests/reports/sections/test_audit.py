"""The audit's section: the worst first, nothing hidden, no pictures of patients unasked."""

from __future__ import annotations

import pytest

from dermfuse.cache.errors import UserError
from dermfuse.reports.pages.facts import facts
from dermfuse.reports.pages.run_page import render
from dermfuse.reports.runfolder import read_run
from tests.reports.html import Page, text_of
from tests.reports.runs import VARIANTS, edit, write


@pytest.fixture
def run(tmp_path):
    return write(tmp_path, VARIANTS["multiclass"])


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

    edit(run / "audit.json", calm)
    assert facts(read_run(run))["audit"]["words"] == "2 checks looked for leakage and raised no alarm; 1 note to read."
    assert "The leakage audit found" not in text_of(run)


def test_every_check_is_on_the_page_with_its_one_sentence_whatever_became_of_it(run):
    text = text_of(run)
    for check in facts(read_run(run))["audit"]["checks"]:
        assert text.count(check["sentence"]) >= 1
        assert (check["title"] in text) == (check["state"] == "passed")
    assert "does not hold" not in text and "It does not" not in text


def test_the_page_says_which_checks_look_at_labels_of_the_locked_test_split(run):
    def looking(document):
        for check in document["checks"]:
            check["looks_at_test_labels"] = check["code"] in ("LEAK_COLUMN", "FILE_SIZE")

    assert "look at those of the locked test split" not in text_of(run)
    edit(run / "audit.json", looking)
    text = text_of(run)
    assert "LEAK_COLUMN and FILE_SIZE look at those of the locked test split, too" in text
    assert text.count("(looks at labels of the locked test split, too)") == 2


def test_pictures_of_near_copies_are_shown_only_when_asked_for(run):
    assert "Pictures of the near-copies exist" in text_of(run)
    shown = text_of(run, with_images=True)
    assert "Pictures of the near-copies exist" not in shown
    assert "0.95" in shown


def test_ids_and_paths_in_an_audit_do_not_reach_the_page(run):
    name = str(read_run(run).splits["id"].iloc[0])
    edit(
        run / "audit.json",
        lambda document: document["checks"][0].update(sentence=f"{name} lies in /home/someone/scans"),
    )
    text = text_of(run)
    assert name not in text
    assert "someone" not in text
    assert "[id] lies in [path]" in text


def test_an_audit_that_lacks_its_checks_is_refused(run):
    edit(run / "audit.json", lambda document: document.pop("checks"))
    with pytest.raises(UserError, match=r"audit\.json: lacks checks"):
        read_run(run)
