"""Columns for what an open request reserves of its account's quotas."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("images", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("pixels", sa.BigInteger, nullable=False, server_default="0"))
