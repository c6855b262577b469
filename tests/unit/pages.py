"""A browser without a screen: it keeps cookies, fills in forms and presses their buttons, CSRF and all."""

import html.parser
from typing import Any

import httpx

PASSWORD = "a-long-pass-word-1"


class Forms(html.parser.HTMLParser):
    """The forms of a page: the values they would send, by the form's place in the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.forms: list[dict[str, str]] = []
        self._select = self._textarea = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        name = found.get("name", "")
        if tag == "form":
            self.forms.append({})
        elif not self.forms or "disabled" in found:
            return
        elif tag == "input" and name:
            if found.get("type") not in ("checkbox", "radio", "submit") or "checked" in found:
                self.forms[-1][name] = found.get("value", "on" if "checked" in found else "")
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and ("selected" in found or self._select not in self.forms[-1]):
            self.forms[-1][self._select] = found.get("value", "")
        elif tag == "textarea":
            self._textarea = name
            self.forms[-1][name] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = ""
        elif tag == "textarea":
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.forms[-1][self._textarea] += data.removeprefix("\n") if not self.forms[-1][self._textarea] else data

    def having(self, field: str) -> dict[str, str]:
        """The form with that field."""
        return next(form for form in self.forms if field in form)


class Browser:
    """What a person does in the admin. `pages` holds every page that was shown."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.pages: list[httpx.Response] = []

    async def open(self, path: str) -> httpx.Response:
        return self._seen(await self.http.get(path, follow_redirects=True))

    async def submit(self, path: str, to: str = "", **fields: Any) -> httpx.Response:
        """Fill in the form of a page and send it. A field set to None is not sent: a box that is not ticked."""
        form = Forms((await self.open(path)).text).having("csrfmiddlewaretoken")
        for candidate in Forms(self.pages[-1].text).forms:
            if "csrfmiddlewaretoken" in candidate and len(candidate) > len(form):
                form = candidate
        data = {name: value for name, value in (form | fields).items() if value is not None}
        return self._seen(await self.http.post(to or path, data=data, follow_redirects=True))

    async def log_in(self, username: str, password: str = PASSWORD) -> httpx.Response:
        return await self.submit("/admin/login/?next=/admin/", username=username, password=password)

    def _seen(self, response: httpx.Response) -> httpx.Response:
        self.pages.append(response)
        return response
