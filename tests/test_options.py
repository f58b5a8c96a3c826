"""Every option of every command: what it does not take is refused in one line, and nothing is written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from dermfuse.cli import app
from dermfuse.defaults import NEVER, flags_of
from tests.bad_values import bad_text, bad_toml
from tests.commands import refused, run

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = flags_of(get_command(app).commands)
EVERY = [(command, option) for command, options in COMMANDS.items() for option in options.values()]
IN_FILES = [(command, option) for command, option in EVERY if option.key not in NEVER]
IN_TEXT = [(command, option) for command, option in EVERY if list(bad_text(option))]


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty folder to work in, with a folder of data."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(command: str, tried: str = "") -> list[str]:
    """The command with as little as it can be called with, less what is tried."""
    group, dash, name = command.partition("-")
    needed = [option for option in COMMANDS[command].values() if option.default is ... and option.key != tried]
    # Without decoding processes, which would be started before the libraries that know some choices.
    workers = ["--workers", "0"] if "workers" in COMMANDS[command] and tried != "workers" else []
    return [group, *([name] if dash else []), *workers, *("first" for _ in needed)]


def shown(value: str) -> str:
    return value if len(value) < 60 else value[:60]


@pytest.mark.parametrize(("command", "option"), IN_TEXT, ids=[f"{c} {o.flag}" for c, o in IN_TEXT])
def test_text_that_an_option_does_not_take_is_refused(command, option, place, capsys):
    for text in bad_text(option):
        given = ["--", text] if option.argument else [f"{option.flag}={text}"]
        line = refused(capsys, 2, *words(command, option.key), *given)
        assert f"{option.flag} " in line and shown(text.strip(",")) in line and ", but expected " in line, line
        assert line.endswith(".") and "Mend it" in line and len(line) < 600, line
    assert [path.name for path in place.rglob("*")] == ["data"]


@pytest.mark.parametrize(("command", "option"), IN_FILES, ids=[f"{c} {o.flag}" for c, o in IN_FILES])
def test_an_entry_of_a_file_that_an_option_does_not_take_is_refused(command, option, place, capsys):
    file, key = place / "defaults.toml", option.flag.removeprefix("--")
    for value in bad_toml(option):
        file.write_text(f"[{command}]\n{key} = {value}\n")
        late = callable(option.choices) and not option.open and value == '"nonsense"'
        line = refused(capsys, 2, *words(command, option.key), "--config", file)
        named = f"{option.flag} " if late else f"{key} in --config {file} "
        assert named in line and ", but expected " in line and "Mend it" in line, (value, line)
    assert {path.name for path in place.rglob("*")} == {"data", file.name}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_every_option_and_what_there_is_to_choose_from(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    code, said, _ = run(*command.split("-"), "--help", capture=capsys)
    assert code == 0
    for option in COMMANDS[command].values():
        assert option.flag in said and option.help_text in " ".join(said.split())


def test_a_model_and_a_calibrator_that_are_added_to_their_registries_are_known_to_flag_help_and_error():
    code = (
        "import sys\n"
        "from dermfuse.pipelines.model.choices import CALIBRATORS\n"
        "from dermfuse.pipelines.model.zoo import MODELS\n"
        "MODELS['mine'], CALIBRATORS['own'] = MODELS['rf'], CALIBRATORS['none']\n"
        "from dermfuse import cli\n"
        "for words in (['--help'], ['--model', 'other'], ['--calibration', 'other'], ['--model', 'mine', "
        "'--calibration', 'own', '--data', 'absent']):\n"
        "    sys.argv = ['cli.py', 'fit', *words]\n"
        "    print(cli.main())\n"
    )
    told = {"capture_output": True, "text": True, "cwd": ROOT, "env": {"COLUMNS": "200"}}
    done = subprocess.run([sys.executable, "-c", code], **told)
    assert "logreg, svm or mine." in done.stdout and "dirichlet or own." in done.stdout, done.stderr
    model, calibration, data = done.stderr.splitlines()
    assert "--model is 'other', but expected rf, xgb, mlp, logreg, svm or mine." in model
    assert "--calibration is 'other', but expected " in calibration and "dirichlet or own." in calibration
    assert "absent" in data  # both names were taken


def test_a_list_in_a_file_goes_by_comma_or_is_repeated_as_the_flag_is(place, capsys):
    file = place / "defaults.toml"
    file.write_text('[fit]\nfeatures = ["cae", "resnet1"]\n[compare]\nrun = ["one,two", "three"]\n')
    assert "features in --config" in refused(capsys, 2, "fit", "--config", file)
    assert "no run 'one,two'" in run("compare", "--config", file, capture=capsys)[2]


def test_a_flag_goes_before_the_file_whatever_stands_there(place, capsys):
    file = place / "defaults.toml"
    file.write_text("[fit]\nfolds = 1\n")
    assert "folds in --config" in refused(capsys, 2, "fit", "--config", file)
    assert "folds" not in run("fit", "--config", file, "--folds", "3", capture=capsys)[2]
