"""What becomes of the calls that a model asks for: the gate, the question, the deed, the record."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from agency.core import json
from agency.core.records import dataclass
from agency.domain.message import NewMessage
from agency.domain.tool import Asks, Capability, Level, Permission, Question, ToolEffect
from agency.engine import foreign
from agency.engine.questions import decision_of
from agency.engine.retry import MODEL_RETRY
from agency.engine.steps import StepCall
from agency.errors import (
    AgencyError,
    BudgetUsedUp,
    StepFailed,
    ToolUnavailable,
    WorkspaceTooLarge,
)
from agency.ports.model import ChatMessage, ChatRequest, Role, ToolCall
from agency.ports.tool import ToolContext, ToolRequest
from agency.workflows.agent import asking, cutoff, history
from agency.workflows.agent.calling import (
    CONTENT_CHARACTERS_MAX,
    NO_WORKSPACE,
    NOT_DONE,
    PATIENT,
    Deed,
    cut,
    cut_bytes,
    read_asks,
    redacted,
    write_output,
)
from agency.workflows.agent.context.estimate import units_of_text
from agency.workflows.agent.gate import Offer
from agency.workflows.agent.gone import stand_in
from agency.workflows.agent.own_tools import Done, Own, OwnTool
from agency.workflows.agent.state import as_record, content_for_model, result_message

if TYPE_CHECKING:
    from agency.workflows.agent.loop import Loop

ROUNDS_MAX = 10
"""Times that one call may come back with questions."""
LOOKS_MAX = 2000
"""Times that one call is made or looked at; with pauses of a minute that is more than a day."""
OWN_RESULT_BYTES_MAX = 16_000
"""Longer results of the run's own tools are cut, and the whole is kept in the workspace."""
_MENDABLE = frozenset({"tool_unavailable", "tool_interrupted", "sandbox_failed", "decided_failed"})
"""Codes of failed steps that the model is told of; all others end the run."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Permitted:
    """A call that may be made.

    Attributes:
        is_edited: A person has changed the arguments.
    """

    offer: Offer
    arguments: Mapping[str, Any]
    is_edited: bool = False


class Deeds:
    """Makes calls for one run."""

    def __init__(self, loop: Loop) -> None:
        """Work for a run; everything is recorded through its context."""
        self._loop = loop
        self._checker = loop.means.checker

    async def do(self, turn: int, position: int, call: ToolCall) -> None:
        """Bring one call to its recorded result, and take it in."""
        label = f"call-{turn}.{position}"
        answers: dict[str, Any] = {}
        asks: Asks | None = None
        said = f"{call.name} has asked {ROUNDS_MAX} times and still not done its work."
        deed: Permitted | None = None
        asked = 0
        for number in range(LOOKS_MAX):
            name = label if number == 0 else f"{label}.{number}"
            record, deed = await self._tried(label, name, call, deed, answers, asks)
            if "asks" not in record:
                self._take(call, record)
                return
            self._loop.state.take_asking(record)
            asks = read_asks(record["asks"])
            if asks.is_begun and not asks.questions:
                # The work goes on elsewhere; here nothing is held meanwhile.
                await self._loop.ctx.sleep(asks.again_s)
                continue
            asked += 1
            if asked > ROUNDS_MAX:
                break
            failed = await self._answer_all(name, call, asks, answers)
            if failed:
                said = failed
                break
        else:
            said = f"{call.name} was looked at {LOOKS_MAX} times and has still not done its work."
        record = await self._settled(f"{label}.end", call, {"content": said, "is_error": True})
        self._take(call, record)

    async def _tried(
        self,
        label: str,
        name: str,
        call: ToolCall,
        deed: Permitted | None,
        answers: Mapping[str, Any],
        asks: Asks | None,
    ) -> tuple[Record, Permitted | None]:
        """Make a call once, with the answers to what it has asked before; what came is recorded."""
        if self._loop.is_recorded(name):
            return await self._replayed(name, call), deed
        if deed is None and self._is_begun(name):
            deed = await self._begun(label, call)
        if deed is None:
            permitted = await self._permitted(label, call)
            if isinstance(permitted, dict):
                return await self._settled(name, call, permitted), None
            deed = permitted
        return await self._done(name, call, deed, answers, asks), deed

    def _take(self, call: ToolCall, record: Record) -> None:
        loop = self._loop
        loop.state.take_result(call, record)
        loop.watch(call, record)
        loop.conversation.transcript.add(result_message(call, content_for_model(record)))

    async def _replayed(self, name: str, call: ToolCall) -> Record:
        try:
            found = await self._loop.ctx.perform(StepCall(name=name, function=_not_again))
        except StepFailed as error:
            return self._failed(call, error)
        return as_record(found, call)

    # --- may it be done ---------------------------------------------------------------------

    def _is_begun(self, name: str) -> bool:
        """Tell whether a call that must not be made twice was begun, and has no outcome."""
        return self._loop.ctx.execution.journal.intents(f"{name}#1") > 0

    async def _begun(self, label: str, call: ToolCall) -> Permitted:
        """Go on with a call that was permitted once: what became of it is asked, not decided anew.

        Neither a stricter policy nor a tool that is gone can make it not have happened.
        """
        offer = await self._find(label, call.name)
        arguments: Mapping[str, Any] = call.arguments
        asked = _asked_as(label)
        if self._loop.was_asked(asked):
            wait = self._loop.ctx.execution.journal.waits[f"{asked}#1"]
            decision = decision_of(wait, None)
            if isinstance(decision.value, Mapping):
                return Permitted(offer or stand_in(call), decision.value, is_edited=True)
        return Permitted(offer or stand_in(call), arguments)

    async def _permitted(self, label: str, call: ToolCall) -> Record | Permitted:
        """Ask the gate, and a person where it says so; a record when it is not done."""
        loop = self._loop
        offer = await self._find(label, call.name)
        if offer is None:
            near = ", ".join(spec.name for spec in loop.search(call.name.replace("_", " "))[:3])
            hint = f" There are: {near}." if near else ""
            return _refusal(f"There is no tool {call.name!r} that you may use.{hint}")
        found = self._checker.check(call, offer.tool.spec)
        if found.faults:
            return _refusal(f"The arguments do not fit: {'; '.join(found.faults)}")
        arguments: Mapping[str, Any] = found.arguments
        permission = loop.gate.permission(offer, arguments)
        if permission is Permission.DENY:
            return _refusal(f"The call of {call.name} is not allowed. Find another way.")
        weak = self._weakness(offer)
        if weak:
            return _refusal(weak)
        asked = _asked_as(label)
        if permission is Permission.ASK or loop.was_asked(asked):
            return await self._approved(asked, offer, call, arguments)
        return Permitted(offer, arguments)

    async def _find(self, label: str, name: str) -> Offer | None:
        """Find a tool; one whose source is away is waited for."""
        loop = self._loop
        offer = await loop.find_tool(name)
        if offer is not None or not loop.toolbox.is_away(name):
            return offer

        async def look() -> bool:
            found = await loop.find_tool(name)
            if found is None and loop.toolbox.is_away(name):
                raise ToolUnavailable(f"The source of the tool {name!r} is away.")
            return found is not None

        try:
            await loop.ctx.perform(StepCall(name=f"{label}-find", function=look, retry=PATIENT))
        except StepFailed:
            return None
        return await loop.find_tool(name)

    def _weakness(self, offer: Offer) -> str:
        """Say what the agent's policy demands of the sandbox and is not in force."""
        wanted = self._loop.settings.sandbox
        if not wanted or not offer.tool.needs:
            return ""
        levels = self._loop.levels()
        missing = [
            one for one in wanted if levels.get(Capability(one), Level.ABSENT) is not Level.ENFORCED
        ]
        if not missing:
            return ""
        return (
            f"{offer.name} was not called: the agent {self._loop.agent!r} demands that the sandbox "
            f"enforces {', '.join(missing)}, and it does not here."
        )

    async def _approved(
        self, asked: str, offer: Offer, call: ToolCall, arguments: Mapping[str, Any]
    ) -> Record | Permitted:
        loop = self._loop
        request: ToolRequest | None = None
        if not loop.was_asked(asked):
            described = await foreign.attempt(self._described(offer, arguments))
            if isinstance(described, foreign.Raised):
                if not isinstance(described.error, AgencyError):
                    raise described.error
                return _refusal(described.error.message)
            request = described.value
        wait = await loop.ctx.wait(
            "agent",
            asked,
            lambda key: asking.tool_wait(
                loop.run,
                key,
                asking.ToolQuestion(
                    tool=call.name,
                    arguments=redacted(dict(arguments), loop.means.redact),
                    request=_cleaned(request, loop.means.redact),
                    schema=offer.tool.spec.parameters,
                ),
            ),
        )
        decision = decision_of(wait, None)
        if not decision:
            by = f" by {decision.decided_by}" if decision.decided_by else ""
            why = f": {decision.comment}" if decision.comment else "."
            return {**_refusal(f"The call was denied{by}{why}"), "denied": True}
        if decision.value is None:
            return Permitted(offer, arguments)
        edited = self._checker.check(replace(call, arguments=decision.value), offer.tool.spec)
        if edited.faults:
            return _refusal(f"The edited arguments do not fit: {'; '.join(edited.faults)}")
        if loop.gate.permission(offer, edited.arguments) is Permission.DENY:
            return _refusal(f"The call of {call.name} as it was edited is not allowed.")
        return Permitted(offer, edited.arguments, is_edited=True)

    async def _described(self, offer: Offer, arguments: Mapping[str, Any]) -> ToolRequest:
        loop = self._loop
        workspace = loop.workspace
        if workspace is not None:
            await workspace.open(loop.state.version)
        context = ToolContext(
            run_id=loop.run.id,
            agent=loop.agent,
            session_id=loop.ctx.session_id,
            principal=loop.run.principal,
            call_key="",
            workspace=workspace or NO_WORKSPACE,
            progress=_unheard,
        )
        return offer.tool.request(arguments, context)

    # --- the deed ---------------------------------------------------------------------------

    async def _done(
        self,
        name: str,
        call: ToolCall,
        deed: Permitted,
        answers: Mapping[str, Any],
        asks: Asks | None,
    ) -> Record:
        offer, arguments = deed.offer, deed.arguments
        loop = self._loop
        loop.tell(f"{call.name} …")
        if isinstance(offer.tool, Own):
            own: OwnTool = offer.tool  # type: ignore[assignment]  # all of them can be performed
            done = await own.perform(loop, name, arguments)
            return await self._recorded_own(name, call, deed, done)
        work = Deed(
            tool=offer.tool,
            name=call.name,
            arguments=arguments,
            is_edited=deed.is_edited,
            run_id=loop.run.id,
            agent=loop.agent,
            session_id=loop.ctx.session_id,
            principal=loop.run.principal,
            workspace=loop.workspace,
            version=loop.state.version,
            progress=self._show,
            redact=loop.means.redact,
            result_bytes_max=await loop.conversation.result_bytes(loop.calls_of_turn),
            answers=dict(answers),
            state=None if asks is None else asks.state,
            left_s=loop.seconds_left(),
        )
        # Looking at what goes on elsewhere may be repeated whatever the call itself may.
        is_look = asks is not None and asks.is_begun
        is_once = offer.tool.effect is ToolEffect.ONCE and not is_look
        is_once = is_once or self._is_begun(name)
        step = StepCall(
            name=name,
            function=work.do,
            retry=PATIENT,
            effect="once" if is_once else "repeatable",
            not_done_on=NOT_DONE,
            messages=functools.partial(self._messages, call),
        )
        try:
            return as_record(await loop.ctx.perform(step), call)
        except StepFailed as error:
            return self._failed(call, error)

    def _show(self, text: str) -> None:
        """Show watchers a piece of what a tool writes."""
        self._loop.ctx.token(self._loop.means.redact(text))

    async def _recorded_own(self, name: str, call: ToolCall, deed: Permitted, done: Done) -> Record:
        loop = self._loop
        record: Record = {"tool": call.name, "arguments": dict(deed.arguments)}
        if deed.is_edited:
            record["is_edited"] = True
        record |= write_output(done.output) | dict(done.more)
        workspace = loop.workspace
        most = await loop.conversation.result_bytes(loop.calls_of_turn)
        most = min(most, OWN_RESULT_BYTES_MAX)

        async def keep() -> Any:  # noqa: ANN401  JSON value
            content = str(record["content"])
            is_long = units_of_text(content) > most
            if workspace is not None and (done.puts or is_long):
                await workspace.open(loop.state.version)
                for path, file in done.puts.items():
                    await workspace.put(path, file)
                if is_long:
                    kept = loop.means.redact(content)
                    handle = await workspace.keep_text(f"{name}.txt", kept)
                    short = cut_bytes(content, most)
                    record["content"] = f"{short}\n[The whole is in the file {handle}.]"
                try:
                    record["version"] = await workspace.keep()
                except WorkspaceTooLarge as error:
                    said = f"What it has changed was taken back: {error.message} {error.hint}"
                    record["content"] = f"{record['content']}\n{said.strip()}"
                    record["is_error"] = True
                    record.pop("files", None)
            elif is_long:
                record["content"] = cut_bytes(content, most)
            return clean_record(record, loop.means.redact)

        step = StepCall(name=name, function=keep, messages=functools.partial(self._messages, call))
        return as_record(await loop.ctx.perform(step), call)

    async def _settled(self, name: str, call: ToolCall, found: Record) -> Record:
        """Record a result that needed no call."""
        made = {
            "tool": call.name,
            "arguments": dict(call.arguments),
            **found,
            "content": cut(found["content"], CONTENT_CHARACTERS_MAX),
        }

        async def settle() -> Any:  # noqa: ANN401  JSON value
            return clean_record(made, self._loop.means.redact)

        step = StepCall(
            name=name, function=settle, messages=functools.partial(self._messages, call)
        )
        return as_record(await self._loop.ctx.perform(step), call)

    def _failed(self, call: ToolCall, error: StepFailed) -> Record:
        """Turn the failure of a step into a result, if the model can go on from it.

        Raises:
            StepFailed: it cannot.
        """
        if error.error_code not in _MENDABLE:
            raise error
        return {
            "tool": call.name,
            "arguments": dict(call.arguments),
            "content": error.message,
            "is_error": True,
        }

    def _messages(self, call: ToolCall, value: Any) -> Sequence[NewMessage]:  # noqa: ANN401  JSON
        session_id = self._loop.ctx.session_id
        record = as_record(value, call)
        if session_id is None or "asks" in record:
            return ()
        text = content_for_model(record)
        is_error = bool(record.get("is_error"))
        return [history.result_message(session_id, call, text, is_error=is_error)]

    # --- what a tool asks -------------------------------------------------------------------

    async def _answer_all(
        self, name: str, call: ToolCall, asks: Asks, answers: dict[str, Any]
    ) -> str:
        """Fill in the answers; tell what has failed, or nothing."""
        try:
            for place, question in enumerate(asks.questions):
                answers[question.key] = await self._answer(f"{name}-{place}", call, question)
        except StepFailed as error:
            return f"{call.name} wanted an answer of the model, which failed: {error.message}"
        return ""

    async def _answer(self, label: str, call: ToolCall, question: Question) -> Any:  # noqa: ANN401
        """Answer a question of a tool: a person's, or the model's own."""
        loop = self._loop
        if question.kind == "model":
            record = await loop.ctx.perform(
                StepCall(
                    name=f"{label}-sample",
                    function=functools.partial(self._sample, question),
                    retry=MODEL_RETRY,
                )
            )
            loop.state.spent.add_sample(record)
            if record.get("is_cut"):
                raise StepFailed(record["content"], error_code="budget_used_up")
            return record
        wait = await loop.ctx.wait(
            "agent",
            f"{label}-input",
            lambda key: asking.value_wait(
                loop.run,
                key,
                name=call.name,
                prompt=question.prompt,
                schema=question.schema,
                show={"tool": call.name, "question": question.key},
            ),
        )
        return wait.payload

    async def _sample(self, question: Question) -> Any:  # noqa: ANN401  JSON value
        loop = self._loop
        options = question.options
        system = options.get("system")
        messages = [ChatMessage(role="system", content=str(system))] if system else []
        for one in question.messages:
            content = one.get("content")
            text = content if isinstance(content, str) else json.encode(content).decode()
            messages.append(ChatMessage(role=str(one.get("role", "user")), content=text))
        if not question.messages:
            messages.append(ChatMessage(role="user", content=question.prompt))
        tokens_max = options.get("tokens_max") or loop.means.settings.tokens_max or None
        request = ChatRequest(
            model=loop.model,
            messages=messages,
            tokens_max=tokens_max,
            temperature=options.get("temperature"),
            turn_key=loop.turn_key,
        )
        await loop.conversation.refuse_too_long(request)
        try:
            reply = await cutoff.chat(loop, Role.CHAT, request)
        except BudgetUsedUp as error:
            return {"is_cut": True, "content": error.message, "elapsed_s": error.seconds}
        return {
            "content": loop.means.redact(reply.content),
            "model": reply.model,
            "provider": reply.provider,
            "ended_by": reply.ended_by,
            "prompt_tokens": reply.prompt_tokens,
            "reply_tokens": reply.reply_tokens,
            "elapsed_s": reply.elapsed_s,
        }


def clean_record(record: Record, redact: Callable[[str], str]) -> Record:
    """Take secrets out of a record."""
    cleaned: Record = redacted(record, redact)
    return cleaned


def _asked_as(label: str) -> str:
    """Name the wait in which a person is asked about a call."""
    return f"approve-{label.removeprefix('call-')}"


def _refusal(what: str) -> Record:
    return {"content": what, "is_error": True}


def _cleaned(request: ToolRequest | None, redact: Callable[[str], str]) -> ToolRequest:
    assert request is not None, "what was asked before is not asked again"
    return replace(
        request, question=redact(request.question), show=redacted(dict(request.show), redact)
    )


def _unheard(text: str) -> None:
    """Nobody watches what a description says."""
    del text


async def _not_again() -> Any:  # noqa: ANN401  JSON value
    raise AssertionError("what is recorded is not done again")
