"""storage of policies, domains and groups; sessions that end with their owner

Revision: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op
from services.db.types import UtcDateTime
from sqlalchemy.dialects import postgresql

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None

_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')
_ENDING = sa.text('sessions_ending_since is not null')


def upgrade() -> None:
    for table in ('domains', 'groups', 'users'):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column('sessions_ending_since', UtcDateTime(), nullable=True))
            if table != 'users':
                batch_op.add_column(
                    sa.Column('allowed_storage_hosts', _DOCUMENT, nullable=False, server_default='[]')
                )
            batch_op.create_index(
                f'ix_{table}_sessions_ending', ['sessions_ending_since'],
                sqlite_where=_ENDING, postgresql_where=_ENDING,
            )
        if table != 'users':
            with op.batch_alter_table(table, schema=None) as batch_op:
                batch_op.alter_column(
                    'allowed_storage_hosts', existing_type=_DOCUMENT, existing_nullable=False, server_default=None
                )
    with op.batch_alter_table('resource_policies', schema=None) as batch_op:
        batch_op.add_column(sa.Column('allowed_storage_hosts', _DOCUMENT, nullable=True))
        batch_op.add_column(sa.Column('max_folder_bytes', sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column('max_folders', sa.BigInteger(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table('resource_policies', schema=None) as batch_op:
        for column in ('max_folders', 'max_folder_bytes', 'allowed_storage_hosts'):
            batch_op.drop_column(column)
    for table in ('users', 'groups', 'domains'):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_index(f'ix_{table}_sessions_ending')
            if table != 'users':
                batch_op.drop_column('allowed_storage_hosts')
            batch_op.drop_column('sessions_ending_since')
