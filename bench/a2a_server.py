"""The SDK's own A2A server on its in-memory store, with an agent that repeats what it is told.

``python -m bench.a2a_server`` prints its port. It is made as the SDK's guide does it: JSON-RPC
routes on Starlette, served by uvicorn; what is sent is gone when it ends.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.contender import ROOT

if TYPE_CHECKING:
    from starlette.applications import Starlette


@contextmanager
def served() -> Iterator[str]:
    """Run the server in a child; give the URL that takes JSON-RPC."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.a2a_server"], cwd=ROOT, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(child.stdout.readline())}/"
        finally:
            child.kill()


def make_application() -> Starlette:
    """Make the server's application."""
    from a2a.server.agent_execution import AgentExecutor, RequestContext
    from a2a.server.events import EventQueue
    from a2a.server.request_handlers import DefaultRequestHandler
    from a2a.server.routes import create_jsonrpc_routes
    from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
    from a2a.types import a2a_pb2 as pb
    from starlette.applications import Starlette

    class Echo(AgentExecutor):
        """Repeats."""

        async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
            message = context.message
            assert message is not None
            task = pb.Task(
                id=context.task_id,
                context_id=context.context_id,
                status=pb.TaskStatus(state=pb.TASK_STATE_SUBMITTED),
                history=[message],
            )
            await event_queue.enqueue_event(task)
            updater = TaskUpdater(event_queue, task.id, task.context_id)
            await updater.add_artifact([pb.Part(text=message.parts[0].text)], name="output")
            await updater.complete()

        async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
            raise NotImplementedError

    card = pb.AgentCard(
        name="echo",
        description="Repeats.",
        version="1",
        capabilities=pb.AgentCapabilities(streaming=True),
    )
    handler: Any = DefaultRequestHandler(
        agent_executor=Echo(), task_store=InMemoryTaskStore(), agent_card=card
    )
    return Starlette(routes=list(create_jsonrpc_routes(handler, "/")))


def _serve() -> None:
    import uvicorn

    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    settings = uvicorn.Config(make_application(), log_level="warning", access_log=False)
    asyncio.run(uvicorn.Server(settings).serve(sockets=[listening]))


if __name__ == "__main__":
    _serve()
