"""Reconciling: each history ends in the state that the provider shows, without a hand."""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from environments import comment, leases, pipeline, secrets, services, sweeper, transitions, wishes
from environments.models import LAYERS, Deployment, Environment, Event, LayerRun, LogChunk, PullRequest
from environments.ports import PlatformError, Superseded, UserError
from previewkit.cli import registered
from tests.fixtures_reconcile import World, world

__all__ = ["world"]

Phase = Environment.Phase


def states(environment: Environment) -> list[str]:
    deployment = environment.deployments.first()
    assert deployment
    return [run.state for run in deployment.layers.all()]


def open_pull(world: World, text: str = "one", **spec: str) -> Environment:
    world.push(world.commit(text, **spec), "feature")
    world.deliver(number=1)
    return world.environment(1)


# ── up and down ─────────────────────────────────────────────────────────────────────────────


def test_a_pull_request_comes_up_through_six_layers(world: World) -> None:
    # Given an open pull request
    environment = open_pull(world, "one")
    # When a worker reconciles
    world.work_until_done(environment)
    # Then its address answers with its commit, every layer is done, and its history says so
    assert world.seen_at(environment) == "one"
    assert environment.phase == Phase.READY
    assert states(environment) == ["done"] * 5 + ["skipped"]
    assert [run.layer for run in LayerRun.objects.filter(deployment__environment=environment)] == list(LAYERS)
    kinds = list(environment.events.values_list("kind", flat=True))
    assert kinds == ["wish", "building", "starting", "serving", "testing", "ready"]
    assert LogChunk.objects.filter(layer_run__deployment__environment=environment).exists()


def test_closing_leaves_nothing(world: World) -> None:
    # Given a ready environment
    environment = world.work_until_done(open_pull(world))
    # When its branch is deleted
    world.delete_branch("feature")
    world.deliver(number=1)
    world.work_until_done(environment)
    # Then it is gone, and the runtime has nothing of it
    assert environment.phase == Phase.GONE
    assert environment.gone_at
    assert not world.runtime.observe(environment.namespace).exists
    assert world.seen_at(environment) is None


def test_close_then_reopen_comes_back_fresh(world: World) -> None:
    environment = world.work_until_done(open_pull(world))
    first = environment.namespace_uid
    services.LocalPulls(world.repository).close(1)
    world.work_until_done(environment)
    # When it is reopened
    services.LocalPulls(world.repository).reopen(1)
    world.work_until_done(environment)
    # Then it serves again, in a new namespace
    assert (environment.phase, world.seen_at(environment)) == (Phase.READY, "one")
    assert environment.namespace_uid not in ("", first)


def test_close_and_reopen_before_a_worker_comes(world: World) -> None:
    environment = world.work_until_done(open_pull(world))
    services.LocalPulls(world.repository).close(1)
    services.LocalPulls(world.repository).reopen(1)
    world.work_until_done(environment)
    assert (environment.phase, world.seen_at(environment)) == (Phase.READY, "one")


def test_the_newest_push_wins_during_a_build(world: World) -> None:
    # Given a worker in the middle of bringing up a commit
    environment = open_pull(world, "old")
    second = world.commit("new")

    def push_meanwhile(method: str, namespace: str) -> None:
        if method == "apply_dependency":
            world.runtime.before = lambda method, namespace: None
            world.push(second, "feature")
            world.deliver(number=1)

    world.runtime.before = push_meanwhile
    # When a newer commit arrives meanwhile
    world.work_until_done(environment)
    # Then the older deployment is superseded and the newer one serves
    assert world.seen_at(environment) == "new"
    outcomes = list(environment.deployments.values_list("outcome", flat=True))
    assert outcomes == [Deployment.Outcome.SUCCEEDED, Deployment.Outcome.SUPERSEDED]
    superseded = environment.deployments.last()
    assert superseded
    assert "running" not in [run.state for run in superseded.layers.all()]


