import numpy as np
import pytest
from scipy.stats import binom
from support.arena import ALL_SEEING, EACH_SCAN, QUIET, STEADY, Arena, homing
from support.consistency import Consistency, mean_bounds, measure
from support.reference import Track

from hlynr.sim.state import MAX_DELAY, RUNNING, estimated_relative

AS_ASSUMED = ("target.weave=[0, 0]", "target.jink=20", "tracker.acceleration_noise=20", "tracker.gate=1e9")
"""The target does what the filter believes: white acceleration held from scan to scan, and nothing is gated."""

SURVIVING = ("sim.gravity=0", "capture_radius=0.001")
"""Nothing falls down or is caught, so that all engagements can be judged at the same moments."""

SPHERE = ("radar.half_angle=180",)
"""A scan sees or misses the target whatever the direction. A beam tells, by detecting, where the target is, which
no Kalman filter uses, so its NEES is exact only without one."""

BEAM = ("radar.half_angle=20",)

JUDGED_SCANS = (20, 50, 100, 150)


def _coast(arena: Arena) -> np.ndarray:
    return np.zeros((len(arena.state), 3))


def _home(arena: Arena) -> np.ndarray:
    return homing(arena.state, arena.config.sim.dt)


@pytest.mark.parametrize("delay", [0, 3])
@pytest.mark.parametrize("name", ["reference", "hard"])
@pytest.mark.parametrize("gate", [25.0, 5.0])
def test_track_equals_filterpy_on_recorded_measurements(name, delay, gate):
    arena = Arena(name, *EACH_SCAN, "cue.interval=0", f"radar.delay={delay}", f"tracker.gate={gate}", episodes=range(8))
    tracker, cue = arena.config.tracker, arena.scenario.cue
    interval = arena.config.sim.dt * arena.config.sim.radar_interval
    tracks = [
        Track(
            row["track_pos"].copy(), row["track_vel"].copy(), cue.position_error**2, cue.velocity_error**2,
            interval, tracker.acceleration_noise, tracker.gate, tracker.acceleration_time,
        )
        for row in arena.state
    ]  # fmt: skip
    updates = rejections = 0
    for scan in range(1, 161):
        # An engagement that ended in the midst of a scan's interval has no scan there.
        arena.advance(_home(arena))
        for row, track in zip(arena.state, tracks, strict=True):
            if row["outcome"] != RUNNING or scan - delay < 1:
                continue
            slot = (scan - delay) % MAX_DELAY
            track.predict()
            nis = None
            if row["queue_var"][slot] > 0:
                nis = track.update(row["queue_pos"][slot].copy(), float(row["queue_var"][slot]))
                updates += nis is not None
                rejections += nis is None
            assert row["nis"] == pytest.approx(-1.0 if nis is None else nis, rel=1e-9)
            np.testing.assert_allclose(row["track_pos"], track.position, rtol=1e-9, atol=1e-6)
            np.testing.assert_allclose(row["track_vel"], track.velocity, rtol=1e-9, atol=1e-6)
            block = np.array([[row["p00"], row["p01"]], [row["p01"], row["p11"]]])
            np.testing.assert_allclose(track.filter.P, np.kron(np.eye(3), block), rtol=1e-9, atol=1e-9)
    assert updates > 50
    assert gate > 20 or rejections > 10


def _consistency(*overrides: str, variance_factor: float = 1.0) -> Consistency:
    arena = Arena("reference", *EACH_SCAN, *AS_ASSUMED, *SURVIVING, *overrides, episodes=range(1000))
    arena.params["acceleration_variance"] *= variance_factor
    return measure(arena, max(JUDGED_SCANS), _coast)


def _nis_inside(found: Consistency) -> bool:
    low, high = found.nis_bounds
    return low < found.mean_nis < high


def _nees_inside(found: Consistency) -> list[bool]:
    bounds = [found.nees_bounds(scan) for scan in JUDGED_SCANS]
    return [low < found.mean_nees(scan) < high for scan, (low, high) in zip(JUDGED_SCANS, bounds, strict=True)]


@pytest.mark.parametrize("radar", [SPHERE, ALL_SEEING, BEAM], ids=["sphere", "all seeing", "beam"])
def test_nis_and_nees_lie_in_their_bounds_where_the_target_moves_as_assumed(radar):
    """Over 1,000 engagements of a fixed seed, 95 % two-sided chi-square bounds.

    NIS: the mean over every accepted measurement of every scan, 3 degrees of freedom each (independent between
    scans). NEES: the mean over the engagements after each of four scans, 6 degrees of freedom each, 6,000 in all.
    """
    found = _consistency(*radar)
    assert found.engagements.min() > 950
    assert _nis_inside(found), (found.mean_nis, found.nis_bounds)
    assert all(_nees_inside(found)), [found.mean_nees(scan) for scan in JUDGED_SCANS]


