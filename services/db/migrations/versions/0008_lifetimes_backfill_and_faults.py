"""lifetimes, backfill, faults of schedulers, sessions at once of groups and domains

Revision: 0008
Revises: 0007
"""

from collections import Counter

import sqlalchemy as sa
from alembic import op
from services.db.types import UtcDateTime
from sqlalchemy.dialects import postgresql

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')
#: As `services.sessions.lifecycle.PLACED` was at this revision: these sessions occupy something.
_PLACED = ('SCHEDULED', 'PREPARING', 'PULLING', 'PREPARED', 'CREATING', 'RUNNING', 'TERMINATING')

#: Table → columns that every row has from now on: of what type, and with what.
_ADDED = {
    'resource_policies': {'max_lifetime_seconds': (sa.BigInteger(), '0')},
    'resource_groups': {
        'max_lifetime_seconds': (sa.BigInteger(), '0'),
        'backfill': (sa.Boolean(), sa.true()),
        'backfill_options': (_DOCUMENT, '{}'),
    },
}

_sessions = sa.table('sessions', sa.column('status'), sa.column('group_id'), sa.column('domain_id'))
_occupancies = sa.table(
    'occupancies', sa.column('scope_id', sa.String), sa.column('slot', sa.String), sa.column('used', sa.BigInteger)
)


def upgrade() -> None:
    for table, columns in _ADDED.items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name, (kind, value) in columns.items():
                batch_op.add_column(sa.Column(name, kind, nullable=False, server_default=value))
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name, (kind, _) in columns.items():
                batch_op.alter_column(name, existing_type=kind, existing_nullable=False, server_default=None)
    with op.batch_alter_table('resource_groups', schema=None) as batch_op:
        batch_op.add_column(sa.Column('scheduler_fault', _DOCUMENT, nullable=True))
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.add_column(sa.Column('lifetime_warned_at', UtcDateTime(), nullable=True))
    for table in ('groups', 'domains'):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column('max_concurrent_sessions', sa.BigInteger(), nullable=True))
    _open_accounts()


def _open_accounts() -> None:
    """What runs already is one of the sessions at once of its group and its domain: it is taken off when it ends."""
    connection, amounts = op.get_bind(), Counter()
    placed = connection.execute(
        sa.select(_sessions.c.group_id, _sessions.c.domain_id).where(_sessions.c.status.in_(_PLACED))
    )
    for scopes in placed:
        for scope in scopes:
            amounts[scope, 'sessions'] += 1
    if amounts:
        connection.execute(
            sa.insert(_occupancies),
            [{'scope_id': scope, 'slot': slot, 'used': used} for (scope, slot), used in amounts.items()],
        )
