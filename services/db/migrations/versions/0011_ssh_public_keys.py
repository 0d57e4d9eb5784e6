"""SSH public keys of users

Revision: 0011
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None

_DOCUMENT = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')


def upgrade() -> None:
    with op.batch_alter_table('users', schema=None) as batch_op:
        batch_op.add_column(sa.Column('ssh_public_keys', _DOCUMENT, nullable=False, server_default='[]'))
    with op.batch_alter_table('users', schema=None) as batch_op:
        batch_op.alter_column('ssh_public_keys', existing_type=_DOCUMENT, existing_nullable=False, server_default=None)


def downgrade() -> None:
    with op.batch_alter_table('users', schema=None) as batch_op:
        batch_op.drop_column('ssh_public_keys')
