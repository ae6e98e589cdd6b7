"""Observations and actions, as statistics over all timesteps of the sampled episodes."""

import numpy as np

from hlynr.envs.observation import LIMIT, SCHEMA
from hlynr.evaluation.diagnosis.findings import finding, percent
from hlynr.evaluation.recording import Recording
from hlynr.records.diagnosis import ChannelFigures, Finding

OBSERVATIONS, ACTIONS = "observations", "actions"
CONSTANT = 1e-6
MOST_CLIPPED = 0.5
SATURATED = 0.999
MOST_SATURATED = 0.9


def channels(recording: Recording) -> tuple[ChannelFigures, ...]:
    """One row per channel; all values NaN where one of them is."""
    observed = recording.observations[recording.running].astype(np.float64)
    return tuple(
        ChannelFigures(
            channel=channel.name,
            mean=float(values.mean()),
            std=float(values.std()),
            min=float(values.min()),
            max=float(values.max()),
            clipped=float((np.abs(values) >= LIMIT).mean()),
        )
        for channel, values in zip(SCHEMA, observed.T, strict=True)
    )


def check_observations(rows: tuple[ChannelFigures, ...]) -> Finding:
    """NaN is a fault, a channel that never changes or is clipped much of the time a warning."""
    broken = [row.channel for row in rows if np.isnan(row.mean)]
    constant = [row.channel for row in rows if row.std < CONSTANT]
    clipped = {row.channel: row.clipped for row in rows if row.clipped > MOST_CLIPPED}
    most = max(rows, key=lambda row: row.clipped)
    figures = {
        "not_a_number": float(len(broken)),
        "constant": float(len(constant)),
        **{f"clipped_{row.channel}": row.clipped for row in rows if row.clipped > 0.0},
    }
    if broken:
        text = f"Channels that are not a number: {', '.join(broken)}."
        return finding(OBSERVATIONS, "fault", "observation", text, **figures)
    if constant or clipped:
        much = ", ".join(f"{name} {percent(share)}" for name, share in clipped.items())
        never = ", ".join(constant)
        text = f"Channels that never change: {never or 'none'}; clipped much of the time: {much or 'none'}."
        return finding(OBSERVATIONS, "warning", "observation", text, **figures)
    text = (
        f"All {len(rows)} channels are numbers and vary; the one clipped most often is {most.channel}, "
        f"{percent(most.clipped)} of the time."
    )
    return finding(OBSERVATIONS, "ok", None, text, **figures)


def check_actions(recording: Recording) -> Finding:
    """NaN is a fault; an axis at its limit nearly always, or one that never changes, is a warning."""
    actions = recording.actions[recording.running]
    saturated = (np.abs(actions) >= SATURATED).mean(axis=0)
    mean, std = actions.mean(axis=0), actions.std(axis=0)
    figures = {
        f"{name}_{axis + 1}": float(values[axis])
        for name, values in (("mean", mean), ("std", std), ("saturated", saturated))
        for axis in range(actions.shape[1])
    }
    described = "; ".join(
        f"axis {axis + 1}: mean {mean[axis]:+.2f}, std {std[axis]:.2f}, at the limit {percent(share)}"
        for axis, share in enumerate(saturated.tolist())
    )
    if np.isnan(actions).any():
        return finding(ACTIONS, "fault", "policy", f"Some actions are not a number. {described}.", **figures)
    if (saturated > MOST_SATURATED).any():
        text = f"An axis is at its limit nearly always, so it decides little. {described}."
        return finding(ACTIONS, "warning", "policy", text, **figures)
    if (std < CONSTANT).any():
        return finding(ACTIONS, "warning", "policy", f"An axis never changes. {described}.", **figures)
    return finding(ACTIONS, "ok", None, f"The actions vary on every axis. {described}.", **figures)
