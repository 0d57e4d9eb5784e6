"""cluster sessions

Revision: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.add_column(sa.Column('cluster_size', sa.BigInteger(), nullable=False, server_default='1'))
        batch_op.add_column(sa.Column('cluster_mode', sa.String(length=16), nullable=False, server_default='SINGLE_NODE'))
        batch_op.add_column(sa.Column('network', sa.String(length=64), nullable=False, server_default=''))
        batch_op.add_column(sa.Column('network_agent_id', sa.String(length=30), nullable=True))
        batch_op.add_column(sa.Column('cluster_key', sa.LargeBinary(), nullable=True))
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        for name, kind in (
            ('cluster_size', sa.BigInteger()),
            ('cluster_mode', sa.String(length=16)),
            ('network', sa.String(length=64)),
        ):
            batch_op.alter_column(name, existing_type=kind, existing_nullable=False, server_default=None)
        has_network = sa.text("network != ''")
        batch_op.create_index(
            'ix_sessions_network', ['network'], unique=False, sqlite_where=has_network, postgresql_where=has_network
        )
    with op.batch_alter_table('kernels', schema=None) as batch_op:
        batch_op.drop_index(batch_op.f('ix_kernels_session_id_role'))
        batch_op.alter_column('role', new_column_name='hostname', existing_type=sa.String(length=32), existing_nullable=False)
        batch_op.add_column(sa.Column('rank', sa.BigInteger(), nullable=False, server_default='0'))
    with op.batch_alter_table('kernels', schema=None) as batch_op:
        batch_op.alter_column('rank', existing_type=sa.BigInteger(), existing_nullable=False, server_default=None)
        batch_op.create_index(batch_op.f('ix_kernels_session_id_rank'), ['session_id', 'rank'], unique=True)
