"""The house stands as designed: imports point down, files stay small, nothing is unpickled, and no path leaks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from configparser import ConfigParser
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the ground floor up; the topmost is the package's own folder, with the command line and the Python door.
FLOORS = ("cache", "features", "pipelines", "reports", "dermfuse")
MOST_LINES = 450
# Folders whose functions may take a console.
HAVE_CONSOLE = {
    "features/embedding",
    "features/extractors",
    "pipelines/audit",
    "pipelines/estimators",
    "pipelines/prediction",
    "pipelines/workflows",
    "reports/terminal",
}
MODULES = sorted([ROOT / "cli.py", *(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))])
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports_of(path: Path) -> set[str]:
    """Full names of all modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}:{node.lineno} imports relatively; name the package"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def floor_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].replace("cli.py", "dermfuse")


def module_of(path: Path) -> str:
    """The name by which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in ("dermfuse", *parts[parts[0] == "dermfuse" :]) if part != "__init__")


def arrows() -> dict[str, set[str]]:
    """Every module of the house, and the modules of the house that it imports, inside functions too."""
    known = {module_of(path): path for path in MODULES if path != ROOT / "cli.py"}
    return {name: imports_of(path) & set(known) - {name} for name, path in known.items()}


def circles(ways: dict[str, set[str]]) -> list[str]:
    """A way back to where it started for each node that has one."""
    try:
        tuple(TopologicalSorter(ways).static_order())
    except CycleError as error:
        return error.args[1]
    return []


every_module = pytest.mark.parametrize("path", MODULES, ids=named)


def test_every_floor_is_looked_at():
    assert {floor_of(path) for path in MODULES} == set(FLOORS)
    assert len(MODULES) > 40
    assert sum(map(len, arrows().values())) > 300


def test_every_folder_is_installed_and_nothing_but_the_package():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    named = set(config["options"]["packages"].split())
    assert named == {module_of(path) for path in MODULES if path.name == "__init__.py"}


def test_files_are_in_no_circle():
    assert circles(arrows()) == []


@pytest.mark.parametrize("floor", FLOORS)
def test_folders_of_a_floor_are_in_no_circle(floor):
    """What lies in a folder counts as the folder; a file beside the folders counts as itself."""
    before = f"dermfuse.{floor}."
    ways: dict[str, set[str]] = {}
    for name, imported in arrows().items():
        rooms = [one.removeprefix(before).split(".")[0] for one in (name, *imported) if one.startswith(before)]
        if name.startswith(before):
            ways.setdefault(rooms[0], set()).update(room for room in rooms[1:] if room != rooms[0])
    assert circles(ways) == []


@pytest.mark.parametrize("ways", [{"a": {"b"}, "b": {"a"}}, {"a": {"b"}, "b": {"c"}, "c": {"b"}}])
def test_a_circle_would_be_seen(ways):
    assert circles(ways) and not circles({"a": {"b", "c"}, "b": {"c"}})


@every_module
def test_imports_point_down_only(path):
    above = {f"dermfuse.{floor}" for floor in (*FLOORS[FLOORS.index(floor_of(path)) + 1 : -1], "cli", "flags")}
    above = set() if floor_of(path) == "dermfuse" else above
    upward = sorted(
        name for name in imports_of(path) if ".".join(name.split(".")[:2]) in above or name.split(".")[0] == "tests"
    )
    assert not upward, f"{named(path)} imports {upward} from above"


@every_module
def test_a_console_is_passed_to_workflows_and_to_long_work_alone(path):
    """Others return what they noticed, or take a line to tell or a bar to move."""
    if named(path).rpartition("/")[0] in HAVE_CONSOLE or floor_of(path) == "dermfuse":
        return
    functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)]
    taking = [f.name for f in functions if any(a.arg == "console" for a in (*f.args.args, *f.args.kwonlyargs))]
    assert not taking, f"{named(path)} passes a console to {taking}"


@pytest.mark.parametrize("path", [p for p in MODULES if floor_of(p) == "cache"], ids=named)
def test_the_cache_knows_neither_torch_nor_scikit_learn(path):
    heavy = {"torch", "torchvision", "sklearn", "imblearn", "xgboost", "pandas"}
    assert not heavy & {name.split(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("path", [p for p in MODULES if floor_of(p) == "reports"], ids=named)
def test_reports_compute_nothing_that_needs_a_model(path):
    heavy = {"torch", "torchvision", "sklearn", "imblearn", "xgboost", "shap"}
    assert not heavy & {name.split(".")[0] for name in imports_of(path)}


@every_module
def test_rooms_are_imported_by_the_one_name_that_they_have_when_installed(path):
    bare = {*FLOORS[:-1], "cli"}
    assert not bare & {name.split(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize("arguments", [("--help",), ("fit", "--help"), ("predict", "--help")], ids=" ".join)
def test_help_imports_no_heavy_library(arguments):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['cli.py', *{arguments!r}]\n"
        "try:\n"
        "    runpy.run_path('cli.py', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert end.code in (0, None), end.code\n"
        "heavy = {'torch', 'torchvision', 'numpy', 'pandas', 'sklearn', 'scipy', 'matplotlib', 'h5py', 'PIL', 'shap'}\n"
        "print('loaded:', *sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_no_file_is_long(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES, f"{named(path)} has {lines} lines: divide it by concepts"


def test_no_file_is_named_for_nothing():
    vague = {"utils", "util", "helpers_misc", "common", "misc", "tools"}
    assert not [named(path) for path in (*MODULES, *TESTS) if path.stem in vague]


# What can run code while it reads a file, by the last two parts of the dotted name that is called.
UNSAFE_CALLS = {
    "pickle.load",
    "pickle.loads",
    "joblib.load",
    "dill.load",
    "cloudpickle.load",
    "pandas.read_pickle",
    "pd.read_pickle",
    "marshal.loads",
    "shelve.open",
    "yaml.load",
    "os.system",
}


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of an attribute chain, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else f"?.{node.attr}"
    return ""


def unsafe(path: Path) -> list[str]:
    """Lines that could run code from a file."""
    found = []
    for node in ast.walk(tree_of(path)):
        if not isinstance(node, ast.Call):
            continue
        name, keywords = dotted(node.func), {k.arg: k.value for k in node.keywords}
        yes = {k for k, v in keywords.items() if isinstance(v, ast.Constant) and v.value is True}
        bad = (
            name in UNSAFE_CALLS
            or name in {"eval", "exec", "__import__", "compile"}
            or "allow_pickle" in yes
            or "shell" in yes
            or (name == "torch.load" and "weights_only" not in yes)
        )
        if bad:
            found.append(f"{named(path)}:{node.lineno} calls {name}")
    return found


@every_module
def test_nothing_that_is_read_from_a_file_is_executed(path):
    assert unsafe(path) == []
    loaders = {"pickle", "dill", "cloudpickle", "marshal", "shelve"}
    assert not loaders & {name.split(".")[0] for name in imports_of(path)}


@pytest.mark.parametrize(
    "line",
    [
        "eval('1')",
        "pickle.load(f)",
        "joblib.load('m')",
        "np.load('a', allow_pickle=True)",
        "torch.load('w')",
        "torch.load('w', weights_only=False)",
        "subprocess.run('ls', shell=True)",
    ],
)
def test_the_check_above_sees_what_it_is_for(tmp_path, line, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "bad.py").write_text(line)
    assert len(unsafe(tmp_path / "bad.py")) == 1
    (tmp_path / "good.py").write_text(
        "network.eval()\nnp.load('a', allow_pickle=False)\ntorch.load('w', weights_only=True)"
    )
    assert unsafe(tmp_path / "good.py") == []


def public_without_docstring(path: Path) -> list[str]:
    """Public functions and classes of a module, and public methods of public classes, without a docstring."""
    tree = tree_of(path)
    found = [] if ast.get_docstring(tree) else ["the module"]
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        methods = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.FunctionDef)]
        public = [n for n in methods if not n.name.startswith("_")] if isinstance(node, ast.ClassDef) else []
        found += [n.name for n in (node, *public) if not ast.get_docstring(n)]
    return found


@every_module
def test_everything_public_has_a_docstring(path):
    assert public_without_docstring(path) == []


@pytest.mark.parametrize("path", TESTS, ids=named)
def test_every_test_file_says_what_it_is_for(path):
    if path.read_text(encoding="utf-8").strip():
        assert ast.get_docstring(tree_of(path))


def tracked() -> list[Path]:
    """Files that are, or would be, under version control."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this is no checkout: there is no list of tracked files")
    files = (ROOT / name for name in done.stdout.decode("utf-8", "surrogateescape").split("\0") if name)
    return [path for path in files if path.is_file()]


def test_no_tracked_file_names_a_path_of_this_machine():
    own = {str(ROOT), str(Path.home()), sys.prefix}
    if ROOT.parent != Path(ROOT.anchor):
        own.add(str(ROOT.parent / "shared"))
    # A short home may begin another word: it counts only where its name ends.
    patterns = [re.compile(re.escape(place) + r"(?![\w-])") for place in own if len(place) > 1]
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{named(path)}: {p.pattern}" for p in patterns if p.search(text)]
    assert not found


def test_no_cache_run_or_weights_are_under_version_control():
    heavy = {".h5", ".hdf5", ".pth", ".pt", ".safetensors", ".skops", ".pkl", ".joblib", ".parquet", ".npz", ".sqlite"}
    assert not [named(path) for path in tracked() if path.suffix in heavy]


def test_no_warning_is_silenced_for_the_whole_process():
    for path in MODULES:
        for node in tree_of(path).body:
            calls = [n for n in ast.walk(node) if isinstance(n, ast.Call)] if isinstance(node, ast.Expr) else []
            names = {dotted(call.func) for call in calls}
            assert not names & {"warnings.filterwarnings", "warnings.simplefilter"}, named(path)
