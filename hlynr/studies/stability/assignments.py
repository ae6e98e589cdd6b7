"""The trainings of the study: which there are, where each has its folder, whether it has come to its end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from hlynr.config import params
from hlynr.config.config import Config
from hlynr.config.project import Project
from hlynr.records.base import Record
from hlynr.records.stability import StabilityRun
from hlynr.records.training import Alarm

RECORD = "run.json"


class Assignment(Record):
    """One training of the study, and all that its process needs to know."""

    root: str
    folder: str
    """In which each run has its own."""
    config: Config
    """Under which it is watched to its end: only NaN stops it."""
    stop_on: tuple[Alarm, ...]
    """What ends a training of this strategy outside the study."""

    @property
    def name(self) -> str:
        """What the run and its folder are called."""
        return f"{self.config.run.strategy}-{self.config.train_seed}"

    @property
    def out(self) -> Path:
        """A training's folder, with the run's record in it once it has come to its end."""
        return Path(self.folder) / self.name


def assignments(path: Path, overrides: Iterable[str] = ()) -> list[Assignment]:
    """All runs of the study that ``path`` describes.

    Raises:
        hlynr.config.params.ConfigError: listing every fault found in the configuration of any of them.
    """
    root = path.absolute().parent.resolve()
    return [
        assigned(root, Project(root, config).stability, config) for config in params.load_stability(path, overrides)
    ]


def assigned(root: Path, folder: Path, config: Config) -> Assignment:
    """The training that ``config`` describes, to be watched to its end."""
    monitor = config.monitor.model_copy(update={"stop_on": ("nan",)})
    watched = config.model_copy(update={"monitor": monitor})
    return Assignment(root=str(root), folder=str(folder), config=watched, stop_on=config.monitor.stop_on)


def finished(run: Assignment) -> StabilityRun | None:
    """What came of the run, if it has come to its end under this very configuration."""
    from hlynr.rl.train import training_digest

    try:
        record = StabilityRun.read(run.out / RECORD)
    except (OSError, ValueError):
        return None
    config = run.config
    found = (record.digest, record.stop_on, record.heldout_seed, record.heldout_episodes, record.confidence)
    wanted = (
        training_digest(config),
        run.stop_on,
        config.heldout_seed,
        config.evaluation.heldout_episodes,
        config.gate.confidence,
    )
    return record if found == wanted else None


def longest_first(runs: Sequence[Assignment]) -> list[Assignment]:
    """In the order in which they are begun, so that no long one is left over when the others have ended."""
    return sorted(runs, key=lambda run: _effort(run.config), reverse=True)


def _effort(config: Config) -> float:
    """In minibatches, on which a training spends most of its time; a recurrent one takes about three times as long."""
    train = config.train
    minibatches = train.timesteps * train.n_epochs / train.batch_size
    return minibatches * (3 if train.algorithm == "recurrent_ppo" else 1)
