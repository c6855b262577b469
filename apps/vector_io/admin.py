"""Vector stores and their files in the admin: to look at, to search in, and to fill."""

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.forms import Script
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET, require_POST

from apps.access.admin import ReadOnlyAdmin
from apps.jobs.admin import JobAdmin
from apps.jobs.shown import page_of, panel
from apps.registry.models import VectorStore
from apps.vector_io import pressed, shown
from apps.vector_io.models import VectorStoreFile
from llamastack.errors import StackError

JSON = "application/json"


class ReadOnly(ReadOnlyAdmin):
    """What the API alone changes, and buttons that do what the API does."""

    show_full_result_count = False
    Media: Any = JobAdmin.Media


@admin.register(VectorStore)
class VectorStoreAdmin(ReadOnly):
    list_display = ("identifier", "name", "provider_id", "embedding_model", "owner", "tenant", "created_at")
    list_filter = ("provider_id", "embedding_model", "created_at")
    search_fields = ("identifier", "name", "owner")
    fields = ("identifier", "name", "description", "metadata", "origin", "owner", "tenant", "key")
    change_form_outer_before_template = "admin/vector_io/store.html"

    class Media:
        css: ClassVar[dict[str, Any]] = {"all": ["jobs/job.css", "vector_io/store.css"]}
        js = (Script("vector_io/store.js", type="module"),)

    def may_press(self, request: HttpRequest, store: VectorStore, *also: str) -> bool:
        """Whether the buttons are the person's to press: who may change the store, and what else this takes."""
        may_change = super(ReadOnlyAdmin, self).has_change_permission(request, store)
        return may_change and all(request.user.has_perm(right) for right in also)

    # --- its page ---

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        context = dict(extra_context or {})
        if (store := self.get_object(request, unquote(object_id))) is not None:
            call = shown.caller(request.user.get_username(), store)
            context |= shown.of_store(store, call, request.GET)
            context |= self._offered(request, store)
            if context["may_attach"]:
                context["offered"] = shown.offered(store, call)
        return super().change_view(request, object_id, form_url, context)

    def _offered(self, request: HttpRequest, store: VectorStore) -> dict[str, bool]:
        return {
            "may_press": self.may_press(request, store),
            "may_attach": self.may_press(request, store, "files.view_file"),
            "may_upload": self.may_press(request, store, "files.view_file", "files.add_file"),
        }

    def get_urls(self) -> list[URLPattern]:
        views = {
            "files": require_GET(self.files),
            "upload": require_POST(self.upload),
            "attach": require_POST(self.attach),
            "detach": require_POST(self.detach),
            "again": require_POST(self.again),
        }
        own = [
            path(f"<str:object_id>/{name}/", self.admin_site.admin_view(view), name=f"registry_vectorstore_{name}")
            for name, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def files(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The part of the page that the page itself asks for again and again."""
        store = self.get_object(request, unquote(object_id))
        if store is None or not self.has_view_permission(request, store):
            raise PermissionDenied
        context = {**shown.files(store, request.GET), **self._offered(request, store), "store": store}
        return render(request, "admin/vector_io/files.html", context)

    # --- its buttons ---

    def upload(self, request: HttpRequest, object_id: str) -> HttpResponse:
        store = self._to_change(request, object_id, "files.view_file", "files.add_file")
        return pressed.upload(request, shown.caller(request.user.get_username(), store))

    def attach(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._pressed(request, self._to_change(request, object_id, "files.view_file"), pressed.attach)

    def detach(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._pressed(request, self._to_change(request, object_id), pressed.detach)

    def again(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._pressed(request, self._to_change(request, object_id), pressed.again)

    def _to_change(self, request: HttpRequest, object_id: str, *also: str) -> VectorStore:
        store: VectorStore | None = self.get_object(request, unquote(object_id))
        if store is None or not self.may_press(request, store, *also):
            raise PermissionDenied
        return store

    def _pressed(self, request: HttpRequest, store: VectorStore, step: pressed.Step) -> HttpResponse:
        """To the page's script what became of it; to a browser without scripts the page, with a message."""
        to_script = request.headers.get("Accept") == JSON
        try:
            told = step(request, store, shown.caller(request.user.get_username(), store))
        except StackError as error:
            if to_script:
                return pressed.refused(error)
            messages.error(request, error.message)
        else:
            self.log_change(request, store, told)
            if to_script:
                return JsonResponse({"message": told})
            messages.success(request, told)
        return HttpResponseRedirect(page_of(store))


@admin.register(VectorStoreFile)
class VectorStoreFileAdmin(ReadOnly):
    list_display = ("filename", "store", "how", "chunks", "usage_bytes", "error", "owner", "tenant", "created_at")
    list_filter = ("status", "parser", "created_at")
    list_select_related = ("store", "job")
    search_fields = ("file_id", "filename", "owner", "error", "store__identifier")
    fields: ClassVar[Any] = ("file_id", "attributes", "chunking_strategy", "chunked", "parser", "usage_bytes", "owner")
    change_form_outer_before_template = "admin/vector_io/file.html"

    def get_queryset(self, request: HttpRequest) -> Any:
        rows: Any = super().get_queryset(request)
        return rows.shown()

    @admin.display(description="State", ordering="status")
    def how(self, row: VectorStoreFile) -> SafeString:
        return shown.state(row.state)

    def change_view(self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None) -> Any:
        context = dict(extra_context or {})
        if (row := self.get_object(request, unquote(object_id))) is not None:
            context |= shown.of_file(row, shown.caller(request.user.get_username(), row.store), request.GET)
            context |= panel(row.job, may_press=False)
        return super().change_view(request, object_id, form_url, context)
