"""routing: addresses lead to the new services; the old ones end once the new ones answer."""

from __future__ import annotations

from environments import transitions, wiring
from environments.layers.context import LayerContext, Outcome
from environments.models import DeployedDependency, DeployedService
from environments.ports import Route


def bring_up(ctx: LayerContext) -> Outcome:
    targets = ctx.public_targets()
    routes = [Route(ctx.host(target), target) for target in targets]
    ctx.outside.runtime.apply_routes(ctx.namespace, ctx.lease.generation, routes)
    for route in routes:
        ctx.outside.wait_routed(route.host, ctx.fence)
        url = wiring.address(route.host)
        with ctx.writing():
            DeployedService.objects.filter(deployment=ctx.deployment, name=route.target).update(url=url)
            DeployedDependency.objects.filter(deployment=ctx.deployment, name=route.target).update(url=url)
        ctx.say(f"{url} answers", route.target)
    transitions.serve(ctx.lease, ctx.deployment)
    ctx.outside.runtime.retire_services(ctx.namespace, ctx.lease.generation)
    if not routes:
        return Outcome.done("no public service")
    return Outcome.done(f"{len(routes)} {'address' if len(routes) == 1 else 'addresses'}")
