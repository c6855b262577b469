from django.apps import AppConfig


class BatchesConfig(AppConfig):
    name = "apps.batches"
    verbose_name = "Batches"
