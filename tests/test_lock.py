"""The lock is complete for every supported Python and processor; `make check-lock` asks an index for the wheels."""

import importlib.util
from itertools import product
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support import ROOT


@pytest.fixture(scope="module")
def check_lock() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_lock", ROOT / "tools" / "check_lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_everything_that_is_needed_anywhere_is_locked(check_lock: ModuleType) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(str(pin.specifier).startswith("==") for pin in pins)
    locked = {canonicalize_name(pin.name) for pin in pins}
    for python, processor in product(check_lock.PYTHONS, check_lock.PROCESSORS):
        assert check_lock._needed(python, processor) - locked == set(), (python, processor)