def test_closing_during_a_build_ends_it(world: World) -> None:
    environment = open_pull(world)

    def close_meanwhile(method: str, namespace: str) -> None:
        if method == "wait_ready":
            world.runtime.before = lambda method, namespace: None
            services.LocalPulls(world.repository).close(1)

    world.runtime.before = close_meanwhile
    world.work_until_done(environment)
    assert environment.phase == Phase.GONE
    assert not world.runtime.observe(environment.namespace).exists


# ── the old version serves until the new one is ready ───────────────────────────────────────


def test_a_failing_commit_leaves_the_old_one_serving(world: World) -> None:
    # Given a ready environment
    environment = world.work_until_done(open_pull(world, "good"))
    # When a commit comes whose service ends at once
    broken = world.commit(spec=SPEC_CRASHING)
    world.push(broken, "feature")
    world.deliver(number=1)
    world.work_until_done(environment)
    # Then the old one is still served, and the environment says that it is behind
    assert environment.phase == Phase.DEGRADED
    assert world.seen_at(environment) == "good"
    failed = environment.deployments.first()
    assert failed and failed.failed_layer
    assert failed.failed_layer.error_code == "service_crashed"
    assert failed.failed_layer.log_tail == ["no DATABASE", "giving up"]
    # When a good commit comes
    world.push(world.commit("better"), "feature")
    world.deliver(number=1)
    world.work_until_done(environment)
    # Then it is ready again
    assert (environment.phase, world.seen_at(environment)) == (Phase.READY, "better")


SPEC_CRASHING = """\
services:
  web: {build: railpack, port: 3000, command: [act, exit, "3", no DATABASE, giving up]}
tests: {enabled: false}
"""


def test_a_deployment_overtaken_after_it_was_routed_gives_the_addresses_back(world: World) -> None:
    # Given a ready environment, and a second commit that is overtaken just after it got the addresses
    environment = world.work_until_done(open_pull(world, "good"))
    world.push(world.commit("second"), "feature")
    world.deliver(number=1)
    broken = world.commit(spec=SPEC_CRASHING)

    def push_meanwhile(host: str, fence: Callable[[], None]) -> None:
        world.push(broken, "feature")
        world.deliver(number=1)
        fence()

    overtaken = replace(world.outside, wait_routed=push_meanwhile)
    pipeline.reconcile(environment.pk, overtaken)
    # When the third commit fails
    world.work_until_done(environment)
    # Then visitors reach the one that is said to be served
    assert environment.phase == Phase.DEGRADED
    assert environment.serving and environment.serving.sha == world.commits[1]
    assert world.seen_at(environment) == "good"


def test_what_a_service_prints_as_it_crashes_shows_no_secret(world: World) -> None:
    secrets.put(world.repository, "KEY", "hunter2-hunter2")
    spec = SPEC_CRASHING.replace("giving up", "key hunter2-hunter2").replace("3000,", "3000, secrets: [KEY],")
    world.push(world.commit(spec=spec), "feature")
    world.deliver(number=1)
    environment = world.work_until_done(world.environment(1))
    deployment = environment.deployments.first()
    assert deployment and deployment.failed_layer
    assert deployment.failed_layer.log_tail == ["no DATABASE", f"key {secrets.MASK}"]
    assert "hunter2" not in comment.render(environment)


def test_the_comment_names_commands_that_work(world: World) -> None:
    environment = world.work_until_done(open_pull(world))
    named = re.findall(r"`previewkit (\w+) '(.+?)'`", comment.render(environment))
    assert [command for command, _ in named] == ["retry", "rebuild", "stop"]
    assert all(command in registered().commands for command, _ in named)
    assert {services.environment_named(name) for _, name in named} == {environment}


def test_redaction_takes_the_longest_secret_and_each_line_of_a_long_one() -> None:
    hidden = {"A": "abcd", "B": "abcdefgh", "PEM": "-----BEGIN-----\nMIIEvQ\n"}
    assert secrets.redact("b=abcdefgh a=abcd", hidden) == f"b={secrets.MASK} a={secrets.MASK}"
    assert secrets.redact("  MIIEvQ", hidden) == f"  {secrets.MASK}"


