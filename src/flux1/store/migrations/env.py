"""Run by Alembic, inside the transaction that `Database.upgrade` holds."""

from alembic import context

from flux1.store.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    transactional_ddl=True,
)
context.run_migrations()
