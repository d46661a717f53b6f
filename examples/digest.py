# digest.py
from agency import Context, StepFailed, workflow


async def ask(ctx: Context, topic: str) -> str:
    try:
        answer = await ctx.call(
            "agent", {"message": f"Say in one sentence what {topic} is."}, name=f"ask-{topic}"
        )
    except StepFailed as failed:
        return f"{topic}: no answer ({failed.error_code})"
    return f"{topic}: {answer.response}"


@workflow("digest")
async def digest(ctx: Context, topics: list[str]) -> str:
    """Ask the agent about each topic, two at a time, and put the answers together."""
    lines = await ctx.gather(*(ask(ctx, topic) for topic in topics), limit=2)
    return "\n".join(lines)
