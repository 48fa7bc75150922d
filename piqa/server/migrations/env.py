"""Bring the database to this version; Alembic runs it."""

from alembic import context

from piqa.server import records, study_records  # noqa: F401 -- they declare the tables
from piqa.server.database import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
