"""Every leaf of params.yaml reaches what it names.

For each leaf one value that differs, and exactly the observations that must differ with it. A leaf without an
entry, or with one that changes nothing or something else, fails: a configured value that reached nothing is how
the seed run's curriculum, early stopping and schedules had no effect.
"""

from typing import NamedTuple

import pytest
from support import ROOT, probes

from hlynr.config import params
from hlynr.config.sections import SERVICE
from hlynr.rl.train import training_digest

FILE = ROOT / "params.yaml"
TREE = params.load(FILE).model_dump(mode="json")  # scenarios resolved, so that each has all its leaves
LEAVES = params.parse(TREE).flat()

# Values on which the entries below build; with them, tuning a default changes no entry.
BASE = (
    "train.device=cpu", "train.algorithm=ppo", "train.torch_threads=1", "train.n_envs=32", "train.n_steps=32",
    "train.batch_size=512", "train.timesteps=16384", "train.checkpoint_interval=6000", "train.scenario=reference",
    "train.gamma=0.995", "train.net_arch=[8]", "train.activation=tanh", "train.log_std_init=-0.5",
    "train.log_std_min=-10", "train.log_std_max=0.0", "train.learning_rate={start: 5e-4, end: 1e-4}",
    "train.clip_range={start: 0.2, end: 0.1}", "train.ent_coef=0",
    "train.curriculum={mode: frozen, radii: [180, 165, 150], until: [2000, 4000], success: 0.5, episodes: 100}",
    "monitor.interval=4096", "monitor.episodes=200", "monitor.window=3", "monitor.collapse_fraction=0.5",
    "monitor.abort_after=1000000", "monitor.abort_below=0.05", "monitor.plateau_patience=5",
    "monitor.plateau_min_delta=0.01", "monitor.farming_drop=0.1", "monitor.loss_factor=100", "monitor.std_limit=2",
    "monitor.saturation_limit=0.9", "monitor.stop_on=[collapse, abort, nan]", "evaluation.scenario=reference",
    "evaluation.report_episodes=20", "evaluation.heldout_episodes=30", "evaluation.batch_size=25",
    "evaluation.slices=3", "evaluation.target_success=[0.3, 0.4]", "gate.baseline=0.33", "gate.p_value=0.05",
    "gate.min_gain=0.01", "gate.min_mean_reward=0", "gate.max_final_distance=2000",
    "gate.evaluator_check_random=[0, 0.01]", "gate.evaluator_check_pn=[0.45, 0.65]", "gate.confidence=0.95",
    "versioning={enabled: true, push: true}",
    "run.strategy=default", "retrain.plan=[default, large-mlp]",
    "tune.timesteps=16384", "tune.interval=2048", "tune.prune_after=8192", "tune.confirm.timesteps=16384",
    "tune.space.batch_size.choices=[256, 512]", "tune.space.n_steps.choices=[16, 32]",
)  # fmt: skip
BY_SCHEDULE, BY_MASTERY = ("train.curriculum.mode=schedule",), ("train.curriculum.mode=mastery",)
RECURRENT = ("train.algorithm=recurrent_ppo", "train.lstm_hidden_size=8")
STUDY = ("stability.runs=[{strategy: default, seeds: [1], timesteps: 16384}]",)
NETWORK = {"network", "weights"}
WITH_FOLDER = ("assembled", "planned", "studied", "searched", "served", "alerted")


# Ends of the searched ranges, other than those of params.yaml.
ENDS = {
    "learning_rate": (0.0003, 0.003), "clip_range": (0.15, 0.3), "ent_coef": (0.00001, 0.002),
    "max_grad_norm": (0.3, 4.0), "gae_lambda": (0.9, 0.98), "gamma": (0.99, 0.998), "n_epochs": (3, 9),
    "log_std_init": (-1.0, -0.2), "log_std_max": (0.0, 0.4),
}  # fmt: skip
LOGARITHMIC = ("learning_rate", "clip_range", "ent_coef", "max_grad_norm", "gae_lambda", "gamma")
LINEAR = (
    ("n_epochs", ()),
    ("log_std_init", ("tune.space.log_std_init.low=0.1", "tune.space.log_std_init.high=0.2",
                      "tune.space.log_std_max.low=0.3", "train.log_std_max=0.5")),
    ("log_std_max", ("tune.space.log_std_max.low=0.1",)),
)  # fmt: skip


