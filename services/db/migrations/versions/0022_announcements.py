"""announcements

Revision: 0022
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op
from services.db.types import UtcDateTime

revision = '0022'
down_revision = '0021'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'announcements',
        sa.Column('id', sa.String(length=255), nullable=False),
        sa.Column('domain_id', sa.String(length=255), nullable=True),
        sa.Column('severity', sa.String(length=16), nullable=False),
        sa.Column('title', sa.String(length=255), nullable=False),
        sa.Column('text', sa.Text(), nullable=False),
        sa.Column('starts_at', UtcDateTime(), nullable=False),
        sa.Column('ends_at', UtcDateTime(), nullable=True),
        sa.Column('author_id', sa.String(length=255), nullable=False),
        sa.Column('created_at', UtcDateTime(), nullable=False),
        sa.Column('updated_at', UtcDateTime(), nullable=False),
        sa.CheckConstraint("severity in ('INFO', 'WARNING', 'CRITICAL')", name=op.f('ck_announcements_severity')),
        sa.ForeignKeyConstraint(['domain_id'], ['domains.id'], name=op.f('fk_announcements_domain_id_domains')),
        sa.ForeignKeyConstraint(['author_id'], ['users.id'], name=op.f('fk_announcements_author_id_users')),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_announcements')),
    )
    with op.batch_alter_table('announcements', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_announcements_domain_id'), ['domain_id'], unique=False)


def downgrade() -> None:
    op.drop_table('announcements')
