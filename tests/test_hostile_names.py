"""File and folder names that break terminals, spreadsheets, pages and shells: handled, or refused in one line."""

import csv
import io
import json
import os
import shutil
import sys
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from dermfuse import cli
from dermfuse.features.demo.synthetic import make_dataset
from tests import commands

BYTES_NAME = os.fsdecode(b"caf\xe9-\xff.jpg")
STEMS = [
    "two\nlines",
    "carriage\rreturn",
    "red\x1b[31m",
    "title\x1b]0;owned\x07",
    "bell\x07back\x08\x08",
    'quo"te',
    "apo'strophe",
    "back\\slash",
    "back\\nslash",
    "<script>alert(1)<",
    "<img src=x onerror=alert(1)>",
    "&amp;",
    "{{7*7}}",
    "%s%n",
    "[bold red]x",
    "=1+1",
    "+1",
    "@SUM(A1)",
    "-1",
    "--help",
    "com,ma",
    "semi;colon",
    "t\tab",
    "right\u202eto left",
    "zero\u200bwidth\u2028line",
    "né e\u0301 皮",
    "*?[a]",
    "$(id) `id` |",
    "dots...",
    "~",
    "space ",
    "x" * 250,
]
NAMES = [f"{stem}.jpg" for stem in STEMS]
# A table is UTF-8 text of trimmed cells, so that no row can name these.
WITHOUT_ROW = [BYTES_NAME, " first.jpg"]
# What begins with a dot is hidden, and is read only where it is named.
HIDDEN = "....jpg"
BAD = {f"bad {stem}"[:240] + ".jpg": b"<html>" for stem in STEMS} | {os.fsdecode(b"bad\xe9\x1b.jpg"): b"\0"}
FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n")


def run(capture, *arguments):
    """(exit code, stdout, stderr) of the command line, of which nothing may harm a terminal."""
    code, out, err = commands.run(*arguments, capture=capture)
    assert "Traceback" not in err and "unexpected" not in err, err
    for text in (out, err):
        wrong = {c for c in text if unicodedata.category(c)[0] == "C" or c in "\u2028\u2029"} - {"\n"}
        assert not wrong, (wrong, text)
    return code, out, err


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Drawn data under hostile names, good and bad ones, in a folder with such a name; and where all else goes."""
    root = tmp_path_factory.mktemp("place")
    folder = root / "da\nta \x1b[31m<b>"
    make_dataset(folder, lesions=60, size=64, seed=0)
    table = pd.read_csv(folder / "metadata.csv", dtype=str, keep_default_na=False)
    files = {path.stem: path for path in (folder / "images").iterdir() if _whole(path)}
    usable = [i for i in table.index if table["image_id"][i] in files]
    assert len(usable) > len(NAMES)
    for i, name in zip(usable, NAMES, strict=False):
        files[table["image_id"][i]].rename(folder / "images" / name)
        table.loc[i, "image_id"] = name
    one = table[table["dx"] == "nv"].iloc[0]
    for name, content in BAD.items():
        (folder / "images" / name).write_bytes(content)
        if name.encode(errors="replace").decode() == name:
            table.loc[len(table)] = {**one, "image_id": name, "lesion_id": name}
    for name in (*WITHOUT_ROW, HIDDEN):
        shutil.copy(folder / "images" / NAMES[0], folder / "images" / name)
    table.to_csv(folder / "metadata.csv", index=False, quoting=csv.QUOTE_ALL)
    return root


def _whole(path):
    """Whether a drawn file is none of the few that are spoiled on purpose."""
    data = path.read_bytes()
    return data[:2] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"


@pytest.fixture(scope="module")
def data(place):
    """The folder with images and table."""
    return place / "da\nta \x1b[31m<b>"


@pytest.fixture(scope="module")
def cache(place):
    """A cache's folder; it is filled by `extracted`."""
    return place / "cac\the\x1b[2J=1"


@pytest.fixture(scope="module")
def extracted(place, data, cache):
    """What the first extraction printed: (exit code, stdout, stderr)."""
    with pytest.MonkeyPatch.context() as patch:
        out, err = io.StringIO(), io.StringIO()
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(sys, "argv", ["cli.py", "extract", *map(str, ["--data", data, "--cache", cache]), *CAE])
        code = cli.main()
    return code, out.getvalue(), err.getvalue()


CAE = ["--features", "cae", "--workers", "1"]


