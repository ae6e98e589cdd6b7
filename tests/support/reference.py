"""A second opinion on the simulation: one engagement in plain Python, as the documents describe it.

Written against params.yaml and the docstrings, with nothing imported from `hlynr.sim`: settings come straight from
the configuration, vectors are numpy arrays of three, random numbers are Python integers, the tracker is filterpy's
six-state filter. `test_engagement.py` demands that the kernel agrees with it over whole episodes.

The channel numbers are repeated here on purpose: they are part of what engagement k of seed s *is*, and
renumbering them in the kernel would silently change every recorded result.
"""

import cmath
import math

import numpy as np
from filterpy.common import Q_discrete_white_noise
from filterpy.kalman import KalmanFilter

from hlynr.config.config import Config
from hlynr.config.scenarios import Scenario

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
UP = np.array([0.0, 0.0, 1.0])


def finalise(word: int) -> int:
    """SplitMix64's output function (Steele, Lea and Flood 2014) on a 64-bit integer."""
    word = ((word ^ word >> 30) * 0xBF58476D1CE4E5B9) & MASK
    word = ((word ^ word >> 27) * 0x94D049BB133111EB) & MASK
    return word ^ word >> 31


class Chance:
    """All the randomness of one engagement, addressed by (tick, channel)."""

    def __init__(self, seed: int, episode: int) -> None:
        self.key = finalise((finalise((seed + GOLDEN) & MASK) + (episode + 1) * GOLDEN) & MASK)

    def word(self, tick: int, channel: int) -> int:
        counter = 16 * tick + channel + 1
        return finalise(finalise((self.key + counter * GOLDEN) & MASK) ^ self.key)

    def unit(self, tick: int, channel: int) -> float:
        return (self.word(tick, channel) >> 11) / 2**53

    def between(self, bounds: tuple[float, float], channel: int) -> float:
        return bounds[0] + (bounds[1] - bounds[0]) * self.unit(0, channel)

    def plane(self, tick: int, channel: int) -> complex:
        """Two independent standard normals as one complex number (Box-Muller)."""
        radius = math.sqrt(-2 * math.log(1 - self.unit(tick, channel)))
        return cmath.rect(radius, 2 * math.pi * self.unit(tick, channel + 1))

    def space(self, tick: int, channel: int) -> np.ndarray:
        """Three independent standard normals; the fourth of the two pairs is left unused."""
        first, second = self.plane(tick, channel), self.plane(tick, channel + 2)
        return np.array([first.real, first.imag, second.real])


def frame_along(direction: np.ndarray) -> np.ndarray:
    """Rows: the direction, the horizontal to its left, and their cross product."""
    length = np.linalg.norm(direction)
    if length < 1e-9:
        return np.eye(3)
    first = direction / length
    left = np.cross(UP, first)
    size = np.linalg.norm(left)
    second = np.array([0.0, 1.0, 0.0]) if size < 1e-9 else left / size
    return np.array([first, second, np.cross(first, second)])


def swing_about(frame: np.ndarray, angle: float, bearing: float) -> np.ndarray:
    """Unit vector ``angle`` [rad] away from the frame's first axis, toward ``bearing`` [rad] from its second."""
    aside = math.cos(bearing) * frame[1] + math.sin(bearing) * frame[2]
    return math.cos(angle) * frame[0] + math.sin(angle) * aside


class Track:
    """filterpy's filter with states x, vx, y, vy, z, vz, stepped once per radar scan."""

    def __init__(self, position, velocity, position_variance, velocity_variance, interval, noise, gate, smoothing):
        self.filter = KalmanFilter(dim_x=6, dim_z=3)
        self.filter.x = np.array([position, velocity]).T.reshape(6)
        self.filter.P = np.diag([position_variance, velocity_variance] * 3).astype(float)
        self.filter.F = np.kron(np.eye(3), [[1.0, interval], [0.0, 1.0]])
        self.filter.Q = Q_discrete_white_noise(2, interval, noise**2, block_size=3)
        self.filter.H = np.kron(np.eye(3), [[1.0, 0.0]])
        self.interval, self.gate, self.smoothing = interval, gate, smoothing
        self.acceleration = np.zeros(3)

    @property
    def position(self) -> np.ndarray:
        return self.filter.x[0::2]

    @property
    def velocity(self) -> np.ndarray:
        return self.filter.x[1::2]

    def predict(self) -> None:
        self.filter.predict()
        self.acceleration = self.acceleration * math.exp(-self.interval / self.smoothing)

    def update(self, measured: np.ndarray, variance: float) -> float | None:
        """The normalised innovation squared, or None if the gate rejects the measurement."""
        # Not filterpy's residual_of: that compares with the prior, and a cue may follow a detection in one scan.
        innovation = measured - self.filter.H @ self.filter.x
        spread = self.filter.H @ self.filter.P @ self.filter.H.T + variance * np.eye(3)
        nis = float(innovation @ np.linalg.solve(spread, innovation))
        if nis > self.gate:
            return None
        before = self.velocity.copy()
        self.filter.update(measured, R=variance)
        share = 1 - math.exp(-self.interval / self.smoothing)
        self.acceleration = self.acceleration + share * (self.velocity - before) / self.interval
        return nis


