"""The page of the ledger: every figure on it is counted from the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]

KINDS = {
    "kill": "processes of `hlynr retrain` killed at random times: one, the first, or all",
    "write": "processes killed at the k-th write, rename, unlink or fsync below the project, or in the middle of it",
    "disk": "no space left from the k-th change on, until the command has ended",
    "prefect": "Prefect's server killed and started again during a retraining",
    "mlflow": "the connections to an MLflow server delayed, cut, closed, frozen or answered with noise",
    "postgres": "the same between MLflow's client and a store on PostgreSQL",
    "prune": "`hlynr prune` killed at its k-th change",
    "service": "processes below `hlynr up` killed: one, or all",
    "registry": "decisions, rollbacks and prunings killed at a write, mixed with changes by hand, against a model",
}
"""What is done, in the order of the page."""
PHASES = ("start", "validate", "train", "version", "evaluate", "gate", "promote", "prune", "service", "rollback")

HEAD = """# Reliability

<!-- Written by `make chaos` from ledger.json; changes are made there. -->

`make chaos` runs small retrainings of the whole pipeline and kills them, fills their disk and disturbs their stores.
After each fault the retraining is resumed, and hit again, until it has ended. Then it is compared with one that
nothing happened to: the same weights, one registered version for the run, no run left as running, the same aliases and
the same history, the record of the retraining, all evaluations in MLflow, the DVC experiment read back, no process,
lock or half-written file left, HEAD, index and params.yaml as they were.

[ledger.json](ledger.json) has a row for each fault that met a command, with the commit that ran, the seed of its chain
of faults, and the verdict on the chain. `make chaos CHAOS='--replay KIND SEED'` repeats a chain: the k-th change is the
same one again, times are shares of what a phase usually takes on the machine.
"""


def written(ledger: dict[str, list[Row]]) -> str:
    """The page."""
    rows, mended = ledger["faults"], ledger["mended"]
    return "\n".join([HEAD, _summary(rows), _kinds(rows), _phases(rows), _failures(rows, mended), _commits(rows)])


def since_the_last_failure(rows: Sequence[Row]) -> list[Row]:
    """The rows after the newest whose chain failed."""
    last = max((number for number, row in enumerate(rows) if row["verdict"] != "ok"), default=-1)
    return list(rows[last + 1 :])


def bound(faults: int) -> str:
    """Upper limit of the probability of a failure at 95 % after so many faults without one (the rule of three)."""
    return f"at most {300 / faults:.2f} %" if faults else "unknown"


def _summary(rows: Sequence[Row]) -> str:
    clean = since_the_last_failure(rows)
    whole = sum(row["kind"] == "kill" for row in clean)
    return (
        f"**{len(rows)} faults in {len(_chains(rows))} chains; 0 failures in the {len(clean)} since the last failure, "
        f"of which {whole} are kills at random times over whole retrainings. The probability that a fault leads to a "
        f"failure is {bound(len(clean))}, at 95 % confidence (3/N).**\n"
    )


def _chains(rows: Iterable[Row]) -> set[tuple[str, int]]:
    return {(row["kind"], row["seed"]) for row in rows}


def _kinds(rows: Sequence[Row]) -> str:
    clean = since_the_last_failure(rows)
    lines = [
        (
            f"`{kind}`",
            done,
            str(len(_chains(row for row in rows if row["kind"] == kind))),
            str(_count(rows, kind)),
            str(_count(clean, kind)),
            bound(_count(clean, kind)),
        )
        for kind, done in KINDS.items()
        if _count(rows, kind)
    ]
    head = ("kind", "what is done", "chains", "faults", "since the last failure", "failures per fault")
    return "## By kind\n\n" + _table(head, lines)


def _count(rows: Iterable[Row], kind: str) -> int:
    return sum(row["kind"] == kind for row in rows)


def _phases(rows: Sequence[Row]) -> str:
    kinds = [kind for kind in KINDS if _count(rows, kind)]
    counts = Counter((row["phase"], row["kind"]) for row in rows)
    phases = [phase for phase in PHASES if any(counts[phase, kind] for kind in kinds)]
    lines = [
        (phase, *(str(counts[phase, kind] or "") for kind in kinds), str(sum(counts[phase, kind] for kind in kinds)))
        for phase in phases
    ]
    return "## By phase\n\n" + _table(("phase", *kinds, "all"), lines)


def _failures(rows: Sequence[Row], mended: Sequence[Row]) -> str:
    failed = _chains(row for row in rows if row["verdict"] != "ok")
    known = {(row["kind"], seed) for row in mended for seed in row["seeds"]}
    lines = [
        (f"`{row['kind']}` {', '.join(map(str, row['seeds']))}", row["what"], row["mend"], f"`{row['commit']}`")
        for row in mended
    ]
    open_ = sorted(failed - known)
    text = "## Failures found and mended\n\n" + _table(("chains", "what happened", "mend", "commit of the mend"), lines)
    return text + f"\nNot mended: {', '.join(f'{kind} {seed}' for kind, seed in open_) or 'none'}.\n"


def _commits(rows: Sequence[Row]) -> str:
    counts = Counter(row["commit"] for row in rows)
    lines = [(f"`{commit}`", str(count)) for commit, count in counts.items()]
    return "## By commit\n\n" + _table(("commit", "faults"), lines)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |\n"

    return line(head) + line(["---"] * len(head)) + "".join(map(line, rows))
