"""stages of sessions, so that no index has a column that changes while a session starts

Revision: 0025
Revises: 0024
"""

import sqlalchemy as sa
from alembic import op

revision = '0025'
down_revision = '0024'
branch_labels = None
depends_on = None

_STARTING = ('PENDING', 'SCHEDULED', 'PREPARING', 'PULLING', 'PREPARED', 'CREATING')


def upgrade() -> None:
    op.drop_index('uq_sessions_live_name', table_name='sessions')
    op.drop_index('ix_sessions_end', table_name='sessions')
    op.drop_index('ix_sessions_status_id', table_name='sessions')
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.add_column(sa.Column('stage', sa.String(length=16), nullable=False, server_default='STARTING'))
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.alter_column(
            'stage', existing_type=sa.String(length=16), existing_nullable=False, server_default=None
        )
    starting = ', '.join(f"'{one}'" for one in _STARTING)
    op.execute(f'UPDATE sessions SET stage = status WHERE status NOT IN ({starting})')
    op.create_index('ix_sessions_stage_id', 'sessions', ['stage', 'id'])
    _make_partial_indexes('stage')
    _fill_pages('SET (fillfactor = 50)')


def downgrade() -> None:
    _fill_pages('RESET (fillfactor)')
    op.drop_index('uq_sessions_live_name', table_name='sessions')
    op.drop_index('ix_sessions_end', table_name='sessions')
    op.drop_index('ix_sessions_stage_id', table_name='sessions')
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.drop_column('stage')
    op.create_index('ix_sessions_status_id', 'sessions', ['status', 'id'])
    _make_partial_indexes('status')


def _make_partial_indexes(column: str) -> None:
    live = f"{column} not in ('TERMINATED', 'CANCELLED', 'ERROR')"
    op.create_index(
        'uq_sessions_live_name', 'sessions', ['user_id', 'name'], unique=True,
        sqlite_where=sa.text(live), postgresql_where=sa.text(live),
    )
    ends = sa.text(f'ends_at is not null and {live}')
    op.create_index('ix_sessions_end', 'sessions', ['ends_at'], sqlite_where=ends, postgresql_where=ends)


def _fill_pages(setting: str) -> None:
    if op.get_bind().dialect.name == 'postgresql':
        op.execute(f'ALTER TABLE sessions {setting}')
