"""What a killed process left of a run is told and cleared; what another one is writing is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dermfuse.pipelines.runs import drafts


@pytest.fixture
def gone() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def draft(place: Path, process: int, machine: str | None = None) -> Path:
    tail = f"-{drafts._machine() if machine is None else machine}" if machine != "" else ""
    path = place / f".draft-{process}-0123abcd{tail}"
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def test_drafts_of_processes_that_are_gone_are_deleted_and_told(tmp_path, gone):
    left = [draft(tmp_path, gone), draft(tmp_path, gone, ""), draft(tmp_path / "ablation", gone)]
    told = []
    drafts.clear_abandoned(tmp_path, told.append)
    assert not any(path.exists() for path in left) and len(told) == 3
    assert "with 1 files, left by a process that was killed, was deleted" in told[0]


def half_written(place: Path, process: int, name: str = "report.html") -> Path:
    place.mkdir(parents=True, exist_ok=True)
    path = place / f".tmp-{process}-0123abcd-{name}"
    path.write_text("<html>")
    return path


def test_half_written_files_of_processes_that_are_gone_are_deleted_and_told(tmp_path, gone):
    left = [half_written(tmp_path / place, gone) for place in (".", "run", "ablation/arm")]
    kept = [half_written(tmp_path / "run", os.getpid()), tmp_path / "run" / ".tmp-notes"]
    kept[-1].touch()
    told = []
    assert drafts.abandoned(tmp_path) == sorted(left)
    drafts.clear_abandoned(tmp_path, told.append)
    assert not any(path.exists() for path in left) and all(path.exists() for path in kept)
    assert len(told) == 3 and all(
        "report.html, left by a process that was killed, was deleted" in line for line in told
    )


def test_a_killed_report_leaves_a_file_that_the_next_one_deletes(tmp_path):
    code = "import os, signal, sys; from pathlib import Path; from dermfuse.cache.atomic import atomic_write\n"
    code += "kill = lambda _path: os.kill(os.getpid(), signal.SIGKILL)\n"
    code += "atomic_write(Path(sys.argv[1]) / 'report.html', b'<html>', kill)"
    root = Path(drafts.__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code, tmp_path], cwd=root).returncode == -9
    [left] = tmp_path.iterdir()
    told = []
    drafts.clear_half_written(tmp_path, told.append)
    assert not left.exists() and len(told) == 1


def test_a_draft_of_a_living_process_of_another_machine_or_of_another_name_stays(tmp_path, gone):
    mine = tmp_path / drafts.new_name()
    mine.mkdir()
    kept = [mine, draft(tmp_path, os.getpid()), draft(tmp_path, gone, "elsewhere"), tmp_path / ".draft-notes"]
    kept[-1].mkdir(exist_ok=True)
    (tmp_path / f".draft-{gone}-0123abcd").symlink_to(tmp_path)
    drafts.clear_abandoned(tmp_path, lambda line: pytest.fail(line))
    assert all(path.is_dir() for path in kept)


def test_a_folder_that_is_not_there_has_none(tmp_path):
    assert drafts.abandoned(tmp_path / "absent") == []
