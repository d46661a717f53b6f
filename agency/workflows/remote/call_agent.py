"""``call_agent``: a call of an agent of another system, as a durable run.

The message has an id that is the same after each restart, and the id of the task that comes back is
recorded before anything else is done: from then on nothing is sent again, the task is watched. What
the agent asks becomes a question of this run, and the answer goes back as its next message.

While a task is worked on elsewhere, it is followed for a while, so that its end is known at once;
then the run sleeps and looks again from time to time, which costs neither memory nor a place among
the runs that are worked on. Should the daemon die between the agent's taking a message and the
record of it, the same message is sent again under its id. Agents that honour message ids, as this
daemon does, then answer with the same task.
"""

from __future__ import annotations

import asyncio
import functools
from contextlib import aclosing
from typing import Any

from agency.core.clock import monotonic_s
from agency.core.records import dataclass
from agency.domain.content import Content, data_part, text_part
from agency.domain.remote import (
    CALL_WORKFLOW,
    RemoteAnswer,
    RemoteMessage,
    RemoteState,
    RemoteTask,
    data_of,
    hops_of,
    remote_task_of,
    result_of,
    text_of,
)
from agency.domain.run import RunKind
from agency.domain.wait import NewWait
from agency.engine.codec import codec_for
from agency.engine.context import Context
from agency.engine.definition import Definition
from agency.engine.parts import current_step
from agency.engine.questions import authorization_wait
from agency.engine.retry import Retry
from agency.engine.steps import StepCall
from agency.errors import (
    InvalidInput,
    RemoteAgentAway,
    RemoteAgentDenied,
    RemoteAgentNotFound,
    RemoteAgentRefused,
    RemoteAgentSilent,
    RemoteAgentUnfit,
    RemoteAgentUnreachable,
    RemoteTaskCancelled,
    RemoteTaskFailed,
    RemoteTaskRejected,
    TooManyHops,
)
from agency.ports.remote import RemoteAgents
from agency.workflows.agent.asking import printable, value_wait
from agency.workflows.remote.questions import schema_in, shown_data, url_in
from agency.workflows.remote.records import CallInput, Watched, content_for

VERSION = "1"

SEND = Retry(attempts=500, base_s=1.0, cap_s=300.0, retry_on=(RemoteAgentUnreachable,))
"""An agent that is away is waited for: some 40 hours."""

LOOK = Retry(attempts=6, base_s=1.0, cap_s=60.0, retry_on=(RemoteAgentUnfit, RemoteAgentDenied))
"""What worked before may not at once after a restart over there, or while its token is changed."""

SILENCES_MAX = 3
"""So often a message is sent that may have arrived, when nothing is said to it."""

NOT_SENT = (
    RemoteAgentAway,
    RemoteAgentDenied,
    RemoteAgentNotFound,
    RemoteAgentRefused,
    TooManyHops,
    InvalidInput,
)
"""After these nothing has been sent, also where a message must not be sent twice."""

CANCEL_S = 15.0
"""Longest try to end a task elsewhere when its run ends."""

FOLLOWED_MAX = 64
"""Tasks that are followed at once; others are looked at from time to time."""

LOOKS_MAX = 200
"""Looks that one run records; a successor with a fresh journal goes on."""

SAID_CHARACTERS_MAX = 2000

ANSWER = "answer"
"""Step that hands over what somebody has answered, and the question that asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a task elsewhere is watched, in seconds.

    Attributes:
        first_s, follow_s: How long it is followed the first time, and later.
        pause_s, pause_s_max: The first pause between two looks, and the longest; each is twice the
            one before.
        asked_pause_s_max: The longest while somebody here is asked: it may go on without us.
    """

    first_s: float = 30.0
    follow_s: float = 10.0
    pause_s: float = 1.0
    pause_s_max: float = 60.0
    asked_pause_s_max: float = 900.0


class _Held:
    """What has to be ended elsewhere should the run end now; known again after each replay."""

    __slots__ = ("task_id",)

    def __init__(self) -> None:
        self.task_id = ""


