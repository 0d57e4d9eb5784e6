"""settings that administrators change while managers run

Revision: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from services.db.types import UtcDateTime
from sqlalchemy.dialects import postgresql

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'settings',
        sa.Column('key', sa.String(length=64), nullable=False),
        sa.Column('document', sa.JSON().with_variant(postgresql.JSONB(), 'postgresql'), nullable=False),
        sa.Column('sealed', sa.LargeBinary(), nullable=True),
        sa.Column('updated_at', UtcDateTime(), nullable=False),
        sa.Column('updated_by_id', sa.String(length=255), nullable=True),
        sa.ForeignKeyConstraint(['updated_by_id'], ['users.id'], name=op.f('fk_settings_updated_by_id_users')),
        sa.PrimaryKeyConstraint('key', name=op.f('pk_settings')),
    )