class Target:
    """Flies at constant speed toward its aim, weaving about that line, with a jink redrawn at every scan."""

    def __init__(self, chance: Chance, scenario: Scenario) -> None:
        spawn, target = scenario.spawn, scenario.target
        distance = spawn.range * (1 + spawn.range_spread * (2 * chance.unit(0, 0) - 1))
        azimuth = 2 * math.pi * chance.unit(0, 1)
        elevation = math.radians(chance.between(spawn.elevation, 2))
        level = cmath.rect(distance * math.cos(elevation), azimuth)
        self.position = np.array([level.real, level.imag, distance * math.sin(elevation)])
        aim = spawn.aim_spread * chance.plane(0, 8)
        course = frame_along(np.array([aim.real, aim.imag, 0.0]) - self.position)
        self.axis = swing_about(course, math.pi / 2, 2 * math.pi * chance.unit(0, 7))
        self.amplitude = chance.between(target.weave, 4)
        self.rate = 2 * math.pi / chance.between(target.weave_period, 5)
        self.phase = 2 * math.pi * chance.unit(0, 6)
        sway = -self.amplitude / self.rate * math.cos(self.phase)
        self.velocity = chance.between(target.speed, 3) * course[0] + sway * self.axis
        self.jink = target.jink * chance.space(-3, 5)

    def move(self, time: float, dt: float) -> None:
        """One tick; ``time`` is the tick's middle."""
        acceleration = self.amplitude * math.sin(self.rate * time + self.phase) * self.axis + self.jink
        after = self.velocity + dt * acceleration
        self.position = self.position + dt * (self.velocity + after) / 2
        self.velocity = after


class Interceptor:
    def __init__(self, chance: Chance, config: Config, scenario: Scenario, cued: np.ndarray) -> None:
        self.model, self.sim = scenario.interceptor, config.sim
        self.position = np.array([0.0, 0.0, self.model.launch_height])
        error = math.radians(self.model.launch_error) * chance.plane(0, 10)
        pointed = swing_about(frame_along(cued - self.position), abs(error), cmath.phase(error))
        azimuth = math.atan2(pointed[1], pointed[0])
        lowest = math.radians(self.model.launch_elevation_min)
        elevation = max(math.asin(max(-1.0, min(1.0, pointed[2]))), lowest)
        level = cmath.rect(math.cos(elevation), azimuth)
        self.velocity = self.model.launch_speed * np.array([level.real, level.imag, math.sin(elevation)])
        self.thrust = np.zeros(3)
        self.fuel = 1.0

    def move(self, command: np.ndarray, air: np.ndarray, dt: float) -> None:
        if self.fuel > 0:
            rest = math.exp(-dt / self.model.actuator_lag)
            self.thrust = rest * self.thrust + (1 - rest) * command
        else:
            self.thrust = np.zeros(3)
        wind = self.velocity - air
        density = math.exp(-max(self.position[2], 0.0) / self.sim.scale_height)
        drag = -self.model.drag * density * np.linalg.norm(wind) * wind
        after = self.velocity + dt * (self.thrust + drag - self.sim.gravity * UP)
        self.position = self.position + dt * (self.velocity + after) / 2
        self.velocity = after
        burnt = np.linalg.norm(self.thrust) * dt / (self.model.max_acceleration * self.model.fuel_time)
        self.fuel = max(0.0, self.fuel - burnt)


