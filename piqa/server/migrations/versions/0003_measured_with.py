"""What the measured values of a photo depend on."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"


def upgrade() -> None:
    """Add the column; nobody knows which version measured what is there."""
    op.add_column("photos", sa.Column("measured_with", sa.String()))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("photos", "measured_with")
