"""What Prefect does not document and the service depends on; `tests/service/test_prefect_private.py` checks each.

Strings only, so that the supervisor does not import Prefect.
"""

from __future__ import annotations

SERVER_APP = "prefect.server.api.server:create_app"
"""For uvicorn: `prefect server start` does not end with a parent that was killed."""
EPHEMERAL = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
"""Environment of a server for one command: without the UI and the services that only schedules need."""
SERVER_AUTH = "PREFECT_SERVER_API_AUTH_STRING"
"""With it, the server asks for it at every address but /health and /ready of its API, websockets included."""
LEASES_ON_DISK = "prefect.server.concurrency.lease_storage.filesystem"
"""A restarted server has lost leases that were in memory, and the GPU slot would stay taken for ever."""
FLOW_RUN_ID = "PREFECT__FLOW_RUN_ID"
"""Variable in the environment of a run's process: Prefect stores its pid alone, and a pid is used again."""
WORKER_LABEL = "prefect.worker.name"
"""Label of a run with the name of its worker."""
HEARTBEAT_EVENT = "prefect.flow-run.heartbeat"
END_EVENTS = frozenset(f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed"))
