"""Files in the admin: looked at, and neither made, changed nor deleted."""

from django.utils import timezone

from apps.files.models import File
from llamastack.db import db
from tests.unit.pages import Browser

LIST = "/admin/files/file/"


async def test_a_file_can_only_be_looked_at(browser: Browser) -> None:
    row = File(id="file-1", created_at=timezone.now(), filename="a.txt", purpose="batch", bytes=1234, uploaded=True)
    await db(row.save, force_insert=True)
    page = (await browser.open(LIST)).text
    assert "a.txt" in page
    assert "1,234" in page
    assert 'name="_save"' not in (await browser.open(f"{LIST}file-1/change/")).text
    assert (await browser.open(f"{LIST}add/")).status_code == 403
    assert (await browser.submit(LIST, f"{LIST}file-1/delete/", post="yes")).status_code == 403
    assert await db(File.objects.count) == 1