@pytest.fixture(scope="module")
def runs(place, data, cache, extracted):
    """A folder with the run ``first``."""
    folder = place / "ru\nns;"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cli.py", "fit", *map(str, ["--data", data, "--cache", cache, "--runs", folder])])
        sys.argv += ["--model", "logreg", "--name", "first", "--no-explain", "-q"]
        assert cli.main() == 0
    return folder


def in_data(data):
    """Bad files that lie in the data folder."""
    return {str((data / "images" / name).absolute()) for name in BAD if (data / "images" / name).exists()}


def test_extract_names_every_bad_file_on_one_line(data, extracted):
    code, out, err = extracted
    assert code == 3
    for text in (out, err):
        assert {c for c in text if not c.isprintable()} <= {"\n"}
    told = [line for line in err.splitlines() if line.startswith("set aside: ")]
    assert len(told) == 10  # and the rest are in the list
    assert all(" image (begins with " in line or "truncated" in line or "empty" in line for line in told)
    assert "images set aside, listed in " in err.splitlines()[-1]


def test_extract_as_json_is_one_object_whose_paths_are_the_files(data, cache, extracted, capsys):
    code, out, _ = run(capsys, "extract", "--data", data, "--cache", cache, *CAE, "--json", "-q")
    assert code == 3 and out.count("\n") == 1 and out.isascii()
    aside = {row["path"] for row in json.loads(out)["set_aside"]}
    named = {path for path in in_data(data) if "\udce9" not in path}
    assert named <= aside
    assert all(os.path.exists(os.fsencode(path)) for path in aside)


