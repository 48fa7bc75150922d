"""Projects, photos, scores and jobs."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0001", None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "projects",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "photos",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column(
            "project_id", sa.String(), sa.ForeignKey("projects.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False, index=True),
        sa.Column("source", sa.String()),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("added", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(), nullable=False, index=True),
        sa.Column("error", sa.String()),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.UniqueConstraint("project_id", "name"),
    )
    op.create_table(
        "scores",
        sa.Column("photo_id", sa.String(), sa.ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("model", sa.String(), primary_key=True),
        sa.Column("settings", sa.String(), nullable=False),
        sa.Column("score", sa.Float()),
        sa.Column("outputs", sa.JSON(), nullable=False),
        sa.Column("error", sa.String()),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("project_id", sa.String(), _project(), index=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False, index=True),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("error", sa.String()),
        sa.Column("arguments", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("owner", sa.String()),
        sa.Column("seen", sa.DateTime()),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("finished", sa.DateTime()),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("jobs", "scores", "photos", "projects"):
        op.drop_table(name)


def _project() -> sa.ForeignKey:
    return sa.ForeignKey("projects.id", ondelete="CASCADE")
