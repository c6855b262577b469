"""How long it takes to find and to claim a job among many: benchmarks/jobs.py starts this with DATABASE_URL set."""

import sys
import time

import django

django.setup()

from django.db import connection  # noqa: E402
from django.utils import timezone  # noqa: E402

from apps.jobs.models import Job  # noqa: E402
from llamastack.ids import new_id  # noqa: E402

CLAIMS = 1000


def main(queued: int) -> None:
    now = timezone.now()
    jobs = [Job(id=new_id("job_"), owner="ada", created_at=now, kind="none", priority=n % 3) for n in range(queued)]
    Job.objects.bulk_create(jobs, batch_size=500)
    if connection.vendor == "postgresql":
        connection.cursor().execute("ANALYZE jobs_job")  # as autovacuum does within a minute
    took = []
    for _ in range(min(CLAIMS, queued)):
        began = time.perf_counter()
        [job_id] = Job.objects.next(1)
        assert Job.objects.claim(job_id)
        took.append(time.perf_counter() - began)
    took.sort()
    print(f"{took[len(took) // 2] * 1000:.2f} {took[len(took) * 99 // 100] * 1000:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
