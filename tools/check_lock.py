"""Whether every version of constraints.txt has a wheel for each supported Python and processor.

Reads the pages of a package index, once for each package, and compares the tags of the wheels that it lists; nothing is
downloaded or installed. Exit code 1 if a wheel is missing that `WITHOUT_WHEEL` does not know, or
something is needed there that is not in the lock.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, requires
from itertools import product
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
PROCESSORS = ("x86_64", "aarch64")
GLIBC = range(28, 4, -1)
"""Minor versions of glibc 2: wheels up to manylinux_2_28, which every Linux distribution in support runs."""
LOCK = Path(__file__).parents[1] / "constraints.txt"
WITHOUT_WHEEL = frozenset({"antlr4-python3-runtime"})
"""Pure Python that is published as source alone: pip builds it in a second, without a compiler. README says so."""
UNLOCKED = re.compile(r"nvidia-|cuda-|triton$")
"""What torch's CUDA build takes by exact version itself; its CPU build takes none of it."""


def main() -> int:
    """Print a table of what is missing where."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", default=os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple"))
    index = parser.parse_args().index.rstrip("/")
    pinned = [Requirement(line) for line in LOCK.read_text(encoding="utf-8").splitlines() if _is_pin(line)]
    with ThreadPoolExecutor(8) as pool:
        wheels = list(pool.map(lambda pin: list(_wheels(index, pin)), pinned))
    failed = False
    for python, processor in product(PYTHONS, PROCESSORS):
        tags = _tags(python, processor)
        missing = [
            str(pin)
            for pin, found in zip(pinned, wheels, strict=True)
            if _applies(pin, python, processor)
            and not any(tags & of and _allows(requires, python) for of, requires in found)
        ]
        unknown = [name for name in missing if name.partition("==")[0] not in WITHOUT_WHEEL]
        unlocked = sorted(_needed(python, processor) - {canonicalize_name(pin.name) for pin in pinned})
        failed = failed or bool(unknown or unlocked)
        faults = {"no wheel": missing, "not locked": unlocked}
        found = "; ".join(f"{fault}: {', '.join(names)}" for fault, names in faults.items() if names)
        print(f"Python {python[0]}.{python[1]}  {processor:<8} {found or 'all wheels'}")
    return int(failed)


def _is_pin(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")


def _wheels(index: str, pin: Requirement) -> Iterator[tuple[frozenset[Tag], str | None]]:
    """Tags and required Python of the pinned version's wheels; a build label such as ``+cpu`` is another version."""
    request = urllib.request.Request(
        f"{index}/{canonicalize_name(pin.name)}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        listed = json.load(answer)["files"]
    for file in listed:
        try:
            _, version, _, tags = parse_wheel_filename(file["filename"])
        except InvalidWheelFilename:
            continue
        if version in pin.specifier and not file.get("yanked"):
            yield frozenset(tags), file.get("requires-python")


def _tags(python: tuple[int, int], processor: str) -> frozenset[Tag]:
    """What pip takes on such a machine."""
    platforms = [f"manylinux_2_{minor}_{processor}" for minor in GLIBC]
    platforms += [f"manylinux2014_{processor}", f"manylinux2010_{processor}", f"manylinux1_{processor}"]
    interpreter = f"cp{python[0]}{python[1]}"
    return frozenset(
        [*cpython_tags(python, platforms=platforms), *compatible_tags(python, interpreter, platforms=platforms)]
    )


def _allows(requires: str | None, python: tuple[int, int]) -> bool:
    return not requires or f"{python[0]}.{python[1]}.0" in SpecifierSet(requires)


def _needed(python: tuple[int, int], processor: str) -> set[str]:
    """Names of all that the project and its extras need there, by the metadata of what is installed here."""
    waiting, needed = [Requirement("hlynr[dev,s3]")], set()
    followed: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        key = f"{canonicalize_name(wanted.name)} {sorted(wanted.extras)}"
        if key in followed:
            continue
        followed.add(key)
        needed.add(canonicalize_name(wanted.name))
        try:
            found = [Requirement(each) for each in requires(wanted.name) or ()]
        except PackageNotFoundError:
            continue
        extras = ["", *wanted.extras]
        waiting += [each for each in found if any(_applies(each, python, processor, extra) for extra in extras)]
    return {name for name in needed if not UNLOCKED.match(name)} - {"hlynr"}


def _applies(wanted: Requirement, python: tuple[int, int], processor: str, extra: str = "") -> bool:
    version = f"{python[0]}.{python[1]}"
    around = {"python_version": version, "python_full_version": f"{version}.0", "platform_machine": processor}
    around |= {"sys_platform": "linux", "platform_system": "Linux", "extra": extra}
    return wanted.marker is None or wanted.marker.evaluate(around)


if __name__ == "__main__":
    sys.exit(main())
