"""Model versions and their aliases, and a version's bundle fetched from the registry and verified."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hlynr.config.base import SEED_DISTANCE
from hlynr.ops.tracking.calls import if_exists, pages
from hlynr.ops.tracking.client import answered
from hlynr.ops.tracking.store import Store, local_path
from hlynr.records.base import intermediate
from hlynr.records.evaluation import EvaluationReport
from hlynr.records.training import Lineage
from hlynr.runtime import scratch
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.runtime.outside import brief

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

Alias = Literal["champion", "challenger", "previous_champion"]
SHA_TAG = "hlynr.bundle_sha256"
MODEL_ID_TAG = "hlynr.model_id"
"""A version's logged model: MLflow's own field stays empty on SQLite."""
VERDICT_TAG = "hlynr.gate"
SUCCESS_TAGS = ("hlynr.success_rate", "hlynr.success_rate_low", "hlynr.success_rate_high")
LINEAGE_TAGS = tuple(f"hlynr.lineage.{key}" for key in ("id", "retraining", "git_commit", "dvc_experiment"))
"""Enough to find run, commit and files: lists show every tag, and the run has the whole lineage."""
DESCRIPTION = "Policies of a nightly retraining; none has been judged yet."

BUNDLE_PATHS = ("data/bundle", "artifacts/bundle")
"""Where a logged model keeps its bundle; the second one in models that carry all of hlynr."""

_REFERENCE = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))")
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""MLflow's answers for a missing model or version, and for a missing alias."""

_LOST = "No such artifact"
"""In the OSError of MLflow's repository of files."""


class RegistryError(EnvironmentNotReady):
    """The registry does not hold what was asked for; the message names it."""


class UnusableBundleError(RegistryError):
    """A version's bundle is gone, damaged or none of ours: asking again later will not help."""


@dataclass(frozen=True)
class VersionInfo:
    """One registered version."""

    name: str
    version: int
    run_id: str | None
    tags: Mapping[str, str]

    @property
    def bundle_sha256(self) -> str | None:
        return self.tags.get(SHA_TAG)

    @property
    def lineage_id(self) -> str:
        return self.tags.get("hlynr.lineage.id", "")

    @property
    def retraining(self) -> int | None:
        """The number of the retraining whose seeds judged it."""
        number = self.tags.get("hlynr.lineage.retraining", "")
        return int(number) if number.isdecimal() and int(number) < SEED_DISTANCE else None

    @property
    def success(self) -> tuple[float, float, float] | None:
        """Held-out success rate with its interval's bounds; None where a tag was removed or holds no number."""
        try:
            rate, low, high = (float(self.tags[name]) for name in SUCCESS_TAGS)
        except (KeyError, ValueError):
            return None
        return rate, low, high


def register(
    store: Store,
    run_id: str,
    model_uri: str,
    model_id: str,
    bundle_sha256: str,
    evaluation: EvaluationReport,
    lineage: Lineage,
) -> int:
    """Make a logged model the registered model's next version, alias `challenger`; returns the version."""
    _ensure_model(store)
    success = (evaluation.heldout.success_rate, *evaluation.heldout.success_rate_ci)
    known = lineage.tags()
    tags = {
        **{key: known[key] for key in LINEAGE_TAGS if key in known},
        **dict(zip(SUCCESS_TAGS, map(str, success), strict=True)),
        SHA_TAG: bundle_sha256,
        MODEL_ID_TAG: model_id,
    }
    source = _source(store, model_uri, model_id)
    with store.registry_lock():
        found = store.client.create_model_version(
            store.model, source=source, run_id=run_id, tags=tags, model_id=model_id
        )
        store.client.set_registered_model_alias(store.model, "challenger", found.version)
    # The pages of run and model link to the version by this tag; only a server writes it by itself.
    link = json.dumps([{"name": store.model, "version": str(found.version)}])
    store.client.set_logged_model_tags(model_id, {"mlflow.modelVersions": link})
    return int(found.version)


def registered(store: Store, run_id: str, bundle_sha256: str) -> int | None:
    """The version that an earlier try made from this run and bundle; None if there is none.

    It becomes the challenger, unless it has been judged or a newer version is.
    """
    made = [version for version in _of_run(store, run_id) if version.tags.get(SHA_TAG) == bundle_sha256]
    if not made:
        return None
    number = int(made[0].version)
    if VERDICT_TAG not in made[0].tags:
        with store.registry_lock():
            newest = by_alias(store, "challenger")
            if newest is None or newest.version < number:
                store.client.set_registered_model_alias(store.model, "challenger", str(number))
    return number


def numbers(store: Store) -> set[int]:
    """Of the retrainings that a decision was made about, as their versions' tags have them."""
    found = [_info(each) for each in pages(store.client.search_model_versions, filter_string=f"name = '{store.model}'")]
    return {each.retraining for each in found if VERDICT_TAG in each.tags and each.retraining is not None}


def newest_of_run(store: Store, run_id: str) -> int | None:
    """The newest version made from this run; None if none was."""
    return max((int(version.version) for version in _of_run(store, run_id)), default=None)