class CallAgent:
    """Calls agents elsewhere for runs of this daemon."""

    def __init__(self, agents: RemoteAgents, *, hops_max: int, pace: Pace | None = None) -> None:
        """Take whom may be called.

        Args:
            hops_max: Calls from one system to the next that may lead to one from here.
        """
        self._agents = agents
        self._hops_max = hops_max
        self._pace = pace or Pace()
        self._following = 0

    def definition(self) -> Definition:
        """The workflow ``call_agent``."""
        return Definition(
            name=CALL_WORKFLOW,
            kind=RunKind.FUNCTION,
            version=VERSION,
            description="Calls an agent of another system over A2A, and waits for its answer.",
            run=self.run,
            takes_input=True,
            input_codec=codec_for(CallInput),
            output_codec=codec_for(RemoteAnswer),
        )

    async def run(self, ctx: Context, call: CallInput) -> RemoteAnswer:
        """Make the call.

        Raises:
            RemoteTaskFailed, RemoteTaskRejected, RemoteTaskCancelled: so the task has ended.
            StepFailed: nobody could be called, or the task is not there any more.
        """
        hops = hops_of(ctx.execution.run.tags) + 1
        held = _Held()
        ctx.at_end(self._leave, held, call.agent, hops)
        seen, refused = await self._begun(ctx, call, hops), ""
        while True:
            held.task_id = seen.id
            if not seen.state.is_settled:
                seen = await self._settled(ctx, call, seen, hops, held)
            if seen.state.is_final:
                held.task_id = ""
                return _answer(call.agent, seen)
            seen, refused = await self._asked(ctx, call, seen, hops, refused)

    async def _begun(self, ctx: Context, call: CallInput, hops: int) -> RemoteTask:
        if call.watched is not None:
            return RemoteTask(
                id=call.watched.task_id,
                context_id=call.watched.context_id,
                state=RemoteState.WORKING,
            )
        message = RemoteMessage(
            id=ctx.uuid(),
            content=content_for(call),
            context_id=call.context_id,
            task_id=call.task_id,
            hops=hops,
        )
        return remote_task_of(await self._send(ctx, "send", call.agent, message))

    # --- what is sent -----------------------------------------------------------------------

    async def _send(
        self, ctx: Context, name: str, agent: str, message: RemoteMessage
    ) -> dict[str, Any]:
        """Hand over a message, as a step whose record has the id of the task.

        Returns:
            The task, with ``refused``: why it has not taken an answer that it still waits for.
        """
        setup = self._agents.find_setup(agent)
        is_repeatable = setup is None or setup.is_repeatable
        is_answer = name == ANSWER
        found: dict[str, Any] = await ctx.perform(
            StepCall(
                name=name,
                function=functools.partial(self._hand_over, agent, message, is_answer=is_answer),
                retry=SEND,
                effect="repeatable" if is_repeatable else "once",
                not_done_on=NOT_SENT,
            )
        )
        return found

    async def _hand_over(
        self, agent: str, message: RemoteMessage, *, is_answer: bool
    ) -> dict[str, Any]:
        if message.hops > self._hops_max:
            raise TooManyHops(agent, message.hops, self._hops_max)
        try:
            task = await self._agents.send(agent, message)
        except RemoteAgentSilent as error:
            if current_step().attempt < SILENCES_MAX:
                raise
            # One that answers when it is done, and not at once, would do its work again and again.
            raise RemoteAgentUnfit(
                agent, f"was sent the message {SILENCES_MAX} times or more: {error.reason}"
            ) from error
        except RemoteAgentUnfit as error:
            if not message.task_id:
                raise
            # It may have taken this very message before a crash, or gone on without it.
            task = await self._agents.get(agent, message.task_id, hops=message.hops)
            if task.state.waits_for_us:
                if not is_answer:
                    raise
                # It judges answers more closely than it could be done here: somebody may mend it.
                return {**task.to_json(), "refused": error.message}
        return task.to_json()

    # --- what is watched --------------------------------------------------------------------

    async def _settled(
        self, ctx: Context, call: CallInput, seen: RemoteTask, hops: int, held: _Held
    ) -> RemoteTask:
        """Watch a task until it has ended, or asks."""
        pace = self._pace
        pause_s, follow_s, looks = pace.pause_s, pace.first_s, 0
        while True:
            look = functools.partial(self._look, ctx, call.agent, seen.id, hops, follow_s)
            found = await ctx.perform(StepCall(name="watch", function=look, retry=LOOK))
            if found["task"] is not None:
                return remote_task_of(found["task"])
            looks += 1
            if looks == LOOKS_MAX:
                # The successor watches on; nothing is ended elsewhere.
                held.task_id = ""
                watched = Watched(task_id=seen.id, context_id=seen.context_id)
                ctx.continue_as(CallInput(agent=call.agent, watched=watched))
            await ctx.sleep(pause_s)
            pause_s, follow_s = min(2 * pause_s, pace.pause_s_max), pace.follow_s

    async def _look(
        self, ctx: Context, agent: str, task_id: str, hops: int, follow_s: float
    ) -> dict[str, Any]:
        """Follow a task for so long, and read it.

        Returns:
            ``{"task", "state", "away"}``: the task only when it is settled.
        """
        try:
            if follow_s > 0 and self._following < FOLLOWED_MAX:
                await self._follow(ctx, agent, task_id, hops, follow_s)
            task = await self._agents.get(agent, task_id, hops=hops)
        except RemoteAgentUnreachable as error:
            ctx.step_progress(0, None, f"{agent} is away: {error.reason}"[:SAID_CHARACTERS_MAX])
            return {"task": None, "state": RemoteState.UNKNOWN.value, "away": error.reason}
        self._tell(ctx, agent, task)
        is_settled = task.state.is_settled
        return {
            "task": task.to_json() if is_settled else None,
            "state": task.state.value,
            "away": "",
        }

    async def _follow(
        self, ctx: Context, agent: str, task_id: str, hops: int, follow_s: float
    ) -> None:
        """Follow a task until it is settled or the time is over; a broken stream is opened anew."""
        ends_s = monotonic_s() + follow_s
        pause_s = 0.1
        self._following += 1
        try:
            async with asyncio.timeout(follow_s):
                while monotonic_s() < ends_s:
                    if await self._has_settled(ctx, agent, task_id, hops):
                        return
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, 5.0)
        except TimeoutError:
            return
        finally:
            self._following -= 1

    async def _has_settled(self, ctx: Context, agent: str, task_id: str, hops: int) -> bool:
        """Read one stream to its end."""
        async with aclosing(self._agents.watch(agent, task_id, hops=hops)) as changes:
            try:
                async for task in changes:
                    self._tell(ctx, agent, task)
                    if task.state.is_settled:
                        return True
            except (RemoteAgentUnreachable, RemoteAgentUnfit):
                # Whether it is there at all is found out by reading the task.
                return True
        return False

    def _tell(self, ctx: Context, agent: str, task: RemoteTask) -> None:
        said = text_of(task.said)
        note = f"{agent}: {task.state.value}" + (f": {said}" if said else "")
        ctx.step_progress(0, None, note[:SAID_CHARACTERS_MAX])

    # --- what it asks -----------------------------------------------------------------------

    async def _asked(
        self, ctx: Context, call: CallInput, seen: RemoteTask, hops: int, refused: str
    ) -> tuple[RemoteTask, str]:
        """Ask somebody here what the agent wants to know, and hand over the answer.

        Should the task go on by itself meanwhile, because somebody has answered over there, the
        question here is taken back.

        Args:
            refused: Why the agent has not taken the answer before; empty if there was none.

        Returns:
            The task, and why it has not taken the answer.
        """
        winner = await ctx.first(
            answer=self._question(ctx, call.agent, seen, refused),
            moved=self._moved(ctx, call.agent, seen, hops),
        )
        if winner.name == "moved":
            return remote_task_of(winner.value), ""
        message = RemoteMessage(
            id=ctx.uuid(),
            content=_reply(seen, winner.value),
            context_id=seen.context_id,
            task_id=seen.id,
            hops=hops,
        )
        found = await self._send(ctx, ANSWER, call.agent, message)
        return remote_task_of(found), str(found.get("refused", ""))

    async def _question(self, ctx: Context, agent: str, seen: RemoteTask, refused: str) -> Any:  # noqa: ANN401  a JSON value
        said = text_of(seen.said)
        is_login = seen.state is RemoteState.AUTH_REQUIRED
        what = "needs an authorization" if is_login else "needs an answer"
        question = f"{agent}: {said}" if said else f"The agent {agent} {what}."
        prompt = printable(
            f"The answer was not taken. {refused}\n{question}" if refused else question
        )
        data = data_of(seen.said)

        def make(key: str) -> NewWait:
            run = ctx.execution.run
            if is_login:
                return authorization_wait(run, key, "authorize", prompt, url_in(data), None)
            return value_wait(
                run,
                key,
                name=ANSWER,
                prompt=prompt,
                schema=schema_in(data),
                show={"agent": agent, "task_id": seen.id, "data": shown_data(data)},
            )

        label = "authorize" if is_login else ANSWER
        return (await ctx.wait("ctx.input", label, make)).payload

    async def _moved(self, ctx: Context, agent: str, seen: RemoteTask, hops: int) -> dict[str, Any]:
        """Wait until the task goes on although nobody here has answered."""
        pause_s = self._pace.pause_s_max
        while True:
            await ctx.sleep(pause_s)
            look = functools.partial(self._look_whether_moved, agent, seen, hops)
            found = await ctx.perform(StepCall(name="look", function=look, retry=LOOK))
            if found is not None:
                task: dict[str, Any] = found
                return task
            pause_s = min(2 * pause_s, self._pace.asked_pause_s_max)

    async def _look_whether_moved(
        self, agent: str, seen: RemoteTask, hops: int
    ) -> dict[str, Any] | None:
        try:
            task = await self._agents.get(agent, seen.id, hops=hops)
        except RemoteAgentUnreachable:
            return None
        is_same = task.state is seen.state and task.said == seen.said
        return None if is_same else task.to_json()

    # --- the end ----------------------------------------------------------------------------

    async def _leave(self, held: _Held, agent: str, hops: int) -> None:
        """End the task elsewhere that nobody here waits for any more."""
        if held.task_id:
            async with asyncio.timeout(CANCEL_S):
                await self._agents.cancel(agent, held.task_id, hops=hops)


