"""Which consumer serves which WebSocket path."""

from channels.routing import URLRouter
from django.urls import path

from apps.inference.consumers import ChatConsumer

websockets = URLRouter([path("ws/chat", ChatConsumer.as_asgi())])
