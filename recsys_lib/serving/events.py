"""The log of events, new items and deletions: SQLite in WAL mode, or PostgreSQL by URL; on disk before it is
acknowledged.

Every event has an idempotency key, which the database keeps unique: a client that got no answer sends the
same event again, and it is stored once. Numbers (``seq``) grow in the order of commits, so whoever reads on
from the last number it saw misses nothing: SQLite has one writer at a time, and on PostgreSQL a transaction
takes an advisory lock first.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from sqlalchemy.pool import QueuePool

from recsys_lib.core.errors import InputError

FORMAT = 1
# Any number that no other program's advisory lock on the same database uses.
ADVISORY_LOCK = 7_233_108_145
BUSY_S = 30
# Keys that are looked up in one statement.
LOOK_UP = 400

_tables = sa.MetaData()
_SEQ = sa.BigInteger().with_variant(sa.Integer, "sqlite")
EVENTS = sa.Table(
    "events",
    _tables,
    sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("item_id", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("list_id", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
ITEMS = sa.Table(
    "items",
    _tables,
    sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("labels", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("encoder", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)
DELETIONS = sa.Table(
    "deletions",
    _tables,
    sa.Column("seq", _SEQ, primary_key=True, autoincrement=True),
    sa.Column("item_id", sa.Text, nullable=False, unique=True),
    sqlite_autoincrement=True,
)
LISTS = sa.Table(
    "lists",
    _tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("version", sa.Text, nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("shown", sa.Text, nullable=False),
)
FORMATS = sa.Table("format", _tables, sa.Column("format", sa.Integer, primary_key=True))


@dataclass(frozen=True)
class Event:
    """Somebody chose an item. key: the client's, unique. time: seconds since 1970. list_id: the list it was
    chosen from, or empty.
    """

    key: str
    user: str
    item: str
    time: int
    list_id: str = ""


@dataclass(frozen=True)
class NewItem:
    """An item that came after the fit. vector: as the ``encoder`` of that id gave it, float32 ``[d]``."""

    id: str
    title: str
    labels: tuple[str, ...]
    text: str
    vector: np.ndarray
    seq: int = 0
    encoder: str = ""


@dataclass(frozen=True)
class Stored:
    """What became of events: keys stored now, keys known with the same content, and with another."""

    new: frozenset[str]
    known: frozenset[str]
    conflicts: frozenset[str]


class EventLog:
    """Events, new items, deletions and shown lists in one database; any number of processes may use it."""

    def __init__(self, url: str | Path):
        """Open, and create what is missing. ``url``: a path of a SQLite file, or ``postgresql://...``.

        Raises:
            InputError: a database that cannot be opened, is none, or has another format.
        """
        self.url = _url(url)
        try:
            self._engine = _engine(self.url)
            self._create()
        except (DatabaseError, InterfaceError, ModuleNotFoundError) as error:
            raise InputError(f"{self.shown}: cannot be opened ({_reason(error)})") from error

    @property
    def shown(self) -> str:
        """The database's name without a password."""
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _create(self) -> None:
        with self._writing() as connection:
            _tables.create_all(connection)
            found = connection.execute(sa.select(FORMATS.c.format)).scalars().all()
            if not found:
                connection.execute(sa.insert(FORMATS).values(format=FORMAT))
        if found and found != [FORMAT]:
            raise InputError(f"{self.shown}: events of format {found[0]}, expected {FORMAT}")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction that holds the one place of a writer from its start and is on disk when it ends."""
        with self._engine.begin() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
            yield connection

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def _insert(self, table: sa.Table) -> Any:
        if self._engine.dialect.name == "sqlite":
            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)

    # ---------------------------------------------------------------- writing

    def add_events(self, events: Sequence[Event]) -> Stored:
        """Store events whose keys are new; all are on disk when this returns.

        An event with a known key changes nothing: it counts as known, or as a conflict if it names another
        user, item or list. The time that was stored first counts: a client may leave it to the server.
        """
        unique: dict[str, Event] = {}
        conflicts = {e.key for e in events if _said(unique.setdefault(e.key, e)) != _said(e)}
        if not unique:
            return Stored(frozenset(), frozenset(), frozenset())
        rows = [
            {"key": e.key, "user_id": e.user, "item_id": e.item, "time": e.time, "list_id": e.list_id}
            for e in unique.values()
        ]
        insert = self._insert(EVENTS).on_conflict_do_nothing(index_elements=["key"])
        with self._writing() as connection:
            added = connection.execute(insert.returning(EVENTS.c.key), rows)
            new = set(added.scalars())
            others = [key for key in unique if key not in new]
            kept = self._look_up(connection, others)
            conflicts |= {e.key for e in kept if _said(e) != _said(unique[e.key])}
        return Stored(frozenset(new), frozenset(others) - conflicts, frozenset(conflicts))

    @staticmethod
    def _look_up(connection: sa.Connection, keys: Sequence[str]) -> Iterator[Event]:
        for start in range(0, len(keys), LOOK_UP):
            chosen = EVENTS.c.key.in_(keys[start : start + LOOK_UP])
            columns = (EVENTS.c.key, EVENTS.c.user_id, EVENTS.c.item_id, EVENTS.c.time, EVENTS.c.list_id)
            yield from (Event(*row) for row in connection.execute(sa.select(*columns).where(chosen)))

    def add_items(self, items: Sequence[NewItem]) -> Stored:
        """Store items whose ids are new, as ``add_events`` does; a vector does not count as content."""
        if not items:
            return Stored(frozenset(), frozenset(), frozenset())
        rows = [
            {
                "id": item.id, "title": item.title, "labels": json.dumps(item.labels), "text": item.text,
                "vector": np.asarray(item.vector, "<f4").tobytes(), "encoder": item.encoder,
            }
            for item in items
        ]  # fmt: skip
        insert = self._insert(ITEMS).on_conflict_do_nothing(index_elements=["id"])
        with self._writing() as connection:
            new = set(connection.execute(insert.returning(ITEMS.c.id), rows).scalars())
            kept = {item.id: item for item in _items(connection, ITEMS.c.id.in_([i.id for i in items]))}
        conflicts = {i.id for i in items if _content(kept[i.id]) != _content(i)}
        known = {item.id for item in items} - new - conflicts
        return Stored(frozenset(new), frozenset(known), frozenset(conflicts))

    def delete_items(self, ids: Sequence[str]) -> Stored:
        """Keep that items are deleted, whatever is known of them; a deletion is never taken back."""
        rows = [{"item_id": identifier} for identifier in dict.fromkeys(ids)]
        if not rows:
            return Stored(frozenset(), frozenset(), frozenset())
        insert = self._insert(DELETIONS).on_conflict_do_nothing(index_elements=["item_id"])
        with self._writing() as connection:
            new = set(connection.execute(insert.returning(DELETIONS.c.item_id), rows).scalars())
        return Stored(frozenset(new), frozenset(ids) - new, frozenset())

    def add_lists(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep what was shown, for off-policy estimates: id, user_id, version, time and shown (JSON)."""
        if rows:
            with self._writing() as connection:
                insert = self._insert(LISTS).on_conflict_do_nothing(index_elements=["id"])
                connection.execute(insert, [dict(row) for row in rows])

    # ---------------------------------------------------------------- reading

    def events_after(self, seq: int = 0, limit: int | None = None) -> list[tuple[int, Event]]:
        """Events with a number above ``seq``, in the order of their numbers."""
        columns = (EVENTS.c.key, EVENTS.c.user_id, EVENTS.c.item_id, EVENTS.c.time, EVENTS.c.list_id)
        query = sa.select(EVENTS.c.seq, *columns).where(EVENTS.c.seq > seq).order_by(EVENTS.c.seq)
        with self._reading() as connection:
            return [(row[0], Event(*row[1:])) for row in connection.execute(query.limit(limit))]

    def items_after(self, seq: int = 0) -> list[NewItem]:
        """Items with a number above ``seq``, in the order of their numbers."""
        with self._reading() as connection:
            return list(_items(connection, ITEMS.c.seq > seq))

    def deletions_after(self, seq: int = 0) -> list[tuple[int, str]]:
        """Ids of deleted items with a number above ``seq``, in the order of their numbers."""
        columns = (DELETIONS.c.seq, DELETIONS.c.item_id)
        query = sa.select(*columns).where(DELETIONS.c.seq > seq).order_by(DELETIONS.c.seq)
        with self._reading() as connection:
            return [(row[0], row[1]) for row in connection.execute(query)]

    def lists(self) -> list[dict[str, Any]]:
        """All shown lists, each with ``shown`` read and ``chosen``, the ids of the items chosen from it."""
        query = sa.select(LISTS).order_by(LISTS.c.time, LISTS.c.id)
        chosen: dict[str, list[str]] = {}
        with self._reading() as connection:
            from_lists = sa.select(EVENTS.c.list_id, EVENTS.c.item_id).where(EVENTS.c.list_id != "")
            for list_id, item in connection.execute(from_lists):
                chosen.setdefault(list_id, []).append(item)
            rows = [dict(row._mapping) for row in connection.execute(query)]
        return [
            row | {"shown": json.loads(row["shown"]), "chosen": chosen.get(row["id"], [])} for row in rows
        ]

    def counts(self) -> dict[str, int]:
        """Rows of every table."""
        with self._reading() as connection:
            return {
                table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in (EVENTS, ITEMS, LISTS)
            }