def _answer(agent: str, task: RemoteTask) -> RemoteAnswer:
    """Make the output of a task that has ended.

    Raises:
        RemoteTaskFailed, RemoteTaskRejected, RemoteTaskCancelled: it did not succeed.
    """
    said = printable(text_of(task.said))[:SAID_CHARACTERS_MAX] if text_of(task.said) else ""
    match task.state:
        case RemoteState.COMPLETED:
            result = result_of(task)
            return RemoteAnswer(
                agent=agent,
                task_id=task.id,
                context_id=task.context_id,
                text=text_of(result),
                data=data_of(result),
                content=[part.to_json() for part in result.parts],
            )
        case RemoteState.REJECTED:
            raise RemoteTaskRejected(agent, task.id, said)
        case RemoteState.CANCELLED:
            raise RemoteTaskCancelled(agent, task.id, said)
        case _:
            raise RemoteTaskFailed(agent, task.id, said)


def _reply(seen: RemoteTask, value: Any) -> Content:  # noqa: ANN401  a JSON value
    """Write what somebody has answered as the agent may read it."""
    if seen.state is RemoteState.AUTH_REQUIRED:
        return Content(parts=[text_part("The authorization was given.")])
    if isinstance(value, str):
        return Content(parts=[text_part(value)])
    return Content(parts=[data_part(value)])
