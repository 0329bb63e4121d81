"""What a round of anchoring must remember to survive a crash, and who may run one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "anchor_rounds",
        sa.Column("id", _ROW_NUMBER, primary_key=True, autoincrement=True),
        sa.Column("unfinished", sa.Integer, unique=True),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("tree_size", sa.BigInteger, nullable=False),
        sa.Column("batch_root", sa.LargeBinary(32), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_attempt_at", sa.BigInteger, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("statement", sa.LargeBinary),
        sa.Column("seq", sa.BigInteger),
        sa.Column("stamped_at", sa.BigInteger),
        sa.Column("finished_at", sa.BigInteger),
        sa.CheckConstraint("unfinished IS NULL OR unfinished = 1", name="anchor_rounds_unfinished"),
        sa.CheckConstraint("(unfinished IS NULL) = (seq IS NOT NULL)", name="anchor_rounds_finished"),
    )
    op.create_index("anchor_rounds_by_size", "anchor_rounds", ["tree_size", "id"])
    op.create_table(
        "anchor_leaves",
        sa.Column("round_id", _ROW_NUMBER, sa.ForeignKey("anchor_rounds.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("checkpoint", sa.Text, nullable=False),
    )
    op.create_table(
        "anchor_tokens",
        sa.Column("round_id", _ROW_NUMBER, sa.ForeignKey("anchor_rounds.id"), primary_key=True),
        sa.Column("authority", sa.String(128), primary_key=True),
        sa.Column("token", sa.LargeBinary),
        sa.Column("stamped_at", sa.BigInteger),
        sa.Column("last_error", sa.Text),
    )
    op.create_table(
        "anchor_lease",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.String(64)),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.CheckConstraint("id = 1", name="anchor_lease_one"),
    )


def downgrade() -> None:
    for table in ("anchor_lease", "anchor_tokens", "anchor_leaves", "anchor_rounds"):
        op.drop_table(table)
