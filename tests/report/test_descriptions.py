"""What MLflow's pages say: verdict and reason first, every rule of the gate, and where it all comes from."""

from __future__ import annotations

from support import samples

from hlynr.records.diagnosis import Diagnosis
from hlynr.records.retraining import Attempt
from hlynr.report import descriptions

REFUSED = samples.retraining(promote=False)


def test_a_rejected_run() -> None:
    words = descriptions.run(REFUSED.train, REFUSED.evaluation, REFUSED.decision, REFUSED.promotion)
    for expected in (
        "**Version 2 was not promoted; version 1 stays champion.**\n\nWhy: significantly_better_than_champion is 0.425",
        "3,000,000 of 3,000,000 timesteps in 2 min 24 s on cpu",
        "94.1 % (92.5-95.4)",
        "58 only the challenger won, 55 only the champion (McNemar p = 0.425)",
        "| gain_over_champion &emsp; | 0.3 points &emsp; | >= 1 points &emsp; | FAIL |",
        "commit `293b06a1f0e4` with uncommitted changes",
    ):
        assert expected in words


def test_a_training_alone() -> None:
    words = descriptions.run(samples.training(interrupted=True, resumed_from=1_500_000))
    assert words.startswith("**Not evaluated: no decision was made.**")
    assert "resumed from the checkpoint at 1,500,000 timesteps" in words
    assert "interrupted" in words
    assert "|" not in words


def test_the_reason_is_that_of_what_was_carried_out() -> None:
    """The gate was for it, but the champion had changed by then."""
    outdated = samples.promotion(promote=False, reason="Not promoted: the champion changed while version 2 was judged.")
    words = descriptions.run(REFUSED.train, REFUSED.evaluation, samples.decision(), outdated)
    assert "Why: the champion changed while version 2 was judged." in words
    assert "Promoted" not in words


def test_a_version_begins_with_the_verdict_and_has_every_rule() -> None:
    words = descriptions.version(REFUSED.train, REFUSED.evaluation, REFUSED.decision, REFUSED.promotion)
    assert words.startswith("Not promoted: significantly_better_than_champion is 0.425")
    for rule in REFUSED.decision.rules:
        verdict = "pass" if rule.passed else "FAIL"
        assert f"| {rule.name} &emsp; | {rule.value} &emsp; | {rule.bound} &emsp; | {verdict} |" in words


def test_the_model_page_has_roles_and_how_to_load_the_champion() -> None:
    history = [samples.promotion(first=True), samples.promotion(), samples.promotion(version=3, champion_after=3)]
    words = descriptions.model("hlynr-intercept", {"champion": 3, "previous_champion": 2}, history)
    assert "| `champion` &emsp; | **3** &emsp; | 94.1 % (92.5-95.4) &emsp; | the one in use |" in words
    assert "| `previous_champion` &emsp; | **2** &emsp; |" in words
    assert "challenger`" not in words
    assert 'mlflow.pyfunc.load_model("models:/hlynr-intercept@champion")' in words
    assert words.index("| 3 &emsp; | promoted") < words.index("| 1 &emsp; | promoted")  # the newest first
    assert "earlier ones" not in words


def test_a_long_history_and_an_unjudged_challenger_fit_the_page() -> None:
    history = [samples.promotion(promote=False, version=number) for number in range(1, 401)]
    words = descriptions.model("hlynr-intercept", {"champion": 1, "challenger": 401}, history)
    assert "| `challenger` &emsp; | **401** &emsp; | n/a &emsp; |" in words
    assert "388 earlier ones: `hlynr champions`" in words
    assert len(words) < 5000


def test_a_rollback_names_the_champion() -> None:
    entry = samples.promotion(action="rolled_back", version=1, champion_before=2, champion_after=1)
    assert descriptions.rolled_back(entry) == "Rolled back on 2025-11-02 03:18 UTC: version 1 is champion again."


def test_a_retraining_lists_its_attempts_and_their_results() -> None:
    attempts = [
        _attempt(1, "hasty", "collapse: success fell to 3 %", failed=True),
        _attempt(2, "default", "healthy: success 94.0 %", failed=False),
    ]
    words = descriptions.retraining(attempts, REFUSED.promotion, REFUSED.decision, REFUSED.evaluation)
    assert words.startswith("**Version 2 was not promoted; version 1 stays champion.**\n\nWhy: significantly")
    assert "| 1 hasty &emsp; | n/a &emsp; | 22.0 % &emsp; | collapse: success fell to 3 % |" in words
    assert "| gain_over_champion &emsp; |" in words
    assert "94.1 % (92.5-95.4)" in words


def test_a_retraining_of_which_nothing_came() -> None:
    found = Diagnosis(
        subject="attempt 1, hasty",
        scenario="reference",
        seed=9,
        episodes=40,
        success_rate=0.0,
        success_rate_ci=(0.0, 0.1),
        verdict="The task is too hard.",
        cause="task",
        findings=(),
        sampled=(),
        channels=(),
        scans=(),
    )
    words = descriptions.retraining([_attempt(1, "hasty", "abort: 0 %", failed=True)], diagnosis=found)
    assert words.startswith("**Every strategy of the plan failed.**\n\n| attempt &emsp; |")
    assert words.endswith("Diagnosis of attempt 1, hasty: The task is too hard.\n")


def _attempt(number: int, strategy: str, outcome: str, failed: bool) -> Attempt:
    lineage = samples.LINEAGE.model_copy(update={"attempt": number, "strategy": strategy})
    status = outcome.partition(":")[0]
    return Attempt(lineage=lineage, status=status, outcome=outcome, failed=failed, best_success=0.22, bundle=None)
