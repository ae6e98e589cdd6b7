import numpy as np
import pytest
from support.arena import COLLINEAR, QUIET, STEADY, Arena


def _axial(*overrides: str, ticks: int = 300) -> tuple[Arena, np.ndarray, np.ndarray]:
    """Full axial command without other forces: size of the acceleration and fuel after each tick, (T, N)."""
    arena = Arena("reference", *QUIET, *COLLINEAR, "sim.control_interval=1", *overrides, episodes=range(20))
    states = [state.copy() for state in arena.run_episodes(ticks, (1.0, 0.0, 0.0))]
    assert arena.running.all()
    sizes = np.array([np.linalg.norm(state["own_acc"], axis=1) for state in states])
    return arena, sizes, np.array([state["fuel"] for state in states])


def test_motion_without_forces_but_gravity_is_a_parabola():
    arena = Arena("reference", *QUIET, *STEADY, "sim.gravity=9.81", episodes=range(50))
    pos, vel = arena.state["own_pos"].copy(), arena.state["own_vel"].copy()
    target, speed = arena.state["target_pos"].copy(), arena.state["target_vel"].copy()
    for timestep, state in enumerate(arena.run_episodes(10), start=1):
        time = timestep * arena.config.sim.dt * arena.config.sim.control_interval
        fall = np.array([0.0, 0.0, -9.81])
        up = arena.running
        assert up.any()
        np.testing.assert_allclose(state["own_pos"][up], (pos + time * vel + 0.5 * time**2 * fall)[up], atol=1e-9)
        np.testing.assert_allclose(state["own_vel"][up], (vel + time * fall)[up], atol=1e-9)
        np.testing.assert_allclose(state["target_pos"][up], (target + time * speed)[up], atol=1e-9)


def test_drag_slows_as_the_textbook_says():
    """Quadratic drag alone: v(t) = v0 / (1 + k v0 t). The integration is first order in the tick."""
    arena = Arena("reference", *QUIET, "interceptor.drag=0.002", "sim.scale_height=1e12", episodes=range(20))
    for _ in arena.run_episodes(30):
        pass
    time = arena.state["tick"] * arena.config.sim.dt
    launch = arena.scenario.interceptor.launch_speed
    expected = launch / (1 + 0.002 * launch * time)
    np.testing.assert_allclose(np.linalg.norm(arena.state["own_vel"], axis=1), expected, rtol=2e-3)


def test_drag_is_less_in_thin_air():
    speed = []
    for scale_height in (20.0, 1e9):
        arena = Arena(
            "reference", *QUIET, "interceptor.drag=0.002", f"sim.scale_height={scale_height}", episodes=range(20)
        )
        *_, state = arena.run_episodes(30)
        speed.append(np.linalg.norm(state["own_vel"], axis=1))
    assert (speed[0] > speed[1] + 0.5).all()


def test_drag_takes_energy_and_nothing_gives_it_back():
    still = ("wind.speed=[0, 0]", "wind.gust=0")
    energies = []
    for drag in (0.0005, 0.002):
        arena = Arena("reference", *still, f"interceptor.drag={drag}", "sim.control_interval=1", episodes=range(50))
        energy = []
        for state in arena.run_episodes(80):
            kinetic = 0.5 * np.sum(state["own_vel"] ** 2, axis=1)
            energy.append(kinetic + arena.config.sim.gravity * state["own_pos"][:, 2])
        assert arena.running.all()
        assert (np.diff(energy, axis=0) < 0).all()
        energies.append(energy[-1])
    assert (energies[1] < energies[0]).all()


def test_wind_carries_a_draggy_interceptor_along():
    windy = ("sim.gravity=0", "wind.gust=0", "wind.speed=[10, 10]", "interceptor.drag=1")
    arena = Arena("reference", *windy, "sim.scale_height=1e12", "interceptor.launch_speed=1", episodes=range(20))
    *_, state = arena.run_episodes(90)
    np.testing.assert_allclose(np.linalg.norm(state["own_vel"] - state["wind"], axis=1), 0.0, atol=0.3)


def test_actuator_answers_with_a_first_order_lag():
    arena, size, _ = _axial("interceptor.fuel_time=1000", ticks=200)
    time = np.arange(1, 201) * arena.config.sim.dt
    model = arena.scenario.interceptor
    expected = model.max_acceleration * -np.expm1(-time / model.actuator_lag)
    np.testing.assert_allclose(size, np.broadcast_to(expected[:, None], size.shape), rtol=1e-6)