def _items(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> Iterator[NewItem]:
    for row in connection.execute(sa.select(ITEMS).where(chosen).order_by(ITEMS.c.seq)):
        vector = np.frombuffer(row.vector, dtype="<f4").astype(np.float32)
        labels = tuple(json.loads(row.labels))
        yield NewItem(row.id, row.title, labels, row.text, vector, row.seq, row.encoder)


def _said(event: Event) -> tuple[str, str, str]:
    return event.user, event.item, event.list_id


def _content(item: NewItem) -> tuple[Any, ...]:
    return item.title, item.labels, item.text


def _url(url: str | Path) -> sa.URL:
    text = str(url)
    if "://" not in text:
        path = Path(text)
        if path.is_dir() or not path.absolute().parent.is_dir():
            raise InputError(f"{text}: expected a file of SQLite, in a folder that exists")
        return sa.URL.create("sqlite+pysqlite", database=str(path))
    try:
        found = sa.make_url(text)
    except sa.exc.ArgumentError as error:
        raise InputError("the database's URL cannot be read: expected postgresql://...") from error
    if found.get_backend_name() == "postgresql":
        return found.set(drivername="postgresql+psycopg")
    if found.get_backend_name() == "sqlite":
        return _url(found.database or "")
    raise InputError(f"{found.get_backend_name()}: expected a path of SQLite or postgresql://...")


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() == "postgresql":
        return sa.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    arguments = {"timeout": BUSY_S, "check_same_thread": False}
    engine = sa.create_engine(url, poolclass=QueuePool, connect_args=arguments)

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, record: Any) -> None:
        # Transactions are begun below: sqlite3's own would take the writer's place too late.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: sa.Connection) -> None:
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _reason(error: Exception) -> str:
    origin = getattr(error, "orig", None) or error
    return " ".join(str(origin).split())[:200]


UNAVAILABLE = (OperationalError, InterfaceError)
