"""The server's database: SQLite in its folder, or PostgreSQL, which several servers share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from piqa.errors import InputError

MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK = 0x70697161  # of PostgreSQL: any number that nobody else takes
BUSY_SECONDS = 30  # how long a writer waits for another one


class Base(DeclarativeBase):
    """The base of all tables."""


class Database:
    """A database whose tables are those of this version.

    Args:
        url: As of SQLAlchemy, such as `sqlite:///data/piqa.sqlite` or `postgresql+psycopg://user@host/piqa`.

    Raises:
        InputError: If it cannot be opened, or was made by a later version.
    """

    def __init__(self, url: str) -> None:
        try:
            self.engine = _engine(url)
            self._migrate(url)
        except ModuleNotFoundError as error:
            raise InputError(f"the database needs {error.name}; `pip install 'dn-piqa[postgresql]'`") from error
        except (ArgumentError, ValueError) as error:
            raise InputError(
                f"`--database` is no address of a database, such as postgresql+psycopg://host/piqa: {error}"
            ) from error
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise InputError(f"the database {make_url(url).render_as_string()} cannot be used: {reason}") from error
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield a session; it is committed when the block ends, and rolled back where an exception ends it."""
        with self._sessions.begin() as session:
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _migrate(self, url: str) -> None:
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            if connection.dialect.name == "postgresql":  # two servers that start at once: the second one waits
                connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": MIGRATION_LOCK})
            try:
                command.upgrade(config, "head")
            except Exception as error:
                if type(error).__name__ != "CommandError":
                    raise
                raise InputError(
                    f"the database {make_url(url).render_as_string()} is of a later version: {error}"
                ) from error


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        known = make_url(url)
        if known.drivername in ("postgresql", "postgres"):  # SQLAlchemy would take another driver than ours
            known = known.set(drivername="postgresql+psycopg")
        return create_engine(known, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def set_up(connection: object, _: object) -> None:
        cursor = connection.cursor()  # type: ignore[attr-defined]
        cursor.execute("PRAGMA journal_mode=WAL")  # readers do not wait for a writer
        cursor.execute("PRAGMA synchronous=FULL")  # what is committed survives a loss of power
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    return engine


__all__ = ["Base", "Database", "OperationalError"]
