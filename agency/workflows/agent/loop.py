"""The loop of one run: a model's turn, the calls that it asks for, and again.

Everything that was decided is in the journal, and the loop's state is what it adds up to: each
reply with how it was understood and what had been said to the model before it (``reply#N``), each
result of a call (``call-N.i``), each budget that was used up (``limit-N.i``). What is recorded is
only ever taken in; what is not is decided at the frontier. So an upgrade, or another policy, never
decides the past again.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from agency.domain.message import NewMessage
from agency.domain.run import Run
from agency.domain.tool import Capability, Level
from agency.domain.wait import NewWait, WaitKind
from agency.engine.context import Context
from agency.engine.retry import MODEL_RETRY
from agency.engine.steps import StepCall
from agency.engine.suspension import LimitReached
from agency.errors import AgentStopped, Fault, InvalidInput
from agency.ports.model import ToolCall, ToolSpec
from agency.ports.workspace import Workspace
from agency.workflows.agent import asking, files, history
from agency.workflows.agent.allowance import budgets_of, used_up
from agency.workflows.agent.calling import redacted
from agency.workflows.agent.calls.answers import ASKS_MAX, Answer, AnswerReader, unfit
from agency.workflows.agent.calls.checking import fault_of_schema
from agency.workflows.agent.calls.judgement import Judgement, Verdict
from agency.workflows.agent.calls.repetition import Finding, Remedy, Repetition
from agency.workflows.agent.conversation import Conversation
from agency.workflows.agent.deeds import Deeds
from agency.workflows.agent.delegation import own_tools
from agency.workflows.agent.gate import Gate, Offer
from agency.workflows.agent.means import Means
from agency.workflows.agent.plan import progress_of
from agency.workflows.agent.records import AgentInput, AgentOutput
from agency.workflows.agent.state import State, judgement_of, result_message
from agency.workflows.agent.toolbox import Toolbox

ASK_FOR_ANSWER = (
    "You have worked on the task and given no answer. Say now, in words, what you have done and "
    "what came of it."
)

ASK_FOR_SCHEMA = (
    "Your answer must be one JSON value that obeys the schema, and nothing else. What you have "
    "said does not:\n{faults}\nGive the answer again as JSON."
)
WAITING = frozenset({"wait", "ask_person", "approve", "shell_tail"})
"""Tools that wait or look at what goes on: calling them again is no repetition."""


class Loop:
    """One run of one agent.

    Attributes:
        run: The run, as it was claimed.
        agent: Name of the agent.
        state: What is recorded so far adds up to this.
        model: Model that was asked for; empty for the role's own.
    """

    def __init__(self, means: Means, ctx: Context, task: AgentInput) -> None:
        """Begin, or begin again over what is recorded.

        Raises:
            InvalidInput: there is no such agent, or its policy cannot be read.
        """
        self.means = means
        self.ctx = ctx
        self.task = task
        self.run: Run = ctx.execution.run
        self.agent, self.settings = means.agent(task.agent)
        self.gate = Gate(self.settings, task.tools)
        own = own_tools(self.settings, depth=task.depth, sees=means.sees)
        self.toolbox = Toolbox(means.toolsets, self.gate, own)
        self.state = State()
        self.model = task.model or self.settings.model
        self.turn_key = ctx.session_id or self.run.id
        self.workspace: Workspace | None = (
            means.workspaces(self.run.id) if means.workspaces is not None else None
        )
        self.budgets = budgets_of(task, self.settings, means.settings)
        self.base: Mapping[str, float] = {}
        self._deeds = Deeds(self)
        self.conversation = Conversation(self)
        self._last_reply: Mapping[str, Any] = {}
        self._has_looked = False
        self.calls_of_turn = 1
        self._repetition = Repetition(exempt=WAITING)
        self._finding = Finding()
        self._reader = AnswerReader(task.schema, means.checker) if task.schema is not None else None
        self._unfit: Answer | None = None
        self._wants_answer = False

    # --- the loop ---------------------------------------------------------------------------

    async def work(self) -> AgentOutput:
        """Work until there is an answer.

        Raises:
            LimitReached: a budget is used up.
            AgentStopped: the model brings no usable reply, whatever is tried.
            InvalidInput: the schema is none, or the files cannot be used.
            StepFailed: something failed that the model cannot mend.
        """
        await self.conversation.open()
        self._check_schema()
        await self._put_files()
        while True:
            judgement = await self._turn()
            match judgement.verdict:
                case Verdict.CALLS:
                    await self._make_calls(judgement)
                case Verdict.FINAL if judgement.is_whole:
                    answer = self._read_answer()
                    if not self._goes_on and (answer is None or not answer.faults):
                        return await self._finish(answer)
                case Verdict.STOP:
                    self._stop(judgement)
                case _:
                    pass  # the next turn goes on from here

    @property
    def _goes_on(self) -> bool:
        """Another reply is recorded after this one: it was not the last."""
        return self.is_recorded("reply", self.state.turns + 1)

    async def _turn(self) -> Judgement:
        """Get the next reply, recorded or new."""
        number = self.state.turns + 1
        notes: list[dict[str, Any]] = []
        is_recorded = self.is_recorded("reply", number)
        await self._check_budgets(f"limit-{number}.0", is_call=False, is_over=is_recorded)
        if not is_recorded:
            notes = await self._notes(number)
            self._show_progress(f"turn {number}")
        await self.conversation.make_room(number, notes)
        reply = await self.ctx.perform(
            StepCall(
                name="reply",
                function=functools.partial(self.conversation.ask, tuple(notes)),
                retry=MODEL_RETRY,
                messages=functools.partial(self._said, number),
            )
        )
        judgement = self.state.take_reply(reply)
        self.conversation.take_reply(reply, judgement)
        if not is_recorded:
            self._show_progress("")
        for note in reply.get("notes", ()):
            if note["kind"] == "hint":
                self._repetition.forgive()
        self._finding = Finding()
        self._last_reply = reply
        return judgement

    async def _make_calls(self, judgement: Judgement) -> None:
        turn = self.state.turns
        self.calls_of_turn = len(judgement.calls)
        for position, call in enumerate(judgement.calls):
            is_recorded = self.is_recorded(f"call-{turn}.{position}")
            limit = f"limit-{turn}.{position + 1}"
            await self._check_budgets(limit, is_call=True, is_over=is_recorded)
            await self._deeds.do(turn, position, call)
            self._show_progress("")
        for refused in judgement.refused:
            self.conversation.transcript.add(result_message(refused.call, refused.note))

    def _stop(self, judgement: Judgement) -> None:
        """End with what was tried, or ask for an answer when at least there was work.

        A run that was retried since then tries again.

        Raises:
            AgentStopped: it was not.
        """
        if self._goes_on or self._last_reply.get("generation", 0) < self.run.generation:
            return
        if self.state.has_worked and "answer" not in self.state.notes_seen:
            self._wants_answer = True
            return
        raise AgentStopped(self.state.model, judgement.text)

    def _read_answer(self) -> Answer | None:
        """Read the answer by the schema that it must obey, if there is one.

        Raises:
            ModelAnswerUnfit: it was asked for often enough, and does not.
        """
        if self._reader is None:
            return None
        text = self.state.answer
        answer = self._reader.read(text)
        self._unfit = answer if answer.faults else None
        if answer.faults and self.state.schema_asks >= ASKS_MAX:
            is_over = self._last_reply.get("generation", 0) >= self.run.generation
            if is_over and not self._goes_on:
                raise unfit(self.state.model, text, answer)
            self.state.schema_asks = 0  # it was retried since then
        return answer

    # --- one reply --------------------------------------------------------------------------

    async def offered(self, notes: Sequence[Mapping[str, Any]]) -> Sequence[ToolSpec]:
        """Pick the tools that the next request offers."""
        if self.state.is_answering or any(n["kind"] in {"answer", "schema"} for n in notes):
            return ()
        await self._look()
        return self.toolbox.choose(
            tools_max=self.conversation.tools_max,
            found=tuple(self.state.found),
            topic=self.task.message[:2000],
            without=_withdrawn(notes),
        )

    def callable(self, notes: Sequence[Mapping[str, Any]]) -> Sequence[ToolSpec]:
        """List the tools whose calls are taken in a turn that offers some.

        A model may remember one that it was offered before, or know it by its common name.
        """
        return self.toolbox.specs(without=_withdrawn(notes))

    def _said(self, number: int, reply: Mapping[str, Any]) -> list[NewMessage]:
        """Make the messages that a reply adds to the session."""
        session_id = self.ctx.session_id
        if session_id is None:
            return []
        judgement = judgement_of(reply)
        made = []
        if number == 1:
            made.append(history.user_message(session_id, self.means.redact(self.task.message)))
        made += [
            history.user_message(session_id, note["text"])
            for note in reply.get("notes", ())
            if note["kind"] == "hint"
        ]
        if judgement.verdict in {Verdict.CALLS, Verdict.FINAL}:
            calls = judgement.calls
            made.append(
                history.assistant_message(
                    session_id, judgement.text, model=reply["model"], calls=calls
                )
            )
        return made

    # --- limits, notes, the end -------------------------------------------------------------

    async def _check_budgets(self, name: str, *, is_call: bool, is_over: bool) -> None:
        """Go on while there is room in all budgets.

        A run that is let go on after it had used one up gets the same once more, counted from
        there.

        Args:
            name: Of the step that records that one is used up.
            is_call: It is for a call; else for a model's turn.
            is_over: What it is for is recorded: the run was let go on.

        Raises:
            LimitReached: one is used up.
        """
        used = used_up(self.budgets, self.state.spent, self.base, is_call=is_call)
        if used is None or (is_over and not self.is_recorded(name)):
            return

        async def note() -> Any:  # noqa: ANN401  JSON value
            return {
                "limit": used,
                "generation": self.run.generation,
                "spent": self.state.spent.snapshot(),
            }

        recorded = await self.ctx.perform(StepCall(name=name, function=note))
        if is_over or recorded["generation"] < self.run.generation:
            self.base = recorded["spent"]
            return
        returned = await self._returned(f"{name}-files")
        output = self._output(completed=False, limit=recorded["limit"], returned=returned)
        raise LimitReached(asdict(output))

    async def _notes(self, number: int) -> list[dict[str, Any]]:
        """Decide what the model is told before its next reply; a run that is stuck asks first."""
        finding, self._finding = self._finding, Finding()
        match finding.remedy:
            case Remedy.NUDGE:
                return [{"kind": "nudge", "text": finding.text}]
            case Remedy.WITHDRAW:
                tools = sorted(finding.tools)
                return [{"kind": "withdraw", "text": finding.text, "tools": tools}]
            case Remedy.STUCK:
                return [{"kind": "hint", "text": await self._ask_for_hint(number, finding)}]
            case Remedy.NONE:
                pass
        if self._wants_answer:
            self._wants_answer = False
            return [{"kind": "answer", "text": ASK_FOR_ANSWER}]
        if self._reader is None:
            return []
        if self._unfit is not None:
            listed = "\n".join(f"- {fault}" for fault in self._unfit.faults)
            return [{"kind": "schema", "text": ASK_FOR_SCHEMA.format(faults=listed)}]
        if self.state.schema_asks == 0 and not await self.offered([]):
            # Nothing else can be done than to answer.
            return [{"kind": "schema", "text": ""}]
        return []

    async def _ask_for_hint(self, number: int, finding: Finding) -> str:
        """Suspend until a person has said how to go on."""
        tried = self.means.redact(finding.text)
        prompt = f"The agent is stuck. {tried}\nHow should it go on?"
        wait = await self.ctx.wait(
            "agent",
            f"stuck-{number}",
            lambda key: asking.value_wait(
                self.run,
                key,
                name="stuck",
                prompt=prompt,
                schema={"type": "string", "minLength": 1},
                show={
                    "pattern": finding.pattern,
                    "tools": sorted(finding.tools),
                    "todos": list(self.state.todos),
                    "last_text": self.state.last_text[:2000],
                },
            ),
        )
        return asking.answered_text(wait)

    def watch(self, call: ToolCall, record: Mapping[str, Any]) -> None:
        """Take note of what a call came to, to see whether the run goes round in circles."""
        found = self._repetition.add(
            call.name,
            record.get("arguments") or call.arguments,
            str(record["content"]),
            is_error=bool(record.get("is_error")),
        )
        if list(Remedy).index(found.remedy) > list(Remedy).index(self._finding.remedy):
            self._finding = found

    async def _finish(self, answer: Answer | None) -> AgentOutput:
        """Make the output of an answer that is whole."""
        returned = await self._returned("return_files")
        value = None if answer is None else answer.value
        return self._output(completed=True, returned=returned, answer=value)

    def _output(
        self,
        *,
        completed: bool,
        limit: str | None = None,
        returned: tuple[dict[str, Any], list[str]] = ({}, []),
        answer: Any = None,  # noqa: ANN401  JSON value
    ) -> AgentOutput:
        state = self.state
        return AgentOutput(
            response=state.answer or (state.last_text if not completed else ""),
            model=state.model,
            rehearsal=state.is_rehearsal,
            completed=completed,
            answer=answer,
            limit=limit,
            usage=state.spent.usage(),
            todos=list(state.todos),
            files=list(state.files),
            returned=returned[0],
            left_out=returned[1],
        )

    def _check_schema(self) -> None:
        """See to it that answers can be held to the schema.

        Raises:
            InvalidInput: they cannot.
        """
        schema = self.task.schema
        if schema is None or self.is_recorded("reply"):
            return
        fault = fault_of_schema(schema)
        if fault:
            said = f"Answers cannot be checked against this schema: {fault}."
            raise InvalidInput(said, faults=[Fault("/schema", said)])

    # --- files ------------------------------------------------------------------------------

    async def _put_files(self) -> None:
        """Put the input's files into the workspace, once."""
        if not self.task.files:
            return
        contents = files.contents_of(self.task.files)

        async def put() -> str:
            assert self.workspace is not None
            await self.workspace.open(None)
            for path, content in contents.items():
                await self.workspace.put(path, content)
            return await self.workspace.keep()

        if self.workspace is None:
            raise AgentStopped("", "Files were given, and this daemon keeps no workspaces.")
        self.state.version = await self.ctx.perform(StepCall(name="put_files", function=put))

    async def _returned(self, name: str) -> tuple[dict[str, Any], list[str]]:
        """Read the files that the output is to hold, as they are now."""
        if not self.task.return_files or self.workspace is None:
            return {}, []
        found = await self.ctx.perform(StepCall(name=name, function=self._return))
        return found["files"], found["left_out"]

    async def _return(self) -> Any:  # noqa: ANN401  JSON value
        assert self.workspace is not None
        root = await self.workspace.open(self.state.version)
        found, left_out = await asyncio.to_thread(
            files.read_files, root, list(self.task.return_files)
        )
        redact = self.means.redact
        return {"files": redacted(found, redact), "left_out": redacted(left_out, redact)}

    # --- what tools of the run ask of it ----------------------------------------------------

    def is_recorded(self, name: str, number: int = 1) -> bool:
        """Tell whether a step of that name has its outcome in the journal."""
        return self.ctx.execution.journal.find(f"{name}#{number}") is not None

    def was_asked(self, name: str) -> bool:
        """Tell whether a wait of that name was opened."""
        return f"{name}#1" in self.ctx.execution.journal.waits

    async def find_tool(self, name: str) -> Offer | None:
        """Find a tool that may be used; the sources are asked anew if it is not known."""
        if not self._has_looked or not self.toolbox.is_known(name):
            await self._look()
        return self.toolbox.find(name)

    async def _look(self) -> None:
        is_asked_for = self.task.tools is not None or bool(self.settings.workflows)
        await self.toolbox.look(has_own=is_asked_for)
        self._has_looked = True

    def seconds_left(self) -> float | None:
        """Tell how long calls may still take; None for as long as they do."""
        bound = self.budgets.get("seconds")
        if bound is None:
            return None
        return bound - (self.state.spent.seconds - self.base.get("seconds", 0))

    def search(self, query: str) -> Sequence[ToolSpec]:
        """Find tools that may be used."""
        return self.toolbox.search(query)

    def levels(self) -> Mapping[Capability, Level]:
        """Tell what the sandbox enforces."""
        return self.means.levels() if self.means.levels is not None else {}

    def now(self) -> datetime:
        """Tell the time; for waits that are opened at the frontier."""
        return self.ctx.execution.now()

    async def sleep_until(self, name: str, moment: datetime) -> None:
        """Wait until a moment, under a name of the caller's choice."""
        await self.ctx.wait(
            "agent",
            name,
            lambda key: NewWait(key=key, kind=WaitKind.TIMER, name="wait", due_at=moment),
        )

    async def ask(self, name: str, question: str, schema: Mapping[str, Any]) -> str:
        """Ask a person, and give the answer as text."""
        prompt = self.means.redact(question)
        wait = await self.ctx.wait(
            "agent",
            name,
            lambda key: asking.value_wait(
                self.run, key, name="ask_person", prompt=prompt, schema=schema
            ),
        )
        return asking.answered_text(wait)

    # --- what watchers see ------------------------------------------------------------------

    def tell(self, note: str) -> None:
        """Show watchers what the run is about to do; it rides with the next commit."""
        self._show_progress(note)

    def _show_progress(self, note: str) -> None:
        state = self.state
        done, total, now = progress_of(state.todos)
        shown: dict[str, Any] = {"done": done, "total": total or None, "note": note or now}
        shown["turns"] = state.spent.turns
        if state.context:
            used, limit = state.context.get("used"), state.context.get("limit")
            shown["context"] = {"used": used, "limit": limit}
        self.ctx.execution.recorder.set_progress(redacted(shown, self.means.redact))


def _withdrawn(notes: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    return frozenset(name for note in notes for name in note.get("tools", ()))
