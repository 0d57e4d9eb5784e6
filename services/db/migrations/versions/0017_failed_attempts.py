"""failed attempts to get in

Revision: 0017
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('failed_attempts',
    sa.Column('key', sa.LargeBinary(length=32), nullable=False),
    sa.Column('failures', sa.BigInteger(), nullable=False),
    sa.Column('allowed_ms', sa.BigInteger(), nullable=False),
    sa.Column('last_ms', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('key', name=op.f('pk_failed_attempts'))
    )
    op.create_index('ix_failed_attempts_last_ms', 'failed_attempts', ['last_ms'])


def downgrade() -> None:
    op.drop_table('failed_attempts')