class Effect(NamedTuple):
    key: str
    value: str
    probe: str
    differs: set[str]
    given: tuple[str, ...] = ()


EFFECTS = [
    Effect("run.retraining", "5", "assembled", {"seed", "env seed", "weights"}),
    Effect("run.retraining", "5", "judged", {"report seed", "heldout seed", "baseline sets", "interval", "rate"}),
    Effect("run.outputs", "elsewhere", "paths", {"train", "evaluate", "bundle", "record"}),
    Effect("run.strategy", "mine", "assembled", {"value"}, ("strategies.mine={train: {vf_coef: 0.125}}",)),
    Effect("reward.intercept", "2", "rewards", {"intercept"}),
    Effect("reward.miss", "2", "rewards", {"miss"}),
    Effect("reward.precision", "0.4", "rewards", {"precision"}),
    Effect("reward.precision_range", "300", "rewards", {"precision"}),
    Effect("reward.progress", "0.2", "rewards", {"progress"}),
    Effect("reward.tracking", "0.2", "rewards", {"tracking"}),
    Effect("reward.effort", "0.2", "rewards", {"effort"}),
    Effect("policy.navigation_constant", "4.5", "actions", {"pn", "apn"}),
    Effect("policy.axial", "0.5", "actions", {"pn", "apn", "heading"}),
    *(Effect("policy.inertial", value, "actions", {"inertial"}) for value in ("[1, 0, 1]", "[0, 1, 1]", "[0, 0, 0.5]")),
    Effect("train.scenario", "hard", "assembled", {"env world", "judged scenario"}),
    Effect("train.algorithm", "recurrent_ppo", "assembled", {"algorithm", *NETWORK}),
    Effect("train.seed", "2", "assembled", {"seed", "env seed", "weights"}),
    Effect("train.timesteps", "32768", "assembled", {"budget"}),
    Effect("train.device", "cuda", "device", {"device"}),
    Effect("train.torch_threads", "2", "assembled", {"threads"}),
    Effect("train.n_envs", "64", "assembled", {"envs"}),
    Effect("train.n_steps", "64", "assembled", {"rollout"}),
    Effect("train.batch_size", "256", "assembled", {"minibatch"}),
    Effect("train.n_epochs", "2", "assembled", {"epochs"}),
    Effect("train.learning_rate.start", "0.001", "assembled", {"rate at start"}),
    Effect("train.learning_rate.end", "0.0002", "assembled", {"rate at end"}),
    Effect("train.clip_range.start", "0.3", "assembled", {"clip at start"}),
    Effect("train.clip_range.end", "0.3", "assembled", {"clip at end"}),
    Effect("train.ent_coef", "0.001", "assembled", {"entropy"}),
    Effect("train.vf_coef", "0.25", "assembled", {"value"}),
    Effect("train.gamma", "0.99", "assembled", {"discount"}),
    Effect("train.gae_lambda", "0.9", "assembled", {"lambda"}),
    Effect("train.max_grad_norm", "0.3", "assembled", {"gradient"}),
    Effect("train.target_kl", "null", "assembled", {"kl"}),
    Effect("train.net_arch", "[16, 8]", "assembled", NETWORK),
    Effect("train.activation", "relu", "assembled", {"network"}),
    Effect("train.log_std_init", "-1", "assembled", {"log_std"}),
    Effect("train.log_std_min", "-2", "assembled", {"log_std lower bound"}),
    Effect("train.log_std_max", "0.5", "assembled", {"log_std bound"}),
    Effect("train.lstm_hidden_size", "16", "assembled", NETWORK, RECURRENT),
    Effect("train.lstm_chunk", "16", "assembled", {"chunk"}, RECURRENT),
    Effect("train.checkpoint_interval", "7000", "assembled", {"next checkpoint", "later checkpoint"}),
    Effect("train.curriculum.mode", "schedule", "assembled", {"env world"}),
    Effect("train.curriculum.mode", "schedule", "radii", {"first", "course"}),
    Effect("train.curriculum.mode", "mastery", "radii", {"first", "course"}),
    Effect("train.curriculum.radii", "[190, 165, 150]", "assembled", {"env world"}, BY_SCHEDULE),
    Effect("train.curriculum.radii", "[190, 165, 150]", "radii", {"first", "course"}, BY_MASTERY),
    Effect("train.curriculum.radii", "[180, 160, 150]", "radii", {"course"}, BY_SCHEDULE),
    Effect("train.curriculum.until", "[3000, 4000]", "radii", {"course"}, BY_SCHEDULE),
    Effect("train.curriculum.until", "[2000, 5000]", "radii", {"course"}, BY_SCHEDULE),
    Effect("train.curriculum.success", "0.7", "radii", {"course"}, BY_MASTERY),
    Effect("train.curriculum.episodes", "50", "radii", {"course"}, BY_MASTERY),
    Effect("monitor.interval", "2048", "assembled", {"next evaluation"}),
    Effect("monitor.episodes", "300", "assembled", {"judged episodes"}),
    Effect("monitor.selection_seed", "900000", "assembled", {"judged seed"}),
    Effect("monitor.window", "1", "verdicts", {"dip"}),
    Effect("monitor.collapse_fraction", "0.3", "verdicts", {"slide"}),
    Effect("monitor.abort_after", "1500000", "verdicts", {"hopeless"}),
    Effect("monitor.abort_below", "0.02", "verdicts", {"hopeless"}),
    Effect("monitor.plateau_patience", "6", "verdicts", {"flat"}),
    Effect("monitor.plateau_min_delta", "0.02", "verdicts", {"creeping"}),
    Effect("monitor.farming_drop", "0.2", "verdicts", {"farming"}),
    Effect("monitor.loss_factor", "200", "verdicts", {"exploding"}),
    Effect("monitor.std_limit", "3", "verdicts", {"wild"}),
    Effect("monitor.saturation_limit", "0.97", "verdicts", {"saturated"}),
    Effect("monitor.stop_on", "[abort]", "verdicts", {"slide"}),
    Effect("evaluation.scenario", "hard", "judged", {"scenario", "rate", "interval"}),
    Effect("evaluation.report_episodes", "10", "judged", {"report episodes"}),
    Effect("evaluation.report_seed", "2000005", "judged", {"report seed"}),
    Effect("evaluation.heldout_episodes", "29", "judged", {"heldout episodes", "baseline sets", "rate", "interval"}),
    Effect("evaluation.heldout_seed", "3000022", "judged", {"heldout seed", "baseline sets", "rate", "interval"}),
    Effect("evaluation.slices", "4", "judged", {"slices"}),
    Effect("evaluation.batch_size", "7", "judged", {"batch"}),
    Effect("evaluation.target_success", "[0.2, 0.4]", "judged", {"targets"}),
    Effect("evaluation.target_success", "[0.3, 0.5]", "judged", {"targets"}),
    Effect("evaluation.target_mean_reward", "9", "judged", {"targets"}),
    Effect("evaluation.target_final_distance", "9", "judged", {"targets"}),
    Effect("gate.baseline", "0.45", "decisions", {"report_beats_baseline", "heldout_beats_baseline"}),
    Effect("gate.confidence", "0.9", "judged", {"interval"}),
    Effect("gate.p_value", "0.01", "decisions", {"significantly_better_than_champion"}),
    Effect("gate.min_gain", "0.05", "decisions", {"gain_over_champion"}),
    Effect("gate.min_mean_reward", "0.6", "decisions", {"mean_reward"}),
    Effect("gate.max_final_distance", "800", "decisions", {"final_distance"}),
    *(
        Effect("gate.evaluator_check_random", value, "decisions", {"evaluator_check_random"})
        for value in ("[0.006, 0.01]", "[0, 0.004]")
    ),
    *(
        Effect("gate.evaluator_check_pn", value, "decisions", {"evaluator_check_pn"})
        for value in ("[0.56, 0.65]", "[0.45, 0.54]")
    ),
    Effect("tracking.uri", "sqlite:///other.db", "opened", {"uri"}),
    Effect("tracking.artifacts", "other", "opened", {"artifacts"}),
    Effect("tracking.experiment", "other", "opened", {"experiment"}),
    Effect("tracking.model", "other", "opened", {"model"}),
    Effect("versioning.enabled", "false", "versioned", {"saved", "pushed"}),
    Effect("versioning.push", "false", "versioned", {"pushed"}),
    Effect("retrain.plan", "[large-mlp, default, two-phase]", "planned", {"strategies", "networks"}),
    Effect("stability.folder", "elsewhere", "studied", {"folder"}),
    Effect("stability.workers", "7", "studied", {"workers"}),
    Effect("stability.runs", "[{strategy: default, seeds: [1, 7], timesteps: 16384}]", "studied", {"runs"}, STUDY),
    Effect("stability.runs", "[{strategy: default, seeds: [1], timesteps: 32768}]", "studied", {"runs"}, STUDY),
    Effect("stability.runs", "[{strategy: default-lstm, seeds: [1], timesteps: 16384}]", "studied", {"runs"}, STUDY),
    Effect("tune.study", "another", "searched", {"study"}),
    Effect("tune.storage", "sqlite:///elsewhere.db", "searched", {"storage"}),
    Effect("tune.trials", "7", "searched", {"trials"}),
    Effect("tune.workers", "7", "searched", {"workers"}),
    Effect("tune.timesteps", "15360", "searched", {"trial's budget"}),
    Effect("tune.interval", "3072", "searched", {"trial's interval"}),
    Effect("tune.seeds", "[101, 103]", "searched", {"seeds"}),
    Effect("tune.drop_penalty", "0.5", "searched", {"objective"}),
    Effect("tune.sampler_seed", "2", "searched", {"chance"}),
    Effect("tune.startup", "9", "searched", {"startup", "compared"}),
    Effect("tune.prune_after", "4096", "searched", {"pruned after"}),
    Effect("tune.prune_below", "0.4", "searched", {"pruned below"}),
    Effect("tune.heartbeat", "9", "searched", {"heartbeat"}),
    Effect("tune.confirm.top", "2", "searched", {"confirmed"}),
    Effect("tune.confirm.seeds", "[201, 207]", "searched", {"fresh seeds"}),
    Effect("tune.confirm.timesteps", "15360", "searched", {"their budget"}),
    Effect("tune.confirm.heldout_seed", "5000000", "searched", {"their engagements"}),
    *(Effect(f"tune.space.{name}.scale", "linear", "searched", {f"space: {name}"}) for name in LOGARITHMIC),
    *(Effect(f"tune.space.{name}.scale", "log", "searched", {f"space: {name}"}, given) for name, given in LINEAR),
    *(
        Effect(f"tune.space.{name}.{end}", str(value), "searched", {f"space: {name}"})
        for name, values in ENDS.items()
        for end, value in zip(("low", "high"), values, strict=True)
    ),
    Effect("tune.space.batch_size.choices", "[128, 256]", "searched", {"space: batch_size"}),
    Effect("tune.space.n_steps.choices", "[32, 64]", "searched", {"space: n_steps"}),
    Effect("tune.space.target_kl.choices", "[0.01, 0.02]", "searched", {"space: target_kl"}),
    Effect("tune.space.lstm_hidden_size.choices", "[8, 16]", "searched", {"space: lstm_hidden_size"}),
    Effect("tune.space.lstm_chunk.choices", "[8, 16]", "searched", {"space: lstm_chunk"}),
    Effect("schedule.cron", "30 3 * * *", "deployed", {"schedules"}),
    Effect("schedule.cron", "null", "deployed", {"schedules"}),
    Effect("schedule.timezone", "Europe/Berlin", "deployed", {"schedules"}),
    Effect("service.host", "0.0.0.0", "served", {"listening"}),
    Effect("service.allowed_hosts", "[a.example.org]", "served", {"allowed"}),
    Effect("service.prefect_port", "4999", "served", {"listening", "addresses"}),
    Effect("service.mlflow_port", "5999", "served", {"listening", "addresses"}),
    Effect("service.database", "postgresql://me@db/prefect", "served", {"database"}),
    Effect("service.pool", "mine", "served", {"pool"}),
    Effect("service.pool", "mine", "deployed", {"pools"}),
    Effect("service.gpu_slots", "3", "deployed", {"slots"}),
    Effect("retention.days", "60", "served", {"Prefect's runs are kept"}),
    Effect("retention.days", "60", "pruned", {"older than"}),
    Effect("retention.remote", "false", "pruned", {"remote"}),
    Effect("retention.after_retraining", "false", "pruned", {"after the retraining"}),
    Effect("alerts.send", "[failed]", "alerted", {"sent"}),
    Effect("alerts.timeout", "7", "alerted", {"patience"}),
    Effect("retrain.retries", "7", "flow", {"retries"}),
    Effect("retrain.retry_delay", "70", "flow", {"delay"}),
    Effect("retrain.progress_interval", "77", "flow", {"interval"}),
    Effect("retrain.diagnosis_timesteps", "7", "flow", {"diagnosis"}),
]


