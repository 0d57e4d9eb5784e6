"""idle sessions

Revision: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from services.db.types import UtcDateTime

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

#: Table → columns that every row has from now on, and with what.
_ADDED = {
    'resource_policies': {'idle_cpu_percent': 5, 'idle_accelerator_percent': 5},
    'resource_groups': {'idle_timeout_seconds': 0, 'idle_cpu_percent': 5, 'idle_accelerator_percent': 5},
}


def upgrade() -> None:
    for table, columns in _ADDED.items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name, value in columns.items():
                batch_op.add_column(sa.Column(name, sa.BigInteger(), nullable=False, server_default=str(value)))
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name in columns:
                batch_op.alter_column(name, existing_type=sa.BigInteger(), existing_nullable=False, server_default=None)
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.add_column(sa.Column('last_used_at', UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column('idle_warned_at', UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column('idle_exempt', sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.alter_column('idle_exempt', existing_type=sa.Boolean(), existing_nullable=False, server_default=None)
