"""The runs of a stability study: configuration and folder of each, and whether it has ended."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from hlynr.config import params
from hlynr.config.config import Config
from hlynr.config.project import Project
from hlynr.records.base import Record
from hlynr.records.stability import StabilityRun
from hlynr.records.training import AlertKind

RECORD = "run.json"


class Assignment(Record):
    """One run, as its process gets it."""

    root: str
    folder: str
    """Of all runs; each has its own in it."""
    config: Config
    """Only NaN stops the training, so that its whole course is recorded."""
    stop_on: tuple[AlertKind, ...]
    """Alerts that end a training of this strategy outside the study."""

    @property
    def name(self) -> str:
        return f"{self.config.run.strategy}-{self.config.train_seed}"

    @property
    def out(self) -> Path:
        """The folder of the training, and of the record once the run has ended."""
        return Path(self.folder) / self.name


def assignments(path: Path, overrides: Iterable[str] = ()) -> list[Assignment]:
    """All runs of the stability study of ``path``.

    Raises:
        hlynr.config.params.ConfigError: listing every fault in the configuration of any of them.
    """
    root, configs = path.absolute().parent.resolve(), params.load_stability(path, overrides)
    return [assigned(root, Project(root, config).stability, config) for config in configs]


def assigned(root: Path, folder: Path, config: Config) -> Assignment:
    monitor = config.monitor.model_copy(update={"stop_on": ("nan",)})
    unstopped = config.model_copy(update={"monitor": monitor})
    return Assignment(root=str(root), folder=str(folder), config=unstopped, stop_on=config.monitor.stop_on)


def finished(run: Assignment) -> StabilityRun | None:
    """The record of the run, if it has ended under this very configuration."""
    from hlynr.rl.train import training_digest

    try:
        record = StabilityRun.read(run.out / RECORD)
    except (OSError, ValueError):
        return None
    config = run.config
    found = (record.digest, record.stop_on, record.heldout_seed, record.heldout_episodes, record.confidence)
    heldout = (config.heldout_seed, config.evaluation.heldout_episodes, config.gate.confidence)
    return record if found == (training_digest(config), run.stop_on, *heldout) else None


def longest_first(runs: Sequence[Assignment]) -> list[Assignment]:
    """In the order in which they start, so that no long one runs alone at the end."""
    return sorted(runs, key=lambda run: _effort(run.config), reverse=True)


def _effort(config: Config) -> float:
    """In minibatches, on which a training spends most of its time; a recurrent one takes about three times as long."""
    train = config.train
    minibatches = train.timesteps * train.n_epochs / train.batch_size
    return minibatches * (3 if train.algorithm == "recurrent_ppo" else 1)
