"""All kinds of chains."""

from __future__ import annotations

from collections.abc import Callable

from chaos import chains, registry, retention, service, stores
from chaos.chains import Chain, Workshop

KINDS: dict[str, Callable[[Workshop, int], Chain]] = {
    "kill": chains.kill,
    "write": chains.write,
    "disk": chains.disk,
    "prefect": chains.prefect,
    "mlflow": stores.mlflow,
    "postgres": stores.postgres,
    "prune": retention.prune,
    "service": service.service,
    "registry": registry.registry,
}
