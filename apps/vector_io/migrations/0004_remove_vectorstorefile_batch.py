from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('vector_io', '0003_carry_batches_over'),
    ]

    operations = [
        migrations.RemoveField(
            model_name='vectorstorefile',
            name='batch',
        ),
    ]
