"""What the body of a write transaction works with, inside the writer's thread."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from agency.core import limits
from agency.storage.sqlite.statements import (
    END_SIZES,
    END_VALUES,
    START_SIZES,
    START_VALUES,
    load_end_statements,
    load_start_statements,
    load_statements,
)
from agency.storage.sqlite.steps import StepCounts

Row = tuple[Any, ...]
Parameters = Sequence[Any] | Mapping[str, Any]


class Transaction:
    """Named statements on the one write connection; the writer begins and ends it.

    Attributes:
        steps: How many steps the claimed runs have recorded since they were claimed.
    """

    __slots__ = ("_connection", "_resolutions", "_statements", "steps")

    def __init__(self, connection: sqlite3.Connection, steps: StepCounts) -> None:
        self._connection = connection
        self._statements = load_statements()
        self.steps = steps
        row = self.one("last_resolution")
        assert row is not None
        self._resolutions: int = row[0]

    def one(self, name: str, parameters: Parameters = ()) -> Row | None:
        """Run a statement that answers with one row at most."""
        row: Row | None = self._connection.execute(self._statements[name], parameters).fetchone()
        return row

    def all(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Run a statement and take all its rows."""
        return self._connection.execute(self._statements[name], parameters).fetchall()

    def each(self, name: str, parameters: Parameters = ()) -> Iterator[Row]:
        """Run a statement and read its rows one by one, no further than they are wanted."""
        return self._connection.execute(self._statements[name], parameters)

    @contextmanager
    def protected(self) -> Iterator[None]:
        """Undo what the block has changed if it raises; what was done before stays."""
        connection = self._connection
        mark = self.steps.mark()
        connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            # A full disk has ended the whole transaction, and the point with it.
            if connection.in_transaction:
                connection.execute("ROLLBACK TO part")
                connection.execute("RELEASE part")
                self.steps.undo(mark)
            raise
        connection.execute("RELEASE part")

    def finish(self, values: Sequence[Any], runs: int) -> dict[int, Row]:
        """Run ``finish_runs`` for some runs, and give what it tells of those that it has ended.

        Args:
            values: `END_VALUES` parameters for each run, in one flat list.
            runs: How many runs.

        Returns:
            Rows by the runs' numbers, without the number.
        """
        rows = self._sized(load_end_statements(), END_SIZES, END_VALUES, values, runs)
        return {row[0]: row[1:] for row in rows}

    def insert_runs(self, values: Sequence[Any], runs: int) -> dict[str, int]:
        """Run ``insert_runs`` for some runs, and give the numbers of those that were not there.

        Args:
            values: `START_VALUES` parameters for each run, in one flat list.
            runs: How many runs.

        Returns:
            Numbers by the runs' ids.
        """
        rows = self._sized(load_start_statements(), START_SIZES, START_VALUES, values, runs)
        return {run_id: number for number, run_id in rows}

    def _sized(
        self,
        statements: Mapping[int, str],
        sizes: Sequence[int],
        width: int,
        values: Sequence[Any],
        count: int,
    ) -> list[Row]:
        """Run a statement that takes several rows of parameters, in the sizes that there are."""
        found: list[Row] = []
        for start in range(0, count, sizes[-1]):
            rows = min(count - start, sizes[-1])
            size = next(size for size in sizes if size >= rows)
            part = [*values[start * width : (start + rows) * width]]
            part += (None,) * ((size - rows) * width)
            found += self._connection.execute(statements[size], part).fetchall()
        return found

    def change(self, name: str, parameters: Parameters = ()) -> int:
        """Run a statement that writes, and tell how many rows it has changed."""
        return self._connection.execute(self._statements[name], parameters).rowcount

    def insert(self, name: str, parameters: Parameters = ()) -> int:
        """Run a statement that inserts one row, and tell its number."""
        number = self._connection.execute(self._statements[name], parameters).lastrowid
        assert number is not None
        return number

    def many(self, name: str, rows: Iterable[Parameters]) -> None:
        """Run a statement that writes once for each row of parameters."""
        self._connection.executemany(self._statements[name], rows)

    def keep(self, body: bytes, inline_bytes_max: int = limits.BLOB_BYTES_MIN) -> bytes | str:
        """Give the stored form of a JSON body: itself, or the key of the blob that holds it.

        Args:
            body: JSON in UTF-8.
            inline_bytes_max: Bodies above this go once to the blob table.
        """
        if len(body) <= inline_bytes_max:
            return body
        key = hashlib.sha256(body).hexdigest()
        self.change("keep_blob", (key, body))
        return key

    def load(self, stored: bytes | str | None) -> bytes | None:
        """Give the JSON body that a stored form stands for; the reverse of `keep`."""
        if not isinstance(stored, str):
            return stored
        row = self.one("load_blob", (stored,))
        assert row is not None, stored
        body: bytes = row[0]
        return body

    def next_resolution(self) -> int:
        """Give the number of a resolution; it rises always, with gaps after a rollback."""
        self._resolutions += 1
        return self._resolutions
