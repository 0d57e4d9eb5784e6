"""mails, and the language that a user reads them in

Revision: 0012
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op
from services.db.types import UtcDateTime

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None

_QUEUED = sa.text("status = 'QUEUED'")


def upgrade() -> None:
    op.create_table('mails',
    sa.Column('id', sa.String(length=255), nullable=False),
    sa.Column('kind', sa.String(length=32), nullable=False),
    sa.Column('recipient', sa.String(length=255), nullable=False),
    sa.Column('content', sa.LargeBinary(), nullable=True),
    sa.Column('status', sa.String(length=8), nullable=False),
    sa.Column('attempts', sa.BigInteger(), nullable=False),
    sa.Column('last_error', sa.Text(), nullable=False),
    sa.Column('next_at', UtcDateTime(), nullable=False),
    sa.Column('expires_at', UtcDateTime(), nullable=False),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('sent_at', UtcDateTime(), nullable=True),
    sa.CheckConstraint("status in ('QUEUED', 'SENT', 'FAILED')", name=op.f('ck_mails_status')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_mails'))
    )
    op.create_index('ix_mails_due', 'mails', ['next_at'], sqlite_where=_QUEUED, postgresql_where=_QUEUED)
    op.create_index('ix_mails_created_at', 'mails', ['created_at'])
    with op.batch_alter_table('users', schema=None) as batch_op:
        batch_op.add_column(sa.Column('language', sa.String(length=8), nullable=False, server_default='en'))
    with op.batch_alter_table('users', schema=None) as batch_op:
        batch_op.alter_column('language', existing_type=sa.String(length=8), existing_nullable=False, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table('users', schema=None) as batch_op:
        batch_op.drop_column('language')
    op.drop_table('mails')
