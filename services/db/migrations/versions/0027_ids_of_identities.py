"""ids of identities

Revision: 0027
Revises: 0024
"""

import sqlalchemy as sa
from alembic import op
from services import ids
from services.db.types import UtcDateTime

revision = '0027'
down_revision = '0026'
branch_labels = None
depends_on = None

_OLD = ('issuer', 'subject', 'user_id', 'email', 'linked_at', 'last_used_at')


def upgrade() -> None:
    rows = _take()
    _create(sa.Column('id', sa.String(length=255), nullable=False), key=('id',))
    op.create_index('ix_identities_issuer_subject', 'identities', ['issuer', 'subject'], unique=True)
    _put([{'id': ids.new('idn', row['linked_at']), **row} for row in rows])


def downgrade() -> None:
    rows = _take()
    _create(key=('issuer', 'subject'))
    _put(rows)


def _take() -> list[dict[str, object]]:
    """The rows, of a table that is gone then: a primary key is not changed in the same way on both databases."""
    table = sa.table('identities', *(sa.column(name, UtcDateTime() if name.endswith('_at') else sa.String()) for name in _OLD))
    rows = [dict(row) for row in op.get_bind().execute(sa.select(table)).mappings()]
    op.drop_index('ix_identities_user_id', 'identities')
    op.drop_table('identities')
    return rows


def _create(*more: sa.Column[str], key: tuple[str, ...]) -> None:
    op.create_table('identities',
    *more,
    sa.Column('issuer', sa.String(length=255), nullable=False),
    sa.Column('subject', sa.String(length=255), nullable=False),
    sa.Column('user_id', sa.String(length=255), nullable=False),
    sa.Column('email', sa.String(length=255), nullable=False),
    sa.Column('linked_at', UtcDateTime(), nullable=False),
    sa.Column('last_used_at', UtcDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_identities_user_id_users')),
    sa.PrimaryKeyConstraint(*key, name=op.f('pk_identities'))
    )
    op.create_index('ix_identities_user_id', 'identities', ['user_id'])


def _put(rows: list[dict[str, object]]) -> None:
    if rows:
        table = sa.table('identities', *(sa.column(name, UtcDateTime() if name.endswith('_at') else sa.String()) for name in rows[0]))
        op.bulk_insert(table, rows)
