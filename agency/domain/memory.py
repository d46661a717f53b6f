"""What agents remember: core memory, facts, and notebooks of documents."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from agency.core.records import dataclass
from agency.errors import Fault, InvalidInput

BLOCK_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""What a block of core memory may be called: models write it."""

NOTEBOOK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""What a notebook may be called: it is part of addresses and commands."""

CORE_BLOCKS_MAX = 16
"""Blocks of one core memory: all of them stand in each prompt."""

CORE_VERSIONS_MAX = 200
"""Versions of one block that are kept; the oldest are forgotten first."""

FACT_CHARACTERS_MAX = 4000
"""Longest fact: a longer text is a document."""

QUERY_CHARACTERS_MAX = 2000
"""Longest question to memory."""

RECALLED_ROWS_MAX = 50
"""Passages that one question is answered with."""

ALL_AGENTS = "*"
"""Stands for every agent where a notebook is shared."""


class Isolation(StrEnum):
    """Who shares the memory of an agent."""

    AGENT = "agent"
    """All its runs."""
    PRINCIPAL = "principal"
    """Its runs for one caller."""
    SESSION = "session"
    """Its runs in one session; a run without one has a memory of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose memory: nothing of one scope is ever seen in another.

    Attributes:
        of: Name of the caller, or id of the session or run, that the memory is for; empty where
            all runs of the agent share it.
    """

    agent: str
    isolation: Isolation = Isolation.AGENT
    of: str = ""

    @property
    def key(self) -> str:
        """The scope as one text; no name has the character between its parts."""
        if self.isolation is Isolation.AGENT:
            return self.agent
        return f"{self.agent}\x1f{self.isolation}\x1f{self.of}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """For whom something is remembered or recalled.

    Attributes:
        run_id: None when a person does it.
    """

    agent: str
    principal: str
    session_id: str | None = None
    run_id: str | None = None


def scope_of(asker: Asker, isolation: Isolation) -> Scope:
    """Find whose memory it is."""
    match isolation:
        case Isolation.AGENT:
            return Scope(agent=asker.agent)
        case Isolation.PRINCIPAL:
            return Scope(agent=asker.agent, isolation=isolation, of=asker.principal)
        case Isolation.SESSION:
            # Without a session nobody can come back, so nobody else must get in.
            of = asker.session_id or f"run:{asker.run_id or ''}"
            return Scope(agent=asker.agent, isolation=isolation, of=of)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBlock:
    """A change of a block of core memory.

    Attributes:
        text: None removes it.
        expected: Version that it is a change of, 0 for none; None for whichever there is.
        call_key: The same for each try of one call of a tool; None for people.
    """

    name: str
    text: str | None
    principal: str
    run_id: str | None = None
    reason: str = ""
    expected: int | None = None
    call_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A version of a block of core memory; ``text`` is None where it was removed."""

    name: str
    version: int
    text: str | None
    changed_at: datetime
    principal: str
    run_id: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFact:
    """A fact that is to be remembered.

    Attributes:
        source: Where it is from, for people: ``said by the user``, an address.
        call_key: The same for each try of one call of a tool; None for people.
    """

    id: str
    text: str
    source: str
    principal: str
    run_id: str | None = None
    session_id: str | None = None
    call_key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A fact that is remembered. ``number`` is that of its passage."""

    number: int
    id: str
    text: str
    source: str
    principal: str
    run_id: str | None
    session_id: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """Texts that are found together, all with vectors of one model.

    Attributes:
        kind: ``facts`` or ``notebook``.
        owner: Key of the scope, or id of the notebook.
        model: ``PROVIDER/MODEL`` of its vectors; empty before the first.
        dimension: Width of its vectors; 0 before the first.
        era: Whose vectors are searched; rises when all of them are replaced.
        next_era: That of the next ones.
        next_model: The model that it is about to get the vectors of; empty for none.
    """

    number: int
    kind: str
    owner: str
    model: str
    dimension: int
    era: int
    next_era: int
    next_model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebook:
    """Documents that are searched together, by the agents that it is shared with."""

    number: int
    id: str
    name: str
    description: str
    agents: Sequence[str]
    documents: int
    collection: int
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDocument:
    """A document that is to be added.

    Attributes:
        hash: SHA-256 of everything that was given, hexadecimal: the same twice is once.
    """

    id: str
    title: str
    source: str
    media_type: str
    text: str
    hash: str
    principal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A document of a notebook.

    Attributes:
        passages: Into how many it was split; None before.
        embedded: How many of them have a vector.
    """

    number: int
    id: str
    notebook: str
    title: str
    source: str
    media_type: str
    hash: str
    size_bytes: int
    passages: int | None
    embedded: int
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of a document.

    Attributes:
        position: From 1.
        heading: Headings that it stands below, from the highest on, joined by `` > ``.
        start, stop: Where it is in the document's text, in characters.
    """

    position: int
    text: str
    heading: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Something that was found, and where it is from.

    Attributes:
        kind: ``fact`` or ``document``.
        id: Of the fact or document.
        notebook, title, chunk: Of a document's; empty and None for facts.
    """

    number: int
    kind: str
    id: str
    text: str
    source: str
    created_at: datetime
    run_id: str | None = None
    session_id: str | None = None
    notebook: str = ""
    title: str = ""
    chunk: Chunk | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """A passage and why it was found.

    Attributes:
        score: Above 0; of one answer only, for its order.
        found_by: ``words``, ``meaning`` or both.
    """

    passage: Passage
    score: float
    found_by: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recollection:
    """What memory has answered, best first.

    Attributes:
        notes: What was not done and why: the embedding model is away, vectors are missing.
    """

    found: Sequence[Recalled]
    notes: Sequence[str] = ()


def check_block_name(name: str) -> None:
    """Refuse a name that a block of core memory cannot have.

    Raises:
        InvalidInput: it cannot.
    """
    _check(BLOCK_NAME, name, "a block", "1 to 64 small letters, digits, dashes and underscores")


def check_notebook_name(name: str) -> None:
    """Refuse a name that a notebook cannot have.

    Raises:
        InvalidInput: it cannot.
    """
    _check(
        NOTEBOOK_NAME, name, "a notebook", "1 to 128 letters, digits, dots, dashes and underscores"
    )


def _check(pattern: re.Pattern[str], name: str, what: str, wanted: str) -> None:
    if pattern.fullmatch(name) is None:
        fault = Fault("name", f"{wanted} are needed, the first of them a letter or digit.")
        raise InvalidInput(f"{name[:128]!r} cannot be the name of {what}.", faults=[fault])
