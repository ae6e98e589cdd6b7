"""Frames and distances, as scalar functions that the kernels inline."""

import math

from hlynr.sim.jit import inlined, kernel

Vector = tuple[float, float, float]


@inlined
def norm(x: float, y: float, z: float) -> float:
    """Euclidean length."""
    return math.sqrt(x * x + y * y + z * z)


@kernel
def line_of_sight_frame(x: float, y: float, z: float) -> tuple[Vector, Vector, Vector]:
    """Right-handed orthonormal frame whose first axis points along ``(x, y, z)``.

    The second axis is horizontal and the third completes the frame, pointing up when the first is level.
    In it a scene is the same from every azimuth. Along the vertical, where no horizontal axis
    is singled out, the second axis is north; at zero length the first is east.
    """
    length = norm(x, y, z)
    if length < 1e-9:
        return (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
    ax, ay, az = x / length, y / length, z / length
    level = math.sqrt(ax * ax + ay * ay)
    if level < 1e-9:
        bx, by = 0.0, 1.0
    else:
        bx, by = -ay / level, ax / level
    # third = first x second, with the second's vertical component zero
    return (ax, ay, az), (bx, by, 0.0), (-az * by, az * bx, ax * by - ay * bx)


@inlined
def into_frame(frame: tuple[Vector, Vector, Vector], x: float, y: float, z: float) -> Vector:
    """Components of an inertial vector in ``frame``."""
    a, b, c = frame
    return (
        a[0] * x + a[1] * y + a[2] * z,
        b[0] * x + b[1] * y + b[2] * z,
        c[0] * x + c[1] * y + c[2] * z,
    )


@inlined
def out_of_frame(frame: tuple[Vector, Vector, Vector], u: float, v: float, w: float) -> Vector:
    """Inertial vector with components ``(u, v, w)`` in ``frame``."""
    a, b, c = frame
    return (
        a[0] * u + b[0] * v + c[0] * w,
        a[1] * u + b[1] * v + c[1] * w,
        a[2] * u + b[2] * v + c[2] * w,
    )


@inlined
def segment_distance_squared(x0: float, y0: float, z0: float, x1: float, y1: float, z1: float) -> float:
    """Squared distance [m^2] from the origin to the segment between two points.

    Between two ticks the relative motion is close to straight, so this is the closest approach within a
    tick: at 500 m/s closing a tick covers 5 m, which sampling at the ticks alone would misjudge.
    """
    dx, dy, dz = x1 - x0, y1 - y0, z1 - z0
    length2 = dx * dx + dy * dy + dz * dz
    s = 0.0
    if length2 > 0.0:
        s = min(1.0, max(0.0, -(x0 * dx + y0 * dy + z0 * dz) / length2))
    x, y, z = x0 + s * dx, y0 + s * dy, z0 + s * dz
    return x * x + y * y + z * z
