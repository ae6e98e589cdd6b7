"""Running the 100 report episodes of a retraining again, to see whether its policy still does what is on record."""

from dataclasses import dataclass

from hlynr.config.config import Config
from hlynr.config.sections import Gate
from hlynr.evaluation.judge import report_set, run_seed_set
from hlynr.evaluation.policy import Policy
from hlynr.evaluation.statistics import wilson_interval


@dataclass(frozen=True)
class Rerun:
    """The successes of this run, and the recorded success rate if there is one."""

    successes: int
    episodes: int
    recorded: float | None

    def fault(self, gate: Gate) -> str | None:
        """Why such a policy must not be champion; None if it may.

        Without a record the baseline alone decides. A rate as recorded is no fault, and neither is a worse one that
        chance explains.
        """
        if self.successes / self.episodes <= gate.baseline:
            return f"{self._counted} succeed, which does not exceed the baseline of {_percent(gate.baseline)}"
        _, high = wilson_interval(self.successes, self.episodes, gate.confidence)
        if self.recorded is not None and high < self.recorded:
            return f"{self._counted} succeed under today's configuration, {_percent(self.recorded)} are on record"
        return None

    def __str__(self) -> str:
        if self.recorded is None:
            return f"{self._counted} succeed (no earlier figure is on record)"
        return f"{self._counted} succeed again ({_percent(self.recorded)} recorded)"

    @property
    def _counted(self) -> str:
        return f"{self.successes} of {self.episodes} episodes"


def rerun(policy: Policy, config: Config, recorded: float | None) -> Rerun:
    """Run the report's engagements of the configuration's retraining."""
    success = run_seed_set(policy, config, report_set(config)).success
    return Rerun(int(success.sum()), len(success), recorded)


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"
