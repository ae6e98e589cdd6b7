"""Who may import whom: read from the sources, and proven in fresh interpreters so that indirect imports count."""

import ast
import functools
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "hlynr").rglob("*.py"), *(ROOT / "flows").rglob("*.py")])
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in SOURCES}
HEAVY = {"dvc", "git", "gymnasium", "matplotlib", "mlflow", "numba", "numpy", "pandas", "plotly", "prefect", "scipy"}
HEAVY |= {"optuna", "sb3_contrib", "sqlalchemy", "stable_baselines3", "tensorboard", "torch"}

SETTINGS = {"config", "records", "service_records", "study_records", "tune_records", "errors", "schedules"}
"""Light, and known to everybody."""

# What each part of hlynr may import; its own files always. A name with a dot is one file of another folder.
ALLOWED = {
    "errors": set(),
    "strict_yaml": set(),
    "faults": set(),
    "inheritance": {"faults"},
    "consistency": {"config"},
    "search_space": {"config", "schedules", "section"},
    "section": set(),
    "schedules": {"section"},
    "strategies": set(),
    "service_settings": {"section"},
    "config": {"consistency", "records", "schedules", "search_space", "section", "service_settings"},
    "params": {"config", "consistency", "errors", "faults", "inheritance", "strategies", "strict_yaml"},
    "records": set(),
    "service_records": {"records"},
    "study_records": {"records"},
    "tune_records": {"records", "study_records"},
    "project": {"config"},
    "observers": {"records"},
    "sim": {"config"},
    "envs": {"sim", "config"},
    "evaluation": {"envs", "sim", *SETTINGS},
    "rl": {"envs", "sim", "evaluation.policy", "evaluation.rollout", "observers", *SETTINGS},
    "ops": {"params", "service_settings", "envs.observation", "evaluation.policy", "rl.bundle", *SETTINGS},
    "report": {"evaluation.rollout", "observers", "rl.monitor", *SETTINGS},
    "doctor": {"machine", "ops", "rl.train", "project", *SETTINGS},
    "bench": {"envs", "evaluation", "rl", "sim", "project", *SETTINGS},
    "plan": {"ops", "project", *SETTINGS},
    "nights": {"ops", "plan", "project", "rl", *SETTINGS},
    "housekeeping": {"nights", "ops", "project", *SETTINGS},
    "pipeline": {
        "clinic",
        "doctor",
        "evaluation",
        "nights",
        "observers",
        "ops",
        "plan",
        "project",
        "report",
        "rl",
        *SETTINGS,
    },
    "machine": {"errors"},
    "child": {"machine", "observers", "pipeline", "project", *SETTINGS},
    "prefect_server": {"child", "project", "service.place", *SETTINGS},
    "alerts": {"service_settings", *SETTINGS},
    "service": {"alerts", "machine", "ops", "params", "prefect_server", "project", *SETTINGS},
    "watch": {"observers", "ops", "project", "report", "rl.monitor", *SETTINGS},
    "clinic": {"envs", "evaluation", "project", "report", "rl", *SETTINGS},
    "desk": {
        "bench",
        "clinic",
        "doctor",
        "evaluation",
        "ops",
        "params",
        "pipeline",
        "project",
        "report",
        "rl",
        "service.parts",
        *SETTINGS,
    },
    "children": {"child"},
    "study": {
        "child",
        "children",
        "evaluation",
        "nights",
        "observers",
        "ops",
        "params",
        "project",
        "report",
        "rl",
        *SETTINGS,
    },
    "tuning": {
        "child",
        "children",
        "consistency",
        "evaluation",
        "nights",
        "observers",
        "ops",
        "params",
        "project",
        "report",
        "rl",
        "search_space",
        "strict_yaml",
        "study",
        *SETTINGS,
    },
    "options": {"errors"},
    "cli": {
        "desk",
        "housekeeping",
        "machine",
        "nights",
        "observers",
        "options",
        "params",
        "pipeline",
        "prefect_server",
        "project",
        "report.housekeeping",
        "report.service",
        "service",
        "study",
        "tuning",
        "watch",
        *SETTINGS,
    },
    "flows": {
        "alerts",
        "child",
        "housekeeping",
        "machine",
        "nights",
        "observers",
        "params",
        "pipeline",
        "plan",
        "project",
        "service.place",
        "service.prefect_api",
        "service_settings",
        "tuning",
        *SETTINGS,
    },
}