def _of_run(store: Store, run_id: str) -> list[ModelVersion]:
    return list(store.client.search_model_versions(f"name = '{store.model}' and run_id = '{run_id}'"))


def champion(store: Store) -> VersionInfo | None:
    """The champion of the configured model; None before the first promotion."""
    return by_alias(store, "champion")


def by_alias(store: Store, alias: Alias) -> VersionInfo | None:
    """The configured model's version behind an alias; None if it points nowhere."""
    try:
        return find(store, f"models:/{store.model}@{alias}")
    except RegistryError:
        return None


def find(store: Store, reference: int | str) -> VersionInfo:
    """The version of a number, of ``models:/name/3`` or of ``models:/name@alias``.

    Raises:
        RegistryError: if there is none, or the reference has another form.
    """
    return _info(_resolve(store, reference))


def fault(store: Store, version: VersionInfo) -> str | None:
    """Why a version is none of ours or no longer whole, as a clause; on this machine's disk only."""
    if version.bundle_sha256 is None:
        return f"has no tag {SHA_TAG}: no retraining registered it"
    location = store.client.get_model_version_download_uri(version.name, str(version.version))
    folder = local_path(location)
    if folder is None or any((folder / path / "manifest.json").is_file() for path in BUNDLE_PATHS):
        return None
    return f"has lost its bundle: {folder} does not hold it"


def reported_success(store: Store, version: VersionInfo) -> float | None:
    """Success in the 100 episodes of its own retraining, as the version's run has it; None where it is not logged."""
    run = if_exists(store.client.get_run, version.run_id) if version.run_id else None
    rate = math.nan if run is None else run.data.metrics.get("report/success_rate", math.nan)
    return None if math.isnan(rate) else float(rate)


def fetch_bundle(store: Store, reference: int | str, destination: Path) -> Path:
    """Bring a version's verified bundle to ``destination``, which keeps what it held if that fails.

    Args:
        reference: as in `find`.
        destination: an older bundle there is replaced.

    Raises:
        UnusableBundleError: if its files are gone, or not those that were registered.
        RegistryError: if there is no such version, or its files are out of reach.
    """
    version = _resolve(store, reference)
    if destination.exists() and not _replaceable(destination):
        raise RegistryError(f"{destination} is not a bundle; it is not replaced")
    destination.parent.mkdir(parents=True, exist_ok=True)
    for path in scratch.left(destination.parent, recursive=False):
        scratch.remove(path)
    folder = intermediate(destination)
    folder.mkdir()
    try:
        bundle = _download(store, version, folder)
        _verify(bundle, _info(version))
        shutil.rmtree(destination, ignore_errors=True)
        bundle.replace(destination)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return destination


def _replaceable(destination: Path) -> bool:
    return destination.is_dir() and ((destination / "manifest.json").exists() or not any(destination.iterdir()))


def _ensure_model(store: Store) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(store.model, description=DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _source(store: Store, model_uri: str, model_id: str) -> str:
    """Where the version's files are; without a server MLflow resolves ``models:/`` through a global tracking URI."""
    if store.uri.startswith(("http://", "https://")):
        return model_uri
    return str(store.client.get_logged_model(model_id).artifact_location)


def _resolve(store: Store, reference: int | str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    uri = f"models:/{store.model}/{reference}" if isinstance(reference, int) else reference
    match = _REFERENCE.fullmatch(uri)
    if match is None:
        raise RegistryError(f"{reference}: is not of the form models:/NAME/VERSION or models:/NAME@ALIAS")
    name, alias = match["name"], match["alias"]
    try:
        if alias is not None:
            return store.client.get_model_version_by_alias(name, alias)
        return store.client.get_model_version(name, match["version"])
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise
        raise RegistryError(f"{uri}: the registry holds no such version") from None


def _info(version: ModelVersion) -> VersionInfo:
    return VersionInfo(version.name, int(version.version), version.run_id or None, dict(version.tags))


def _download(store: Store, version: ModelVersion, folder: Path) -> Path:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    location = store.client.get_model_version_download_uri(version.name, version.version)
    for path in BUNDLE_PATHS:
        try:
            uri = f"{location.rstrip('/')}/{path}"
            fetch = partial(download_artifacts, artifact_uri=uri, dst_path=str(folder), tracking_uri=store.uri)
            return Path(answered(store.uri, fetch))
        except (MlflowException, OSError) as found:
            error = found
    kind = UnusableBundleError if _says_absent(error) else RegistryError
    raise kind(f"version {version.version}: its bundle is not in {location}: {brief(error)}") from error


def _says_absent(error: Exception) -> bool:
    """Whether the files are known to be gone, and not only out of reach."""
    return isinstance(error, FileNotFoundError) or getattr(error, "error_code", "") in _ABSENT or _LOST in str(error)


def _verify(bundle: Path, version: VersionInfo) -> None:
    from hlynr.rl.bundle import BundleError, digest

    try:
        found = digest(bundle)
    except BundleError as error:
        raise UnusableBundleError(f"version {version.version}: its bundle is damaged: {error}") from error
    if found != version.bundle_sha256:
        raise UnusableBundleError(
            f"version {version.version}: its bundle has sha256 {found}, but {version.bundle_sha256} was registered"
        )
