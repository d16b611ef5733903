"""Any history of pushes, closings, lost and repeated deliveries and dying workers ends as the provider shows it."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from environments import comment, services, sweeper
from environments.models import Environment
from environments.ports import UserError
from tests.fixtures_reconcile import World, world

__all__ = ["world"]

BRANCHES = ("one", "two")

branches = st.sampled_from(BRANCHES)
actions = st.one_of(
    st.tuples(st.just("push"), branches),
    st.tuples(st.just("push"), branches),
    st.tuples(st.just("back"), branches),
    st.tuples(st.just("delete"), branches),
    st.tuples(st.just("close"), st.integers(1, 3)),
    st.tuples(st.just("reopen"), st.integers(1, 3)),
    st.tuples(st.just("deliver"), st.integers(1, 4)),
    st.tuples(st.just("work"), st.integers(1, 3)),
    st.tuples(st.just("die"), st.integers(1, 12)),
    st.tuples(st.just("retry"), st.integers(1, 3)),
)


def perform(world: World, action: str, what: str | int) -> None:
    provider, ref = world.provider, world.repository.ref
    try:
        if action == "push":
            world.push(world.commit(f"text-{len(world.commits)}"), str(what))
        elif action == "back":
            world.push(world.commits[0], str(what))
        elif action == "delete":
            if provider.branch_head(ref, str(what)):
                world.delete_branch(str(what))
        elif action == "close":
            provider.close_pull(ref, int(what))
        elif action == "reopen":
            provider.reopen_pull(ref, int(what))
        elif action == "deliver":
            world.deliver(number=int(what))
        else:
            _work(world, action, int(what))
    except UserError:
        # What the provider refuses (no such pull request, its branch is gone) changes nothing.
        return


def _work(world: World, action: str, number: int) -> None:
    found = list(Environment.objects.filter(repository=world.repository).order_by("pk"))
    if not found:
        return
    environment = found[number % len(found)]
    if action == "work":
        world.work_once(environment)
    elif action == "die":
        world.work_and_die(environment, number)
    else:
        services.retry(environment, "ada")


@settings(
    max_examples=int(os.environ.get("HISTORIES", "8")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(history=st.lists(actions, min_size=3, max_size=14))
def test_every_history_converges(world: World, history: list[tuple[str, str | int]]) -> None:
    # Given whatever happened, in whatever order, to whichever worker
    for action, what in history:
        perform(world, action, what)
    # When the scheduler and a worker are left alone
    world.sweep_until_done()
    # Then each pull request has what the provider shows
    for number in range(1, 20):
        state = world.provider.pull_request(world.repository.ref, number)
        if state is None:
            break
        environment = Environment.objects.filter(repository=world.repository, pull__number=number).first()
        if state.state == "closed":
            assert environment is None or environment.phase == Environment.Phase.GONE
            assert environment is None or not world.runtime.observe(environment.namespace).exists
            continue
        assert environment
        assert environment.phase == Environment.Phase.READY
        assert environment.serving and environment.serving.sha == state.head_sha
        assert world.seen_at(environment)
        _has_one_comment(world, environment, number)
    alive = Environment.objects.exclude(phase=Environment.Phase.GONE).values_list("namespace", flat=True)
    assert {item.name for item in world.runtime.owned()} <= set(alive)
    assert not Environment.objects.filter(repository=world.repository, lease_token__gt="").exists()


def _has_one_comment(world: World, environment: Environment, number: int) -> None:
    sweeper.commenting.write(environment.pk)
    bodies = [one.body for one in world.provider.comments(world.repository.ref, number)]
    assert [comment.marker(environment) in body for body in bodies] == [True]
    assert f"`{environment.wanted_sha[:8]}` is ready" in bodies[0]