def _nearby(value):
    """Values that differ, one for each number at the leaf; an interval stays a multiple of the radar's."""
    if isinstance(value, list):
        low, high = value
        return [[0.8 * low if low else 0.2 * high, high], [low, 1.2 * high]]
    if isinstance(value, int):
        return [2 * value or 5]
    return [0.7 * value or 0.1]


for leaf, old in LEAVES.items():
    section, _, rest = leaf.partition(".")
    if section in ("sim", "tracker", "scenarios"):
        touched = {rest.partition(".")[0]} if section == "scenarios" else set(TREE["scenarios"])
        EFFECTS += [Effect(leaf, str(new), "worlds", touched, ("train.gamma=1",)) for new in _nearby(old)]


# What a number doubled, or a little more than zero, cannot be: the new value, and what makes it possible.
OTHERWISE = {
    "scenario": ("hard", ("scenarios.hard.capture_radius=50",)),
    "curriculum.mode": ("frozen", ()),
    "curriculum.radii": ("[140.0, 50.0]", ()),
    "curriculum.until": ("[9, 10]", ()),
    "curriculum.success": ("0.8", ()),
    "learning_rate.phases": ("[{until: 100000, value: 0.0003}, {value: 0.00005}]", ()),
    "clip_range.phases": ("[{until: 200000, value: 0.2}, {value: 0.15}]", ()),
    "gamma": ("0.996", ()),
    "log_std_init": ("-0.5", ()),
    "log_std_min": ("-19", ()),
    "log_std_max": ("19", ()),
    "target_kl": ("0.5", ()),
    "net_arch": ("[32]", ()),
    "activation": ("elu", ()),
    "algorithm": ("ppo", ()),
    "stop_on": ("[nan]", ()),
}