def test_nis_of_single_scans_leaves_its_bounds_as_often_as_chance_says():
    found = _consistency(*SPHERE)
    inside = 0
    for total, count in zip(found.nis, found.detections, strict=True):
        low, high = mean_bounds(3, int(count))
        inside += low < total / count < high
    low, high = binom.ppf([0.005, 0.995], len(found.nis), 0.95)
    assert low <= inside <= high


@pytest.mark.parametrize("factor", [0.25, 4.0, 1e-9], ids=["half", "double", "none"])
@pytest.mark.parametrize("radar", [SPHERE, BEAM], ids=["sphere", "beam"])
def test_a_wrong_process_noise_leaves_the_bounds(radar, factor):
    """The test above can fail: half or double the assumed acceleration, or none, is noticed."""
    found = _consistency(*radar, variance_factor=factor)
    assert not _nees_inside(found)[-1]
    assert not any(_nees_inside(found)[-2:])
    if radar == SPHERE and factor != 0.25:
        # Behind rare or noisy measurements the NIS alone does not see it; the NEES is there for that.
        assert not _nis_inside(found)


def test_a_filter_that_does_not_predict_leaves_the_bounds():
    """The seed run's filter: position and covariance stay where the last detection left them."""
    arena = Arena("reference", *EACH_SCAN, *AS_ASSUMED, *SURVIVING, *SPHERE, episodes=range(1000))
    arena.params["acceleration_variance"] = 0.0
    state, interval = arena.state, 0.05

    def take_back_what_predicting_will_add(arena: Arena) -> np.ndarray:
        state["track_pos"] -= interval * state["track_vel"]
        state["p01"] -= interval * state["p11"]
        state["p00"] -= interval * (2 * state["p01"] + interval * state["p11"])
        return _coast(arena)

    found = measure(arena, 60, take_back_what_predicting_will_add)
    assert found.mean_nis > 2 * found.nis_bounds[1]
    assert found.mean_nees(60) > 2 * found.nees_bounds(60)[1]


@pytest.mark.parametrize("name", ["reference", "precision", "hard"])
def test_consistency_of_the_scenarios_is_reported(name):
    """A weaving target is not what the filter assumes: the figures are for the reader (pytest -rP), not a bar."""
    found = measure(Arena(name, *EACH_SCAN, "radar.delay=0", episodes=range(1000)), 150, _home)
    lines = [f"{name}: NIS {found.mean_nis:.3f} (95 % bounds {found.nis_bounds[0]:.3f} to {found.nis_bounds[1]:.3f})"]
    for scan in JUDGED_SCANS:
        low, high = found.nees_bounds(scan)
        lines.append(f"  after scan {scan}: NEES {found.mean_nees(scan):.2f} (95 % bounds {low:.2f} to {high:.2f})")
    print(*lines, sep="\n")
    assert np.isfinite([found.mean_nis, *(found.mean_nees(scan) for scan in JUDGED_SCANS)]).all()


def test_the_jink_is_what_the_filter_assumes_from_scan_to_scan():
    """Held from just after one scan to the next, white between them, of the set deviation."""
    arena = Arena("reference", "sim.control_interval=1", *AS_ASSUMED, *SURVIVING, episodes=range(500))
    accelerations = np.array([state["target_acc"] for state in (s.copy() for s in arena.run_episodes(200))])
    assert arena.running.all()
    held = accelerations.reshape(40, 5, 500, 3)
    assert (held == held[:, :1]).all()
    drawn = held[1:, 0]
    assert drawn.std() == pytest.approx(20.0, abs=4 * 20.0 / np.sqrt(2 * drawn.size))
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 4 / np.sqrt(drawn.size)


def test_the_jink_acts_from_launch():
    """Else the filter adds process noise for a first interval in which nothing happened."""
    precise = ("radar.noise_fraction=0", "radar.noise_floor=1", "cue.position_error=1", "cue.velocity_error=0.1")
    arena = Arena("reference", *EACH_SCAN, *AS_ASSUMED, *SURVIVING, *ALL_SEEING, *precise, episodes=range(1000))
    found = measure(arena, 1, _coast)
    low, high = found.nees_bounds(1)
    assert low < found.mean_nees(1) < high


