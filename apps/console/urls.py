"""The web pages."""

from django.urls import path

from apps.console import views

urlpatterns = [
    path("", views.playground, name="playground"),
    path("docs", views.docs, name="docs"),
    path("manage/docs", views.manage_docs, name="manage-docs"),
]