def test_the_list_of_what_was_set_aside_is_safe_in_a_spreadsheet(data, cache, extracted):
    with open(cache / "quarantine.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {4}
    assert not [cell for row in rows for cell in row if cell.startswith(FORMULAS) and cell != "-1"]
    assert len(rows) > 20


def test_images_of_any_name_have_their_embedding(data, cache, extracted):
    from dermfuse.cache.hashes import ContentIndex
    from dermfuse.cache.store import Store

    [block] = Store(cache).blocks()
    with ContentIndex(cache / "files.sqlite") as index:
        held = [index.sha256_of(data / "images" / name) in block.row_keys for name in NAMES]
    assert dict(zip(NAMES, held, strict=True)) == dict.fromkeys(NAMES, True)


def test_fit_and_report_show_no_file_name(data, cache, runs, capsys):
    command = ["fit", "--data", data, "--cache", cache, "--runs", runs, "--model", "logreg", "--no-explain"]
    code, out, _ = run(capsys, *command, "--name", "second")
    assert code == 0 and "report.html" in out.splitlines()[-1]
    code, out, _ = run(capsys, "report", "first", "--runs", runs)
    assert code == 0 and out.count("\n") == 1
    code, out, _ = run(capsys, *command, "--name", "third", "--json", "-q")
    assert code == 0 and out.count("\n") == 1
    assert Path(json.loads(out)["report"]).is_file()
    for name in ("first", "second"):
        page = (runs / name / "report.html").read_text(encoding="utf-8")
        assert "alert(1)" not in page and "<b>" not in page.partition("<body")[2].replace("<b></b>", "")
        assert not [stem for stem in STEMS if len(stem) > 6 and f"{stem}.jpg" in page]


def predicted(data):
    """Files to predict from: hostile and good, hostile and bad."""
    names = [*NAMES, *WITHOUT_ROW, HIDDEN, *(name for name in BAD if (data / "images" / name).exists())]
    return [data / "images" / name for name in names]


def test_predict_prints_a_line_a_file(data, cache, runs, capsys):
    files = predicted(data)
    code, out, err = run(capsys, "predict", "first", *files, "--cache", cache, "--runs", runs)
    assert code == 3
    lines = [line for line in out.splitlines() if line]
    assert len(lines) == len(NAMES) + len(WITHOUT_ROW) + 1
    assert sum(line.startswith("set aside: ") for line in err.splitlines()) == len(files) - len(lines)


def test_predict_as_json_round_trips_every_name(data, cache, runs, capsys):
    files = predicted(data)
    code, out, _ = run(capsys, "predict", "first", *files, "--cache", cache, "--runs", runs, "--json", "-q")
    assert code == 3 and out.isascii()
    objects = [json.loads(line) for line in out.splitlines()]
    assert [os.fsencode(row["image"]) for row in objects] == [os.fsencode(path) for path in files]
    assert sum("error" in row for row in objects) == len(files) - len(NAMES) - len(WITHOUT_ROW) - 1


def test_predictions_in_a_file_are_safe_in_a_spreadsheet(data, cache, runs, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(data / "images")
    names = [f"./{path.name}" if path.name.startswith("-") else path.name for path in predicted(data)]
    out = tmp_path / "pre\ndict\x1b[31m.csv"
    code, _, _ = run(capsys, "predict", "first", *names, "--cache", cache, "--runs", runs, "--out", out)
    assert code == 3
    with open(out, encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.reader(file))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert not [cell for row in rows for cell in row if cell.startswith(FORMULAS)]
    shown = [row[0].removeprefix("'") for row in rows[1:]]
    assert shown == list(map(os.path.normpath, names))
    for line in out.read_bytes().replace(b'""', b"").split(b'"')[::2]:
        assert b";" not in line  # outside of quotes


def test_predict_takes_a_name_that_looks_like_a_flag_after_two_dashes(data, cache, runs, capsys, monkeypatch):
    monkeypatch.chdir(data / "images")
    command = ["predict", "--cache", cache, "--runs", runs, "--json", "-q", "first", "--", "--help.jpg", "-1.jpg"]
    code, out, _ = run(capsys, *command)
    assert code == 0
    assert [json.loads(line)["image"] for line in out.splitlines()] == ["--help.jpg", "-1.jpg"]
    code, _, err = run(capsys, "predict", "first", "--help.jpg", "--cache", cache, "--runs", runs)
    assert code == 2 and err.count("\n") == 1


def test_predict_from_a_folder_reads_every_name(data, cache, runs, capsys):
    code, out, _ = run(capsys, "predict", "first", "--data", data, "--cache", cache, "--runs", runs, "--json", "-q")
    names = {Path(json.loads(line)["image"]).name for line in out.splitlines()}
    assert code == 3
    assert {*NAMES, *WITHOUT_ROW} <= names


@pytest.mark.parametrize("command", [["doctor"], ["cache", "ls"], ["cache", "verify"], ["cache", "gc"]], ids=" ".join)
def test_what_looks_into_a_cache_prints_no_control_characters(cache, runs, capsys, command):
    place = ["--cache", cache, *(["--runs", runs] if command[-1] in ("doctor", "gc") else [])]
    code, out, _ = run(capsys, *command, *place)
    assert code == 0 and out
    code, out, _ = run(capsys, *command, *place, "--json")
    assert code == 0 and out.count("\n") == 1 and out.isascii()
    json.loads(out)


@pytest.mark.parametrize(
    "name", ["a\nb", "\x1b[31m", "<b>", "=1", "-x", "..", "...", " a", "a/b", "ü", "\udce9", "x" * 200]
)
def test_a_run_gets_no_such_name(data, cache, runs, capsys, name):
    before = sorted(os.listdir(runs))
    command = ["fit", "--data", data, "--cache", cache, "--runs", runs, "--model", "logreg", f"--name={name}"]
    code, out, err = run(capsys, *command, "-q")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: run name ")
    assert sorted(os.listdir(runs)) == before


@pytest.mark.parametrize("name", ["a\nb\x1b[31m", "\udce9", "x" * 300, "\u202egpj.exe", "."])
@pytest.mark.parametrize("what", ["run", "image", "data", "out", "cache"])
def test_what_is_not_there_is_named_on_one_line(cache, runs, tmp_path, capsys, what, name):
    commands = {
        "run": ["predict", f"no{name}", tmp_path, "--cache", cache, "--runs", runs],
        "image": ["predict", "first", tmp_path / f"no{name}", "--cache", cache, "--runs", runs],
        "data": ["extract", "--data", tmp_path / f"no{name}", "--cache", cache],
        "out": ["predict", "first", cache, "--out", tmp_path / f"no{name}" / "x.csv", "--cache", cache, "--runs", runs],
        "cache": ["cache", "verify", "--cache", tmp_path / f"no{name}"],
    }
    code, out, err = run(capsys, *commands[what])
    assert code in (1, 2) and out == ""
    assert err.count("\n") == 1 and err.startswith("error: ")


def test_names_are_shown_by_codes_where_the_terminal_lacks_their_letters(data, cache, runs, tmp_path):
    import subprocess

    command = [sys.executable, Path(cli.__file__), "predict", "first", data / "images" / "né e\u0301 皮.jpg"]
    command += [data / "images" / BYTES_NAME, "--cache", cache, "--runs", runs]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and done.stdout.count(b"\n") == 2
    assert b"n\\xe9 e\\u0301 \\u76ae.jpg: " in done.stdout and b"caf\\udce9-\\udcff.jpg: " in done.stdout
