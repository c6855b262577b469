from django.apps import AppConfig


class VectorIOConfig(AppConfig):
    name = "apps.vector_io"
    verbose_name = "Vector stores"
