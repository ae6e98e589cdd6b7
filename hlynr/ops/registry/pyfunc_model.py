"""The policy as MLflow serves it: observation histories in, the next actions out.

MLflow copies this file into the logged model and runs it there ("models from code"); nothing imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from hlynr.envs.observation import SIZE
from hlynr.evaluation.policy import Policy


class HistoryPolicy(PythonModel):
    """Runs a bundle's policy through histories from their start, so that a recurrent one has its memory."""

    policy: Policy

    def load_context(self, context: PythonModelContext) -> None:
        """Load the bundle that was logged with the model."""
        from hlynr.rl.bundle import load_policy

        self.policy = load_policy(Path(context.artifacts["bundle"]))

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Actions for the last timestep of each history.

        Args:
            model_input: observations of whole episodes so far, all of one length, (B, T, D) float32; batch them by
                length.

        Returns:
            (B, 3) float32 in [-1, 1].

        Raises:
            ValueError: if the input is no such array, or holds no timestep.
        """
        histories = np.asarray(model_input, dtype=np.float32)
        if histories.ndim != 3 or histories.shape[1] == 0 or histories.shape[2] != SIZE:
            raise ValueError(
                f"observation histories must be (B, T, {SIZE}) with at least one timestep, not {histories.shape}"
            )
        state = None
        for timestep in range(histories.shape[1]):
            starts = np.full(len(histories), timestep == 0)
            actions, state = self.policy.predict(histories[:, timestep], state, starts)
        return np.asarray(actions, dtype=np.float32)


set_model(HistoryPolicy())