def test_fuel_is_the_integral_of_the_acceleration():
    """Closed form for a constant command: the lag's geometric series, tick by tick."""
    arena, _, fuel = _axial("interceptor.fuel_time=5")
    model, ticks = arena.scenario.interceptor, np.arange(1, 301)
    rest = np.exp(-arena.config.sim.dt / model.actuator_lag)
    full = ticks - rest * (1 - rest**ticks) / (1 - rest)
    expected = 1 - full * arena.config.sim.dt / 5
    assert expected.min() > 0
    np.testing.assert_allclose(fuel, np.broadcast_to(expected[:, None], fuel.shape), rtol=1e-6)


def test_fuel_runs_out_and_then_nothing_accelerates():
    arena, size, fuel = _axial("interceptor.fuel_time=1")
    empty = fuel <= 0.0
    first = int(np.argmax(empty.any(axis=1)))
    # One second at the limit, and what the lag held back at the start.
    assert first * arena.config.sim.dt == pytest.approx(1 + arena.scenario.interceptor.actuator_lag, abs=0.02)
    assert (fuel[first:] == 0.0).all()
    assert (size[first + 1 :] == 0.0).all()
    assert (size[: first + 1] > 0.0).all()


def test_half_the_command_burns_half_the_fuel():
    spent = []
    for size in (0.5, 1.0):
        arena = Arena("reference", *QUIET, *COLLINEAR, episodes=range(20))
        *_, state = arena.run_episodes(20, (size, 0.0, 0.0))
        spent.append(1 - state["fuel"])
    np.testing.assert_allclose(2 * spent[0], spent[1], rtol=1e-9)


def test_no_command_burns_nothing():
    arena = Arena("reference", *QUIET)
    *_, state = arena.run_episodes(20)
    assert (state["fuel"] == 1.0).all()


def test_weave_swings_about_a_straight_line_to_the_aim():
    """No drift: the target stays within the swing of its line and arrives at its aim at its mean speed."""
    alive = ("capture_radius=0.001", "spawn.aim_spread=0", "target.jink=0")
    arena = Arena("hard", *QUIET, *alive, "interceptor.launch_speed=0.1", episodes=range(200))
    start, mean = arena.state["target_pos"].copy(), arena.state["target_speed"].copy()
    course = -start / np.linalg.norm(start, axis=1, keepdims=True)
    swing = 2 * arena.state["weave_amplitude"] / arena.state["weave_rate"] ** 2
    widest = np.zeros(200)
    for state in arena.run_episodes(90):
        moved = state["target_pos"] - start
        along = np.sum(moved * course, axis=1)
        aside = np.linalg.norm(moved - along[:, None] * course, axis=1)
        assert (aside <= 1.001 * swing + 0.01).all()
        np.testing.assert_allclose(along, mean * state["tick"] * arena.config.sim.dt, rtol=1e-9)
        widest = np.maximum(widest, aside)
    # Whether the swing lies to one side or to both depends on the phase; it is never less than half.
    assert (widest > 0.45 * swing).all()


def test_recorded_target_acceleration_is_the_change_of_its_velocity():
    arena = Arena("hard", "sim.control_interval=1", episodes=range(50))
    before = arena.state["target_vel"].copy()
    for state in arena.run_episodes(60, (0.8, 0.0, 0.0)):
        np.testing.assert_allclose(state["target_vel"] - before, state["target_acc"] * arena.config.sim.dt, atol=1e-10)
        before = state["target_vel"].copy()


def test_gusts_have_their_deviation_and_correlation_time():
    calm = ("sim.gravity=0", "interceptor.drag=0", "wind.gust=3", "wind.gust_time=0.5", "capture_radius=0.001")
    arena = Arena("reference", *calm, episodes=range(3000))
    *_, state = arena.run_episodes(40)
    early = state["gust"].copy()
    *_, state = arena.run_episodes(3)
    assert arena.running.all()
    late = state["gust"]
    count = late.size
    assert late.std() == pytest.approx(3.0, abs=4 * 3.0 / np.sqrt(2 * count))
    assert late.mean() == pytest.approx(0.0, abs=4 * 3.0 / np.sqrt(count))
    # Three gust intervals of 0.1 s later.
    assert np.corrcoef(early.ravel(), late.ravel())[0, 1] == pytest.approx(np.exp(-0.3 / 0.5), abs=4 / np.sqrt(count))
    np.testing.assert_allclose(np.corrcoef(late.T), np.eye(3), atol=4 / np.sqrt(len(late)))
