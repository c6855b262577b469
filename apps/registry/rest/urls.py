"""The URLs of /manage/, whole: `llamastack.urls` resolves them here, so that DRF is imported on first use."""

from typing import Any

from django.urls import path
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from apps.registry.rest.access import IsOperator
from apps.registry.rest.base import Shown
from apps.registry.rest.description import DescriptionJSON
from apps.registry.rest.jobs import JobViewSet
from apps.registry.rest.keys import KeyViewSet
from apps.registry.rest.models import ModelViewSet
from apps.registry.rest.providers import ProviderViewSet
from apps.registry.rest.usage import SummaryViewSet, UsageViewSet
from llamastack.errors import NotFound

LISTS = ("providers", "models", "keys", "usage", "jobs")


@extend_schema(exclude=True)
class Root(Shown):
    """What operators' scripts manage. The same is in the admin, for people."""

    permission_classes = (IsOperator,)

    def get_view_name(self) -> str:
        return "Manage"

    def get(self, request: Request) -> Response:
        links = {name: request.build_absolute_uri(f"/manage/{name}") for name in (*LISTS, "docs", "openapi.json")}
        return Response(links)


@extend_schema(exclude=True)
class Missing(Shown):
    """Whatever else is asked for."""

    permission_classes = (IsOperator,)

    @property
    def allowed_methods(self) -> list[str]:
        """None for which its page would have a form."""
        return []

    def get(self, request: Request, **kwargs: Any) -> Response:
        raise NotFound(
            f"There is no endpoint {request.path[:200]}. GET /manage/ shows what there is.", code="unknown_url"
        )

    post = put = patch = delete = get


def rows(viewset: Any, address: str, name: str, **methods: str) -> list[Any]:
    """A list, also where a slash ends its address; the description of the API has one of them."""
    methods |= {"get": "list"}
    view = viewset.as_view(methods, detail=False, name=name)
    slashed = viewset.as_view(methods, detail=False, name=name, schema=None)
    return [path(f"manage/{address}", view), path(f"manage/{address}/", slashed)]


def row(viewset: Any, name: str, **methods: str) -> Any:
    return viewset.as_view(methods, detail=True, name=name)


CHANGED = {"get": "retrieve", "put": "update", "patch": "partial_update", "delete": "destroy"}
PROVIDER = "manage/providers/<str:api>/<str:provider_id>"
KEY = "manage/keys/<str:prefix>"
JOB = "manage/jobs/<str:job_id>"

urlpatterns = [
    path("manage/", Root.as_view()),
    path("manage/openapi.json", SpectacularAPIView.as_view(renderer_classes=[DescriptionJSON])),
    *rows(ProviderViewSet, "providers", "Providers", post="create"),
    path(PROVIDER, row(ProviderViewSet, "Provider", **CHANGED)),
    path(f"{PROVIDER}/test", row(ProviderViewSet, "Test a provider", post="test")),
    path(f"{PROVIDER}/discover", row(ProviderViewSet, "Discover a provider's models", post="discover")),
    path(f"{PROVIDER}/enable", row(ProviderViewSet, "Enable a provider", post="enable")),
    path(f"{PROVIDER}/disable", row(ProviderViewSet, "Disable a provider", post="disable")),
    *rows(ModelViewSet, "models", "Models", post="create"),
    path("manage/models/<path:model_id>", row(ModelViewSet, "Model", **CHANGED)),
    *rows(KeyViewSet, "keys", "API keys", post="create"),
    path(KEY, row(KeyViewSet, "API key", get="retrieve")),
    path(f"{KEY}/revoke", row(KeyViewSet, "Revoke an API key", post="revoke")),
    *rows(UsageViewSet, "usage", "Usage"),
    *rows(SummaryViewSet, "usage/summary", "Summary of usage"),
    *rows(JobViewSet, "jobs", "Jobs"),
    path(JOB, row(JobViewSet, "Job", get="retrieve")),
    path(f"{JOB}/cancel", row(JobViewSet, "Cancel a job", post="cancel")),
    path(f"{JOB}/retry", row(JobViewSet, "Try a job again", post="retry")),
    path("manage/<path:rest>", Missing.as_view()),
]
