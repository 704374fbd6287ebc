"""Signs: the vital signs of clusters, in a table beside the queue."""

from __future__ import annotations

from django_q.brokers.dialect import SQL
from django_q.brokers.table import Table
from django_q.models import VitalSign
from django_q.transactions import writing


class Signs:
    """The table of vital signs, by the database's clock."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._name = table.quoted(VitalSign._meta.db_table)  # noqa: SLF001 - public by its docs
        self._key, self._payload, self._expires = map(
            table.quoted, ("key", "payload", "expires")
        )

    def write(self, key: str, value: str, lifetime: float) -> None:
        """Keep a value for `lifetime` seconds. A new key sweeps out the dead ones."""
        expires = self._table.moment(lifetime)
        with writing(self._table.connection.alias, patient=self._table.patient):
            if self._update(key, value, expires):
                return
            now = self._table.moment()
            sweep = f"DELETE FROM {self._name} WHERE {self._expires} < {now.text}"
            self._table.execute(sweep, now.values)
            self._insert(key, value, expires)

    def read(self, key: str) -> str | None:
        """The value under this key, if it is not too old."""
        found = self._select(SQL(f"{self._key} = %s", (key,)))
        return found[0] if found else None

    def read_all(self, start: str) -> list[str]:
        """The values of all keys that begin like this."""
        prefix = self._table.connection.ops.prep_for_like_query(start)
        like = f"{self._key} LIKE %s{self._table.escape}"
        return self._select(SQL(like, (f"{prefix}%",)))

    def _update(self, key: str, value: str, expires: SQL) -> int:
        text = (
            f"UPDATE {self._name} SET {self._payload} = %s,"
            f" {self._expires} = {expires.text} WHERE {self._key} = %s"
        )
        return self._table.execute(text, (value, *expires.values, key))

    def _insert(self, key: str, value: str, expires: SQL) -> None:
        text = (
            f"INSERT INTO {self._name} ({self._key}, {self._payload}, {self._expires})"
            f" VALUES (%s, %s, {expires.text})"
        )
        self._table.execute(text, (key, value, *expires.values))

    def _select(self, where: SQL) -> list[str]:
        now = self._table.moment()
        text = (
            f"SELECT {self._payload} FROM {self._name}"
            f" WHERE {where.text} AND {self._expires} > {now.text}"
            f" ORDER BY {self._key}"
        )
        return [row[0] for row in self._table.fetch(text, where.values + now.values)]
