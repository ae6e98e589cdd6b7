"""A proxy with faults in a process of its own, since it has threads: ``python -m chaos.proxy HOST PORT``.

It prints its port, then takes lines like ``cut 2.5``: the fault, and for how many seconds. It ends with its input.
"""

from __future__ import annotations

import sys
import time
from typing import cast

from support.faulty_proxy import Fault, proxying

FAULTS: tuple[Fault, ...] = ("delay", "freeze", "cut", "garbage", "refuse")


def main() -> None:
    host, port = sys.argv[1:]
    with proxying(host, int(port)) as proxy:
        print(proxy.port, flush=True)
        for line in sys.stdin:
            fault, seconds = line.split()
            proxy.set(cast(Fault, fault))
            time.sleep(float(seconds))
            proxy.set("none")


if __name__ == "__main__":
    main()
