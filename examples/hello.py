# hello.py
from datetime import timedelta

from agency import Context, workflow


@workflow("hello")
async def hello(ctx: Context, name: str) -> str:
    greeting = await ctx.step("greet", str.title, f"hello {name}")
    await ctx.sleep(timedelta(seconds=5))
    mood = await ctx.input("How are you?")
    return f"{greeting}, I hear you are {mood}."
