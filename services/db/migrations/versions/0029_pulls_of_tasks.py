"""pulls of tasks

Revision: 0029
Revises: 0028
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0029'
down_revision = '0028'
branch_labels = None
depends_on = None

_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')


def upgrade() -> None:
    with op.batch_alter_table('tasks', schema=None) as batch_op:
        batch_op.add_column(sa.Column('pulls', _DOCUMENT, nullable=False, server_default='[]'))
    with op.batch_alter_table('tasks', schema=None) as batch_op:
        batch_op.alter_column('pulls', existing_type=_DOCUMENT, existing_nullable=False, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table('tasks', schema=None) as batch_op:
        batch_op.drop_column('pulls')
