"""People by the session of their browser, where no page's middleware has asked for it."""

from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, parse_cookie

from apps.access.models import User


def session_in(headers: dict[str, str]) -> str | None:
    """The key of the session that a browser sends along."""
    return parse_cookie(headers.get("cookie", "")).get(settings.SESSION_COOKIE_NAME)


def staff_of(session: str) -> User | None:
    """Who has logged in there, if it is one of the staff."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(session)
    user = get_user(request)
    return user if isinstance(user, User) and user.is_active and user.is_staff else None
