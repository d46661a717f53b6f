"""Scripted failures: each code as the error that a real provider would raise."""

from __future__ import annotations

from agency.errors import (
    AgencyError,
    ContextTooLong,
    ModelBusy,
    ModelCallMalformed,
    ModelCrashed,
    ModelInterrupted,
    ModelNotFound,
    ModelRefused,
    ModelReplyBroken,
    ModelReplyCut,
    ModelReplyEmpty,
    ModelTimedOut,
    ModelUnavailable,
)


def failure(code: str, *, resource: str, model: str, place: str) -> AgencyError:
    """Make the error with ``code``, saying that the rule at ``place`` of the script wants it."""
    why = f"The rehearsal script wants it so ({place})."
    reason = f"the rehearsal script wants it so, {place}"
    match code:
        case "model_unavailable":
            return ModelUnavailable(resource, reason)
        case "model_interrupted":
            return ModelInterrupted(resource, reason)
        case "model_not_found":
            return ModelNotFound(model)
        case "model_timed_out":
            return ModelTimedOut("total", 0.0, hint=why)
        case "model_reply_empty":
            return ModelReplyEmpty(why, ended_by="stop", reply_tokens=1)
    plain: dict[str, type[AgencyError]] = {
        kind.code: kind
        for kind in (
            ModelBusy,
            ModelCrashed,
            ModelRefused,
            ContextTooLong,
            ModelReplyBroken,
            ModelCallMalformed,
            ModelReplyCut,
        )
    }
    return plain[code](why)
