"""The admin's first page."""

import re

from apps.jobs.models import Job, Status
from apps.registry.models import Provider
from llamastack.db import db
from llamastack.stack import LlamaStack
from tests.unit.jobs.test_jobs_api import claimed, idle
from tests.unit.jobs.test_work import queued
from tests.unit.pages import Browser

__all__ = ["idle"]


async def test_it_counts_what_there_is_and_leads_there(browser: Browser, idle: LlamaStack, sky: Provider) -> None:
    await db(Job.objects.finish, await claimed(), Status.failed)
    for _ in range(2):
        await db(queued)
    page = (await browser.open("/admin/")).text
    card = re.search(r'<a href="/admin/jobs/job/" class="border .*?</a>', page, re.DOTALL)
    assert card
    assert re.findall(r"<span[^>]*>([^<]+)</span>", card[0]) == ["Jobs", "3", "2 queued, 1 failed"]
    assert 'href="/admin/registry/provider/"' in page
