import numpy as np
import pytest
from scipy.stats import kstest
from support.arena import ALL_SEEING, EACH_SCAN, Arena, homing

SCANS = 120


class Watch:
    """Every scan of running engagements without delay: geometry, and what the radar made of it, all (S,)."""

    def __init__(self, arena: Arena) -> None:
        columns = []
        for number in range(1, SCANS + 1):
            arena.advance(homing(arena.state, arena.config.sim.dt))
            up, state, relative = arena.running, arena.state, arena.relative
            distance = np.linalg.norm(relative, axis=1)
            own = state["own_vel"] / np.linalg.norm(state["own_vel"], axis=1, keepdims=True)
            off_axis = np.degrees(np.arccos(np.clip(np.sum(relative * own, axis=1) / distance, -1, 1)))
            slot = number % state["queue_var"].shape[1]
            error = state["queue_pos"][:, slot] - state["target_pos"]
            scan = [arena.episodes, state["tick"], distance, off_axis, state["queue_var"][:, slot], error]
            columns.append(np.column_stack(scan)[up])
        table = np.concatenate(columns)
        self.episode, self.tick = table[:, 0].astype(int), table[:, 1].astype(int)
        self.distance, self.off_axis, self.variance, self.error = table[:, 2], table[:, 3], table[:, 4], table[:, 5:]
        self.detected = self.variance > 0


@pytest.fixture(scope="module")
def arena() -> Arena:
    return Arena("reference", *EACH_SCAN, episodes=range(1000))


@pytest.fixture(scope="module")
def watch(arena) -> Watch:
    return Watch(arena)


def test_nothing_is_detected_outside_the_cone(arena, watch):
    outside = watch.off_axis > arena.scenario.radar.half_angle
    assert outside.sum() > 10_000
    assert not watch.detected[outside].any()


def test_detections_inside_the_cone_follow_the_formula(arena, watch):
    radar = arena.scenario.radar
    chance = radar.detection_peak * np.exp(-((watch.distance / radar.detection_range) ** 4))
    inside = watch.off_axis <= radar.half_angle
    bands = np.digitize(watch.distance, [500, 1000, 1500, 2000, 2500, 3000])
    tested = 0
    for band in range(bands.max() + 1):
        here = inside & (bands == band)
        if here.sum() < 300:
            continue
        tested += 1
        spread = np.sqrt(np.sum(chance[here] * (1 - chance[here])))
        assert watch.detected[here].sum() == pytest.approx(chance[here].sum(), abs=4 * spread)
    assert tested >= 4


def test_measurement_noise_has_the_deviation_of_its_range(arena, watch):
    radar = arena.scenario.radar
    sigma = np.hypot(radar.noise_floor, radar.noise_fraction * watch.distance)
    near = watch.distance < 1500
    for part in (near, ~near):
        scaled = (watch.error / sigma[:, None])[watch.detected & part]
        assert len(scaled) > 1000
        for column in scaled.T:
            assert kstest(column, "norm").pvalue > 0.001
        np.testing.assert_allclose(np.corrcoef(scaled.T), np.eye(3), atol=4 / np.sqrt(len(scaled)))


def test_the_variance_handed_to_the_tracker_is_that_of_the_measured_range(arena, watch):
    seen = watch.detected
    expected = arena.scenario.radar.noise_floor**2 + (arena.scenario.radar.noise_fraction * watch.distance) ** 2
    ratio = watch.variance[seen] / expected[seen]
    assert ratio.std() > 0
    assert np.median(ratio) == pytest.approx(1.0, abs=0.01)


def test_detections_do_not_remember_the_last_scan(arena, watch):
    """Given the geometry, one scan says nothing about the next: misses are no drop-outs."""
    radar = arena.scenario.radar
    surprise = watch.detected - radar.detection_peak * np.exp(-((watch.distance / radar.detection_range) ** 4))
    order = np.lexsort((watch.tick, watch.episode))
    inside = (watch.off_axis <= radar.half_angle)[order]
    pair = inside[1:] & inside[:-1] & (np.diff(watch.episode[order]) == 0)
    one, other = surprise[order][:-1][pair], surprise[order][1:][pair]
    assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(len(one))


def test_a_drop_out_lasts_its_whole_block_and_comes_with_its_probability():
    arena = Arena("reference", *EACH_SCAN, *ALL_SEEING, "radar.dropout=0.2", "dropout_interval=50", episodes=range(400))
    watch = Watch(arena)
    block = watch.tick // 50
    assert watch.tick.max() > 500
    out = []
    for number in range(1, block.max()):
        for episode in np.unique(watch.episode[block == number]):
            seen = watch.detected[(block == number) & (watch.episode == episode)]
            assert seen.all() or not seen.any()
            out.append(not seen[0])
    assert np.mean(out) == pytest.approx(0.2, abs=4 * 0.4 / np.sqrt(len(out)))


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_ground_cues_come_at_their_interval_and_drop_out_with_their_probability(dropout):
    """The radar is out, so every update is a cue's."""
    blind = ("sim.gravity=0", "radar.dropout=1", "radar.delay=2", "tracker.gate=1e9", "capture_radius=0.001")
    arena = Arena("hard", *EACH_SCAN, *blind, "cue.interval=100", f"cue.dropout={dropout}", episodes=range(400))
    updates = np.array([state["nis"] >= 0 for state in arena.run_episodes(142)])
    assert arena.running.all()
    cued = updates[21::20]
    share = cued.mean()
    assert cued.shape[0] == 7
    assert share == pytest.approx(1 - dropout, abs=4 * np.sqrt(dropout * (1 - dropout) / cued.size))
    updates[21::20] = False
    assert not updates.any()
    assert (arena.state["detections"] == 0).all()


def test_no_cue_interval_means_no_cue():
    arena = Arena("hard", *EACH_SCAN, "radar.dropout=1", "cue.interval=0", episodes=range(50))
    assert not any((state["nis"] >= 0).any() for state in arena.run_episodes(60))


@pytest.mark.parametrize("radar", ["radar.dropout=1", "radar.dropout=0.1"])
def test_ground_cues_improve_the_track_in_hard(radar):
    errors = []
    for cue in ("cue.interval=0", "cue.interval=100"):
        arena = Arena("hard", radar, cue, "sim.gravity=0", "cue.dropout=0.3", episodes=range(500))
        *_, state = arena.run_episodes(60, (0.3, 0.0, 0.0))
        errors.append(np.sqrt(np.mean(np.sum((state["target_pos"] - state["track_pos"]) ** 2, axis=1))))
    assert errors[1] < 0.8 * errors[0]
