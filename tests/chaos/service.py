"""Chains over `hlynr up`: its processes are killed, one or all, and it must be healthy again by itself or by `up`."""

from __future__ import annotations

import os
import random
import time

from support import projects

from chaos import judge
from chaos.chains import Chain, Workshop
from chaos.runs import describe_process
from chaos.world import age
from hlynr.service.paths import ServicePaths
from hlynr.service.prefect_server import free_port

ROUNDS, KILLS = 3, 4
"""Of a chain, and of a round, after which the service must be healthy again; the later kills meet one that restarts."""
PATIENCE = 240.0
"""[s] until the service is healthy again, on a busy machine."""


def service(shop: Workshop, seed: int) -> Chain:
    """Kill the supervisor, its guards, the servers and the worker in turn; stop the rest at the end."""
    chain, rng = Chain("service", seed), random.Random(f"service {seed}")
    shop.world.restore()
    ports = [f"service.prefect_port={free_port()}", f"service.mlflow_port={free_port()}"]
    options = [part for each in (*ports, "schedule.cron=null") for part in ("--set", each)]
    before = judge.repository(shop.world.root)
    try:
        _up(shop, chain, options)
        for _ in range(ROUNDS):
            if chain.wrong:
                break
            for _ in range(KILLS):
                if shop.runner.running():
                    _kill(shop, chain, rng)
                shop.look(chain)
                time.sleep(rng.uniform(0.0, 5.0))
            _up(shop, chain, options)
        _exec(shop, chain, "down", *options)
        if left := shop.runner.remaining(60.0):
            chain.wrong.append(f"processes that remain: {left}")
        if judge.repository(shop.world.root) != before:
            chain.wrong.append("the repository has changed")
    finally:
        shop.runner.kill_all()
        shop.runner.reap()
    return chain


def _kill(shop: Workshop, chain: Chain, rng: random.Random) -> None:
    running = shop.runner.running()
    if not running or rng.random() < 0.1:
        shop.runner.kill_all()
        at, who = "all", "all"
    else:
        chosen = rng.choice(running)
        at, who = describe_process(chosen), "one"
        chosen.kill()
    chain.hits.append({"phase": "service", "how": "kill", "who": who, "at": at})


def _up(shop: Workshop, chain: Chain, options: list[str]) -> None:
    """Healthy in the end: `hlynr up` is called where no supervisor runs, as a person or systemd does."""
    paths, deadline = ServicePaths(shop.world.root), age() + PATIENCE
    while age() < deadline:
        shop.runner.reap()
        state = paths.running()
        if state is None:
            shop.runner.remaining(30.0)  # what it kept running ends with it
            _exec(shop, chain, "up", "--detach", *options)
        elif state.healthy and all(each.state == "healthy" for each in state.components):
            time.sleep(1.0)  # its file may be older than the kill
            state = paths.running()
            if state is not None and state.healthy:
                return
        time.sleep(0.2)
    chain.wrong.append(f"not healthy within {PATIENCE:g} s: {paths.running()}")


def _exec(shop: Workshop, chain: Chain, *arguments: str) -> None:
    """A real `hlynr`, no fork: the supervisor is known by its command line."""

    def main() -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "LD_", "CHAOS_"))}
        os.execve(projects.BIN / "hlynr", ["hlynr", *arguments], kept)

    ended = shop.runner.run(main, [], random.Random(0), lambda: None)
    if ended.code:
        said = " ".join(shop.world.said().split())[-300:]
        chain.wrong.append(f"hlynr {arguments[0]}: exit code {ended.code}: {said}")