def test_of_a_failing_first_commit_nothing_stays(world: World) -> None:
    world.push(world.commit(spec=SPEC_CRASHING), "feature")
    world.deliver(number=1)
    environment = world.work_until_done(world.environment(1))
    assert environment.phase == Phase.FAILED
    assert not world.runtime.observe(environment.namespace).exists
    assert states(environment) == ["done", "done", "done", "failed", "skipped", "skipped"]


# ── migrations and seeds ────────────────────────────────────────────────────────────────────


def test_a_seed_runs_once_in_a_databases_life(world: World) -> None:
    # Given an environment that was seeded, and whose data was changed since
    environment = world.work_until_done(open_pull(world, seed='"act put postgres who seed"'))
    assert world.runtime.holds(environment.namespace, "postgres") == {"who": "seed"}
    world.runtime.holds(environment.namespace, "postgres")["who"] = "a person"
    # When a new commit is deployed
    world.push(world.commit("two", seed='"act put postgres who seed"'), "feature")
    world.deliver(number=1)
    world.work_until_done(environment)
    # Then the data is as the person left it
    assert world.runtime.holds(environment.namespace, "postgres") == {"who": "a person"}
    # When it is rebuilt
    services.rebuild(environment, "ada")
    world.work_until_done(environment)
    # Then the data is fresh
    assert world.runtime.holds(environment.namespace, "postgres") == {"who": "seed"}


def test_a_seed_that_was_cut_off_starts_over_with_fresh_data(world: World) -> None:
    # Given a worker that died while the seed ran
    environment = open_pull(world, seed='"act put postgres who seed"')
    world.work_and_die(environment, _call(world, environment, "run_job"))
    environment.refresh_from_db()
    uid = environment.namespace_uid
    # When another one comes
    world.work_until_done(environment)
    # Then the namespace is a new one, and seeded
    assert environment.namespace_uid != uid
    assert world.runtime.holds(environment.namespace, "postgres") == {"who": "seed"}


def _call(world: World, environment: Environment, wanted: str) -> int:
    """Which call to the runtime it is in a first deployment."""
    order = ["ensure_namespace", "apply_secrets", "apply_dependency", "run_job", "apply_service", "wait_ready"]
    return order.index(wanted) + 1


def test_a_failing_migration_fails_the_environment_with_its_last_lines(world: World) -> None:
    environment = world.work_until_done(open_pull(world, migrate='"act exit 1 relation-exists"'))
    deployment = environment.deployments.first()
    assert deployment and deployment.failed_layer
    assert environment.phase == Phase.FAILED
    assert deployment.failed_layer.error_code == "migrate_failed"
    assert deployment.failed_layer.log_tail == ["relation-exists"]


# ── workers that die ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_worker_may_be_killed_at_any_call(world: World, nth: int) -> None:
    environment = open_pull(world, "one", migrate='"act put postgres a 1"', seed='"act put postgres b 2"')
    # Given a worker that dies at its nth call
    world.work_and_die(environment, nth)
    # When the sweeper looks
    world.sweep_until_done()
    # Then the environment is as the provider shows it
    environment.refresh_from_db()
    assert (environment.phase, world.seen_at(environment)) == (Phase.READY, "one")
    assert world.runtime.holds(environment.namespace, "postgres") == {"a": "1", "b": "2"}


@pytest.mark.parametrize("nth", range(1, 4))
def test_a_worker_may_be_killed_while_it_tears_down(world: World, nth: int) -> None:
    environment = world.work_until_done(open_pull(world))
    services.LocalPulls(world.repository).close(1)
    world.work_and_die(environment, nth)
    world.sweep_until_done()
    environment.refresh_from_db()
    assert environment.phase == Phase.GONE
    assert not world.runtime.observe(environment.namespace).exists


