"""`CoreStore`, `PassageStore` and `NotebookStore`: versions, words and vectors, documents."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import Any

import pytest

from agency.core.ids import new_id
from agency.domain.memory import (
    CORE_BLOCKS_MAX,
    CORE_VERSIONS_MAX,
    Chunk,
    Fact,
    Isolation,
    NewBlock,
    NewDocument,
    NewFact,
    Scope,
)
from agency.errors import (
    BlockChanged,
    BlockNotFound,
    CollectionChanged,
    DocumentNotFound,
    EmbeddingsDiffer,
    FactNotFound,
    MemoryFull,
    NotebookExists,
    NotebookNotFound,
    TooManyBlocks,
    TooManyDocuments,
)
from agency.ports.store import Store
from tests.contract.conftest import Opener
from tests.contract.making import T0, at

ANN = Scope(agent="support", isolation=Isolation.PRINCIPAL, of="ann")
BOB = Scope(agent="support", isolation=Isolation.PRINCIPAL, of="bob")
M = "ollama/embed"


def block(text: str | None, name: str = "user", **changes: Any) -> NewBlock:
    return NewBlock(name=name, text=text, principal="ann", **changes)


def fact(text: str, **changes: Any) -> NewFact:
    return NewFact(id=new_id(), text=text, source="said", principal="ann", **changes)


async def add(store: Store, text: str, scope: Scope = ANN, **changes: Any) -> Fact:
    found, _, _ = await store.passages.add_fact(
        scope, fact(text, **changes), facts_max=1000, now=T0
    )
    return found


async def number_of(store: Store, scope: Scope = ANN) -> int:
    found = await store.passages.find_collection("facts", scope.key)
    assert found is not None
    return found.number


def unit(*numbers: float) -> list[float]:
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


async def embed(
    store: Store,
    rows: Sequence[tuple[Fact, Sequence[float]]],
    *,
    era: int = 0,
    model: str = M,
    scope: Scope = ANN,
) -> None:
    collection = await number_of(store, scope)
    vectors = [(one.number, vector) for one, vector in rows]
    await store.passages.add_vectors(collection, era=era, model=model, rows=vectors)


# --- core memory


async def test_block_is_there_in_all_its_versions(opener: Opener) -> None:
    async with opener() as store:
        first = await store.core.change(ANN, block("one", run_id="r", reason="why"), now=T0)
        await store.core.change(ANN, block("two", expected=1), now=at(1))
        await store.core.change(ANN, block("x", name="other"), now=at(2))

    async with opener() as store:
        blocks = await store.core.blocks(ANN)
        history = await store.core.history(ANN, "user", before=None, limit=9)
        assert first == await store.core.version(ANN, "user", 1)
    assert ("one", 1, "r", "why", T0) == (
        first.text,
        first.version,
        first.run_id,
        first.reason,
        first.changed_at,
    )
    assert [("other", "x"), ("user", "two")] == [(one.name, one.text) for one in blocks]
    assert [2, 1] == [one.version for one in history]


async def test_block_of_another_scope_is_not_seen(store: Store) -> None:
    await store.core.change(ANN, block("secret"), now=T0)

    assert [] == await store.core.blocks(BOB)
    assert [] == await store.core.blocks(Scope(agent="support"))
    assert [] == await store.core.history(BOB, "user", before=None, limit=9)
    with pytest.raises(BlockNotFound):
        await store.core.version(BOB, "user", 1)


async def test_change_of_what_has_changed_is_refused(store: Store) -> None:
    await store.core.change(ANN, block("one"), now=T0)

    for expected in (0, 2):
        with pytest.raises(BlockChanged):
            await store.core.change(ANN, block("two", expected=expected), now=T0)

    assert [1] == [
        one.version for one in await store.core.history(ANN, "user", before=None, limit=9)
    ]


async def test_removed_block_is_not_listed_and_can_come_back(store: Store) -> None:
    await store.core.change(ANN, block("one"), now=T0)
    await store.core.change(ANN, block(None), now=T0)
    assert [] == await store.core.blocks(ANN)

    back = await store.core.change(ANN, block("three", expected=0), now=T0)

    assert (3, "one") == (back.version, (await store.core.version(ANN, "user", 1)).text)
    with pytest.raises(BlockNotFound):
        await store.core.change(ANN, block(None, name="nothing"), now=T0)


async def test_call_changes_a_block_once(store: Store) -> None:
    first = await store.core.change(ANN, block("one", call_key="k"), now=T0)
    await store.core.change(ANN, block("two"), now=T0)

    again = await store.core.change(ANN, block("one", call_key="k"), now=T0)
    same = await store.core.change(ANN, block("two"), now=T0)

    assert first == again
    assert 2 == same.version


async def test_blocks_and_versions_have_limits(store: Store) -> None:
    for n in range(CORE_BLOCKS_MAX):
        await store.core.change(ANN, block("x", name=f"b{n}"), now=T0)
    with pytest.raises(TooManyBlocks):
        await store.core.change(ANN, block("x", name="more"), now=T0)
    for n in range(CORE_VERSIONS_MAX + 5):
        await store.core.change(ANN, block(f"text {n}", name="b0"), now=T0)

    history = await store.core.history(ANN, "b0", before=None, limit=1000)

    assert CORE_VERSIONS_MAX == len(history)
    assert CORE_VERSIONS_MAX + 6 == history[0].version


# --- facts


async def test_fact_is_read_as_it_was_handed_in(opener: Opener) -> None:
    new = fact("The cat is called Möhre.", run_id="r", session_id="s")
    async with opener() as store:
        added, _, is_new = await store.passages.add_fact(ANN, new, facts_max=9, now=T0)

    async with opener() as store:
        [found] = await store.passages.facts(ANN, before=None, limit=9)
    assert is_new
    assert added == found
    assert (new.id, new.text, new.source, "ann", "r", "s", T0) == (
        found.id,
        found.text,
        found.source,
        found.principal,
        found.run_id,
        found.session_id,
        found.created_at,
    )


async def test_fact_is_remembered_once(store: Store) -> None:
    first = await add(store, "One.", call_key="k")

    by_key = await add(store, "Other words.", call_key="k")
    by_text = await add(store, "One.")
    elsewhere = await add(store, "One.", BOB, call_key="k")

    assert first == by_key == by_text
    assert first.id != elsewhere.id


async def test_same_call_at_once_remembers_once(store: Store) -> None:
    found = await asyncio.gather(*(add(store, "One.", call_key="k") for _ in range(10)))

    assert 1 == len({one.id for one in found})


async def test_full_memory_takes_no_more(store: Store) -> None:
    for n in range(2):
        await store.passages.add_fact(ANN, fact(f"fact {n}"), facts_max=2, now=T0)

    with pytest.raises(MemoryFull):
        await store.passages.add_fact(ANN, fact("more"), facts_max=2, now=T0)

    assert 2 == len(await store.passages.facts(ANN, before=None, limit=9))


async def test_facts_come_newest_first_in_pages(store: Store) -> None:
    for n in range(5):
        await add(store, f"fact {n}")

    first = await store.passages.facts(ANN, before=None, limit=2)
    rest = await store.passages.facts(ANN, before=first[-1].number, limit=9)

    assert ["fact 4", "fact 3", "fact 2", "fact 1", "fact 0"] == [
        one.text for one in (*first, *rest)
    ]


async def test_forgotten_fact_is_found_no_more(store: Store) -> None:
    kept, gone = await add(store, "red apples"), await add(store, "green apples")
    await embed(store, [(kept, unit(1, 0)), (gone, unit(0, 1))])
    number = await number_of(store)

    with pytest.raises(FactNotFound):
        await store.passages.forget(BOB, gone.id)
    await store.passages.forget(ANN, gone.id)

    with pytest.raises(FactNotFound):
        await store.passages.forget(ANN, gone.id)
    assert [kept.number] == await store.passages.find_words([number], ["apples"], limit=9)
    found = await store.passages.nearest(number, era=0, vector=unit(0, 1), limit=9)
    assert [kept.number] == [one for one, _ in found]
    assert [] == await store.passages.passages([gone.number])


# --- words


async def test_words_find_what_fits_best_first(store: Store) -> None:
    both = await add(store, "The green apple fell from the tree.")
    one = await add(store, "An apple a day.")
    await add(store, "Nothing of the kind.")
    await add(store, "green apples in another drawer", BOB)

    found = await store.passages.find_words([await number_of(store)], ["green", "APPLES"], limit=9)

    assert [both.number, one.number] == found


@pytest.mark.parametrize(
    "words",
    [
        ['"'],
        ["'; DROP TABLE facts; --"],
        ["NEAR(", "a*", "^b", "text:x", "-c", "AND", "OR", "NOT"],
        ["\x00"],
        ["🎉"],
        ["_"],
        [""],
        ["w" * 5000],
        ["many"] * 5000,
    ],
    ids=range(9),
)
async def test_no_words_are_operators(store: Store, words: list[str]) -> None:
    wanted = await add(store, "and or not near drop table facts a b c x many text")

    found = await store.passages.find_words([await number_of(store)], words, limit=9)

    assert set(found) <= {wanted.number}


async def test_words_are_looked_for_in_the_collections_asked_for(store: Store) -> None:
    mine, theirs = await add(store, "apples"), await add(store, "apples", BOB)
    ann, bob = await number_of(store), await number_of(store, BOB)

    assert [mine.number] == await store.passages.find_words([ann], ["apple"], limit=9)
    assert {mine.number, theirs.number} == set(
        await store.passages.find_words([ann, bob], ["apple"], limit=9)
    )
    assert [] == await store.passages.find_words([], ["apple"], limit=9)


# --- vectors


async def test_nearest_vectors_come_first(store: Store) -> None:
    a, b, c = [await add(store, text) for text in ("a fact", "b fact", "c fact")]
    await embed(store, [(a, unit(1, 0, 0)), (b, unit(1, 1, 0)), (c, unit(-1, 0, 0))])
    number = await number_of(store)

    found = await store.passages.nearest(number, era=0, vector=unit(1, 0.1, 0), limit=2)

    assert [a.number, b.number] == [one for one, _ in found]
    assert pytest.approx([0.995, 0.774], abs=0.001) == [score for _, score in found]
    assert (M, 3) == (await collection(store))[:2]
    assert (3, 0) == await store.passages.count(number, era=0)


async def collection(store: Store) -> tuple[str, int, int, str]:
    found = await store.passages.find_collection("facts", ANN.key)
    assert found is not None
    return found.model, found.dimension, found.era, found.next_model


@pytest.mark.parametrize(
    ("model", "vector"), [("ollama/other", unit(1, 0)), (M, unit(1, 0, 0)), (M, [])], ids=range(3)
)
async def test_vectors_of_another_kind_are_not_mixed_in(
    store: Store, model: str, vector: list[float]
) -> None:
    a, b = await add(store, "a fact"), await add(store, "b fact")
    await embed(store, [(a, unit(1, 0))])

    with pytest.raises(EmbeddingsDiffer, match="numbers each"):
        await embed(store, [(b, vector)], model=model)

    assert (2, 1) == await store.passages.count(await number_of(store), era=0)
    assert [(b.number, "b fact")] == await store.passages.without_vector(
        await number_of(store), era=0, limit=9
    )


async def test_vectors_of_two_widths_are_refused_as_a_whole(store: Store) -> None:
    a, b = await add(store, "a fact"), await add(store, "b fact")

    with pytest.raises(EmbeddingsDiffer):
        await embed(store, [(a, unit(1, 0)), (b, unit(1, 0, 0))])

    assert ("", 0, 0, "") == await collection(store)


# --- another model


async def test_new_vectors_count_when_all_are_there(store: Store) -> None:
    a, b = await add(store, "a fact"), await add(store, "b fact")
    await embed(store, [(a, unit(1, 0)), (b, unit(0, 1))])
    number = await number_of(store)

    era = await store.passages.begin_era(number, "ollama/new")
    assert era == await store.passages.begin_era(number, "ollama/new")
    await embed(store, [(a, unit(1, 0, 0))], era=era, model="ollama/new")
    is_early = await store.passages.end_era(number, era=era)
    during = await store.passages.nearest(number, era=0, vector=unit(0, 1), limit=1)
    with pytest.raises(EmbeddingsDiffer):
        await embed(store, [(b, unit(1, 0))], era=era, model="ollama/new")
    await embed(store, [(b, unit(0, 0, 1))], era=era, model="ollama/new")
    is_done = await store.passages.end_era(number, era=era)

    assert (False, True, True) == (
        is_early,
        is_done,
        await store.passages.end_era(number, era=era),
    )
    assert [b.number] == [one for one, _ in during]
    assert ("ollama/new", 3, 1, "") == await collection(store)
    found = await store.passages.nearest(number, era=1, vector=unit(0, 0, 1), limit=1)
    assert [b.number] == [one for one, _ in found]
    assert 3 == await store.passages.sweep(rows_max=10)  # two vectors and the mark of their era
    assert 0 == await store.passages.sweep(rows_max=10)
    with pytest.raises(CollectionChanged):
        await embed(store, [(a, unit(1, 0))], era=0)


async def test_third_model_begins_anew(store: Store) -> None:
    a = await add(store, "a fact")
    await embed(store, [(a, unit(1, 0))])
    number = await number_of(store)
    era = await store.passages.begin_era(number, "ollama/second")
    await embed(store, [(a, unit(1, 0, 0))], era=era, model="ollama/second")

    again = await store.passages.begin_era(number, "ollama/third")

    assert [(a.number, "a fact")] == await store.passages.without_vector(number, era=again, limit=9)
    with pytest.raises(EmbeddingsDiffer):
        await embed(store, [(a, unit(1, 0, 0))], era=again, model="ollama/second")
    with pytest.raises(CollectionChanged):
        await embed(store, [(a, unit(1, 0, 0))], era=era, model="ollama/second")
    await embed(store, [(a, unit(1, 0, 0, 0))], era=again, model="ollama/third")
    with pytest.raises(CollectionChanged):
        await store.passages.end_era(number, era=era)
    assert await store.passages.end_era(number, era=again)
    assert 4 == await store.passages.sweep(rows_max=10)  # a vector and a mark of each old era
    found = await store.passages.nearest(number, era=again, vector=unit(1, 0, 0, 0), limit=9)
    assert [a.number] == [one for one, _ in found]


async def test_old_vectors_are_swept_up_in_parts(store: Store) -> None:
    facts = [await add(store, f"fact {n}") for n in range(25)]
    await embed(store, [(one, unit(1, n + 1)) for n, one in enumerate(facts)])
    number = await number_of(store)
    era = await store.passages.begin_era(number, "ollama/new")
    await embed(
        store, [(one, unit(n + 1, 1)) for n, one in enumerate(facts)], era=era, model="ollama/new"
    )
    await store.passages.end_era(number, era=era)

    swept = []
    while rows := await store.passages.sweep(rows_max=10):
        swept.append(rows)

    assert [10, 10, 6] == swept
    assert (25, 0) == await store.passages.count(number, era=era)
    assert (25, 25) == await store.passages.count(number, era=0)


# --- notebooks


async def make(store: Store, name: str = "manual", *agents: str) -> None:
    await store.notebooks.add(
        name, id=new_id(), description="About pumps", agents=agents, by="ann", now=T0
    )


def document(text: str = "# Pumps\n\nThey pump.", **changes: Any) -> NewDocument:
    values: dict[str, Any] = {
        "id": new_id(),
        "title": "Pumps",
        "source": "pumps.md",
        "media_type": "text/markdown",
        "text": text,
        "hash": f"hash of {text}",
        "principal": "ann",
        **changes,
    }
    return NewDocument(**values)


def chunk(position: int, text: str) -> Chunk:
    return Chunk(position=position, text=text, heading="Pumps > Old", start=position, stop=9)


async def put(store: Store, notebook: str = "manual", **changes: Any) -> str:
    added, _ = await store.notebooks.add_document(
        notebook, document(**changes), documents_max=9, now=T0
    )
    return added.id


async def test_notebook_is_read_as_it_was_made(opener: Opener) -> None:
    async with opener() as store:
        await make(store, "manual", "support", "b")

    async with opener() as store:
        found = await store.notebooks.get("manual")
        assert [found] == await store.notebooks.list(after=None, limit=9)
    assert ("manual", "About pumps", ["b", "support"], 0, "ann", T0) == (
        found.name,
        found.description,
        found.agents,
        found.documents,
        found.created_by,
        found.created_at,
    )


async def test_notebooks_are_seen_by_those_that_they_are_shared_with(store: Store) -> None:
    await make(store, "mine", "support")
    await make(store, "all", "*")
    await make(store, "none")
    await make(store, "theirs", "sales")

    seen = [one.name for one in await store.notebooks.seen_by("support", limit=9)]
    await store.notebooks.change("mine", description=None, agents=[])
    changed = await store.notebooks.change("theirs", description="New", agents=None)

    assert ["all", "mine"] == seen
    assert ["all"] == [one.name for one in await store.notebooks.seen_by("support", limit=9)]
    assert ("New", ["sales"]) == (changed.description, changed.agents)


async def test_notebooks_that_cannot_be_are_refused(store: Store) -> None:
    await make(store)
    with pytest.raises(NotebookExists):
        await make(store)
    for call in (
        store.notebooks.get("x"),
        store.notebooks.delete("x", now=T0),
        store.notebooks.change("x", description="", agents=None),
        store.notebooks.documents("x", before=None, limit=9),
        store.notebooks.document("x", "y"),
        store.notebooks.delete_document("x", "y", now=T0),
        put(store, "x"),
    ):
        with pytest.raises(NotebookNotFound):
            await call


async def test_same_document_twice_is_one(store: Store) -> None:
    await make(store)
    first = await put(store)

    again = await put(store)
    other = await put(store, text="Other")

    assert first == again != other
    assert [other, first] == [
        one.id for one in await store.notebooks.documents("manual", before=None, limit=9)
    ]
    assert "# Pumps\n\nThey pump." == await store.notebooks.text(first)
    with pytest.raises(TooManyDocuments):
        await store.notebooks.add_document("manual", document("third"), documents_max=2, now=T0)


async def test_chunks_are_stored_once_and_found_with_their_places(store: Store) -> None:
    await make(store)
    id_ = await put(store)
    await store.notebooks.add_chunks(id_, [chunk(1, "first part")], is_last=False)
    before = await store.notebooks.document("manual", id_)

    found = await store.notebooks.add_chunks(
        id_, [chunk(1, "changed part"), chunk(2, "second part")], is_last=True
    )

    after = await store.notebooks.document("manual", id_)
    assert (None, 2, 0) == (before.passages, after.passages, after.embedded)
    numbers = await store.passages.find_words([found.number], ["part"], limit=9)
    passages = sorted(await store.passages.passages(numbers), key=lambda one: one.number)
    assert [("first part", 1), ("second part", 2)] == [
        (one.text, one.chunk.position) for one in passages if one.chunk is not None
    ]
    first = passages[0]
    assert ("document", id_, "manual", "Pumps", "pumps.md") == (
        first.kind,
        first.id,
        first.notebook,
        first.title,
        first.source,
    )
    assert chunk(1, "first part") == first.chunk


@pytest.mark.parametrize("what", ["document", "notebook"])
async def test_what_is_deleted_is_found_no_more_and_swept_up(store: Store, what: str) -> None:
    await make(store)
    id_ = await put(store)
    found = await store.notebooks.add_chunks(
        id_, [chunk(n, f"part number {n}") for n in range(1, 30)], is_last=True
    )
    missing = await store.passages.without_vector(found.number, era=0, limit=100)
    await store.passages.add_vectors(
        found.number, era=0, model=M, rows=[(n, unit(1, n)) for n, _ in missing]
    )
    assert 29 == (await store.notebooks.document("manual", id_)).embedded

    if what == "document":
        await store.notebooks.delete_document("manual", id_, now=T0)
        with pytest.raises(DocumentNotFound):
            await store.notebooks.document("manual", id_)
    else:
        await store.notebooks.delete("manual", now=T0)
        await make(store)
    assert [] == await store.passages.passages([n for n, _ in missing])
    swept = []
    while rows := await store.passages.sweep(rows_max=10):
        swept.append(rows)

    assert max(swept) <= 11
    assert [] == await store.passages.find_words([found.number], ["part"], limit=9)
    assert [] == await store.passages.nearest(found.number, era=0, vector=unit(1, 1), limit=9)
    assert [] == await store.notebooks.documents("manual", before=None, limit=9)
    with pytest.raises(DocumentNotFound):
        await store.notebooks.add_chunks(id_, [chunk(50, "late")], is_last=True)
    with pytest.raises(DocumentNotFound):
        await store.notebooks.text(id_)
    # The same can be added anew.
    assert id_ != await put(store)
