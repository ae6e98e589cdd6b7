"""Calls of MLflow's client that several modules make in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")


def if_exists(call: Callable[..., T], *arguments: Any) -> T | None:
    """The call's answer; None where MLflow holds no such thing."""
    from mlflow.exceptions import MlflowException

    try:
        return call(*arguments)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def pages(search: Callable[..., Any], **wanted: Any) -> Iterator[Any]:
    """Every page of a search."""
    page = search(**wanted)
    yield from page
    while page.token:
        page = search(**wanted, page_token=page.token)
        yield from page


def set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Set a run's tags in one write."""
    from mlflow.entities import RunTag

    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
