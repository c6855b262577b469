"""Each file's batch becomes a row of its own. In a migration of its own: PostgreSQL alters no table that has rows of
the same transaction. Within the database, so that the size of the tables takes no memory here."""

from django.db import migrations

# A file's last batch, and the one whose job reads it: an older one had lost the file to the last.
FILES = """
INSERT INTO vector_io_batchfile (batch_id, file_id, outcome)
SELECT batch_id, file_id, '' FROM vector_io_vectorstorefile WHERE batch_id IS NOT NULL
UNION
SELECT batch.id, file.file_id, ''
FROM vector_io_vectorstorefile file
JOIN vector_io_filebatch batch ON batch.job_id = file.job_id AND batch.store_id = file.store_id
"""
BY_ITSELF = """
UPDATE vector_io_vectorstorefile SET by_itself = TRUE
WHERE NOT EXISTS (
    SELECT 1 FROM vector_io_filebatch batch WHERE batch.job_id = vector_io_vectorstorefile.job_id
)
"""
LAST_BATCH = """
UPDATE vector_io_vectorstorefile SET batch_id = (
    SELECT MAX(batch.id) FROM vector_io_batchfile file JOIN vector_io_filebatch batch ON batch.id = file.batch_id
    WHERE file.file_id = vector_io_vectorstorefile.file_id AND batch.store_id = vector_io_vectorstorefile.store_id
)
"""


class Migration(migrations.Migration):

    dependencies = [
        ('vector_io', '0002_batch_files'),
    ]

    operations = [
        migrations.RunSQL(FILES, 'DELETE FROM vector_io_batchfile'),
        migrations.RunSQL(BY_ITSELF, migrations.RunSQL.noop),
        migrations.RunSQL(migrations.RunSQL.noop, LAST_BATCH),
    ]
