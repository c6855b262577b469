"""/manage/jobs: long work, to look at, to cancel and to try again."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from apps.jobs import kinds, service
from apps.jobs.models import Job, Status
from apps.registry.rest.access import MayManage
from apps.registry.rest.base import Managed, Nothing


class JobSerializer(serializers.ModelSerializer[Job]):
    """Long work. `started_at` is when it was last begun, `expected_at` when it ends if it goes on as fast."""

    queue = serializers.SerializerMethodField(help_text="Of the workers that do it.")
    progress = serializers.JSONField(read_only=True, help_text="The kind's own: a batch tells `done` and `total`.")
    expected_at = serializers.DateTimeField(read_only=True, allow_null=True)

    class Meta:
        model = Job
        fields = (
            "id", "kind", "queue", "status", "priority", "owner", "tenant", "progress", "attempt", "error",
            "cancel_requested", "created_at", "started_at", "expected_at", "ended_at",
        )  # fmt: skip
        read_only_fields = fields

    def get_queue(self, job: Job) -> str:
        return kinds.queue(job.kind)


class JobFilter(filters.FilterSet):
    status = filters.ChoiceFilter(choices=Status.choices)
    kind = filters.CharFilter()
    queue = filters.ChoiceFilter(choices=[(name, name) for name in kinds.QUEUES], method="of_queue")
    owner = filters.CharFilter()
    tenant = filters.CharFilter()
    since = filters.IsoDateTimeFilter("created_at", "gte", help_text="Jobs that were made then or later.")
    until = filters.IsoDateTimeFilter("created_at", "lt", help_text="Jobs that were made before.")

    def of_queue(self, rows: QuerySet[Job], name: str, value: str) -> QuerySet[Job]:
        return service.of_queue(rows, value)


class JobViewSet(Managed):
    """Jobs."""

    table = Job
    identifier = "job_id"
    buttons = ("cancel", "retry")
    queryset = Job.objects.none()
    serializer_class = JobSerializer
    permission_classes: tuple[type[BasePermission], ...] = (MayManage,)
    filterset_class = JobFilter
    search_fields = ("id", "owner")
    ordering_fields = ("created_at", "started_at", "ended_at", "priority")
    ordering = ("-created_at", "-id")

    def list(self, request: Request) -> Response:
        """The jobs that the caller may see, the newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, job_id: str) -> Response:
        """One job."""
        return Response(JobSerializer(self.get_object()).data)

    @extend_schema(request=None, responses=JobSerializer)
    def cancel(self, request: Request, job_id: str) -> Response:
        """End a job: at once where nobody has begun it, or else where it next tells how far it is."""
        return self.done(service.cancelled)

    @extend_schema(request=None, responses=JobSerializer)
    def retry(self, request: Request, job_id: str) -> Response:
        """Queue a job again that has failed, was cancelled, or was set aside."""
        return self.done(service.retried)

    def done(self, step: Callable[..., Any]) -> Response:
        """What a button does to the job."""
        job = self.get_object()
        step(self.get_queryset(), job.id)
        job.refresh_from_db()
        return Response(JobSerializer(job).data)

    def get_object(self) -> Job:
        rows: Any = self.filter_queryset(self.get_queryset())
        job = service.found(rows, self.kwargs["job_id"])
        self.check_object_permissions(self.request, job)
        return job

    def get_serializer_class(self) -> type[Any]:
        return Nothing if self.action in ("cancel", "retry") else JobSerializer
