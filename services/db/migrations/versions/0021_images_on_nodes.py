"""since when nodes have images

Revision: 0021
Revises: 0020
"""

import sqlalchemy as sa
from alembic import op
from services.db.types import UtcDateTime

revision = '0021'
down_revision = '0020'
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table('agent_images', schema=None) as batch_op:
        # What is there already counts from now on: nothing is taken for unused that was not watched.
        batch_op.add_column(sa.Column('since', UtcDateTime(), nullable=True))
    op.execute("UPDATE agent_images SET since = CURRENT_TIMESTAMP")
    with op.batch_alter_table('agent_images', schema=None) as batch_op:
        batch_op.alter_column('since', existing_type=UtcDateTime(), nullable=False)
