"""Deleting what nobody can find any more: pieces of deleted documents, and replaced vectors."""

from __future__ import annotations

from agency.storage.sqlite.transaction import Transaction


def sweep(tx: Transaction, *, rows_max: int) -> int:
    """Delete up to about so many rows; tell how many."""
    rows = 0
    for (passage,) in tx.all("list_deleted_chunks", (rows_max,)):
        tx.change("delete_chunk", (passage,))
        delete_passage(tx, passage)
        rows += 1
    if rows < rows_max:
        rows += tx.change("delete_empty_documents")
    for collection, era in tx.all("list_old_eras", (rows_max,)):
        if rows >= rows_max:
            return rows
        over = {"collection": collection, "era": era, "limit": rows_max - rows}
        tx.change("delete_some_signs", over)
        rows += tx.change("delete_some_vectors", over)
        if rows < rows_max:
            rows += tx.change("delete_old_era", {"collection": collection, "era": era})
    if rows < rows_max:
        for number, collection in tx.all("list_deleted_notebooks", (rows_max,)):
            tx.change("unshare_notebook", (number,))
            tx.change("delete_notebook", (number,))
            tx.change("delete_collection", (collection,))
            rows += 1
    return rows


def delete_passage(tx: Transaction, number: int) -> None:
    """Delete a passage with its words and vectors; what it belongs to is gone before."""
    tx.change("delete_vectors_of", (number,))
    tx.change("delete_signs_of", (number,))
    tx.change("delete_passage", (number,))
