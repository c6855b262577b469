"""What all views of /manage/ share: who may, in what shape, and that a write is one transaction, seen at once."""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, ClassVar

from django.db import transaction
from django.db.models import QuerySet
from django_filters.rest_framework import ChoiceFilter, DjangoFilterBackend
from rest_framework import serializers
from rest_framework.filters import OrderingFilter, SearchFilter
from rest_framework.pagination import PageNumberPagination
from rest_framework.parsers import JSONParser
from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from apps.access.models import SnapshotVersion
from apps.registry.fields import YES_OR_NO
from apps.registry.rest.access import Operator
from llamastack import bodies
from llamastack.admin import follow
from llamastack.errors import BadRequest, Conflict, NotFound
from llamastack.near import did_you_mean

SHOWN = 200
# DRF's pages set style attributes; their scripts and style sheets are files of ours.
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:"
)
OF_ROWS = ("retrieve", "update", "partial_update")
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


class FormJSON(JSONRenderer):
    """What the forms of the pages begin with: of a row, what may be changed."""

    def render(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        fields = data.serializer.fields
        writable = {name: data[name] for name in fields if name in data and not fields[name].read_only}
        return json.dumps(writable, indent=2, ensure_ascii=False, default=str).encode()


class Json(JSONParser):
    """Objects, nested at most 64 deep, without the NUL that no database holds."""

    renderer_class = FormJSON

    def parse(self, stream: IO[Any], media_type: str | None = None, parser_context: Any = None) -> dict[str, Any]:
        data = stream.read()
        if NUL.search(data):
            raise BadRequest("The request body holds a NUL character (\\u0000). Leave it out.", code="invalid_value")
        return bodies.json_object(data)


class Pages(BrowsableAPIRenderer):
    """DRF's pages, under our own header."""

    template = "registry/manage.html"

    def get_context(self, data: Any, accepted_media_type: Any, renderer_context: Any) -> dict[str, Any]:
        """With the buttons of a row, and without what an operator has no use for."""
        context = super().get_context(data, accepted_media_type, renderer_context)
        view = context["view"]
        of_row = renderer_context["response"].status_code == 200 and getattr(view, "action", "") in OF_ROWS
        for name in ("Cache-Control", "Content-Security-Policy", "Vary"):
            context["response_headers"].pop(name, None)
        return {**context, "options_form": None, "buttons": view.buttons if of_row else ()}

    def get_breadcrumbs(self, request: Request) -> list[tuple[str, str]]:
        parts = request.path.strip("/").split("/")
        listing = [(parts[1].capitalize(), f"/manage/{parts[1]}")] if len(parts) > 1 else []
        row = [("/".join(parts[2:]), request.path)] if len(parts) > 2 else []
        return [("Manage", "/manage/"), *listing, *row]


class Paged(PageNumberPagination):
    page_size = 50
    max_page_size = 500
    page_size_query_param = "page_size"

    def get_page_size(self, request: Request) -> int:
        text = request.query_params.get("page_size", str(self.page_size))
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= self.max_page_size:
            raise BadRequest(f"'page_size' is a number from 1 to {self.max_page_size}.", param="page_size")
        return int(text)


class Switch(ChoiceFilter):
    """A filter by yes or no; any other word is refused, where django-filter's own looks past it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(choices=[("true", "Yes"), ("false", "No")], **options)

    def filter(self, rows: Any, value: str) -> Any:
        return super().filter(rows, YES_OR_NO.get(value, value))


class Ordered(OrderingFilter):
    def remove_invalid_fields(self, queryset: Any, fields: Iterable[str], view: Any, request: Request) -> list[str]:
        possible = [name for name, _ in self.get_valid_fields(queryset, view, {"request": request})]
        asked = list(fields)
        for field in asked:
            if field.removeprefix("-") not in possible:
                names = ", ".join(possible)
                raise BadRequest(f"'ordering': there is no '{field[:SHOWN]}', but {names}.", param="ordering")
        return asked


class Strict(serializers.Serializer[Any]):
    """Refuses fields it does not know by name. What is read-only may come back, and is not looked at."""

    def to_internal_value(self, data: Any) -> Any:
        for name in data if isinstance(data, dict) else ():
            if name not in self.fields:
                near = did_you_mean(name, self.fields) or "."
                raise BadRequest(f"There is no field '{name[:SHOWN]}'{near}", param=name[:SHOWN])
        return super().to_internal_value(data)

    @property
    def operator(self) -> Operator:
        return Operator.of(self.context["request"])

    def keeps(self, row: Any, given: dict[str, Any], **fixed: Any) -> None:
        """Refuse a row that has changed since `version` was read, and another value for what stays as it is."""
        if (version := given.get("version")) not in (None, row.version):
            raise Conflict(f"'{row}' has changed since version {version} was read; read it again.", param="version")
        for name, value in fixed.items():
            if given.get(name, value) != value:
                raise BadRequest(f"'{name}' stays as it is: '{value}'. Make a new one instead.", param=name)


def bounded(values: dict[str, Any], longest: int = 100_000) -> dict[str, Any]:
    if len(str(values)) > longest:
        raise serializers.ValidationError(f"Longer than {longest} characters.")
    return values


class Nothing(Strict):
    """An action that needs no more than its address."""


class Shown(APIView):
    """How each view answers."""

    detail = False
    parser_classes = (Json,)
    renderer_classes: Any = (JSONRenderer, Pages)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        answer = super().finalize_response(request, response, *args, **kwargs)
        answer.headers["Content-Security-Policy"] = POLICY
        answer.headers["Cache-Control"] = "no-store"
        return answer


class Managed(Shown, GenericViewSet[Any]):
    """Rows of one table. `identifier` is the field that names a row, `buttons` the actions on one."""

    table: ClassVar[Any]
    identifier: ClassVar[str]
    buttons: ClassVar[tuple[str, ...]] = ()
    of_lists: ClassVar[tuple[str, ...]] = ("search", "ordering", "page", "page_size")
    pagination_class = Paged
    filter_backends: Any = (DjangoFilterBackend, SearchFilter, Ordered)
    filterset_class: ClassVar[Any]
    ordering_fields: ClassVar[tuple[str, ...]]

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):  # the description is made without a caller
            return self.table.objects.none()  # type: ignore[no-any-return]
        return Operator.of(self.request).seen(self.table.objects.all())

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Refuses parameters that nothing reads."""
        known = [*self.filterset_class.base_filters, *(() if self.detail else self.of_lists)]
        for name in self.request.query_params:
            if name not in known:
                near = did_you_mean(name, known) or "."
                told = f" There are: {', '.join(known)}." if known else " There are none here."
                raise BadRequest(f"There is no parameter '{name[:SHOWN]}'{near}{told}", param=name[:SHOWN])
        return super().filter_queryset(queryset)

    def row(self, **named: str) -> Any:
        """The row of that name: of the caller's tenant before a shared one, and those before others' (`?tenant=`)."""
        rows = self.filter_queryset(self.get_queryset())
        tenant = Operator.of(self.request).principal.tenant
        found = sorted(rows.filter(**named), key=lambda row: (row.tenant != tenant, row.tenant != "*", row.pk))
        if not found:
            raise self.missing(rows, named)
        self.check_object_permissions(self.request, found[0])
        return found[0]

    def missing(self, rows: QuerySet[Any], named: dict[str, str]) -> NotFound:
        names = rows.values_list("identifier", flat=True)[:1000]
        name = named["identifier"]
        near = did_you_mean(name, names) or "."
        return NotFound(f"There is no {self.table._meta.verbose_name} '{name[:SHOWN]}'{near}", param=self.identifier)

    @contextmanager
    def written(self) -> Iterator[None]:
        """One transaction, in which nobody else writes; this process sees what was written at once."""
        try:
            with transaction.atomic():
                SnapshotVersion.lock()
                yield
        except Conflict as error:
            error.param = self.identifier if error.param == "identifier" else error.param
            raise
        follow()

    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Make a new one."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        with self.written():
            row = serializer.save()
        return Response(self.get_serializer(row).data, status=201, headers={"Location": self.address(row)})

    def update(self, request: Request, *args: Any, partial: bool = False, **kwargs: Any) -> Response:
        """Replace all that may be changed: what is not named goes back to what the YAML says, or to its default."""
        with self.written():
            serializer = self.get_serializer(self.get_object(), data=request.data, partial=partial)
            serializer.is_valid(raise_exception=True)
            row = serializer.save()
        return Response(self.get_serializer(row).data)

    def partial_update(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Change what is given."""
        return self.update(request, *args, partial=True, **kwargs)

    def destroy(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Remove it. What the YAML declares can only be disabled."""
        with self.written():
            self.remove(self.get_object())
        return Response(status=204)

    def address(self, row: Any) -> str:
        raise NotImplementedError

    def remove(self, row: Any) -> None:
        raise NotImplementedError
