"""What has to be mended in the stores and the project, as lines of the checklist of `hlynr doctor`."""

from __future__ import annotations

from hlynr.config.project import Project
from hlynr.ops.repair import repair
from hlynr.ops.tracking import store
from hlynr.records.retraining import Check
from hlynr.records.store_finding import StoreFinding
from hlynr.runtime.errors import as_user_error


def checks(project: Project) -> list[Check]:
    """A warning for each; none where a store cannot be read, which its own check says."""
    try:
        found = repair.look(project, store.open_existing(project.config, project.root))
    except Exception as error:
        if as_user_error(error) is None:
            raise
        return []
    return [_check(finding) for finding in found]


def repaired(project: Project) -> list[Check]:
    """Mend what can be mended; a line for each that was."""
    return [_check(finding) for finding in repair.repair(project) if finding.repaired]


def _check(finding: StoreFinding) -> Check:
    detail = f"repaired: {finding.what}" if finding.repaired else f"{finding.what} ({finding.remedy})"
    return Check(name="to mend", ok=finding.repaired, required=False, detail=detail)
