import itertools

import numpy as np
import pytest
from support.reference import frame_along

from hlynr.sim.geometry import into_frame, line_of_sight_frame, norm, out_of_frame, segment_distance_squared

RANDOM = np.random.default_rng(0).standard_normal((200, 3)) * 10.0 ** np.random.default_rng(1).uniform(-6, 6, (200, 1))
DEGENERATE = np.array(
    [
        *itertools.product((-1.0, 0.0, 1.0), repeat=3),
        (1e-300, 0.0, 0.0),
        (0.0, 1e-12, 1.0),
        (1e-8, 0.0, 1.0),
        (0.0, -1e-9, -1e9),
        (1e150, 1e150, -1e150),
    ]
)


@pytest.mark.parametrize("vectors", [RANDOM, DEGENERATE], ids=["random", "degenerate"])
def test_frame_is_orthonormal_and_right_handed(vectors):
    for vector in vectors:
        frame = np.array(line_of_sight_frame(*vector))
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(frame) == pytest.approx(1.0)


def test_frame_points_along_the_vector_with_a_level_second_and_a_raised_third_axis():
    for vector in RANDOM:
        first, second, third = line_of_sight_frame(*vector)
        np.testing.assert_allclose(first, vector / np.linalg.norm(vector), atol=1e-14)
        assert second[2] == 0.0
        assert third[2] > 0.0


def test_frame_equals_the_reference():
    for vector in RANDOM:
        np.testing.assert_allclose(np.array(line_of_sight_frame(*vector)), frame_along(vector), atol=1e-12)


@pytest.mark.parametrize("height", [-5.0, 5.0])
def test_frame_along_the_vertical_takes_north_as_second_axis(height):
    first, second, _ = line_of_sight_frame(0.0, 0.0, height)
    assert first == (0.0, 0.0, np.sign(height))
    assert second == (0.0, 1.0, 0.0)


def test_frame_of_nothing_is_the_inertial_one():
    np.testing.assert_array_equal(line_of_sight_frame(0.0, 0.0, 0.0), np.eye(3))


def test_the_frame_rotates_with_the_scene():
    """Components seen through the frame do not depend on the azimuth: what makes the policy blind to it."""
    for vector, other, angle in zip(RANDOM, RANDOM[::-1], np.linspace(0, 6, len(RANDOM)), strict=True):
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        seen = into_frame(line_of_sight_frame(*vector), *other)
        turned = into_frame(line_of_sight_frame(*(turn @ vector)), *(turn @ other))
        np.testing.assert_allclose(seen, turned, atol=1e-9 * np.linalg.norm(other))


def test_out_of_frame_undoes_into_frame():
    for vector, other in zip(RANDOM, RANDOM[::-1], strict=True):
        frame = line_of_sight_frame(*vector)
        back = out_of_frame(frame, *into_frame(frame, *other))
        np.testing.assert_allclose(back, other, atol=1e-12 * np.linalg.norm(other))


def test_norm_is_the_euclidean_length():
    assert norm(2.0, -3.0, 6.0) == 7.0


def test_segment_distance_equals_brute_force():
    parts = np.linspace(0.0, 1.0, 20001)[:, None]
    for start, end in np.random.default_rng(2).uniform(-10, 10, (100, 2, 3)):
        brute = np.linalg.norm(start + parts * (end - start), axis=1).min()
        assert np.sqrt(segment_distance_squared(*start, *end)) == pytest.approx(brute, abs=1e-3)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ((3.0, 4.0, 0.0), (3.0, 4.0, 0.0), 25.0),
        ((1.0, 0.0, 0.0), (5.0, 0.0, 0.0), 1.0),
        ((5.0, 0.0, 0.0), (1.0, 0.0, 0.0), 1.0),
        ((-1.0, 2.0, 0.0), (1.0, 2.0, 0.0), 4.0),
        ((-1.0, 0.0, 0.0), (1.0, 0.0, 0.0), 0.0),
    ],
    ids=["no length", "starts nearest", "ends nearest", "nearest inside", "through the origin"],
)
def test_segment_distance_at_its_edges(start, end, expected):
    assert segment_distance_squared(*start, *end) == pytest.approx(expected)
