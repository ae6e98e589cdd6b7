"""The policy as MLflow serves it; the logged model names this module as its loader."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from .actor import build_actor, load_weights
from .files import read_files


class HistoryModel:
    """A policy without its environment: observation histories in, the next actions out."""

    def __init__(self, bundle: Path) -> None:
        files = read_files(bundle)
        self._size = len(files.manifest["observation"]["channels"])
        self._actor = build_actor(files.manifest, load_weights(bundle, files))

    def predict(self, model_input: np.ndarray, params: dict[str, Any] | None = None) -> np.ndarray:
        """Actions for the last timestep of each history; a recurrent policy gets its memory from the earlier ones.

        Args:
            model_input: observations of whole episodes so far, all of one length, (B, T, D) float32; batch them by
                length.
            params: none are known.

        Returns:
            (B, 3) float32 in [-1, 1].

        Raises:
            ValueError: if the input is no such array, or holds no timestep.
        """
        histories = np.asarray(model_input, dtype=np.float32)
        if histories.ndim != 3 or histories.shape[1] == 0 or histories.shape[2] != self._size:
            expected = f"(B, T, {self._size}) with at least one timestep"
            raise ValueError(f"observation histories must be {expected}, not {histories.shape}")
        state = None
        for timestep in range(histories.shape[1]):
            starts = np.full(len(histories), timestep == 0)
            actions, state = self._actor.mean(histories[:, timestep], state, starts)
        return np.asarray(np.clip(actions, -1.0, 1.0))


def _load_pyfunc(bundle: str) -> HistoryModel:
    """What MLflow calls on the logged bundle."""
    torch.set_num_threads(1)  # small networks run best on one
    return HistoryModel(Path(bundle))
