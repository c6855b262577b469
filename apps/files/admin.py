"""Files in the admin: to look at. They are deleted by the API, which removes their bytes too."""

from django.contrib import admin

from apps.access.admin import ReadOnlyAdmin
from apps.files.models import File


@admin.register(File)
class FileAdmin(ReadOnlyAdmin):
    list_display = ("filename", "id", "purpose", "size", "owner", "tenant", "created_at", "expires_at")
    list_filter = ("purpose", "created_at")
    search_fields = ("id", "filename", "owner")
    ordering = ("-created_at", "-id")

    @admin.display(description="Bytes", ordering="bytes")
    def size(self, file: File) -> str:
        return f"{file.bytes:,}"
