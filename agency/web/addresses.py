"""Where things are: the paths that answers and problems point to."""

from __future__ import annotations

from urllib.parse import quote

DOCS = "/docs"


def run_path(run_id: str) -> str:
    return f"/api/v1/runs/{run_id}"


def run_file_path(run_id: str, path: str) -> str:
    """Where a file of a run is; bytes of its path that are no UTF-8 are surrogates."""
    return f"/api/v1/runs/{run_id}/files/{quote(path.encode(errors='surrogateescape'))}"


def workflow_path(name: str) -> str:
    return f"/api/v1/workflows/{quote(name, safe='')}"


def snapshot_path(snapshot_id: str) -> str:
    return f"/api/v1/workflows/snapshots/{snapshot_id}"


def approval_path(approval_id: str) -> str:
    return f"/api/v1/approvals/{approval_id}"


def topic_path(topic: str) -> str:
    return f"/api/v1/topics/{quote(topic, safe='')}"


def schedule_path(name: str) -> str:
    return f"/api/v1/schedules/{name}"


def task_path(run_id: str) -> str:
    return f"/api/tasks/{run_id}"


def saga_path(name: str) -> str:
    return f"/api/v1/sagas/{quote(name, safe='')}"


def saga_run_path(run_id: str) -> str:
    return f"/api/v1/sagas/runs/{run_id}"


def queue_path(name: str) -> str:
    return f"/api/v1/queues/{name}"


def connection_path(name: str) -> str:
    return f"/api/v1/connections/{name}"


def remote_agent_path(name: str) -> str:
    return f"/api/v1/remote-agents/{name}/card"


def session_path(session_id: str) -> str:
    return f"/api/v1/sessions/{quote(session_id, safe='')}"


def notebook_path(name: str) -> str:
    return f"/api/v1/notebooks/{name}"


def problem_type(code: str) -> str:
    """Where the daemon itself explains a problem. Source: RFC 9457, section 3.1.1."""
    return f"{DOCS}#problem-{code}"
