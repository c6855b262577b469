import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('vector_io', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='filebatch',
            name='cancel_requested',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='vectorstorefile',
            name='by_itself',
            field=models.BooleanField(default=False),
        ),
        migrations.CreateModel(
            name='BatchFile',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('file_id', models.CharField(max_length=255)),
                ('outcome', models.CharField(blank=True, max_length=16)),
                ('batch', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='files', to='vector_io.filebatch')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('file_id', 'batch'), name='vector_store_batch_file_once')],
            },
        ),
    ]