def test_covariance_grows_without_and_shrinks_with_a_detection():
    arena = Arena("reference", *EACH_SCAN, episodes=range(200))
    interval = 0.05
    missed = seen = 0
    for _ in range(120):
        before = arena.state.copy()
        arena.advance(_home(arena))
        for was, now in zip(before, arena.state, strict=True):
            if now["outcome"] != RUNNING:
                continue
            if now["nis"] < 0:
                missed += 1
                assert now["p00"] > was["p00"]
                assert now["p11"] > was["p11"]
            else:
                seen += 1
                assert now["p00"] < was["p00"] + interval * (2 * was["p01"] + interval * was["p11"])
                assert now["p11"] < was["p11"] + (interval * arena.config.tracker.acceleration_noise) ** 2
            assert now["p00"] * now["p11"] > now["p01"] ** 2
    assert missed > 1000
    assert seen > 1000


def test_the_gate_rejects_an_outlier_and_the_track_goes_on_as_predicted():
    arena = Arena("reference", *EACH_SCAN, *ALL_SEEING, *STEADY, *SURVIVING, episodes=range(100))
    for _ in arena.run_episodes(30):
        pass
    far = np.arange(100) % 2 == 1
    before = arena.state.copy()
    arena.state["target_pos"][far] += 2000.0
    arena.advance()
    state = arena.state
    assert (state["rejections"] - before["rejections"])[far].all()
    assert (state["nis"][far] == -1).all()
    assert (state["detections"] == before["detections"])[far].all()
    assert (state["detection_tick"] == before["detection_tick"])[far].all()
    np.testing.assert_allclose(
        state["track_pos"][far], (before["track_pos"] + 0.05 * before["track_vel"])[far], atol=1e-9
    )
    np.testing.assert_array_equal(state["track_vel"][far], before["track_vel"][far])
    assert (state["nis"][~far] >= 0).mean() > 0.99


@pytest.mark.parametrize("delay", [0, 1, 4, 7])
def test_a_late_measurement_meets_the_time_it_belongs_to(delay):
    """No lag: with a straight target the mean error along its course is zero, at the track's time and carried forward.

    A filter that took late measurements for present ones would be behind by delay x 0.05 s x 200 m/s. The noise is the
    same at every range here: the tracker reads its variance off the measured range, so that it trusts measurements
    that fell short a little more, and stands 1.7 m too near (at 2.2 km, with 2 % noise) whatever the delay.
    """
    even = ("radar.noise_floor=40", "radar.noise_fraction=0", f"radar.delay={delay}")
    arena = Arena("reference", *EACH_SCAN, *ALL_SEEING, *STEADY, *SURVIVING, *even, episodes=range(1000))
    truth = {0: arena.state["target_pos"].copy()}
    for scan, state in enumerate(arena.run_episodes(80), start=1):
        truth[5 * scan] = state["target_pos"].copy()
    state = arena.state
    assert (state["track_tick"] == 5 * (80 - delay)).all()
    assert (state["detection_tick"] == 5 * (80 - delay)).mean() > 0.99
    course = state["target_vel"] / state["target_speed"][:, None]
    then = state["track_pos"] - truth[5 * (80 - delay)]
    now = np.array([estimated_relative(row, arena.params[0]) for row in state]) - arena.relative
    for error in (then, now):
        behind = np.sum(error * course, axis=1)
        assert behind.mean() == pytest.approx(0.0, abs=4 * behind.std() / np.sqrt(1000))
        assert behind.std() / np.sqrt(1000) < 1.0


def test_the_estimated_acceleration_follows_a_steady_turn():
    """The smoothed estimate has the direction of the weave's acceleration where the track has settled."""
    slow = ("target.weave=[40, 40]", "target.weave_period=[30, 30]", "radar.noise_floor=1", "radar.noise_fraction=0")
    arena = Arena("reference", *EACH_SCAN, *QUIET, *ALL_SEEING, *slow, "capture_radius=0.001", episodes=range(200))
    *_, state = arena.run_episodes(100)
    along = np.sum(state["track_acc"] * state["weave_axis"], axis=1)
    truth = np.sum(state["target_acc"] * state["weave_axis"], axis=1)
    assert np.corrcoef(along, truth)[0, 1] > 0.95
    assert np.polyfit(truth, along, 1)[0] == pytest.approx(1.0, abs=0.25)
