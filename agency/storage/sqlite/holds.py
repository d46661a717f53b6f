"""What one live run at a time may have, inside a transaction: its session, its concurrency key.

Live runs stand in line for it in the order in which they were accepted. The first has it until it
has ended, also while it is suspended; the others are blocked, which means that they are not
claimed. A child of one that stands in line takes no place: its ancestor waits for it. Should the
ancestor end before it, because the child has still to take back what it has done, the child has its
place from then on.
"""

from __future__ import annotations

from agency.domain.run import RunStatus
from agency.ports.store import Wake
from agency.storage.sqlite.rows import wake_of
from agency.storage.sqlite.transaction import Row, Transaction

SESSION = "session"
KEY = "key"

Wanted = dict[str, str]
"""Names of what a run wants to have, by kind."""

Places = list[tuple[str, str, int]]
"""Kind, name and place in line."""


def wanted_by(session_id: str | None, concurrency_key: str | None) -> Wanted:
    """Tell what a run wants to have."""
    found = {}
    if session_id is not None:
        found[SESSION] = session_id
    if concurrency_key is not None:
        found[KEY] = concurrency_key
    return found


def find_tail(tx: Transaction, kind: str, name: str) -> Row | None:
    """Find the newest live run in line: its id, status, place and number."""
    return tx.one("find_hold_tail", (kind, name))


def choose_places(
    tx: Transaction, wanted: Wanted, *, parent_id: str | None = None
) -> tuple[Places, int]:
    """Choose the last places in line, and tell at how many of them somebody is before.

    What one of the ancestors stands in line for is left out.
    """
    places: Places = []
    blocked = 0
    for kind, name in wanted.items():
        line = {"run_id": parent_id, "kind": kind, "name": name}
        if parent_id is not None and tx.one("find_hold_in_line", line) is not None:
            continue
        tail = find_tail(tx, kind, name)
        places.append((kind, name, 1 if tail is None else tail[2] + 1))
        blocked += tail is not None
    return places, blocked


def take(tx: Transaction, number: int, places: Places) -> None:
    """Let a run stand in line at the given places."""
    for kind, name, place in places:
        tx.change("add_hold", (kind, name, place, number))


def take_again(
    tx: Transaction, number: int, wanted: Wanted, *, parent_id: str | None = None
) -> bool:
    """Let a run that had ended stand in line again, as the last; tell whether it is blocked."""
    places, blocked = choose_places(tx, wanted, parent_id=parent_id)
    take(tx, number, places)
    tx.change("block", (blocked, number))
    return blocked > 0


def leave(tx: Transaction, number: int) -> list[Wake]:
    """Let a run that has ended leave all its lines, and give the runs that can be claimed now.

    If others live that worked for it, one of them takes its places.
    """
    if tx.one("find_hold_of", (number,)) is None:
        return []
    heir = tx.one("find_heir", (number,))
    if heir is not None:
        hand_over(tx, number, heir[0])
        return []
    first: dict[tuple[str, str], int] = {}
    for kind, name, place in tx.all("drop_holds", (number,)):
        first[kind, name] = min(place, first.get((kind, name), place))
    wakes = []
    for (kind, name), place in first.items():
        head = tx.one("find_hold_head", (kind, name))
        if head is None or head[1] < place:
            continue
        following = tx.one("unblock", (head[0],))
        if following is not None and following[2:] == (RunStatus.PENDING, 0):
            wakes.append(wake_of(*following[:3]))
    return wakes


def hand_over(tx: Transaction, number: int, successor: int) -> None:
    """Let the successor of a run stand where that has stood."""
    tx.change("hand_over_holds", {"number": number, "successor": successor})
