"""One environment, from its network to its services. Which one is data: Pulumi.<stack>.yaml."""

from components.argocd import ArgoCD, ArgoCDArgs, ArgoCDUi, ArgoCDUiArgs
from components.build_reports import BuildReports, BuildReportsArgs
from components.ci_access import CiAccess, CiAccessArgs
from components.cluster import Cluster, ClusterArgs
from components.edge import Edge, EdgeArgs, find_zone
from components.gitops import GitOps, GitOpsArgs
from components.image_hook import AlarmChat, AlarmChatArgs, ImageHook, ImageHookArgs
from components.network import Network, NetworkArgs
from components.pipeline import Builds, BuildsArgs
from components.platform import Platform, load_services, read_catalogue
from components.settings import load

# Everything that can be refused is refused here, before the first resource.
settings = load()
catalogue = read_catalogue(services := load_services(), settings)
zone = find_zone(settings)
here, stack = settings.environment, settings.stack
edge: Edge | None = None
argocds: dict[str, ArgoCD] = {}

access = CiAccess("access", CiAccessArgs(account=here.account, region=here.region, settings=settings))
place = access.place
if settings.owns_gitops:
    GitOps("gitops", GitOpsArgs(settings=settings, default_branch=here.gitops_branch, repositories=catalogue.repositories))

if settings.network is not None and zone is not None:  # a tooling stack has none, and no clusters
    network = Network(
        stack, NetworkArgs(environment=stack, cidr=here.cidr, zones=settings.zones, settings=settings.network, **place)
    )
    edge = Edge(stack, EdgeArgs(environment=stack, account=here.account, region=here.region, zone=zone, network=network))
    for colour, wanted in settings.clusters.items():
        cluster = Cluster(
            colour,
            ClusterArgs(
                environment=stack,
                colour=colour,
                network=network,
                settings=wanted,
                deploy_role_arn=access.deploy_role_arn,
                preview_role_arn=access.preview_role_arn,
                **place,
            ),
        )
        argocds[colour] = ArgoCD(colour, ArgoCDArgs(cluster=cluster, edge=edge, settings=settings))
    if settings.argocd.ui is not None:
        ArgoCDUi("argocd-ui", ArgoCDUiArgs(edge=edge, settings=settings, argocds=argocds))

builds = Builds("builds", BuildsArgs(settings=settings.builds, **place)) if settings.builds else None  # where a track is hosted
hooks = {
    name: ImageHook(name, ImageHookArgs(track_name=name, track=track, settings=settings, **place))
    for name, track in settings.hosted_tracks.items()
}
for name, hook in hooks.items():
    BuildReports(name, BuildReportsArgs(track_name=name, settings=settings, hook=hook, **place))
if settings.alarms.slack is not None:
    AlarmChat("alarms", AlarmChatArgs(stack=stack, slack=settings.alarms.slack, hooks=[*hooks.values()], **place))

services(Platform(settings=settings, catalogue=catalogue, builds=builds, hooks=hooks, edge=edge, argocds=argocds))
