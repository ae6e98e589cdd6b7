"""The layout of the code: who may import whom, what an import brings along, and the limits of folders and modules.

The import contracts are in pyproject.toml; fresh interpreters show what is imported indirectly at run time.
"""

import ast
import json
import re
import resource
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT

PACKAGES = ("hlynr", "flows")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in SOURCES]
HEAVY = {"dvc", "git", "gymnasium", "matplotlib", "mlflow", "numba", "numpy", "optuna", "pandas", "prefect", "scipy"}
HEAVY |= {"sb3_contrib", "sqlalchemy", "stable_baselines3", "tensorboard", "torch"}

# What importing every module of a folder must not bring along.
FREE_OF = {
    "hlynr.records": HEAVY,
    "hlynr.runtime": HEAVY,
    "hlynr.config": HEAVY,
    "hlynr.sim": HEAVY - {"numba", "numpy", "scipy"} | {"pydantic"},  # numba itself imports scipy
    "hlynr.envs": HEAVY - {"gymnasium", "numba", "numpy", "scipy"} | {"pydantic"},
    "hlynr.evaluation": HEAVY - {"gymnasium", "numba", "numpy", "scipy"},
    "hlynr.rl": {"dvc", "mlflow", "optuna", "prefect", "sqlalchemy"},
    "hlynr.ops": {"dvc", "gymnasium", "matplotlib", "mlflow", "prefect", "sqlalchemy", "stable_baselines3", "torch"},
    "hlynr.report": HEAVY - {"matplotlib", "numpy", "gymnasium", "numba", "scipy"},
    "hlynr.pipeline": HEAVY,
    "hlynr.service": HEAVY,
    "hlynr.studies.stability": HEAVY,
    "flows": HEAVY - {"prefect", "sqlalchemy", "numpy"},
    "hlynr.cli": HEAVY | {"pydantic", "rich", "ruamel"},
}


def _below(package: str) -> list[str]:
    return [name for name in MODULES if name == package or name.startswith(f"{package}.")]


def test_import_contracts_hold() -> None:
    lint = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def _layers() -> list[str]:
    """The packages of each line of the contract, the highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return next(each["layers"] for each in settings["tool"]["importlinter"]["contracts"] if each["type"] == "layers")


def _height(module: str) -> int | None:
    """The number of the module's layer from the top; None for `hlynr` itself."""
    own = [
        number
        for number, line in enumerate(_layers())
        for package in line.split(" | ")
        if f"{module}.".startswith(f"{package}.")
    ]
    return own[0] if own else None


def _strings(path: Path) -> Iterator[str]:
    """The string constants of a module, without its docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    notes = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in notes:
            yield node.value


def test_no_module_names_a_module_of_a_higher_layer_in_a_string() -> None:
    """As `python -m` or by its path, which the import contracts do not see."""
    named = dict(zip(MODULES, MODULES, strict=True))
    named |= {str(path.relative_to(ROOT)): name for path, name in zip(SOURCES, MODULES, strict=True)}
    found = []
    for path, module in zip(SOURCES, MODULES, strict=True):
        own = _height(module)
        words = {word for text in _strings(path) for word in re.findall(r"[\w./]+", text)}
        heights = {word: _height(named[word]) for word in words & named.keys() if "." in word}
        found += [(module, word) for word, height in heights.items() if None not in (own, height) and height < own]
    assert found == []


@pytest.mark.parametrize("package", FREE_OF)
def test_an_import_brings_nothing_heavier_along(package: str) -> None:
    names = _below(package)
    script = "import importlib, json, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    script += "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", script, *names], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert names
    assert not FREE_OF[package] & set(json.loads(done.stdout))


def test_every_folder_has_a_layer_and_says_what_it_is_free_of() -> None:
    folders = {name for name in MODULES if name.count(".") == 1 and _below(name) != [name]} | {"flows"}
    assert {package for line in _layers() for package in line.split(" | ")} == folders
    assert folders - {"hlynr.studies"} <= FREE_OF.keys()
    assert len(folders) <= 14  # flows is beside hlynr


def test_no_loose_modules() -> None:
    loose = {path.name for path in (ROOT / "hlynr").iterdir() if path.is_file()}
    assert loose == {"__init__.py", "__main__.py", "py.typed"}


def test_one_name_is_one_class() -> None:
    """Classes that a module keeps to itself may be called alike."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]
    names = [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [name for name, count in Counter(names).items() if count > 1 and not name.startswith("_")] == []


def test_no_module_over_400_lines() -> None:
    assert [path for path in SOURCES if path.read_text(encoding="utf-8").count("\n") > 400] == []


def test_help_is_instant() -> None:
    """Under half a second of processor time, since the wall clock also shows who else uses the machine."""
    command = [sys.executable, "-m", "hlynr", "--help"]
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "validate" in done.stdout
    assert min(spent) < 0.5


def test_every_pin_is_a_public_version() -> None:
    """A local version like 2.13.0+cpu exists in one index only, and cannot be installed from another."""
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    assert pins
    assert [pin for pin in pins if "+" in pin or "==" not in pin] == []
