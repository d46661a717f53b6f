"""What authors of workflows import.

Everything is loaded when it is first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agency.version import VERSION

if TYPE_CHECKING:
    from agency.domain.approval import ApprovalDecision
    from agency.domain.content import (
        Content,
        Part,
        bytes_part,
        data_part,
        link_part,
        resource_part,
        text_part,
    )
    from agency.domain.remote import RemoteAnswer
    from agency.engine.context import Context
    from agency.engine.definition import workflow
    from agency.engine.hooks import StatusUpdate, on_update
    from agency.engine.joins import Winner
    from agency.engine.offers import (
        Elicit,
        Elicited,
        McpCall,
        McpMessage,
        Roots,
        Sample,
        Sampled,
        StartRun,
        mcp_prompt,
        mcp_resource,
        mcp_tool,
    )
    from agency.engine.parts import StepInfo, current_step
    from agency.engine.retry import Retry
    from agency.errors import (
        NotDone,
        OutcomeUnknown,
        Permanent,
        Rejected,
        StepFailed,
        WaitTimedOut,
    )
    from agency.workflows.saga.leg import Child, Leg, LegContext
    from agency.workflows.saga.saga import Saga

__version__ = VERSION

_HOMES = {
    "ApprovalDecision": "agency.domain.approval",
    "Content": "agency.domain.content",
    "Part": "agency.domain.content",
    "bytes_part": "agency.domain.content",
    "data_part": "agency.domain.content",
    "link_part": "agency.domain.content",
    "resource_part": "agency.domain.content",
    "text_part": "agency.domain.content",
    "RemoteAnswer": "agency.domain.remote",
    "Context": "agency.engine.context",
    "Winner": "agency.engine.joins",
    "workflow": "agency.engine.definition",
    "StatusUpdate": "agency.engine.hooks",
    "on_update": "agency.engine.hooks",
    "Elicit": "agency.engine.offers",
    "Elicited": "agency.engine.offers",
    "McpCall": "agency.engine.offers",
    "McpMessage": "agency.engine.offers",
    "Roots": "agency.engine.offers",
    "Sample": "agency.engine.offers",
    "Sampled": "agency.engine.offers",
    "StartRun": "agency.engine.offers",
    "mcp_prompt": "agency.engine.offers",
    "mcp_resource": "agency.engine.offers",
    "mcp_tool": "agency.engine.offers",
    "StepInfo": "agency.engine.parts",
    "current_step": "agency.engine.parts",
    "Retry": "agency.engine.retry",
    "NotDone": "agency.errors",
    "OutcomeUnknown": "agency.errors",
    "Child": "agency.workflows.saga.leg",
    "Leg": "agency.workflows.saga.leg",
    "LegContext": "agency.workflows.saga.leg",
    "Saga": "agency.workflows.saga.saga",
    "Permanent": "agency.errors",
    "Rejected": "agency.errors",
    "StepFailed": "agency.errors",
    "WaitTimedOut": "agency.errors",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401  what a module holds
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'agency' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(home), name)


__all__ = [
    "ApprovalDecision",
    "Child",
    "Content",
    "Context",
    "Elicit",
    "Elicited",
    "Leg",
    "LegContext",
    "McpCall",
    "McpMessage",
    "NotDone",
    "OutcomeUnknown",
    "Part",
    "Permanent",
    "Rejected",
    "RemoteAnswer",
    "Retry",
    "Roots",
    "Saga",
    "Sample",
    "Sampled",
    "StartRun",
    "StatusUpdate",
    "StepFailed",
    "StepInfo",
    "WaitTimedOut",
    "Winner",
    "__version__",
    "bytes_part",
    "current_step",
    "data_part",
    "link_part",
    "mcp_prompt",
    "mcp_resource",
    "mcp_tool",
    "on_update",
    "resource_part",
    "text_part",
    "workflow",
]
