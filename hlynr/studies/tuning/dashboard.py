"""optuna-dashboard on a project's searches, for `hlynr ui --tune`."""

from __future__ import annotations

from hlynr.config.project import Project
from hlynr.runtime import database_uri, web_guard
from hlynr.runtime.errors import InputError
from hlynr.service import components


def serve(project: Project, port: int) -> None:
    """Serve it on localhost, until it is stopped.

    Raises:
        InputError: if there is no search yet.
        EnvironmentNotReady: if the port is taken.
    """
    components.require_free("127.0.0.1", port, "--port")
    uri = database_uri.absolute(project.config.tune.storage, project.root)
    database = database_uri.file(uri)
    if database and not database.exists():
        raise InputError(f"--tune: there is no search in {uri} yet; hlynr tune begins one")
    from optuna_dashboard import wsgi
    from uvicorn.middleware.wsgi import WSGIMiddleware  # type: ignore[attr-defined]  # under one of two names

    print(f"optuna-dashboard on http://127.0.0.1:{port}, Ctrl-C stops it", flush=True)
    app = WSGIMiddleware(wsgi(uri))
    web_guard.serve(app, "127.0.0.1", port, project.config.service.allowed_hosts, lifespan=False)
