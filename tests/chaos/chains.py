"""Chains of faults: one retraining that is hit again and again, resumed each time, and judged once it has ended.

A chain follows from its kind and its seed. Its changes (the k-th write) are the same in every replay; times depend on
the machine, and are shares of what a phase usually takes there.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos import interposer, judge
from chaos.runs import Ended, Fault, Runner, Who
from chaos.world import World, age
from hlynr.runtime.errors import DONE, NOT_READY

WHOLE = ("validate", "train", "version", "evaluate", "gate", "promote")
CALM = 7.0
"""[s] after which no fault of a proxy lasts."""
TRIES = 12
"""Commands after which a chain that has not ended is a failure."""


@dataclass
class Chain:
    """What a chain has met, and its verdict."""

    kind: str
    seed: int
    hits: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def note(self, ended: Ended) -> None:
        """Take over the faults that met a command, and what was wrong about its end."""
        for fault, what in ended.hit:
            self.hits.append(fault.describe() | {"at": what})
        if ended.hung:
            self.wrong.append("a command hung")


@dataclass
class Workshop:
    """What a chain works with."""

    world: World
    runner: Runner
    expected: dict[str, dict[str, Any]]
    """Facts of undisturbed retrainings: with and without versioning."""
    changes: dict[str, int]
    """Of each phase of an undisturbed retraining."""

    def look(self, chain: Chain) -> None:
        """The quick check after a fault."""
        if found := judge.quick(self.world.root):
            chain.wrong.append(f"after {len(chain.hits)} faults: {found}")

    def said(self, chain: Chain, ended: Ended) -> None:
        """A command that ended by itself says why in one line, and a traceback is a fault of the program."""
        said = self.world.said()
        if "Traceback" in said and ended.code > 0:
            chain.wrong.append(f"traceback: {said.strip().splitlines()[-1]}")
            (self.world.folder / f"{chain.kind}-{chain.seed}.err").write_text(said, encoding="utf-8")

    def judge(self, chain: Chain, variant: str) -> None:
        """Compare with the undisturbed retraining."""
        if left := self.runner.remaining(30.0):
            chain.wrong.append(f"processes that remain: {left}")
        found = self.facts()
        if difference := judge.difference(found, self.expected[variant]):
            chain.wrong.append(difference)

    def facts(self) -> dict[str, Any]:
        """Of the project, found by a process of its own."""
        import json

        def main() -> None:
            print(json.dumps(judge.facts(self.world.root)))

        ended = self.runner.run(main, [], random.Random(0), lambda: None)
        if ended.code:
            return {"judge": self.world.said().strip().splitlines()[-1:]}
        found: dict[str, Any] = json.loads(self.world.output.with_suffix(".out").read_text().splitlines()[-1])
        return found

    def finish(self, chain: Chain, faults: list[Fault], rng: random.Random) -> None:
        """Run `hlynr retrain`, and resume it until it ends; all faults that it meets are noted."""
        resume: list[str] = ["--resume"] if chain.hits else []
        for _ in range(len(faults) + TRIES):
            if judge.concluded(self.world.root) > 1:  # it was killed on its way out, and another one would begin
                return
            ended = self.runner.command("retrain", *resume, faults=faults, rng=rng, between=lambda: self.look(chain))
            chain.note(ended)
            self.look(chain)
            self.said(chain, ended)
            if ended.code == DONE:
                return
            if self.runner.proxy is not None and ended.code == NOT_READY:
                time.sleep(CALM)  # the store's fault may last
            elif not ended.hit and ended.code >= 0:
                break
            resume = ["--resume"]
        chain.wrong.append(f"exit code {ended.code}: {_last(self.world.said())}")


def _last(said: str) -> str:
    return (said.strip().splitlines() or [""])[-1][:300]


def kill(shop: Workshop, seed: int) -> Chain:
    """Processes of `hlynr retrain` are killed at random times, phase after phase."""
    chain, rng = Chain("kill", seed), random.Random(f"kill {seed}")
    versioned = rng.random() < 0.5
    phases = ("validate", "train", "version") if versioned else ("validate", "train", "evaluate", "gate", "promote")
    shop.world.restore()
    if not versioned:
        shop.world.set("versioning.enabled=false")
    counts = {"validate": 2, "train": 3, "version": 4, "evaluate": 4, "gate": 4, "promote": 5}
    faults = []
    for phase in phases:
        for _ in range(counts[phase]):
            who: Who = rng.choice(("one", "all", "main"))
            faults.append(Fault(phase, _occurrence(phase, rng), share=rng.random(), who=who))
    shop.finish(chain, faults, rng)
    shop.judge(chain, "versioned" if versioned else "unversioned")
    return chain


def _occurrence(phase: str, rng: random.Random) -> int:
    return 2 if phase == "version" and rng.random() < 0.25 else 1


def write(shop: Workshop, seed: int) -> Chain:
    """Each step of a retraining in a process of its own, killed at changes until it is let through; then the rest."""
    chain, rng = Chain("write", seed), random.Random(f"write {seed}")
    shop.world.restore()
    for phase in ("train", "version", "evaluate", "gate", "promote"):
        faults = [_at_a_change(shop, phase, rng) for _ in range({"gate": 1}.get(phase, 3))]
        if phase == "train":
            faults.insert(0, _at_a_change(shop, "validate", rng))
        while faults:
            ended = shop.runner.run(lambda: step(shop.world.root, phase), faults, rng, lambda: None)  # noqa: B023
            chain.note(ended)
            shop.look(chain)
            shop.said(chain, ended)
            if not ended.hit and ended.code:
                chain.wrong.append(f"{phase}: exit code {ended.code}: {_last(shop.world.said())}")
                return chain
            if not ended.hit and phase == "promote":  # it has passed, and would begin a new one
                shop.judge(chain, "versioned")
                return chain
            if not ended.hit:
                break
        if phase != "promote" and not _passed(shop, chain, phase, rng):
            return chain
    shop.finish(chain, [], rng)
    shop.judge(chain, "versioned")
    return chain


def _passed(shop: Workshop, chain: Chain, phase: str, rng: random.Random) -> bool:
    """Let a step through; the next one works on its result."""
    ended = shop.runner.run(lambda: step(shop.world.root, phase), [], rng, lambda: None)
    if ended.code:
        chain.wrong.append(f"{phase}: exit code {ended.code}: {_last(shop.world.said())}")
    return ended.code == 0


def _at_a_change(shop: Workshop, phase: str, rng: random.Random) -> Fault:
    mode = rng.choice((interposer.DIE, interposer.DIE, interposer.TORN))
    who: Who = rng.choice(("one", "all"))
    return Fault(phase, k=rng.randint(1, max(1, shop.changes.get(phase, 1))), mode=mode, who=who)


def step(root: Path, name: str) -> int:
    """One step of the interrupted retraining, as the flow runs it; returns its exit code."""
    from hlynr.runtime import errors, locks

    def run() -> None:
        with locks.one_at_a_time(root):
            _step(root, name)

    return errors.exit_code(run)


def _step(root: Path, name: str) -> None:
    from hlynr.config import params
    from hlynr.config.project import Project
    from hlynr.pipeline import plan, retraining, steps
    from hlynr.records.evaluation import EvaluationReport
    from hlynr.records.training import TrainResult

    _begin("validate")
    numbered = [Project(root, config) for config in params.load_plan(root / "params.yaml", [])]
    begun = retraining.begin(numbered, resume=True)
    project = begun.projects[0]
    if name == "train":
        _begin("train")
        plan.conclude(project, begun.lineage, steps.train(project, begun.lineage, resume=True))
        return
    result = TrainResult.read(project.train / "result.json")
    _begin(name)
    if name == "version":
        steps.version(project, result.lineage)
        return
    if name == "evaluate":
        steps.evaluate(project)
        return
    report = EvaluationReport.read(project.evaluate / "report.json")
    decision = begun.decision or steps.gate(project, result, report)
    if name == "promote":
        promotion = steps.promote(project, result, report, decision)
        attempts = [plan.conclude(project, result.lineage, result)]
        steps.conclude(project, result, report, decision, promotion, None, {}, attempts)


def _begin(phase: str) -> None:
    print(f"{phase} ...", file=sys.stderr, flush=True)


def disk(shop: Workshop, seed: int) -> Chain:
    """The disk is full from one change of `hlynr retrain` on, until that has ended; twice, then there is room."""
    chain, rng = Chain("disk", seed), random.Random(f"disk {seed}")
    shop.world.restore()
    chosen = sorted(rng.sample(WHOLE, 2), key=WHOLE.index)
    faults = [
        Fault(phase, k=rng.randint(1, max(1, shop.changes.get(phase, 1))), mode=interposer.FULL, who="one")
        for phase in chosen
    ]
    shop.finish(chain, faults, rng)
    shop.judge(chain, "versioned")
    return chain


def prefect(shop: Workshop, seed: int) -> Chain:
    """Prefect's server is killed and started again while `hlynr retrain` runs."""
    chain, rng = Chain("prefect", seed), random.Random(f"prefect {seed}")
    shop.world.restore()
    chosen = sorted(rng.sample(WHOLE, 3), key=WHOLE.index)
    shop.finish(chain, [Fault(phase, share=rng.random(), who="prefect") for phase in chosen], rng)
    shop.judge(chain, "versioned")
    return chain


def timed(shop: Workshop, run: Callable[[Workshop, int], Chain], seed: int) -> tuple[Chain, float]:
    """Run a chain; returns it with its duration [s]."""
    started = age()
    chain = run(shop, seed)
    return chain, age() - started
