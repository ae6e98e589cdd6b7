"""Chains with a store behind a faulty proxy: MLflow's server, or PostgreSQL where HLYNR_TEST_POSTGRES names one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from support import ROOT, projects

from chaos import proxy
from chaos.chains import CALM, WHOLE, Chain, Workshop
from chaos.runs import Fault
from chaos.servers import Server
from hlynr.config import params
from hlynr.ops.tracking import server as mlflow_server
from hlynr.runtime.errors import EnvironmentNotReady
from hlynr.service.prefect_api import answers
from hlynr.service.prefect_server import free_port

FAULTS = 6
"""Of a chain."""
LONGEST = 6.0
"""[s] of a fault, longer than a client's patience with a server that does not answer at all."""


@contextmanager
def _proxy(host: str, port: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [sys.executable, "-m", "chaos.proxy", host, str(port)]
    bare = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    with subprocess.Popen(
        command,
        env=bare | {"PYTHONPATH": str(ROOT / "tests")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def mlflow(shop: Workshop, seed: int) -> Chain:
    """MLflow's server answers late, not at all or with noise during a retraining."""
    folder = shop.world.folder / "mlflow"
    if not (folder / "params.yaml").exists():
        projects.make(folder, git=False)
    port = free_port()
    server = Server(
        mlflow_server.command("127.0.0.1", port),
        folder,
        shop.world.folder / "mlflow.log",
        lambda: answers(f"http://127.0.0.1:{port}/health", b"OK"),
        mlflow_server.environment(params.load(folder / "params.yaml"), folder),
    )
    try:
        server.start()
        with _proxy("127.0.0.1", port) as (process, proxied):
            return _chain(shop, "mlflow", seed, f"http://127.0.0.1:{proxied}", server, process)
    finally:
        server.kill()


def postgres(shop: Workshop, seed: int) -> Chain:
    """The connections to a store on PostgreSQL are delayed, cut, frozen, closed or answered with noise."""
    import psycopg2

    address = os.environ.get("HLYNR_TEST_POSTGRES", "")
    if not address:
        raise EnvironmentNotReady("HLYNR_TEST_POSTGRES names no PostgreSQL server, which the kind postgres needs")
    name, parts = f"hlynr_chaos_{os.getpid()}_{seed}", urlsplit(address)
    admin = psycopg2.connect(address)
    admin.autocommit = True
    try:
        admin.cursor().execute(f"CREATE DATABASE {name}")
        with _proxy(parts.hostname or "127.0.0.1", parts.port or 5432) as (process, proxied):
            uri = f"postgresql://{parts.username}@127.0.0.1:{proxied}/{name}"
            return _chain(shop, "postgres", seed, uri, None, process)
    finally:
        admin.cursor().execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.close()


def _chain(
    shop: Workshop, kind: str, seed: int, uri: str, server: Server | None, process: subprocess.Popen[str]
) -> Chain:
    """The first retraining of a store of its own, with faults of the proxy phase after phase."""
    chain, rng = Chain(kind, seed), random.Random(f"{kind} {seed}")
    shop.world.restore(shop.world.folder / "new")
    shop.world.set(f"tracking.uri={uri}", f"tracking.experiment=chaos-{seed}", f"tracking.model=chaos-{seed}")
    others = [process.pid, *([server.process.pid] if server and server.process else [])]
    before = shop.runner.servers
    shop.runner.servers = lambda: [*before(), *others]
    shop.runner.proxy = process.stdin
    faults = [
        Fault(phase, share=rng.random(), who="proxy", proxy=rng.choice(proxy.FAULTS), seconds=rng.uniform(0.2, LONGEST))
        for phase in sorted((rng.choice(WHOLE) for _ in range(FAULTS)), key=WHOLE.index)
    ]
    try:
        shop.finish(chain, faults, rng)
        time.sleep(CALM)
        shop.judge(chain, "first")
    finally:
        shop.runner.servers, shop.runner.proxy = before, None
    return chain
