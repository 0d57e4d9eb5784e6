"""more orders of long lists

Revision: 0028
Revises: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = '0028'
down_revision = '0027'
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Nulls are the smallest in the lists' orders: on SQLite they are so by themselves.
    postgres = op.get_bind().dialect.name == 'postgresql'
    op.create_index('ix_keypairs_query_count_id', 'keypairs', ['query_count', 'id'])
    op.create_index('ix_sessions_name_id', 'sessions', ['name', 'id'])
    for table, column in (
        ('keypairs', 'last_used_at'),
        ('sessions', 'started_at'),
        ('sessions', 'terminated_at'),
    ):
        first = sa.text(f'{column} NULLS FIRST') if postgres else column
        op.create_index(f'ix_{table}_{column}_id', table, [first, 'id'])
