"""registries and who may use them

Revision: 0013
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op
from services.db.types import UtcDateTime
from sqlalchemy.dialects import postgresql

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('registries',
    sa.Column('id', sa.String(length=255), nullable=False),
    sa.Column('hostname', sa.String(length=255), nullable=False),
    sa.Column('url', sa.String(length=512), nullable=False),
    sa.Column('kind', sa.String(length=16), nullable=False),
    sa.Column('username', sa.String(length=255), nullable=False),
    sa.Column('password_encrypted', sa.LargeBinary(), nullable=True),
    sa.Column('projects', sa.JSON().with_variant(postgresql.JSONB(), 'postgresql'), nullable=False),
    sa.Column('trusted_hosts', sa.JSON().with_variant(postgresql.JSONB(), 'postgresql'), nullable=False),
    sa.Column('verify_tls', sa.Boolean(), nullable=False),
    sa.Column('active', sa.Boolean(), nullable=False),
    sa.Column('scanned_at', UtcDateTime(), nullable=True),
    sa.Column('created_at', UtcDateTime(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_registries')),
    sa.UniqueConstraint('hostname', name=op.f('uq_registries_hostname'))
    )
    op.create_table('registry_grants',
    sa.Column('registry_id', sa.String(length=255), nullable=False),
    sa.Column('grantee_id', sa.String(length=30), nullable=False),
    sa.ForeignKeyConstraint(['registry_id'], ['registries.id'], name=op.f('fk_registry_grants_registry_id_registries')),
    sa.PrimaryKeyConstraint('registry_id', 'grantee_id', name=op.f('pk_registry_grants'))
    )
    with op.batch_alter_table('registry_grants', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_registry_grants_grantee_id'), ['grantee_id'], unique=False)