def test_what_a_killed_worker_checked_out_is_cleared(world: World) -> None:
    # Given a worker that was killed, and a newer commit
    environment = open_pull(world)
    left = world.outside.checkouts / f"{environment.namespace}-0"
    left.mkdir(parents=True)
    (left / "file").write_text("left")
    # When another one brings the environment up
    world.work_until_done(environment)
    # Then nothing is left on the disk
    assert list(world.outside.checkouts.iterdir()) == []


def test_a_dead_workers_late_write_changes_nothing(world: World) -> None:
    # Given a worker whose lease ran out, and another that finished the work
    environment = open_pull(world)
    late = leases.take(environment.pk)
    assert late
    Environment.objects.filter(pk=environment.pk).update(lease_until=timezone.now() - timedelta(seconds=1))
    world.work_until_done(environment)
    before = Event.objects.count()
    # When the first one writes
    with pytest.raises(Superseded):
        transitions.advance(late, Phase.BUILDING)
    # Then nothing has changed
    environment.refresh_from_db()
    assert environment.phase == Phase.READY
    assert Event.objects.count() == before


def test_two_workers_never_hold_the_lease_at_once(world: World) -> None:
    environment = open_pull(world)
    got: list[leases.Lease] = []
    barrier = threading.Barrier(4)

    def worker() -> None:
        try:
            barrier.wait()
            lease = leases.take(environment.pk)
            if lease:
                got.append(lease)
        finally:
            connection.close()

    threads = [threading.Thread(target=worker) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


# ── platform errors ─────────────────────────────────────────────────────────────────────────


def test_a_platform_error_is_tried_again(world: World) -> None:
    environment = open_pull(world)
    fails = [2]

    def before(method: str, namespace: str) -> None:
        if method == "ensure_namespace" and fails[0]:
            fails[0] -= 1
            raise PlatformError("runtime_unavailable", "The runtime does not answer.")

    world.runtime.before = before
    # When the runtime fails twice and then answers
    waits = [world.work_once(environment), world.work_once(environment)]
    # Then each wait is longer than the one before, and the third try succeeds
    assert waits == [timedelta(seconds=2), timedelta(seconds=4)]
    world.work_until_done(environment)
    assert environment.phase == Phase.READY


@pytest.mark.parametrize(
    ("error", "code"),
    [(KeyError("nobody foresaw this"), "internal"), (OSError(errno.ENOSPC, "No space left on device"), "disk_full")],
)
def test_an_unforeseen_error_is_shown_in_its_layer_and_ends(world: World, error: Exception, code: str) -> None:
    environment = open_pull(world)

    def before(method: str, namespace: str) -> None:
        if method == "apply_dependency":
            raise error

    world.runtime.before = before
    # When each try meets it
    for _ in range(transitions.MAX_ATTEMPTS):
        world.work_once(environment)
    # Then it is given up, and its layer says why
    environment.refresh_from_db()
    deployment = environment.deployments.first()
    assert deployment and deployment.failed_layer
    assert (deployment.failed_layer.layer, deployment.failed_layer.error_code) == ("dependencies", code)
    assert environment.phase == Phase.FAILED
    assert states(environment) == ["done", "done", "failed", "skipped", "skipped", "skipped"]


def test_what_is_given_up_is_still_removed_once_the_runtime_answers(world: World) -> None:
    # Given a runtime that has stopped answering altogether
    environment = open_pull(world)

    def before(method: str, namespace: str) -> None:
        if method != "ensure_namespace":
            raise PlatformError("runtime_unavailable", "The runtime does not answer.")

    world.runtime.before = before
    for _ in range(transitions.MAX_ATTEMPTS + 2):
        assert world.work_once(environment) is not None
    # When it answers again
    world.runtime.before = lambda method, namespace: None
    world.work_until_done(environment)
    # Then nothing is stuck
    assert (environment.phase, world.seen_at(environment)) == (Phase.READY, "one")


def test_platform_errors_without_end_are_given_up_and_shown(world: World) -> None:
    environment = open_pull(world)

    def before(method: str, namespace: str) -> None:
        if method == "ensure_namespace":
            raise PlatformError("disk_full", "The disk is full.", "Free some space.")

    world.runtime.before = before
    for _ in range(transitions.MAX_ATTEMPTS):
        world.work_once(environment)
    environment.refresh_from_db()
    deployment = environment.deployments.first()
    assert deployment and deployment.failed_layer
    assert environment.phase == Phase.FAILED
    assert deployment.failed_layer.error_code == "disk_full"
    # When the disk has space again, and a person retries
    world.runtime.before = lambda method, namespace: None
    services.retry(environment, "ada")
    world.work_until_done(environment)
    assert environment.phase == Phase.READY


def test_removal_is_never_given_up(world: World) -> None:
    environment = world.work_until_done(open_pull(world))
    services.LocalPulls(world.repository).close(1)

    def before(method: str, namespace: str) -> None:
        if method == "destroy":
            raise PlatformError("runtime_unavailable", "The runtime does not answer.")

    world.runtime.before = before
    for _ in range(transitions.MAX_ATTEMPTS + 3):
        assert world.work_once(environment) is not None
    environment.refresh_from_db()
    assert environment.phase == Phase.STOPPING
    world.runtime.before = lambda method, namespace: None
    world.work_until_done(environment)
    assert environment.phase == Phase.GONE


# ── deliveries ──────────────────────────────────────────────────────────────────────────────


def test_a_repeated_delivery_changes_nothing(world: World) -> None:
    environment = world.work_until_done(open_pull(world))
    generation = environment.generation
    world.deliver(number=1)
    world.deliver(number=1)
    environment.refresh_from_db()
    assert (environment.generation, environment.is_settled) == (generation, True)


def test_the_same_delivery_id_is_stored_once(world: World) -> None:
    open_pull(world)
    assert services.receive_delivery("local", "d-1", "push", {"repository": str(world.repository), "number": 1})
    assert not services.receive_delivery("local", "d-1", "push", {"repository": str(world.repository), "number": 1})
    assert wishes.WebhookDelivery.objects.filter(delivery_id="d-1").count() == 1


def test_a_lost_delivery_is_found_by_the_sweeper(world: World) -> None:
    # Given a push whose delivery never came
    world.push(world.commit("one"), "feature")
    # When the sweeper asks the provider
    world.sweep_until_done()
    # Then the environment is there
    assert world.seen_at(world.environment(1)) == "one"


def test_a_list_that_is_older_than_the_last_wish_changes_nothing(world: World) -> None:
    # Given what a list showed before a push
    environment = open_pull(world, "old")
    listed = world.provider.pull_request(world.repository.ref, 1)
    newest = world.commit("new")
    world.push(newest, "feature")
    world.deliver(number=1)
    # When it arrives late
    wishes.converge_pull(world.repository, 1, listed)
    # Then the newest commit is still what is wished
    environment.refresh_from_db()
    assert environment.wanted_sha == newest


def test_a_delivery_that_cant_be_interpreted_holds_up_nothing(world: World) -> None:
    # Given a delivery of a shape that nobody foresaw, then a push
    services.receive_delivery("local", "d-3", "push", ["not", "an", "object"])  # type: ignore[arg-type]
    world.push(world.commit("one"), "feature")
    services.receive_delivery("local", "d-4", "push", {"repository": world.repository.name, "number": 1})
    long_ago = timezone.now() - timedelta(minutes=1)
    wishes.WebhookDelivery.objects.update(received_at=long_ago)
    # When the sweeper interprets what is waiting
    waiting = sweeper.sweep()
    # Then the push is wished
    assert world.environment(1).pk in waiting


def test_a_delivery_for_an_unknown_repository_is_kept_and_does_nothing(world: World) -> None:
    services.receive_delivery("local", "d-2", "push", {"repository": "nobody/nothing", "number": 1})
    delivery = wishes.WebhookDelivery.objects.get(delivery_id="d-2")
    wishes.interpret_delivery(delivery.pk)
    delivery.refresh_from_db()
    assert (delivery.outcome, bool(delivery.interpreted_at)) == ("no such repository here", True)


def test_the_default_branch_is_pinned(world: World) -> None:
    world.deliver(branch="main")
    environment = world.work_until_done(world.environment())
    assert (environment.kind, world.seen_at(environment)) == (Environment.Kind.BRANCH, "main")


# ── buttons ─────────────────────────────────────────────────────────────────────────────────


def test_what_a_person_stopped_stays_stopped_until_the_next_commit(world: World) -> None:
    environment = world.work_until_done(open_pull(world))
    services.stop(environment, "ada")
    world.work_until_done(environment)
    # Given a stopped environment: a look at the provider does not start it
    world.sweep_until_done()
    environment.refresh_from_db()
    assert environment.phase == Phase.GONE
    # When a new commit comes
    world.push(world.commit("two"), "feature")
    world.deliver(number=1)
    world.work_until_done(environment)
    # Then it serves again
    assert world.seen_at(environment) == "two"


def test_a_closed_pull_request_cant_be_started(world: World) -> None:
    environment = world.work_until_done(open_pull(world))
    services.LocalPulls(world.repository).close(1)
    world.work_until_done(environment)
    with pytest.raises(Exception, match="is closed"):
        services.start(environment, "ada")


def test_a_persons_start_does_not_pass_the_policy_for_forks(world: World) -> None:
    # Given a fork's environment whose newest commit nobody has approved
    environment = world.work_until_done(open_pull(world))
    PullRequest.objects.update(fork=True, approved_sha="0" * 40)
    # When a person asks for it
    with pytest.raises(UserError, match="waits for a maintainer") as refused:
        services.retry(environment, "ada")
    # Then it is refused, and nothing is wished
    assert refused.value.code == "fork_not_approved"
    environment.refresh_from_db()
    assert environment.is_settled


def test_an_environment_of_a_removed_repository_cant_be_started(world: World) -> None:
    environment = world.work_until_done(open_pull(world))
    services.remove_repository(world.repository, "ada")
    world.work_until_done(environment)
    with pytest.raises(UserError, match="was removed"):
        services.start(environment, "ada")
    # Until it is added again
    services.create_repository(world.repository.name)
    services.start(environment, "ada")
    world.work_until_done(environment)
    assert environment.phase == Phase.READY


# ── the sweeper ─────────────────────────────────────────────────────────────────────────────


def test_an_orphan_is_removed_and_a_strangers_namespace_is_not(world: World) -> None:
    world.runtime.ensure_namespace("preview-old-1-00000000", {"environment": "1", "repository": "x"})
    environment = world.work_until_done(open_pull(world))
    sweeper.remove_orphans()
    assert [item.name for item in world.runtime.owned()] == [environment.namespace]


def test_the_sweeper_refuses_to_delete_in_bulk(world: World) -> None:
    # Given many namespaces of ours, and a database that knows none of them
    for number in range(sweeper.BULK + 1):
        world.runtime.ensure_namespace(f"preview-old-{number}-00000000", {"environment": "1", "repository": "x"})
    sweeper.remove_orphans()
    assert len(world.runtime.owned()) == sweeper.BULK + 1


def test_an_environment_whose_namespace_vanished_comes_back(world: World) -> None:
    environment = world.work_until_done(open_pull(world))
    world.runtime.destroy(environment.namespace)
    Environment.objects.update(phase_changed_at=timezone.now() - timedelta(minutes=1))
    sweeper.revive_lost()
    world.work_until_done(environment)
    assert (environment.phase, world.seen_at(environment)) == (Phase.READY, "one")


def test_an_environment_that_was_closed_meanwhile_is_not_revived(world: World) -> None:
    # Given a sweeper that has read a ready environment
    environment = world.work_until_done(open_pull(world))
    read = Environment.objects.get(pk=environment.pk)
    # When it is closed before the sweeper looks at its namespace
    services.LocalPulls(world.repository).close(1)
    world.work_until_done(environment)
    sweeper._revive(world.runtime, read)
    # Then it stays closed
    environment.refresh_from_db()
    assert (environment.phase, environment.wanted) == (Phase.GONE, Environment.Wanted.ABSENT)


def test_what_looked_like_an_orphan_and_is_wanted_again_stays(world: World) -> None:
    environment = world.work_until_done(open_pull(world))
    sweeper._remove_orphan(world.runtime, environment.namespace)
    assert world.seen_at(environment) == "one"
    environment.refresh_from_db()
    assert environment.lease_token == ""


def test_a_vanished_repository_is_an_error_and_deletes_nothing(world: World) -> None:
    environment = world.work_until_done(open_pull(world))
    world.provider.remove(world.repository.ref)
    sweeper.sweep()
    environment.refresh_from_db()
    assert (environment.phase, world.seen_at(environment)) == (Phase.READY, "one")
    # When its commit has to be fetched anew
    services.rebuild(environment, "ada")
    world.work_until_done(environment)
    assert world.seen_at(environment) in ("one", None)


def test_a_repository_that_stays_vanished_leaves_nothing_running_and_comes_back(world: World) -> None:
    # Given a ready environment, whose repository is not there any more
    environment = world.work_until_done(open_pull(world))
    bare = Path(world.repository.url)
    away = bare.with_name("away")
    bare.rename(away)
    # When the provider has said so often enough
    for _ in range(sweeper.VANISHED_AFTER):
        with pytest.raises(UserError):
            sweeper.ask_provider(world.repository)
    world.work_until_done(environment)
    # Then nothing of it runs, and its history says why and what to do
    assert environment.phase == Phase.GONE
    last = environment.events.filter(kind="wish").last()
    assert last and last.text.startswith("repository_gone: ")
    # When it is restored
    away.rename(bare)
    world.sweep_until_done()
    environment.refresh_from_db()
    assert (environment.phase, world.seen_at(environment)) == (Phase.READY, "one")


# ── broken files ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("services: {web: {build: railpack, port: 3000", "spec_invalid"),
        ("services: {a: {depends_on: [b]}, b: {depends_on: [a]}}", "spec_cycle"),
        ("services: {web: {port: 3000}}\ndependencies: [postgress]", "recipe_unknown"),
        ("services: {web: {port: 3000, path: nowhere, command: [act, serve]}}", "build_no_plan"),
        ("services: {web: {port: 3000, command: [act, serve], secrets: [KEY]}}", "secret_missing"),
        ("services: {web: {port: 3000}}", "build_no_start"),
    ],
)
def test_a_broken_file_is_the_authors_error(world: World, spec: str, code: str) -> None:
    world.push(world.commit(spec=spec), "feature")
    world.deliver(number=1)
    environment = world.work_until_done(world.environment(1))
    deployment = environment.deployments.first()
    assert deployment and deployment.failed_layer
    assert (environment.phase, deployment.failed_layer.error_code) == (Phase.FAILED, code)
    assert deployment.failed_layer.error_message
    assert not world.runtime.observe(environment.namespace).exists


def test_a_missing_file_is_the_authors_error(world: World) -> None:
    (world.work / ".preview.yaml").unlink()
    world.git("add", "--all")
    world.git("commit", "--quiet", "-m", "Remove it")
    world.push(world.git("rev-parse", "HEAD"), "feature")
    world.deliver(number=1)
    environment = world.work_until_done(world.environment(1))
    deployment = environment.deployments.first()
    assert deployment and deployment.failed_layer
    assert deployment.failed_layer.error_code == "spec_missing"
