"""What `hlynr up`, `hlynr status` and `hlynr prune` hand on: components, retrainings, load, disk, what was removed."""

from typing import Any, Literal

from pydantic import AliasChoices, AwareDatetime, Field, model_validator

from hlynr.records.base import Record
from hlynr.records.retraining import Promotion
from hlynr.records.store_finding import StoreFinding

ComponentState = Literal["starting", "healthy", "not answering", "down", "elsewhere"]
"""``elsewhere``: another machine's server that is used from here."""
_COMPONENTS: Any = Field(validation_alias=AliasChoices("components", "parts"), serialization_alias="parts")
"""Scripts read them as ``parts``."""


class ComponentStatus(Record):
    """One component of the service."""

    name: str
    state: ComponentState
    url: str | None
    pid: int | None
    restarts: int = 0
    log: str | None
    """Relative to the project."""

    @property
    def healthy(self) -> bool:
        return self.state in ("healthy", "elsewhere")


class ServiceState(Record, serialize_by_alias=True):
    """The file that the supervisor keeps up to date while it runs."""

    pid: int = Field(ge=1, lt=2**31)
    command: tuple[str, ...] | None = None
    """Its command line; None in an earlier version's file."""
    born: float
    """When that process began [s since the epoch]: a process number is used again after its end."""
    since: AwareDatetime
    prefect_api: str
    took: float | None = None
    """[s] until all components were healthy for the first time."""
    components: tuple[ComponentStatus, ...] = _COMPONENTS

    @property
    def healthy(self) -> bool:
        return all(component.healthy for component in self.components)

    @property
    def own_prefect(self) -> bool:
        """Whether Prefect's server is a process of this service, and none elsewhere."""
        return any(component.name == "prefect" and component.log for component in self.components)


class ServiceOverrides(Record):
    """The ``--set`` of the last `hlynr up`."""

    overrides: tuple[str, ...]

    @model_validator(mode="before")
    @classmethod
    def _of_an_earlier_version(cls, written: Any) -> Any:
        """It wrote the list alone."""
        return {"overrides": written} if isinstance(written, list) else written


class RetrainingRun(Record):
    """One run of the nightly flow."""

    id: str
    name: str
    state: str
    began: AwareDatetime | None
    seconds: float | None
    verdict: str


class DiskUse(Record):
    """Bytes below a folder of the project."""

    name: str
    path: str
    bytes: int


class Load(Record):
    """What the service's processes use, those of a running retraining included."""

    memory: int
    """[bytes], what processes share counted once."""
    cpu: float
    """Fraction of a core, over a few seconds."""


class ServiceStatus(Record, serialize_by_alias=True):
    """The answer of `hlynr status`."""

    healthy: bool
    reason: str
    components: tuple[ComponentStatus, ...] = _COMPONENTS
    since: AwareDatetime | None
    took: float | None
    """[s] from the start until all components were healthy."""
    load: Load | None
    next_run: AwareDatetime | None
    schedule: str
    runs: tuple[RetrainingRun, ...]
    """The newest first."""
    champion: Promotion | None
    """By which the champion became it; None also where its alias was set by hand."""
    champion_version: int | None = None
    findings: tuple[StoreFinding, ...] = ()
    """What was changed by hand, or left by a killed process, and has to be mended."""
    review: str | None
    """Where the retrainings are listed in MLflow's UI; None while that is not up."""
    disk: tuple[DiskUse, ...]
    disk_free: int
    """[bytes]"""


class PrunedItem(Record):
    """One thing that `hlynr prune` removed, or would."""

    kind: Literal["retraining", "search", "training", "run", "experiment", "worktree", "objects"]
    """A retraining with its attempts, a search with its trials, a training alone, a run deleted in the UI; of DVC an
    experiment, the folder of a killed save, the objects that nothing uses any more."""
    name: str
    reason: str
    age_days: float | None
    """Since its newest sign of life; None where that says nothing."""
    bytes: int | None
    """None where they are counted elsewhere, or not on this machine."""


class KeptCount(Record):
    """How many runs or experiments stay for one reason."""

    kind: Literal["run", "experiment"]
    reason: str
    count: int


class PruneRecord(Record):
    """The answer of `hlynr prune`."""

    dry_run: bool
    when: AwareDatetime
    """From which ages count."""
    days: int
    items: tuple[PrunedItem, ...]
    kept: tuple[KeptCount, ...]
    bytes: int
    notes: tuple[str, ...]
    """What has to be done by hand."""
    faults: tuple[str, ...]
    """What did not go, and why; the next pruning tries again."""
