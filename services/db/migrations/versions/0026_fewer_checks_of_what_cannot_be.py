"""no foreign keys of timelines and of kernels' agents; room for occupancies to change

Revision: 0026
Revises: 0025
"""

from alembic import op

revision = '0026'
down_revision = '0025'
branch_labels = None
depends_on = None

_KEYS = (('session_events', 'session_id', 'sessions'), ('kernels', 'agent_id', 'agents'))


def upgrade() -> None:
    for table, column, other in _KEYS:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_constraint(f'fk_{table}_{column}_{other}', type_='foreignkey')
    _fill_pages('SET (fillfactor = 50)')


def downgrade() -> None:
    _fill_pages('RESET (fillfactor)')
    for table, column, other in _KEYS:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.create_foreign_key(f'fk_{table}_{column}_{other}', other, [column], ['id'])


def _fill_pages(setting: str) -> None:
    if op.get_bind().dialect.name == 'postgresql':
        op.execute(f'ALTER TABLE occupancies {setting}')
