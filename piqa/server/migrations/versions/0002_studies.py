"""Studies, their images, raters and answers."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0002", "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "studies",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("project_id", sa.String(), _of("projects"), nullable=False, index=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "study_images",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("study_id", sa.String(), _of("studies"), nullable=False, index=True),
        sa.Column("photo_id", sa.String(), _of("photos"), nullable=False, index=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("scene", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("original_id", sa.String(), _of("study_images"), index=True),
        sa.Column("spoiling", sa.String()),
    )
    op.create_table(
        "raters",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("study_id", sa.String(), _of("studies"), nullable=False, index=True),
        sa.Column("link", sa.String(), nullable=False, unique=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("state", sa.JSON(), nullable=False),
        sa.Column("conditions", sa.JSON(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("seen", sa.DateTime()),
        sa.UniqueConstraint("study_id", "name"),
    )
    op.create_table(
        "answers",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("study_id", sa.String(), _of("studies"), nullable=False, index=True),
        sa.Column("rater_id", sa.String(), _of("raters"), nullable=False, index=True),
        sa.Column("question", sa.String(), nullable=False, unique=True),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("image_a", sa.String(), _of("study_images"), nullable=False, index=True),
        sa.Column("image_b", sa.String(), _of("study_images"), index=True),
        sa.Column("left", sa.String()),
        sa.Column("winner", sa.String()),
        sa.Column("expected", sa.String()),
        sa.Column("rating", sa.Integer()),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("window_width", sa.Integer(), nullable=False),
        sa.Column("window_height", sa.Integer(), nullable=False),
        sa.Column("pixel_ratio", sa.Float(), nullable=False),
        sa.Column("zoom", sa.Float()),
        sa.Column("answered", sa.DateTime(), nullable=False),
        sa.UniqueConstraint("rater_id", "number"),
    )


def downgrade() -> None:
    """Drop the tables."""
    for name in ("answers", "raters", "study_images", "studies"):
        op.drop_table(name)


def _of(table: str) -> sa.ForeignKey:
    return sa.ForeignKey(f"{table}.id", ondelete="CASCADE")
