"""What is said between a run and its model: prompts that fit, and replies understood.

Before every inference, also between the calls of one turn and the next, the prompt is measured
against the context that the model really has. What does not fit is made to: what gave way is a
recorded step, so that a restart builds the same prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from agency.domain.memory import Asker
from agency.engine.retry import MODEL_RETRY
from agency.engine.steps import StepCall
from agency.errors import (
    AgencyError,
    BudgetUsedUp,
    ContextTooLong,
    ModelAnswerUnfit,
    ModelReplyCut,
    ModelReplyEmpty,
    ModelStutters,
)
from agency.ports.model import (
    CallProgress,
    ChatMessage,
    ChatReply,
    ChatRequest,
    ContextLimits,
    Role,
    ToolCall,
    Traits,
)
from agency.workflows.agent import cutoff, history
from agency.workflows.agent.calling import redacted, shortened_call
from agency.workflows.agent.calls import judging
from agency.workflows.agent.calls.answers import request_answer
from agency.workflows.agent.calls.judgement import Judgement, Verdict
from agency.workflows.agent.calls.ladder import Ladder, watched
from agency.workflows.agent.calls.rungs import Refused, Rung, parse_call, write_call
from agency.workflows.agent.context.budget import RESULT_BYTES_MIN, Budget, make_budget
from agency.workflows.agent.context.compaction import Room, compact
from agency.workflows.agent.context.estimate import (
    TokenMeter,
    units_of_call,
    units_of_request,
)
from agency.workflows.agent.context.gauge import Gauge, measure
from agency.workflows.agent.context.transcript import Compaction, Transcript
from agency.workflows.agent.plan import render_todos

if TYPE_CHECKING:
    from agency.workflows.agent.loop import Loop

ROOM_TIMES_MAX = 3
"""Compactions before one reply; more is not room but a loop."""
OVERFLOWS_MAX = 2
"""Times that a server may call a prompt too long that was thought to fit."""
CALLS_MAX = 64
"""Calls of one turn that are made, however much room there is."""
NOTE_BYTES = 150
"""What is written around a result that was cut."""
TOOLS_OF_AN_UNKNOWN_MODEL = 8
"""Tools offered in one turn to a model that nobody has checked."""

Notes = Sequence[Mapping[str, Any]]


class Conversation:
    """One run's side of it.

    Attributes:
        transcript: What was said, as the prompt holds it.
    """

    def __init__(self, loop: Loop) -> None:
        """Belong to a run; `open` comes before everything else."""
        self._loop = loop
        self._means = loop.means
        self.transcript = Transcript()
        self._ladder = Ladder(checker=loop.means.checker)
        self._traits: Traits | None = None
        self._system = ""
        self._allocated: int | None = None
        self._overflows = 0
        self._budget: Budget | None = None

    async def open(self) -> None:
        """Read what was said in the session before, and what the model is like."""
        loop, means = self._loop, self._means
        said: list[ChatMessage] = []
        if loop.ctx.session_id is not None:
            most = means.settings.history_messages_max
            # The run's own messages are among the newest: no more of them than it has entries.
            own = 2 * loop.ctx.execution.journal.count
            found = await means.sessions.messages(loop.ctx.session_id, limit=most + own)
            before = history.before_run(found, loop.run.id)
            said = [
                replace(one, content=means.redact(one.content))
                for one in history.prompt_of(before[-most:])
            ]
        self.transcript = Transcript(said)
        task = ChatMessage(role="user", content=means.redact(loop.task.message))
        self.transcript.add_task(task)
        traits = await self._look_at_model()
        start = Rung.NATIVE
        if traits is not None:
            lacks_tools = traits.capabilities is not None and "tools" not in traits.capabilities
            fitness = traits.fitness
            if lacks_tools or (fitness is not None and not fitness.calls_natively):
                start = Rung.ACTION
        self._ladder = Ladder(start=start, checker=means.checker)
        if not loop.gate.has_none or loop.task.schema is not None:
            # Preparing to check arguments takes a fifth of a second, once.
            await asyncio.to_thread(means.checker.prepare)

    async def _look_at_model(self) -> Traits | None:
        """Look what the model is like; a run whose provider is gone is told so when it asks."""
        loop = self._loop
        try:
            self._traits = await self._means.roles.traits(
                Role.TOOLS, model=loop.model, pinned=loop.ctx.provider
            )
        except AgencyError:
            self._traits = None
        return self._traits

    @property
    def tools_max(self) -> int:
        """How many tools a turn may offer."""
        fitness = self._traits.fitness if self._traits is not None else None
        known = fitness.tools_per_turn if fitness is not None else TOOLS_OF_AN_UNKNOWN_MODEL
        return self._loop.settings.tools_per_turn or known

    @property
    def model_name(self) -> str:
        """Name of the model that is asked first, as far as it is known."""
        known = self._traits.choice.model if self._traits is not None else ""
        return self._loop.model or known or self._means.settings.model

    async def result_bytes(self, calls: int) -> int:
        """Tell how long one of so many results may be, in bytes of UTF-8, as tokens go with."""
        # After a restart nothing has been measured yet.
        budget = self._budget or await self._look_at_budget()
        return max(self._turn_units(budget, calls), RESULT_BYTES_MIN)

    def _turn_units(self, budget: Budget, calls: int = 1) -> int:
        """Tell how much one of so many results of a turn may weigh."""
        meter = self._meter()
        parts = self._loop.state.context.get("parts", {})
        fixed = parts.get("system", 0) + parts.get("tools", 0)
        fixed += meter.tokens(self.transcript.pinned_units())
        return meter.units(budget.result_tokens(calls, fixed=fixed))

    # --- what is recorded -------------------------------------------------------------------

    def take_reply(self, reply: Mapping[str, Any], judgement: Judgement) -> None:
        """Take in a recorded reply, with what was said to the model before it."""
        for note in _told(reply.get("notes", ())):
            message = ChatMessage(role="user", content=note["text"])
            self.transcript.add(message, is_pinned=note["kind"] == "hint")
        if reply.get("overflow"):
            self._take_overflow(reply["overflow"])
            return
        if reply.get("is_cut"):
            return
        self._learn(reply)
        if not reply.get("is_answer"):
            self._ladder.take(judgement)
        match judgement.verdict:
            case Verdict.CALLS:
                shown = {place: parse_call(one) for place, one in reply.get("shown", ())}
                made = [shown.get(place, call) for place, call in enumerate(judgement.calls)]
                calls = (*made, *(one.call for one in judgement.refused))
                self.transcript.add(
                    ChatMessage(role="assistant", content=judgement.text, tool_calls=calls)
                )
            case Verdict.FINAL:
                self.transcript.add(ChatMessage(role="assistant", content=judgement.text))
            case Verdict.AGAIN | Verdict.STOP:
                pass  # the ladder shows it in the next request, and in no later one

    # --- asking -----------------------------------------------------------------------------

    async def make_room(self, number: int, notes: Notes) -> None:
        """See to it that the next prompt fits; what gives way is recorded.

        Raises:
            StepFailed: it cannot be made to fit; the error has the numbers.
        """
        is_over = self._loop.is_recorded("reply", number)
        for place in range(ROOM_TIMES_MAX):
            name = f"compact-{number}.{place}"
            if not self._loop.is_recorded(name):
                if is_over:
                    return  # what was sent before that reply was decided then
                base = await self._request(notes)
                is_answer = any(note["kind"] == "schema" for note in notes)
                gauge = await self._gauge(self._shaped(base, is_answer=is_answer))
                if gauge.fits and not self._overflows:
                    return
                room = await self._room(gauge)
            else:
                room = None
            self._overflows = 0

            async def work(room: Room | None = room) -> Any:  # noqa: ANN401  JSON value
                assert room is not None, "what is recorded is not done again"
                return await self._compact(room)

            step = StepCall(name=name, function=work, retry=MODEL_RETRY)
            record = await self._loop.ctx.perform(step)
            self._loop.state.take_compaction(record)
            self.transcript.apply(Compaction.parse(record["compaction"]))

    async def ask(self, notes: Notes) -> Any:  # noqa: ANN401  JSON value
        """Ask the model once, and understand what comes; the function of a step."""
        loop, ladder = self._loop, self._ladder
        base = await self._request(notes)
        is_answer = any(note["kind"] == "schema" for note in notes)
        shaped = self._shaped(base, is_answer=is_answer)
        gauge = await self._gauge(shaped)
        taken = replace(base, tools=loop.callable(notes)) if base.tools else base
        judgement: Judgement | None
        try:
            reply = await cutoff.chat(
                loop,
                Role.TOOLS if base.tools else Role.CHAT,
                shaped,
                on_token=watched(self.model_name, loop.ctx.token),
                on_progress=self._tell,
            )
        except (ContextTooLong, BudgetUsedUp) as error:
            return self._unanswered(error, gauge, notes)
        except AgencyError as error:
            judgement = _unfit_answer(error) if is_answer else ladder.judge_error(error, taken)
            if judgement is None:
                raise
            record = _unusable(error, self.model_name)
        else:
            judgement = _answered(reply) if is_answer else ladder.judge(reply, taken)
            shown = self._shown(judgement)
            judgement = self._with_room(judgement, shown)
            record = _recorded(reply)
            if shown:
                record["shown"] = [[place, write_call(one)] for place, one in shown.items()]
            if not self._meter().is_plausible(gauge.units, reply.prompt_tokens, gauge.images):
                record["is_count_low"] = True
        record["judgement"] = judgement.record()
        record["gauge"] = gauge.record()
        if notes:
            record["notes"] = [dict(note) for note in notes]
        if is_answer:
            record["is_answer"] = True
        if is_answer or judgement.verdict is Verdict.STOP:
            record["generation"] = loop.run.generation
        return redacted(record, self._means.redact)

    def _shown(self, judgement: Judgement) -> dict[int, ToolCall]:
        """Shorten, for later prompts only, calls that write more than a turn has room for."""
        assert self._budget is not None
        most = max(self._turn_units(self._budget) // 2, RESULT_BYTES_MIN)
        shown = {}
        for place, call in enumerate(judgement.calls[:CALLS_MAX]):
            if units_of_call(call) > 2 * most:
                shown[place] = shortened_call(call, most)
        return shown

    def _with_room(self, judgement: Judgement, shown: Mapping[int, ToolCall]) -> Judgement:
        """Leave out calls whose results would not fit: the last two turns are never shortened.

        The first call is always made.
        """
        assert self._budget is not None
        room = self._turn_units(self._budget)
        fitting = 0
        for place, call in enumerate(judgement.calls[:CALLS_MAX]):
            room -= units_of_call(shown.get(place, call)) + RESULT_BYTES_MIN + NOTE_BYTES
            if fitting and room < 0:
                break
            fitting += 1
        if fitting == len(judgement.calls):
            return judgement
        note = (
            f"Not called: {len(judgement.calls)} calls at once are too many, the first {fitting} "
            "were made. Call the others in your next turns, if they are still needed."
        )
        left_out = judging.shortened(judgement.calls[fitting])
        return replace(
            judgement,
            calls=judgement.calls[:fitting],
            refused=(Refused(call=left_out, note=note),),
        )

    def _shaped(self, base: ChatRequest, *, is_answer: bool) -> ChatRequest:
        schema = self._loop.task.schema
        if is_answer and schema is not None:
            shaped = request_answer(base, schema)
        else:
            shaped = self._ladder.request(base)
        # The base has the name of the role's first model; asked is the role.
        return replace(shaped, model=self._loop.model)

    def _unanswered(
        self, error: ContextTooLong | BudgetUsedUp, gauge: Gauge, notes: Notes
    ) -> dict[str, Any]:
        if isinstance(error, ContextTooLong):
            return self._overflowed(error, gauge, notes)
        return self._cut_off(error, notes)

    def _overflowed(self, error: ContextTooLong, gauge: Gauge, notes: Notes) -> dict[str, Any]:
        """Record that the server calls the prompt too long, so that room is made.

        Raises:
            ContextTooLong: it does so again and again.
        """
        if self._loop.state.overflows >= OVERFLOWS_MAX:
            raise error
        record: dict[str, Any] = {
            **_unusable(error, self.model_name),
            "overflow": {
                "prompt": error.prompt_tokens,
                "context": error.context_tokens,
                "units": gauge.units,
            },
        }
        return self._with_notes(record, notes)

    def _cut_off(self, error: BudgetUsedUp, notes: Notes) -> dict[str, Any]:
        """Record that the model was cut off at the budget; what it had begun to say is lost."""
        record = _unusable(error, self.model_name)
        return self._with_notes(record | {"is_cut": True, "elapsed_s": error.seconds}, notes)

    def _with_notes(self, record: dict[str, Any], notes: Notes) -> dict[str, Any]:
        # What is wrong with an answer is noted anew; all else, a person's hint too, is said once.
        said = [dict(note) for note in notes if note["kind"] != "schema"]
        if said:
            record["notes"] = said
        return redacted(record, self._means.redact)  # type: ignore[no-any-return]  # a mapping

    def _take_overflow(self, overflow: Mapping[str, Any]) -> None:
        """Take in that the server called a prompt too long: the next one is made shorter."""
        self._overflows += 1
        if overflow.get("units"):
            self._meter().refused(overflow["units"], overflow["prompt"])
        if overflow["context"]:
            self._allocated = overflow["context"]

    def _learn(self, reply: Mapping[str, Any]) -> None:
        """Learn from what the server has counted; recorded counts serve the next daemon, too."""
        gauge = reply.get("gauge")
        is_its = self._traits is not None and reply["provider"] == self._traits.choice.provider
        if gauge and is_its:
            self._meter().learn(gauge["units"], reply["prompt_tokens"], images=gauge["images"])

    async def _request(self, notes: Notes) -> ChatRequest:
        loop = self._loop
        messages: list[ChatMessage] = []
        system = await self._system_prompt()
        if system:
            messages.append(ChatMessage(role="system", content=system))
        messages += self.transcript.messages
        messages += [ChatMessage(role="user", content=note["text"]) for note in _told(notes)]
        todos = render_todos(loop.state.todos)
        if todos:
            messages.append(ChatMessage(role="user", content=todos))
        return ChatRequest(
            model=loop.model or self.model_name,
            messages=messages,
            tools=await loop.offered(notes),
            tokens_max=self._means.settings.tokens_max or None,
            turn_key=loop.turn_key,
        )

    async def _system_prompt(self) -> str:
        loop, means = self._loop, self._means
        parts = [means.prompts[loop.agent].load(), loop.task.system_prompt.strip()]
        if means.core_memory is not None:
            asker = Asker(
                agent=loop.agent,
                principal=loop.run.principal,
                session_id=loop.ctx.session_id,
                run_id=loop.run.id,
            )
            parts.append(await means.core_memory(asker))
        text = "\n\n".join(part for part in parts if part)
        return means.redact(text) if text else ""

    def _tell(self, progress: CallProgress) -> None:
        """Show watchers what the call is busy with: that a model is loaded, who is asked."""
        self._loop.tell(progress.text)

    # --- measuring --------------------------------------------------------------------------

    async def _gauge(self, shaped: ChatRequest) -> Gauge:
        budget = await self._look_at_budget()
        return measure(shaped, self.transcript, budget, self._meter())

    async def _look_at_budget(self) -> Budget:
        """Divide the context that the model has now."""
        traits = await self._look_at_model()
        limits = traits.limits if traits is not None else ContextLimits()
        if self._allocated is not None:
            known = [n for n in (limits.allocated, self._allocated) if n is not None]
            limits = replace(limits, allocated=min(known))
        thinks = traits is not None and "thinking" in (traits.capabilities or ())
        self._budget = make_budget(
            limits, reply_tokens=self._means.settings.tokens_max or None, thinks=thinks
        )
        return self._budget

    async def refuse_too_long(self, request: ChatRequest) -> None:
        """See to it that a request that is no part of the conversation fits its model.

        Raises:
            ContextTooLong: it does not.
        """
        traits = await self._means.roles.traits(
            Role.CHAT, model=request.model, pinned=self._loop.ctx.provider
        )
        budget = make_budget(traits.limits, reply_tokens=request.tokens_max)
        needed = self._means.meters.of(str(traits.choice)).tokens(units_of_request(request))
        if needed > budget.available:
            raise ContextTooLong(
                f"The prompt has some {needed} tokens; the context of {str(traits.choice)!r} has "
                f"{budget.limit} ({budget.decided_by}), of which {budget.reserve} are kept for "
                "the reply.",
                prompt_tokens=needed,
                context_tokens=budget.limit,
            )

    def _meter(self) -> TokenMeter:
        name = str(self._traits.choice) if self._traits is not None else self._loop.model
        return self._means.meters.of(name)

    async def _room(self, gauge: Gauge) -> Room:
        assert self._budget is not None
        name = str(self._traits.choice) if self._traits is not None else self._loop.model
        summariser = self._budget.limit
        try:
            found = await self._means.roles.traits(Role.COMPACTION, pinned=self._loop.ctx.provider)
        except AgencyError:
            found = None
        if found is not None and found.limits.tokens is not None:
            summariser = found.limits.tokens
        return Room(
            budget=self._budget,
            meter=self._meter(),
            gauge=gauge,
            model=name,
            summariser_tokens=summariser,
        )

    async def _compact(self, room: Room) -> dict[str, Any]:
        """Make room; the function of a step. Done again after a crash, it does the same again."""
        loop = self._loop
        workspace = loop.workspace
        spent = {"turns": 0, "tokens": 0, "tool_calls": 0, "seconds": 0.0}
        has_kept = False

        async def keep_text(name: str, text: str) -> str:
            nonlocal has_kept
            if workspace is None:
                return "(which is not kept)"
            if not has_kept:
                await workspace.open(loop.state.version)
                has_kept = True
            return await workspace.keep_text(name, text)

        async def summarise(messages: Sequence[ChatMessage]) -> str:
            loop.tell("making room in the context")
            request = ChatRequest(model="", messages=messages, turn_key=loop.turn_key)
            try:
                reply = await cutoff.chat(loop, Role.COMPACTION, request, used_s=spent["seconds"])
            except BudgetUsedUp as error:
                spent["seconds"] += error.seconds
                raise
            spent["tokens"] += (reply.prompt_tokens or 0) + (reply.reply_tokens or 0)
            spent["seconds"] += reply.elapsed_s
            return self._means.redact(reply.content)

        done = await compact(self.transcript, room, keep_text=keep_text, summarise=summarise)
        record: dict[str, Any] = {"compaction": done.record(), "usage": spent}
        if has_kept and workspace is not None:
            record["version"] = await workspace.keep()
        return record


def _told(notes: Notes) -> Notes:
    """Leave out notes that are for the record alone."""
    return [note for note in notes if note["text"]]


def _answered(reply: ChatReply) -> Judgement:
    """Take a reply to a schema as it is: whether it obeys is found out by the schema."""
    return Judgement(verdict=Verdict.FINAL, rung=Rung.NATIVE, text=reply.content)


def _unfit_answer(error: AgencyError) -> Judgement | None:
    """Take a reply that came to nothing as an answer that does not obey the schema."""
    match error:
        case ModelAnswerUnfit() | ModelReplyCut():
            return Judgement(verdict=Verdict.FINAL, rung=Rung.NATIVE, text=error.text)
        case ModelReplyEmpty() | ModelStutters():
            return Judgement(verdict=Verdict.FINAL, rung=Rung.NATIVE)
        case _:
            return None


def _recorded(reply: ChatReply) -> dict[str, Any]:
    record = {
        "content": reply.content,
        "thinking": reply.thinking,
        "ended_by": reply.ended_by,
        "model": reply.model,
        "provider": reply.provider,
        "rehearsal": reply.is_rehearsal,
        "prompt_tokens": reply.prompt_tokens,
        "reply_tokens": reply.reply_tokens,
        "load_s": reply.load_s,
        "elapsed_s": reply.elapsed_s,
    }
    if reply.passed_over:
        record["passed_over"] = [asdict(one) for one in reply.passed_over]
    return record


def _unusable(error: AgencyError, model: str) -> dict[str, Any]:
    """Record a call that brought no whole reply, through a mistake of the model."""
    return {
        "content": "",
        "thinking": "",
        "ended_by": "error",
        "model": model,
        "provider": "",
        "rehearsal": False,
        "prompt_tokens": None,
        "reply_tokens": getattr(error, "reply_tokens", None),
        "load_s": 0.0,
        "elapsed_s": 0.0,
        "error": {"code": error.code, "message": error.message[:1000]},
    }
