"""What stands beside workflows, agents and runs: authors' offers, questions to clients, tasks."""

from __future__ import annotations

import asyncio

import mcp_types as types

from agency.mcp.asking import Asking
from agency.mcp.authored import Authored
from agency.mcp.call import Levels
from agency.mcp.offerings import Context, Method
from agency.mcp.parts import Parts
from agency.mcp.questions import TASKS
from agency.mcp.rounds import make_boundary
from agency.mcp.tasks import Tasks


async def add_extras(parts: Parts) -> None:
    """Put all of it among what is offered.

    Raises:
        VaultLocked, PlaceNotWritable: there is no key to seal with what clients bring back.
    """
    means, offerings, published = parts.means, parts.offerings, parts.published
    key = await asyncio.to_thread(means.load_key)
    offerings.middleware.append(make_boundary(key))
    levels = Levels()
    authored = Authored(parts, levels)
    # Before what is published: what an author has written for these clients is what they mean.
    offerings.tools.insert(offerings.tools.index(published), authored)
    offerings.resources.insert(0, authored)
    offerings.prompts.insert(0, authored)
    offerings.completions.insert(0, authored.complete)
    asking = Asking(means, offerings, published)
    offerings.ask = asking.ask
    offerings.intercepts.append(asking.intercept)
    offerings.methods += Tasks(means, asking).methods()
    offerings.extensions[TASKS] = {}

    async def set_level(ctx: Context, params: types.SetLevelRequestParams) -> types.EmptyResult:
        levels.set(ctx, params.level)
        return types.EmptyResult()

    offerings.methods.append(
        Method(name="logging/setLevel", params=types.SetLevelRequestParams, answer=set_level)
    )
