"""limits of users and resource groups

Revision: 0005
Revises: 0004
"""

from collections import Counter

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

_SLOTS = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')
#: As `services.sessions.lifecycle.PLACED` was at this revision: these kernels and sessions occupy something.
_PLACED = ('SCHEDULED', 'PREPARING', 'PULLING', 'PREPARED', 'CREATING', 'RUNNING', 'TERMINATING')

_kernels = sa.table('kernels', sa.column('session_id'), sa.column('status'), sa.column('slots', _SLOTS))
_sessions = sa.table(
    'sessions', sa.column('id'), sa.column('status'), sa.column('user_id'), sa.column('resource_group_id')
)
_occupancies = sa.table(
    'occupancies', sa.column('scope_id', sa.String), sa.column('slot', sa.String), sa.column('used', sa.BigInteger)
)


def upgrade() -> None:
    for name, kernels in (('users', False), ('resource_groups', True)):
        with op.batch_alter_table(name, schema=None) as batch_op:
            batch_op.add_column(sa.Column('total_slots', _SLOTS, nullable=False, server_default='{}'))
            batch_op.add_column(sa.Column('max_concurrent_sessions', sa.BigInteger(), nullable=True))
            if kernels:
                batch_op.add_column(sa.Column('max_kernels_per_session', sa.BigInteger(), nullable=True))
        with op.batch_alter_table(name, schema=None) as batch_op:
            batch_op.alter_column(
                'total_slots', existing_type=_SLOTS, existing_nullable=False, server_default=None
            )
    _open_accounts()


def _open_accounts() -> None:
    """What runs already counts for its user and its resource group: it will be taken off when it ends."""
    connection, amounts = op.get_bind(), Counter()
    held = connection.execute(
        sa.select(_kernels.c.slots, _sessions.c.user_id, _sessions.c.resource_group_id)
        .join_from(_kernels, _sessions, _sessions.c.id == _kernels.c.session_id)
        .where(_kernels.c.status.in_(_PLACED))
    )
    for slots, *scopes in held:
        for scope in scopes:
            for slot, amount in slots.items():
                amounts[scope, slot] += amount
    placed = connection.execute(
        sa.select(_sessions.c.user_id, _sessions.c.resource_group_id).where(_sessions.c.status.in_(_PLACED))
    )
    for scopes in placed:
        for scope in scopes:
            amounts[scope, 'sessions'] += 1
    if amounts:
        connection.execute(
            sa.insert(_occupancies),
            [{'scope_id': scope, 'slot': slot, 'used': used} for (scope, slot), used in amounts.items()],
        )
