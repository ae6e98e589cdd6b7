"""Killed processes and lost machines: real servers, a real worker and a real training.

After each: no training process remains, no run stays running, the GPU slot is free, the next retraining works.
The tests share a service and run in this order: each begins with all components healthy.
"""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import psutil
from support import projects, services
from support.services import Receiver, Service

from hlynr.ops.registry import journal
from hlynr.ops.tracking import store
from hlynr.service.prefect_private import HEARTBEAT_EVENT

pytestmark = services.faults


def test_a_killed_flow_frees_the_gpu_slot_and_a_killed_server_does_not_end_the_next_retraining(
    service: Service, receiver: Receiver
) -> None:
    """The server is restarted within seconds, and finds the lease of the slot on disk."""
    first = service.begin()
    flow, training = service.training(first)
    second = service.begin("train.timesteps=600000", "monitor.interval=200000")
    projects.until(lambda: service.run(second)["state_name"] == "AwaitingGpu", "the second one to wait")
    assert service.run(second)["state"]["message"] == "Waiting: another training has the GPU slot."
    assert service.slot_taken() == 1

    flow.kill()
    assert service.ended(first)["state_name"] == "Crashed"
    projects.until(lambda: services.gone(training), "the end of its training", 60.0)
    projects.until(lambda: receiver.kinds(first) == ["crashed"], "the alert")
    projects.until(lambda: service.run(second)["state_name"] == "Running", "the second one to run")
    service.training(second)

    before = service.component("prefect").restarts
    service.process("prefect").kill()
    projects.until(lambda: service.component("prefect").restarts > before, "a restart")
    projects.until(lambda: service.state.healthy, "health")
    assert service.run(second)["state_name"] == "Running"
    assert service.slot_taken() == 1
    ended = service.ended(second)
    assert ended["state_name"] == "Completed", ended["state"]["message"]
    assert ended["state"]["message"].startswith("Promoted: ")
    projects.until(lambda: service.slot_taken() == 0, "the slot", 10.0)
    projects.until(lambda: receiver.kinds(second) == ["promoted"], "the alert", 30.0)


def test_a_cancelled_retraining_ends_within_seconds(service: Service, receiver: Receiver) -> None:
    run = service.begin()
    flow, training = service.training(run)
    service.cancel(run)
    assert service.ended(run, 60.0)["state_name"] == "Cancelled"
    projects.until(lambda: services.gone(flow, training), "the end of flow and training", 60.0)
    projects.until(lambda: service.slot_taken() == 0, "the slot", 10.0)
    assert receiver.kinds(run) == []  # a person has cancelled it


def test_a_killed_worker_ends_its_retraining_and_is_restarted(service: Service, receiver: Receiver) -> None:
    run = service.begin()
    flow, training = service.training(run)
    service.process("worker").kill()
    assert service.ended(run)["state_name"] == "Crashed"
    projects.until(lambda: services.gone(flow, training), "the end of flow and training", 60.0)
    projects.until(lambda: service.slot_taken() == 0, "the slot", 60.0)
    projects.until(lambda: service.state.healthy, "a new worker")
    projects.until(lambda: receiver.kinds(run) == ["crashed"], "the alert")


def test_a_retraining_whose_machine_is_lost_is_ended_by_the_server_with_an_alert(
    service: Service, receiver: Receiver
) -> None:
    """Another machine's run, which has sent one heartbeat and sends no more."""
    flow = service.get("/deployments/name/retrain/nightly")["flow_id"]
    run = str(service.post("/flow_runs/", {"flow_id": flow, "state": {"type": "RUNNING"}})["id"])
    resource = {"prefect.resource.id": f"prefect.flow-run.{run}"}
    heartbeat = {
        "id": str(uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": HEARTBEAT_EVENT,
        "resource": resource,
    }
    service.post("/events", [heartbeat])
    ended = service.ended(run, 240.0)
    assert (ended["state_name"], ended["state"]["message"]) == ("Crashed", "No sign of life for 90 s.")
    projects.until(lambda: receiver.kinds(run) == ["crashed"], "the alert", 60.0)
    assert f"run {ended['name']} was lost, and perhaps its machine" in (service.root / ".hlynr/alerts.log").read_text()


def test_after_a_power_cut_the_lost_retraining_is_found_and_the_next_one_works(
    service: Service, receiver: Receiver
) -> None:
    """Flow, training and the service itself are killed at once, so that none can report the end."""
    run = service.begin()
    flow, training = service.training(run)
    supervisor = psutil.Process(service.state.pid)
    for process in (service.process("worker"), supervisor, flow, training):
        process.kill()
    projects.until(lambda: not services.remaining(service.root), "the end of all that was below the service", 60.0)
    service.up()
    ended = service.ended(run, 60.0)
    assert ended["state_name"] == "Crashed"
    assert ended["state"]["message"] == "Its process is gone: it was killed together with its worker."
    projects.until(lambda: receiver.kinds(run) == ["crashed"], "the alert", 30.0)
    assert "was lost: its process and its worker are gone" in (service.root / ".hlynr/alerts.log").read_text()

    opened = store.open_store(service.project.config, service.root)
    before = len(journal.history(opened))
    following = service.ended(service.begin(*services.SHORT))
    assert following["state_name"] == "Completed", following["state"]["message"]
    history = journal.history(opened)
    assert len(history) == before + 1
    assert {entry.action for entry in history} <= {"promoted", "not_promoted"}
    unfinished = opened.client.search_runs([opened.experiment_id], "attributes.status = 'RUNNING'")
    assert not unfinished, "an MLflow run stays running for ever"
