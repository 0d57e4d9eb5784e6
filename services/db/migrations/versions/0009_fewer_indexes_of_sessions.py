"""fewer indexes of sessions: every change of a status writes all of them

Revision: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None

_ENDS = sa.text("ends_at is not null and status not in ('TERMINATED', 'CANCELLED', 'ERROR')")


def upgrade() -> None:
    for name in (
        'ix_sessions_keypair_id',
        'ix_sessions_image_id',
        'ix_sessions_resource_group_id_status_id',
        'ix_sessions_deadline',
        'ix_sessions_end',
    ):
        op.drop_index(name, table_name='sessions')
    op.create_index('ix_sessions_end', 'sessions', ['ends_at'], sqlite_where=_ENDS, postgresql_where=_ENDS)
