# local_insight.py
import math
import re
from collections import Counter
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from agency import Context, workflow

FOLDER = Path(__file__).parent / "notes"
NOTE_BYTES_MAX = 1 << 20
PASSAGE_CHARACTERS_MAX = 2000
NO_ANSWER = "The notes do not say."

# Words that are in every question and tell nothing of what it is about.
COMMON = frozenset(
    re.findall(
        r"\w+",
        "a about an and any are at be by can did do does for from has have how i in is it me my "
        "of on or our tell that the there this to was we were what when where which who why will "
        "with you your",
    )
)


class Question(BaseModel):
    question: Annotated[str, Field(min_length=1, max_length=4000)]
    passages: Annotated[int, Field(ge=1, le=20)] = 4


class Passage(BaseModel):
    source: str
    text: str
    score: float = 0.0


class Insight(BaseModel):
    answer: str
    is_answered: bool
    sources: list[str]


def words(text: str) -> list[str]:
    """Words that say something, without case and a plural's s."""
    found = re.findall(r"\w+", text.casefold())
    return [word.removesuffix("s") or word for word in found if word not in COMMON]


def read_notes(folder: Path) -> list[Passage]:
    """Cut the notes at their empty lines; the source of a passage is its file and line."""
    found = []
    for file in sorted((*folder.rglob("*.md"), *folder.rglob("*.txt"))):
        if file.stat().st_size > NOTE_BYTES_MAX:
            raise ValueError(f"The note {file.name} has more than {NOTE_BYTES_MAX} bytes.")
        text = file.read_text(encoding="utf-8", errors="replace")
        for part in re.finditer(r"\S.*?(?=\n\s*\n|\s*\Z)", text, re.DOTALL):
            line = text.count("\n", 0, part.start()) + 1
            source = f"{file.relative_to(folder)}:{line}"
            found.append(Passage(source=source, text=part[0][:PASSAGE_CHARACTERS_MAX]))
    return found


def rank(question: str, passages: list[Passage], *, limit: int) -> list[Passage]:
    """The passages that fit best, by BM25. Source: Robertson and Zaragoza 2009, section 3.5."""
    k1, b = 1.2, 0.75
    counts = [Counter(words(passage.text)) for passage in passages]
    mean = sum(count.total() for count in counts) / len(counts) if counts else 0.0
    rarity = {}
    for word in set(words(question)):
        having = sum(word in count for count in counts)
        rarity[word] = math.log(1 + (len(counts) - having + 0.5) / (having + 0.5))
    scored = []
    for passage, count in zip(passages, counts, strict=True):
        norm = k1 * (1 - b + b * count.total() / mean) if mean else k1
        score = sum(idf * count[w] * (k1 + 1) / (count[w] + norm) for w, idf in rarity.items())
        if score > 0:
            scored.append(passage.model_copy(update={"score": round(score, 4)}))
    return sorted(scored, key=lambda passage: -passage.score)[:limit]


def find(question: str, limit: int) -> list[Passage]:
    return rank(question, read_notes(FOLDER), limit=limit)


@workflow("knowledge")
async def knowledge(ctx: Context, asked: Question) -> Insight:
    """Answer a question from the notes, with sources, or say that they hold no answer."""
    passages = await ctx.step("find", find, asked.question, asked.passages)
    if not passages:
        return Insight(answer=NO_ANSWER, is_answered=False, sources=[])
    notes = "\n\n".join(f"[{one.source}]\n{one.text}" for one in passages)
    reply = await ctx.call(
        "agent",
        {
            "message": f"Answer from these notes only, and name the sources in brackets. If they "
            f"do not answer the question, say exactly: {NO_ANSWER}\n\n{notes}\n\n"
            f"Question: {asked.question}"
        },
        name="ask",
    )
    is_answered = NO_ANSWER not in reply.response or reply.rehearsal
    sources = [one.source for one in passages] if is_answered else []
    return Insight(answer=reply.response, is_answered=is_answered, sources=sources)
