"""Run chains of faults and add them to the ledger: ``python -m chaos --minutes 60``; see CONTRIBUTING.md."""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from chaos import interposer, ledger, processes, servers
from chaos.chains import Workshop, timed
from chaos.kinds import KINDS
from chaos.runs import Runner
from chaos.world import SETTINGS, World, environment
from hlynr.runtime import locks
from hlynr.runtime.errors import EnvironmentNotReady, exit_code


def main() -> None:
    options = _options()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    library = interposer.compiled(folder)
    if os.environ.get("LD_PRELOAD") != str(library):  # read when a program starts
        os.environ["LD_PRELOAD"] = str(library)
        os.execv(sys.executable, [sys.executable, "-m", "chaos", *sys.argv[1:]])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    world = World(folder)
    environment(world)
    busy = EnvironmentNotReady(f"{folder}: another make chaos works here; give --folder")
    with locks.hold(folder / "lock", busy=busy, wait=0.0):
        prefect = servers.prefect(folder)
        prefect.start()
        try:
            shop = _workshop(world, library, prefect)
            if options.replay:
                kind, seed = options.replay
                _report(*timed(shop, KINDS[kind], int(seed)))
            else:
                _collect(shop, options)
        finally:
            _end_all()


def _end_all() -> None:
    """No command outlives this process: it would write where the next one works."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _default_kinds() -> str:
    """All that this machine has servers for."""
    return ",".join(kind for kind in KINDS if kind != "postgres" or os.environ.get("HLYNR_TEST_POSTGRES"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--kinds", default=_default_kinds(), help="in turn; of " + ", ".join(KINDS))
    parser.add_argument("--replay", nargs=2, metavar=("KIND", "SEED"), help="one chain, without the ledger")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir(), "hlynr-chaos"))
    return parser.parse_args()


def _workshop(world: World, library: Path, prefect: servers.Server) -> Workshop:
    """Import everything, and run the undisturbed retrainings."""
    from support import ROOT

    from chaos import preload
    from hlynr.config import params

    preload.preload(params.load(ROOT / "params.yaml", SETTINGS))
    processes.adopt()
    runner = Runner(world, library, lambda: [prefect.process.pid] if prefect.process else [], prefect)
    shop = Workshop(world, runner, {}, {})
    world.make()
    world.keep("new")
    _undisturbed(shop, "retrain")
    shop.expected["first"] = shop.facts() | {"project": None}
    world.keep("template")
    for variant, setting in (("unversioned", "versioning.enabled=false"), ("versioned", None)):
        world.restore()
        if setting:
            world.set(setting)
        shop.changes = _undisturbed(shop, "retrain")
        shop.expected[variant] = shop.facts()
        if "judge" in shop.expected[variant]:
            raise SystemExit(f"the judge fails on an undisturbed retraining: {shop.expected[variant]}")
        _say(f"undisturbed, {variant}: {shop.expected[variant]}")
    _say(f"changes {shop.changes}, seconds {runner.usual}")
    return shop


def _undisturbed(shop: Workshop, *command: str) -> dict[str, int]:
    ended = shop.runner.command(*command, faults=[], rng=random.Random(0), between=lambda: None)
    if ended.code:
        raise SystemExit(f"the undisturbed retraining failed: {shop.world.said()}")
    return ended.changes


def _collect(shop: Workshop, options: argparse.Namespace) -> None:
    """Chains of the kinds in turn until time is over; each is in the ledger as soon as it is judged."""
    until, commit = time.monotonic() + 60 * options.minutes, ledger.commit()
    while time.monotonic() < until:
        for kind in options.kinds.split(","):
            chain, seconds = timed(shop, KINDS[kind], ledger.following(ledger.read()["faults"], kind))
            verdict = "; ".join(chain.wrong) or "ok"
            share = round(seconds / max(1, len(chain.hits)), 1)
            common = {"commit": commit, "seed": chain.seed, "kind": kind}
            ledger.add([common | hit | {"verdict": verdict, "seconds": share} for hit in chain.hits])
            _report(chain, seconds)
            if time.monotonic() > until:
                break


def _report(chain: object, seconds: float) -> None:
    _say(f"{time.strftime('%H:%M:%S')} {seconds:.0f} s {chain}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(exit_code(main))
