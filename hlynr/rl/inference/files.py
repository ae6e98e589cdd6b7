"""A bundle's two files, and what must hold before they are used."""

import hashlib
import json
from pathlib import Path
from typing import Any

FORMAT = 1
WEIGHTS, MANIFEST, SEAL = "weights.safetensors", "manifest.json", "sha256"


def sealed(manifest: dict[str, Any]) -> str:
    """The manifest's text, ending with the sha256 of all its other entries."""
    facts = {key: value for key, value in manifest.items() if key != SEAL}
    seal = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return json.dumps({**facts, SEAL: seal}, indent=2) + "\n"


def read_files(folder: Path) -> dict[str, Any]:
    """The manifest, after checking the format, and the hash of every file and of itself.

    Raises:
        ValueError: if anything is missing, of another format, or changed.
    """
    try:
        text = (folder / MANIFEST).read_bytes().decode()  # without translating newlines
        manifest = json.loads(text)
    except OSError as error:
        raise ValueError(f"{folder}: is no bundle: {MANIFEST} cannot be read ({error.strerror})") from None
    except ValueError:
        raise ValueError(f"{folder}: {MANIFEST} is not valid JSON") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else None
        raise ValueError(f"{folder}: bundle format {found} is not {FORMAT}")
    if text != sealed(manifest):
        raise ValueError(f"{folder}: {MANIFEST} was changed: its {SEAL} is not that of its other entries")
    if WEIGHTS not in manifest["files"]:
        raise ValueError(f"{folder}: {MANIFEST} does not name {WEIGHTS}")
    for name, expected in manifest["files"].items():
        if Path(name).name != name:
            raise ValueError(f"{folder}: {MANIFEST} names a file outside the bundle: {name}")
        if not (folder / name).is_file():
            raise ValueError(f"{folder}: {name} is missing")
        if sha256(folder / name) != expected:
            raise ValueError(f"{folder}: {name} was changed: its sha256 is not the one in {MANIFEST}")
    return manifest


def sha256(path: Path) -> str:
    """Of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
