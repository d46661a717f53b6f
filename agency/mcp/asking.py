"""What a run asks, asked of the MCP client whose call has started it.

The answer goes the way that every answer goes: it decides the approval, or answers the input, in
the store. So it does not matter who is faster: a person over REST, another client, this one. Where
another was faster, a form that is still shown is withdrawn and the call goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
from mcp.server.context import HandlerResult
from pydantic import ValidationError

from agency.core import ids
from agency.domain.run import ENDED, Run
from agency.engine.approvals import DecideRequest
from agency.errors import (
    AgencyError,
    ApprovalDecided,
    ApprovalNotFound,
    ClientRefused,
    InvalidInput,
    RunNotFound,
)
from agency.mcp.answering import answer_with
from agency.mcp.forms import Form, answer_of, denial, forms_of
from agency.mcp.means import Means
from agency.mcp.offerings import (
    CallNext,
    Context,
    Offerings,
    ToolAnswer,
    caller_of,
)
from agency.mcp.published_tools import PublishedTools
from agency.mcp.questions import can, form_request, is_modern, send, together
from agency.mcp.results import refusal_of, result_of
from agency.mcp.rounds import Round, round_of
from agency.mcp.schemas import Schema, output_schema
from agency.mcp.task_shape import created_task, follows_tasks
from agency.mcp.verb_names import VERBS
from agency.ports.store import RunDetail

log = logging.getLogger(__name__)

TRIES_MAX = 3
"""A form that is filled in with what does not fit is shown so often, each time with the reason."""

SHOWN_S = 86_400.0
"""A form is shown so long at most, in seconds; then the call is answered with where its run is."""


@dataclass(slots=True)
class Taken:
    """What became of a client's responses.

    Attributes:
        decided: Keys of what is answered by now, by whomever.
        declined: Keys of what the client would not answer.
        unfit: By key, why a response cannot be taken.
    """

    decided: list[str] = field(default_factory=list)
    declined: list[str] = field(default_factory=list)
    unfit: dict[str, str] = field(default_factory=dict)


class Asking:
    """Asks clients, and takes what they answer."""

    def __init__(self, means: Means, offerings: Offerings, tools: PublishedTools) -> None:
        """Take what it works with.

        Args:
            means: What the door works with.
            offerings: Where it is put as the one that asks.
            tools: The tools whose calls are runs.
        """
        self._means = means
        self._offerings = offerings
        self._tools = tools

    async def ask(self, ctx: Context, detail: RunDetail) -> ToolAnswer | bool:
        """Ask the client what a run waits for; see `agency.mcp.offerings.Ask`."""
        if follows_tasks(ctx):
            return created_task(self._means, ctx, detail)
        forms = forms_of(detail.waits)
        if not forms or not can(ctx, "elicitation"):
            return False
        if is_modern(ctx):
            return _required(detail.run.id, forms, {})
        asked = [self._shown(ctx, detail.run, form) for form in forms.values()]
        return any(await together(asked))

    async def intercept(
        self, ctx: Context, params: types.CallToolRequestParams, call_next: CallNext
    ) -> HandlerResult:
        """Go on with a call that was answered with questions, instead of starting it again."""
        began = round_of(params.request_state) if params.request_state is not None else None
        if began is None or not began.run_id:
            return await call_next()
        try:
            detail = await self.own(ctx, began.run_id)
            taken = await self.take(ctx, detail, params.input_responses or {})
            if taken.unfit:
                detail = await self._means.services.runs.get(detail.run.id)
                if forms := forms_of(detail.waits):
                    return _required(detail.run.id, forms, taken.unfit)
            if params.name in VERBS and not taken.declined:
                return await call_next()
            published = self._tools.find(params.name)
            schema: Schema | None = output_schema(published.output_schema) if published else None
            if taken.declined and not taken.decided:
                return await result_of(self._means, await self.own(ctx, began.run_id), schema)
            return await answer_with(self._means, self._offerings, ctx, began.run_id, schema)
        except AgencyError as error:
            return refusal_of(error)

    async def own(self, ctx: Context, run_id: str) -> RunDetail:
        """Read a run of the caller's.

        Raises:
            RunNotFound: there is none, or it is another's.
        """
        detail = await self._means.services.runs.get(run_id)
        if detail.run.principal != caller_of(ctx).principal:
            raise RunNotFound(run_id)
        return detail

    async def take(self, ctx: Context, detail: RunDetail, responses: Mapping[str, Any]) -> Taken:
        """Answer what a run waits for with a client's responses; others are not looked at."""
        taken = Taken()
        for key, form in forms_of(detail.waits).items():
            response = _elicited(responses.get(key))
            if response is None:
                continue
            try:
                is_decided = await self._decide(ctx, detail.run, form, response)
            except InvalidInput as error:
                taken.unfit[key] = _reason(error)
                continue
            (taken.decided if is_decided else taken.declined).append(key)
        return taken

    async def _decide(
        self, ctx: Context, run: Run, form: Form, response: types.ElicitResult
    ) -> bool:
        """Record a response; False when the client would not answer.

        Raises:
            InvalidInput: what was filled in does not fit.
        """
        by = caller_of(ctx).principal
        decision: tuple[str, DecideRequest] | None = None
        if response.action == "accept":
            decision = answer_of(run, form, response.content or {}, by=by)
        elif response.action == "decline":
            decision = denial(run, form, by=by)
        if decision is None:
            return False
        try:
            await self._means.services.approvals.decide(*decision)
        except (ApprovalDecided, ApprovalNotFound):
            log.debug("a form was answered elsewhere", extra={"run_id": run.id, "wait": form.key})
        return True

    async def _shown(self, ctx: Context, run: Run, form: Form) -> bool:
        """Show one form while the call waits; False when nobody has answered it."""
        message = form.message
        for _ in range(TRIES_MAX):
            response = await self._response(ctx, run, form, message)
            if response is None:
                return True  # answered elsewhere
            try:
                return await self._decide(ctx, run, form, response)
            except InvalidInput as error:
                message = f"{_reason(error)}\n\n{form.message}"
        return False

    async def _response(
        self, ctx: Context, run: Run, form: Form, message: str
    ) -> types.ElicitResult | None:
        """Give what the client says; None when it is not asked any more."""
        shown = asyncio.create_task(send(ctx, form_request(message, form.schema)))
        over = asyncio.create_task(self._until_over(run.id, form.key))
        try:
            await asyncio.wait({shown, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # Cancelling it tells the client that its answer is not wanted any more.
            for one in (shown, over):
                one.cancel()
            await asyncio.wait({shown, over})
        if shown.cancelled():
            return None if over.result() else types.ElicitResult(action="cancel")
        if over.done() and not over.cancelled():
            over.exception()  # it does not matter any more
        try:
            response = shown.result()
        except ClientRefused as error:
            log.info("a client would not show a form", extra={"run_id": run.id, "why": str(error)})
            return types.ElicitResult(action="cancel")
        assert isinstance(response, types.ElicitResult)
        return response

    async def _until_over(self, run_id: str, key: str) -> bool:
        """Wait until nobody has to answer any more; False when we stop before."""

        def is_over(detail: RunDetail) -> bool:
            return detail.run.status in ENDED or key not in {wait.key for wait in detail.waits}

        detail = await self._means.patience.wait_until(
            self._means.services.runs, run_id, is_over, timeout_s=SHOWN_S
        )
        return is_over(detail)


def _required(
    run_id: str, forms: Mapping[str, Form], unfit: Mapping[str, str]
) -> types.InputRequiredResult:
    """Answer a call with what its run asks, and with what brings the client back to the run."""
    requests: types.InputRequests = {
        key: form_request(
            f"{unfit[key]}\n\n{form.message}" if key in unfit else form.message, form.schema
        )
        for key, form in forms.items()
    }
    state = Round(id=ids.new_id(), run_id=run_id).to_text()
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def _elicited(response: object) -> types.ElicitResult | None:
    """Read a response to a form; None when it is of another kind, or there is none."""
    if isinstance(response, types.ElicitResult):
        return response
    try:
        return types.ElicitResult.model_validate(response, by_name=False)
    except ValidationError:
        return None


def _reason(error: InvalidInput) -> str:
    whats = [f"{fault.where or '/'}: {fault.what}" for fault in error.faults[:3]]
    return "That does not fit: " + ("; ".join(whats) or str(error))
