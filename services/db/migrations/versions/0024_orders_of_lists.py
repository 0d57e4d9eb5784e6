"""orders of long lists

Revision: 0024
Revises: 0023
"""

from alembic import op

revision = '0024'
down_revision = '0023'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index('ix_users_name_id', 'users', ['name', 'id'])
    op.create_index('ix_users_role_id', 'users', ['role', 'id'])
    op.create_index('ix_mails_next_at_id', 'mails', ['next_at', 'id'])
