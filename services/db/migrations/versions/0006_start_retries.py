"""start retries

Revision: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from services.db.types import UtcDateTime
from sqlalchemy.dialects import postgresql

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None

_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')


def upgrade() -> None:
    with op.batch_alter_table('resource_groups', schema=None) as batch_op:
        batch_op.add_column(sa.Column('start_retries', sa.BigInteger(), nullable=False, server_default='2'))
    with op.batch_alter_table('resource_groups', schema=None) as batch_op:
        batch_op.alter_column('start_retries', existing_type=sa.BigInteger(), existing_nullable=False, server_default=None)
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.add_column(sa.Column('failed_agent_ids', _DOCUMENT, nullable=False, server_default='[]'))
        batch_op.add_column(sa.Column('retry_at', UtcDateTime(), nullable=True))
    with op.batch_alter_table('sessions', schema=None) as batch_op:
        batch_op.alter_column('failed_agent_ids', existing_type=_DOCUMENT, existing_nullable=False, server_default=None)
