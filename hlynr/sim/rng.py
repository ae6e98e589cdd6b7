"""Counter-based random numbers: a draw is a pure function of (seed, episode, tick, channel).

No generator carries state, so engagement k of seed s sees the same world, noise included, whatever the
policy, the batch size or the order of evaluation. That is what makes paired comparison of policies possible.

Source: the mixing function is SplitMix64's finaliser, Steele, Lea and Flood, "Fast splittable pseudorandom
number generators", OOPSLA 2014 (constants of Stafford's variant 13).
"""

import math

import numpy as np

from hlynr.sim.jit import inlined, kernel

CHANNELS = 16
"""Channels per tick; every consumer of randomness owns the channels named below."""

# Drawn once, at tick 0.
SPAWN_RANGE, SPAWN_AZIMUTH, SPAWN_ELEVATION, TARGET_SPEED = 0, 1, 2, 3
WEAVE_AMPLITUDE, WEAVE_PERIOD, WEAVE_PHASE, WEAVE_ROLL = 4, 5, 6, 7
AIM, LAUNCH, WIND_SPEED, WIND_DIRECTION = 8, 10, 12, 13
# Triples that are drawn at launch have pseudo-ticks of their own, which no physics tick can reach.
CUE_POSITION_TICK, CUE_VELOCITY_TICK, FIRST_JINK_TICK = -1, -2, -3
# Drawn at radar ticks; a normal triple takes four channels.
DETECTION, MEASUREMENT, JINK, CUE_MEASUREMENT = 0, 1, 5, 9
# Drawn at gust ticks and, keyed by block number instead of tick, for drop-outs.
GUST = 0
GUST_TICK_OFFSET, DROPOUT_TICK_OFFSET, CUE_DROPOUT_TICK_OFFSET = 1 << 30, 1 << 31, 1 << 32

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_M1 = np.uint64(0xBF58476D1CE4E5B9)
_M2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 1.0 / (1 << 53)


@inlined
def _mix(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> _S30)) * _M1
    x = (x ^ (x >> _S27)) * _M2
    return x ^ (x >> _S31)


@kernel
def engagement_key(seed: int, episode: int) -> np.uint64:
    """Key of one engagement, uint64; hoisted out of the per-tick draws."""
    return _mix(_mix(np.uint64(seed) + _GOLDEN) + (np.uint64(episode) + np.uint64(1)) * _GOLDEN)


@inlined
def uniform(key: np.uint64, tick: int, channel: int) -> float:
    """One draw from [0, 1) with 53 random bits."""
    counter = np.uint64(tick * CHANNELS + channel + 1)
    return float(_mix(_mix(key + counter * _GOLDEN) ^ key) >> _S11) * _TO_UNIT


@inlined
def normal_pair(key: np.uint64, tick: int, channel: int) -> tuple[float, float]:
    """Two independent standard normals from channels ``channel`` and ``channel + 1``.

    Source: Box and Muller, Annals of Mathematical Statistics 29 (1958) 610.
    """
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(key, tick, channel)))
    angle = 2.0 * math.pi * uniform(key, tick, channel + 1)
    return radius * math.cos(angle), radius * math.sin(angle)


@inlined
def normal_triple(key: np.uint64, tick: int, channel: int) -> tuple[float, float, float]:
    """Three independent standard normals; uses four channels from ``channel``."""
    a, b = normal_pair(key, tick, channel)
    c, _ = normal_pair(key, tick, channel + 2)
    return a, b, c


@kernel
def hashed_uniforms(rows: np.ndarray, count: int) -> np.ndarray:
    """Uniform draws (N, count) in [0, 1) that depend on nothing but the row's bits.

    Args:
        rows: (N, D) float32.
    """
    bits = rows.view(np.uint32)
    out = np.empty((rows.shape[0], count))
    for i in range(rows.shape[0]):
        key = np.uint64(0)
        for k in range(rows.shape[1]):
            key = _mix(key + _GOLDEN + np.uint64(bits[i, k]))
        for c in range(count):
            out[i, c] = uniform(key, 0, c)
    return out
