"""manage.py scheduler: asks for the sweeper's passes. All work is the workers'."""

from __future__ import annotations

from typing import Any

import structlog
from apscheduler.schedulers.blocking import BlockingScheduler
from django.core.management.base import BaseCommand
from redis.exceptions import RedisError

from environments.actors import sweep
from testruns.actors import sweep_tests

SECONDS = 3

log = structlog.get_logger()


def ask() -> None:
    try:
        sweep.send()
        sweep_tests.send()
    except RedisError as error:
        log.warning("broker does not answer; asked again", seconds=SECONDS, error=str(error))


class Command(BaseCommand):
    help = "Asks for the sweeper's passes, one every few seconds."

    def handle(self, *args: Any, **options: Any) -> None:
        scheduler = BlockingScheduler(timezone="UTC")
        scheduler.add_job(ask, "interval", seconds=SECONDS, max_instances=1, coalesce=True)
        ask()
        scheduler.start()
