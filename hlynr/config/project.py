"""Where a project keeps its things."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from hlynr.config.config import Config
from hlynr.runtime import scratch


@dataclass(frozen=True)
class Project:
    """A project folder under one configuration; all paths are absolute."""

    root: Path
    config: Config

    @property
    def train(self) -> Path:
        """What a training writes: bundle, checkpoints, result.json, ..."""
        return self.root / self.config.run.outputs / "train"

    @property
    def evaluate(self) -> Path:
        """What an evaluation writes: report.json, figures, ..."""
        return self.root / self.config.run.outputs / "evaluate"

    @property
    def diagnose(self) -> Path:
        """What a diagnosis writes: diagnosis.json, diagnosis.html."""
        return self.root / self.config.run.outputs / "diagnose"

    @property
    def attempts(self) -> Path:
        """What the failed trainings of a retraining's plan left."""
        return self.root / self.config.run.outputs / "attempts"

    @property
    def stability(self) -> Path:
        """The trainings of the stability study, a folder each."""
        return self.root / self.config.run.outputs / "study"

    @property
    def tune(self) -> Path:
        """What the searches of hyperparameters write, a folder each."""
        return self.root / self.config.run.outputs / "tune"

    @property
    def bundle(self) -> Path:
        """The newest training's bundle."""
        return self.train / "bundle"

    @property
    def record(self) -> Path:
        """The newest retraining's record."""
        return self.root / self.config.run.outputs / "retrain.json"

    def left(self) -> list[Path]:
        """Intermediate files of processes that were killed while they wrote."""
        folders = (self.root / self.config.run.outputs, self.root / ".hlynr")
        found = scratch.left(self.root, recursive=False)
        return [*found, *(path for folder in folders for path in scratch.left(folder))]

    def remove_left(self) -> None:
        """Remove all of `left`."""
        for path in self.left():
            scratch.remove(path)

    def at_retraining(self, retraining: int) -> Self:
        """The same project with its seeds shifted to ``retraining``."""
        run = self.config.run.model_copy(update={"retraining": retraining})
        return replace(self, config=self.config.model_copy(update={"run": run}))
