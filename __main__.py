"""One environment, from its network to its services. Which one is data: Pulumi.<stack>.yaml."""

from components.argocd import ArgoCD, ArgoCDArgs
from components.ci_access import CiAccess, CiAccessArgs
from components.cluster import Cluster, ClusterArgs
from components.edge import Edge, EdgeArgs
from components.image_hook import ImageHook, ImageHookArgs
from components.network import Network, NetworkArgs
from components.pipeline import Builds, BuildsArgs

from components.gitops import GitOps, GitOpsArgs
from components.platform import Platform, read_catalogue
from components.settings import load
from services import services

# Everything that can be refused is refused here, before the first resource.
settings = load()
catalogue = read_catalogue(services, settings)

here, stack = settings.environment, settings.stack
place = {"account": here.account, "region": here.region}
edge, argocds, builds = None, {}, None

CiAccess("access", CiAccessArgs(settings=settings, stack=stack, **place))

if settings.owns_gitops:
    GitOps("gitops", GitOpsArgs(settings=settings, default_branch=here.gitops_branch))

if settings.network is not None:  # a tooling stack has none, and no clusters
    network = Network(stack, NetworkArgs(environment=stack, region=here.region, cidr=here.cidr, settings=settings.network))
    edge = Edge(stack, EdgeArgs(environment=stack, zone=here.zone, network=network))
    for colour, wanted in settings.clusters.items():
        cluster = Cluster(colour, ClusterArgs(network=network, environment=stack, colour=colour, settings=wanted, **place))
        argocds[colour] = ArgoCD(colour, ArgoCDArgs(cluster=cluster, edge=edge, environment=stack, settings=settings))

if settings.builds is not None:  # where a track is hosted
    builds = Builds("builds", BuildsArgs(settings=settings.builds, **place))
hooks = {
    name: ImageHook(name, ImageHookArgs(environment=stack, track_name=name, track=track, settings=settings, **place))
    for name, track in settings.hosted_tracks.items()
}

services(Platform(settings=settings, catalogue=catalogue, builds=builds, hooks=hooks, edge=edge, argocds=argocds))
