"""The computation of a stage of dvc.yaml as a script: prints the modules it loads and the sections it reads."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

TINY = (
    "train.device=cpu",
    "train.timesteps=2048",
    "train.n_envs=32",
    "train.n_steps=32",
    "train.batch_size=512",
    "train.n_epochs=1",
    "monitor.interval=1024",
    "monitor.episodes=100",
    "evaluation.heldout_episodes=100",
)


def train(config: Any, folder: Path) -> None:
    from hlynr.records.training import Lineage
    from hlynr.rl import train as training

    lineage = Lineage(id="test", created="2026-01-01T00:00:00+00:00", retraining=0, params_digest="0" * 64)
    training.train(config, folder / "train", lineage, resume=False)


def evaluate(config: Any, folder: Path) -> None:
    from hlynr.evaluation import judge
    from hlynr.records.training import Lineage
    from hlynr.report import stage
    from hlynr.rl import bundle

    made = folder / "train" / "bundle"
    lineage = Lineage.model_validate(bundle.read_manifest(made)["lineage"])
    report, results = judge.evaluate(bundle.load_policy(made, threads=1), config, lineage, bundle.digest(made))
    stage.write(config, report, results, [], None, folder / "evaluate")


def main(name: str, params_file: str, folder: str) -> None:
    from hlynr.config import params
    from hlynr.config.config import Config

    config = params.load(Path(params_file), TINY)
    sections: set[str] = set()
    plain = Config.__getattribute__

    def watched(self: Config, key: str) -> Any:
        if key in Config.model_fields:
            sections.add(key)
        return plain(self, key)

    Config.__getattribute__ = watched  # type: ignore[method-assign]
    {"train": train, "evaluate": evaluate}[name](config, Path(folder))
    files = [module.__file__ for key, module in sorted(sys.modules.items()) if key.partition(".")[0] == "hlynr"]
    print(json.dumps({"files": files, "sections": sorted(sections)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