# Libraries that only one part knows.
OWNED = {
    "mlflow": {"ops"},
    "dvc": {"ops"},
    "sqlalchemy": {"ops", "tuning"},  # there for the errors that Optuna lets through
    "matplotlib": {"report", "tuning"},  # there for what Optuna draws
    "plotly": {"report"},
    "prefect": {"flows"},
    "torch": {"rl"},
    "stable_baselines3": {"rl", "bench"},
    "sb3_contrib": {"rl", "bench"},
    "optuna": {"tuning"},
    "gymnasium": {"envs", "rl"},  # rl only for the benchmark against the stock libraries
    "numba": {"sim"},
    "typer": {"cli", "options"},
}

# What importing all modules of a part must not bring along.
FREE_OF = [
    ("sim", HEAVY - {"numba", "numpy", "scipy"} | {"pydantic"}),  # numba itself imports scipy
    ("envs", HEAVY - {"gymnasium", "numba", "numpy", "scipy"} | {"pydantic"}),
    ("evaluation", HEAVY - {"gymnasium", "numba", "numpy", "scipy"}),
    ("ops", {"dvc", "gymnasium", "matplotlib", "mlflow", "prefect", "sqlalchemy", "stable_baselines3", "torch"}),
    ("report", HEAVY - {"matplotlib", "numpy", "gymnasium", "numba", "scipy"}),
    ("rl", {"dvc", "mlflow", "optuna", "prefect", "sqlalchemy"}),
    ("flows", HEAVY - {"prefect", "sqlalchemy", "numpy"}),
    ("light", HEAVY),
    ("cli", HEAVY | {"pydantic", "rich", "yaml"}),
]
LIGHT = {
    "child",
    "clinic",
    "config",
    "consistency",
    "desk",
    "doctor",
    "errors",
    "faults",
    "inheritance",
    "observers",
    "params",
}
LIGHT |= {
    "alerts",
    "children",
    "housekeeping",
    "machine",
    "nights",
    "pipeline",
    "plan",
    "prefect_server",
    "project",
    "records",
    "schedules",
    "search_space",
    "section",
    "service",
    "service_records",
    "service_settings",
    "strategies",
    "strict_yaml",
    "study",
    "study_records",
    "tune_records",
    "watch",
}
LOADED_BY_MLFLOW = {"hlynr.ops.pyfunc_model"}


def _part(module: str) -> str:
    """Folder or file below hlynr that a module belongs to."""
    parts = module.split(".")
    return parts[0] if parts[0] == "flows" else parts[1] if len(parts) > 1 else ""


@functools.cache
def _imports(path: Path) -> frozenset[str]:
    """Every module a file imports anywhere, for type checking too; ``from package import module`` is that module."""
    return frozenset(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            inside = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name in MODULES else str(node.module) for name in inside)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_in_one_direction(module):
    part = _part(module)
    if not part:
        return
    imported = {name for name in _imports(MODULES[module]) if name in MODULES and _part(name)}
    wrong = {
        name
        for name in imported
        if _part(name) not in ALLOWED[part] | {part} and name.removeprefix("hlynr.") not in ALLOWED[part]
    }
    # The CLI runs the flow, the one verb that is Prefect's.
    assert wrong <= ({"flows.retrain"} if part == "cli" else set())


@pytest.mark.parametrize("library", OWNED)
def test_a_library_is_known_to_one_part(library):
    users = {_part(m) for m, path in MODULES.items() if any(n.split(".")[0] == library for n in _imports(path))}
    assert users <= OWNED[library]


@pytest.mark.parametrize(("part", "forbidden"), FREE_OF, ids=[part for part, _ in FREE_OF])
def test_a_part_brings_nothing_heavier_along(part, forbidden):
    wanted = LIGHT if part == "light" else {part}
    names = [name for name in MODULES if _part(name) in wanted and name not in LOADED_BY_MLFLOW]
    script = "import importlib, json, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    script += "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", script, *names], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert names
    assert not forbidden & set(json.loads(done.stdout))


def test_help_is_instant():
    """Under half a second of processor time, since the wall clock also shows who else uses the machine."""
    command = [sys.executable, "-c", "from hlynr.cli import main; main()", "--help"]
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        assert "validate" in done.stdout
    assert min(spent) < 0.5


def test_every_part_is_in_the_table():
    assert {_part(name) for name in MODULES} - {""} <= ALLOWED.keys()
