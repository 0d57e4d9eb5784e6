"""usage by hour, day and month

Revision: 0019
Revises: 0018
"""

import sqlalchemy as sa
from alembic import op

revision = '0019'
down_revision = '0018'
branch_labels = None
depends_on = None

_UNACCOUNTED = sa.text('not accounted')
_OF_USERS = sa.text("user_id != ''")
_COUNTERS = (
    'cpu_milliseconds', 'block_read_bytes', 'block_write_bytes', 'network_received_bytes', 'network_sent_bytes',
)


def upgrade() -> None:
    with op.batch_alter_table('kernels', schema=None) as batch_op:
        batch_op.add_column(sa.Column('accounted_until', sa.BigInteger(), nullable=True))
        # What ran before is accounted for in the first minutes.
        batch_op.add_column(sa.Column('accounted', sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table('kernels', schema=None) as batch_op:
        batch_op.alter_column(
            'accounted', existing_type=sa.Boolean(), existing_nullable=False, server_default=None
        )
        batch_op.create_index(
            'ix_kernels_unaccounted', ['id'], sqlite_where=_UNACCOUNTED, postgresql_where=_UNACCOUNTED
        )
    op.create_table(
        'usage_totals',
        sa.Column('user_id', sa.String(length=30), nullable=False),
        sa.Column('period', sa.String(length=13), nullable=False),
        sa.Column('domain_id', sa.String(length=30), nullable=False),
        sa.Column('group_id', sa.String(length=30), nullable=False),
        sa.Column('resource_group_id', sa.String(length=30), nullable=False),
        sa.Column('measure', sa.String(length=64), nullable=False),
        sa.Column('high', sa.BigInteger(), nullable=False),
        sa.Column('low', sa.BigInteger(), nullable=False),
        sa.Column('peak', sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            'user_id', 'period', 'domain_id', 'group_id', 'resource_group_id', 'measure',
            name=op.f('pk_usage_totals'),
        ),
    )
    with op.batch_alter_table('usage_totals', schema=None) as batch_op:
        for name, columns in (('period', ['period', 'domain_id']), ('group', ['group_id', 'period'])):
            batch_op.create_index(
                f'ix_usage_totals_{name}', columns, sqlite_where=_OF_USERS, postgresql_where=_OF_USERS
            )
    op.create_table(
        'kernel_meters',
        sa.Column('kernel_id', sa.String(length=30), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in _COUNTERS),
        sa.PrimaryKeyConstraint('kernel_id', name=op.f('pk_kernel_meters')),
    )


def downgrade() -> None:
    op.drop_table('kernel_meters')
    op.drop_table('usage_totals')
    with op.batch_alter_table('kernels', schema=None) as batch_op:
        batch_op.drop_index('ix_kernels_unaccounted')
        batch_op.drop_column('accounted')
        batch_op.drop_column('accounted_until')