class Engagement:
    """One engagement from launch to outcome; `advance` takes one command for one timestep."""

    def __init__(self, config: Config, name: str, seed: int, episode: int) -> None:
        self.sim, self.scenario = config.sim, config.scenarios[name]
        self.chance = Chance(seed, episode)
        self.tick = 0
        self.outcome = "running"
        self.target = Target(self.chance, self.scenario)
        cue = self.scenario.cue
        self.track = Track(
            self.target.position + cue.position_error * self.chance.space(-1, 0),
            self.target.velocity + cue.velocity_error * self.chance.space(-2, 0),
            cue.position_error**2,
            cue.velocity_error**2,
            self.sim.dt * self.sim.radar_interval,
            config.tracker.acceleration_noise,
            config.tracker.gate,
            config.tracker.acceleration_time,
        )
        self.track_tick = 0
        self.own = Interceptor(self.chance, config, self.scenario, self.track.position)
        blow = cmath.rect(self.chance.between(self.scenario.wind.speed, 12), 2 * math.pi * self.chance.unit(0, 13))
        self.wind = np.array([blow.real, blow.imag, 0.0])
        self.gust = np.zeros(3)
        self.waiting: dict[int, tuple[np.ndarray, float] | None] = {}
        self.detections = self.rejections = 0
        self.detection_tick = self.first_detection_tick = -1
        self.nis: float | None = None
        self.min_distance = float(np.linalg.norm(self.relative))

    @property
    def relative(self) -> np.ndarray:
        return self.target.position - self.own.position

    def advance(self, action: np.ndarray) -> None:
        age = (self.tick - self.track_tick) * self.sim.dt
        believed = self.track.position + age * self.track.velocity - self.own.position
        wanted = np.nan_to_num(action)
        wanted = wanted / max(1.0, float(np.linalg.norm(wanted)))
        command = self.scenario.interceptor.max_acceleration * (wanted @ frame_along(believed))
        for _ in range(self.sim.control_interval):
            if self.outcome == "running":
                self._tick(command)

    def _tick(self, command: np.ndarray) -> None:
        dt, before = self.sim.dt, self.relative
        self.target.move((self.tick + 0.5) * dt, dt)
        self.own.move(command, self.wind + self.gust, dt)
        self.tick += 1
        if self.tick % self.sim.gust_interval == 0:
            kept = math.exp(-dt * self.sim.gust_interval / self.scenario.wind.gust_time)
            stir = self.scenario.wind.gust * math.sqrt(1 - kept**2)
            self.gust = kept * self.gust + stir * self.chance.space(self.tick + 2**30, 0)
        if self.tick % self.sim.radar_interval == 0:
            self.target.jink = self.scenario.target.jink * self.chance.space(self.tick, 5)
            self._scan()
        self._judge(before, self.relative)

    def _scan(self) -> None:
        number = self.tick // self.sim.radar_interval
        self.waiting[number] = self._measurement()
        self.nis = None
        due = number - self.scenario.radar.delay
        if due < 1:
            return
        self.track.predict()
        self.track_tick = due * self.sim.radar_interval
        measurement = self.waiting.pop(due)
        if measurement is not None:
            self.nis = self.track.update(*measurement)
            if self.nis is None:
                self.rejections += 1
            else:
                self.detections += 1
                self.detection_tick = self.track_tick
                if self.first_detection_tick < 0:
                    self.first_detection_tick = self.track_tick
        self._cue()

    def _measurement(self) -> tuple[np.ndarray, float] | None:
        radar, relative = self.scenario.radar, self.relative
        distance = float(np.linalg.norm(relative))
        cosine = float(relative @ self.own.velocity) / (distance * float(np.linalg.norm(self.own.velocity)))
        seen = math.acos(max(-1.0, min(1.0, cosine))) <= math.radians(radar.half_angle)
        chance = radar.detection_peak * math.exp(-((distance / radar.detection_range) ** 4))
        if not seen or self.chance.unit(self.tick, 0) >= chance or self._out(radar.dropout, 2**31):
            return None
        error = math.hypot(radar.noise_floor, radar.noise_fraction * distance) * self.chance.space(self.tick, 1)
        apparent = float(np.linalg.norm(relative + error))
        return self.target.position + error, radar.noise_floor**2 + (radar.noise_fraction * apparent) ** 2

    def _out(self, probability: float, offset: int) -> bool:
        return self.chance.unit(self.tick // self.scenario.dropout_interval + offset, 0) < probability

    def _cue(self) -> None:
        cue = self.scenario.cue
        if cue.interval == 0 or self.track_tick % cue.interval or self._out(cue.dropout, 2**32):
            return
        then = self.target.position - (self.tick - self.track_tick) * self.sim.dt * self.target.velocity
        nis = self.track.update(then + cue.position_error * self.chance.space(self.tick, 9), cue.position_error**2)
        self.nis = nis if nis is not None else self.nis

    def _judge(self, before: np.ndarray, after: np.ndarray) -> None:
        step = after - before
        part = -float(before @ step) / float(step @ step)
        closest = before + min(1.0, max(0.0, part)) * step
        self.min_distance = min(self.min_distance, float(np.linalg.norm(closest)))
        within = self.min_distance <= self.scenario.capture_radius
        if within and np.linalg.norm(after) > self.min_distance + 1e-6:
            self.outcome = "intercept"
        elif self.target.position[2] <= 0:
            self.outcome = "intercept" if within else "target_impact"
        elif self.own.position[2] <= 0:
            self.outcome = "intercept" if within else "ground"
        elif self.tick >= round(self.scenario.time_limit / self.sim.dt):
            self.outcome = "intercept" if within else "timeout"
