"""What surrounds the work in hand, for log lines: set by the doors and the engine, read by logs."""

from __future__ import annotations

from contextvars import ContextVar

CORRELATION_ID: ContextVar[str] = ContextVar("correlation_id", default="")
"""Correlation id of the request or run that is being worked on; empty outside of any."""

RUN_ID: ContextVar[str] = ContextVar("run_id", default="")
"""Id of the run that is being worked on; empty outside of any."""
