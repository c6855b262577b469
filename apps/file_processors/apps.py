from django.apps import AppConfig


class FileProcessorsConfig(AppConfig):
    name = "apps.file_processors"
    label = "file_processors"
    verbose_name = "File processors"
