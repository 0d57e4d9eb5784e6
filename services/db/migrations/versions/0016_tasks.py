"""work in the background, and what registries say of images

Revision: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op
from services.db.types import UtcDateTime
from sqlalchemy.dialects import postgresql

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None

_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')


def upgrade() -> None:
    op.create_table('tasks',
    sa.Column('id', sa.String(length=255), nullable=False),
    sa.Column('kind', sa.String(length=32), nullable=False),
    sa.Column('status', sa.String(length=16), nullable=False),
    sa.Column('user_id', sa.String(length=255), nullable=False),
    sa.Column('domain_id', sa.String(length=255), nullable=False),
    sa.Column('arguments', _DOCUMENT, nullable=False),
    sa.Column('lock', sa.String(length=128), nullable=True),
    sa.Column('current', sa.BigInteger(), nullable=False),
    sa.Column('total', sa.BigInteger(), nullable=True),
    sa.Column('message', sa.Text(), nullable=False),
    sa.Column('summary', _DOCUMENT, nullable=False),
    sa.Column('error_code', sa.String(length=64), nullable=False),
    sa.Column('error_message', sa.Text(), nullable=False),
    sa.Column('cancel_requested', sa.Boolean(), nullable=False),
    sa.Column('attempt', sa.BigInteger(), nullable=False),
    sa.Column('manager', sa.String(length=255), nullable=False),
    sa.Column('lease_expires_at', UtcDateTime(), nullable=True),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.Column('started_at', UtcDateTime(), nullable=True),
    sa.Column('ended_at', UtcDateTime(), nullable=True),
    sa.CheckConstraint("status in ('PENDING', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELLED')", name=op.f('ck_tasks_status')),
    sa.ForeignKeyConstraint(['domain_id'], ['domains.id'], name=op.f('fk_tasks_domain_id_domains')),
    sa.ForeignKeyConstraint(['user_id'], ['users.id'], name=op.f('fk_tasks_user_id_users')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_tasks'))
    )
    live = sa.text("status in ('PENDING', 'RUNNING')")
    with op.batch_alter_table('tasks', schema=None) as batch_op:
        batch_op.create_index('uq_tasks_live_lock', ['lock'], unique=True, sqlite_where=live, postgresql_where=live)
        batch_op.create_index(batch_op.f('ix_tasks_domain_id_id'), ['domain_id', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_tasks_status_id'), ['status', 'id'], unique=False)
        batch_op.create_index(batch_op.f('ix_tasks_user_id_id'), ['user_id', 'id'], unique=False)
    op.create_table('task_lines',
    sa.Column('task_id', sa.String(length=255), nullable=False),
    sa.Column('number', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('outcome', sa.String(length=32), nullable=False),
    sa.Column('subject', sa.String(length=512), nullable=False),
    sa.Column('message', sa.Text(), nullable=False),
    sa.ForeignKeyConstraint(['task_id'], ['tasks.id'], name=op.f('fk_task_lines_task_id_tasks')),
    sa.PrimaryKeyConstraint('task_id', 'number', name=op.f('pk_task_lines'))
    )
    with op.batch_alter_table('images', schema=None) as batch_op:
        batch_op.add_column(sa.Column('scanned_digest', sa.String(length=255), nullable=True))
        batch_op.add_column(sa.Column('vanished', sa.Boolean(), nullable=False, server_default=sa.false()))
    with op.batch_alter_table('images', schema=None) as batch_op:
        batch_op.alter_column('vanished', existing_type=sa.Boolean(), existing_nullable=False, server_default=None)
    op.create_table('image_aliases',
    sa.Column('name', sa.String(length=64), nullable=False),
    sa.Column('image_id', sa.String(length=255), nullable=False),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.ForeignKeyConstraint(['image_id'], ['images.id'], name=op.f('fk_image_aliases_image_id_images')),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_image_aliases'))
    )
    with op.batch_alter_table('image_aliases', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_image_aliases_image_id'), ['image_id'], unique=False)
