"""the audit log

Revision: 0018
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op
from services.db.types import UtcDateTime

revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None

_NOT_DONE = sa.text("outcome <> 'DONE'")


def upgrade() -> None:
    op.create_table(
        'audit_events',
        sa.Column('id', sa.String(length=30), nullable=False),
        sa.Column('at', UtcDateTime(), nullable=False),
        sa.Column('user_id', sa.String(length=30), nullable=True),
        sa.Column('domain_id', sa.String(length=30), nullable=True),
        sa.Column('action', sa.String(length=64), nullable=False),
        sa.Column('target_id', sa.String(length=30), nullable=True),
        sa.Column('address', sa.String(length=64), nullable=False),
        sa.Column('user_agent', sa.String(length=255), nullable=False),
        sa.Column('request_id', sa.String(length=64), nullable=False),
        sa.Column('outcome', sa.String(length=8), nullable=False),
        sa.Column('code', sa.String(length=32), nullable=False),
        sa.Column('content', sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_events')),
    )
    for column in ('user_id', 'domain_id', 'target_id', 'action'):
        op.create_index(op.f(f'ix_audit_events_{column}_id'), 'audit_events', [column, 'id'])
    op.create_index(
        'ix_audit_events_not_done',
        'audit_events',
        ['outcome', 'id'],
        sqlite_where=_NOT_DONE,
        postgresql_where=_NOT_DONE,
    )
    op.create_table(
        'audit_targets',
        sa.Column('target_id', sa.String(length=30), nullable=False),
        sa.Column('event_id', sa.String(length=30), nullable=False),
        sa.PrimaryKeyConstraint('target_id', 'event_id', name=op.f('pk_audit_targets')),
    )
    op.create_index(op.f('ix_audit_targets_event_id'), 'audit_targets', ['event_id'])