for leaf, old in LEAVES.items():
    if leaf.startswith("strategies."):
        _, strategy, section, key = leaf.split(".", 3)
        half = key in ("n_envs", "n_steps")  # so that the intervals still hold a rollout
        new, given = OTHERWISE[key] if key in OTHERWISE else (old // 2 if half else 2 * old or 0.001, ())
        EFFECTS.append(Effect(leaf, str(new), "followed", {f"{strategy}: {section}.{key.split('.')[0]}"}, given))


def test_every_leaf_has_a_declared_effect():
    assert {effect.key for effect in EFFECTS} == set(LEAVES)


@pytest.fixture(scope="module")
def observe(tmp_path_factory):
    """Observations by probe and overrides; those of unchanged configurations are made once."""
    known = {}

    def look(probe, overrides, *, keep):
        if (probe, overrides) in known:
            return known[probe, overrides]
        config = params.parse(TREE, [*BASE, *overrides])
        folder = (tmp_path_factory.mktemp(probe),) if probe in WITH_FOLDER else ()
        found = getattr(probes, probe)(config, *folder)
        if keep:
            known[probe, overrides] = found
        return found

    return look


@pytest.mark.parametrize("effect", EFFECTS, ids=[f"{effect.key}={effect.value}" for effect in EFFECTS])
def test_a_leaf_reaches_what_it_names_and_nothing_else(effect, observe):
    before = observe(effect.probe, effect.given, keep=True)
    after = observe(effect.probe, (*effect.given, f"{effect.key}={effect.value}"), keep=False)
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == effect.differs


def test_only_what_a_training_depends_on_forbids_to_resume_it():
    """A checkpoint goes on under other gate or tracking settings, and under no other training settings."""
    base = params.parse(TREE, BASE)
    resumable = set()
    for effect in EFFECTS:
        config = params.parse(TREE, [*BASE, *effect.given, f"{effect.key}={effect.value}"])
        assert (config.digest() != base.digest()) == (effect.key.partition(".")[0] not in SERVICE)
        given = params.parse(TREE, [*BASE, *effect.given])
        if training_digest(config) == training_digest(given):
            resumable.add(effect.key)
    others = ("run.outputs", "strategies.", "policy.", "evaluation.", "gate.", "tracking.", "versioning.", "retrain.")
    others += ("stability.", "tune.", *(f"{section}." for section in SERVICE))
    assert resumable == {
        leaf
        for leaf in LEAVES
        if leaf.startswith(others) or (leaf.startswith("scenarios.") and not leaf.startswith("scenarios.reference."))
    }
