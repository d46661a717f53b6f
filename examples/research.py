# research.py
from pydantic import BaseModel

from agency import Context, StepFailed, workflow

AT_ONCE = 3


class Research(BaseModel):
    subject: str
    questions: list[str] = []


class Finding(BaseModel):
    question: str
    answer: str


class Report(BaseModel):
    subject: str
    summary: str
    findings: list[Finding]
    unanswered: list[str]


async def ask(ctx: Context, name: str, message: str) -> str | None:
    """Ask the agent; None if it could not answer."""
    try:
        answer = await ctx.call("agent", {"message": message}, name=name)
    except StepFailed:
        return None
    return answer.response


async def plan(ctx: Context, subject: str) -> list[str]:
    """Let the agent say what is to be found out, one question a line."""
    text = await ask(ctx, "plan", f"Which questions does a report on {subject} answer? One a line.")
    lines = (line.strip(" -*") for line in (text or "").splitlines())
    return [line for line in lines if line][:10] or [f"What is {subject}?"]


@workflow("research")
async def research(ctx: Context, task: Research) -> Report:
    """Ask the agent many questions at once, and let it sum up the answers."""
    questions = task.questions or await plan(ctx, task.subject)
    done = 0

    async def find(number: int, question: str) -> str | None:
        nonlocal done
        answer = await ask(ctx, f"question-{number}", question)
        done += 1
        ctx.progress(done, len(questions), question)
        return answer

    answers = await ctx.gather(*(find(*pair) for pair in enumerate(questions, 1)), limit=AT_ONCE)
    asked = list(zip(questions, answers, strict=True))
    findings = [
        Finding(question=question, answer=answer)
        for question, answer in asked
        if answer is not None
    ]
    notes = "\n".join(f"{one.question} {one.answer}" for one in findings)
    summary = await ask(ctx, "summary", f"Sum up what is known of {task.subject}:\n{notes}")
    return Report(
        subject=task.subject,
        summary=summary or "",
        findings=findings,
        unanswered=[question for question, answer in asked if answer is None],
    )
