"""One colour: an EKS cluster with private nodes that scale, and the controllers that the flow needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as kubernetes

from components import charts, iam, naming
from components.network import Network
from components.settings import ClusterSettings

# Managed policies of the cluster's and the nodes' roles.
# https://docs.aws.amazon.com/eks/latest/userguide/cluster-iam-role.html
_CLUSTER_POLICIES: Final = ("AmazonEKSClusterPolicy",)
# https://docs.aws.amazon.com/eks/latest/userguide/create-node-role.html; the CNI runs on the host's network and so with
# the node's role. PullOnly is enough for registries of other accounts too, where their own policy agrees.
_NODE_POLICIES: Final = ("AmazonEKSWorkerNodeMinimalPolicy", "AmazonEC2ContainerRegistryPullOnly", "AmazonEKS_CNI_Policy")
# https://docs.aws.amazon.com/eks/latest/userguide/access-policy-permissions.html
_ADMIN_POLICY: Final = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
# Group of whoever previews: what it may do is said by `_preview_rights`.
PREVIEW_GROUP: Final = "slipway:preview"
_LOG_TYPES: Final = ("api", "audit", "authenticator")
_LOG_DAYS: Final = 90
# Two of each controller: one goes with its node, the other works on.
_REPLICAS: Final = 2
_RELEASE_SECONDS: Final = 600
# Addons of EKS itself, beside the three that pulumi_eks sees to.
# https://docs.aws.amazon.com/eks/latest/userguide/community-addons.html
_ADDONS: Final = ("eks-pod-identity-agent", "metrics-server")


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """Arguments of `Cluster`.

    Attributes:
        environment: Name of the environment.
        account: Its account.
        region: Its region.
        colour: Name of the colour.
        network: Its network.
        settings: Version, weight, nodes, endpoint, admins.
        deploy_role_arn: Administers the cluster: it declares what is in it.
        preview_role_arn: Sees what the program declares, and tries changes without making any.
        boundary_arn: Permissions boundary of every role.
    """

    environment: str
    account: str
    region: str
    colour: str
    network: Network
    settings: ClusterSettings
    deploy_role_arn: pulumi.Input[str]
    preview_role_arn: pulumi.Input[str]
    boundary_arn: pulumi.Input[str]


class Cluster(pulumi.ComponentResource):
    """A cluster, ready for workloads.

    While a colour takes traffic, neither the engine nor AWS deletes it.

    Attributes:
        name: Name of the EKS cluster.
        colour: Name of the colour.
        region: Its region.
        provider: Kubernetes provider for everything in it.
        ready: What workloads must wait for: nodes and controllers.
    """

    name: str
    colour: str
    region: str
    provider: kubernetes.Provider
    ready: Sequence[pulumi.Resource]

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare the cluster."""
        super().__init__("slipway:cluster:Cluster", name, None, opts)
        self.name, self.colour, self.region = naming.cluster(args.environment, args.colour), args.colour, args.region
        own = pulumi.ResourceOptions(parent=self)
        logs = aws.cloudwatch.LogGroup(
            name,
            # EKS writes to this name; made here first, so that it has a retention.
            # https://docs.aws.amazon.com/eks/latest/userguide/control-plane-logs.html
            name=f"/aws/eks/{self.name}/cluster",
            retention_in_days=_LOG_DAYS,
            opts=own,
        )
        role, role_ready = self._service_role(
            f"{name}-control",
            args,
            "control",
            # https://docs.aws.amazon.com/eks/latest/userguide/cross-service-confused-deputy-prevention.html
            iam.trust_service("eks.amazonaws.com", account=args.account, source_arn=self._arn(args)),
            _CLUSTER_POLICIES,
        )
        live = args.settings.weight > 0
        ranges = [str(each) for each in args.settings.endpoint.allow]
        cluster = eks.Cluster(
            name,
            name=self.name,
            version=args.settings.version,
            service_role=role,
            vpc_id=args.network.vpc_id,
            private_subnet_ids=args.network.private_subnet_ids,
            # The VPC always; from outside only where ranges are named.
            endpoint_private_access=True,
            endpoint_public_access=bool(ranges),
            public_access_cidrs=ranges or None,
            authentication_mode=eks.AuthenticationMode.API,
            access_entries=self._access(args),
            # The group that EKS makes is the only one tagged for this cluster: the load balancer controller refuses two.
            skip_default_security_groups=True,
            # The nodes below are transparent to previews, and have a launch template.
            skip_default_node_group=True,
            # Without it, NetworkPolicies are accepted and do nothing.
            vpc_cni_options={"enable_network_policy": True},
            enabled_cluster_log_types=list(_LOG_TYPES),
            deletion_protection=live,
            opts=pulumi.ResourceOptions(
                parent=self, protect=live, depends_on=[logs, *role_ready], transforms=[_no_creator_admin]
            ),
        )
        self.provider = kubernetes.Provider(
            name,
            kubeconfig=cluster.kubeconfig_json,
            # Releases lie in ConfigMaps, so that a preview reads them without a right on any Secret; none holds one.
            helm_release_settings={"driver": "configmap"},
            opts=own,
        )
        nodes = self._nodes(name, args, cluster)
        addons = [
            aws.eks.Addon(
                f"{name}-{addon}",
                cluster_name=self.name,
                addon_name=addon,
                resolve_conflicts_on_create="OVERWRITE",
                resolve_conflicts_on_update="OVERWRITE",
                opts=pulumi.ResourceOptions(parent=self, depends_on=[cluster, nodes]),
            )
            for addon in _ADDONS
        ]
        self._preview_rights(name)
        base = [nodes, *addons]
        self.ready = [*base, *self._controllers(name, args, base)]
        self.register_outputs({"name": self.name})

    def _arn(self, args: ClusterArgs) -> str:
        """The cluster's ARN, known before the cluster is."""
        return f"arn:aws:eks:{args.region}:{args.account}:cluster/{self.name}"

    @staticmethod
    def _access(args: ClusterArgs) -> Mapping[str, eks.AccessEntryArgs]:
        """Who may reach the cluster's API, and as what."""
        admin = eks.AccessPolicyAssociationArgs(
            access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"), policy_arn=_ADMIN_POLICY
        )
        admins: Mapping[str, pulumi.Input[str]] = {
            "deploy": args.deploy_role_arn,
            **{f"admin-{arn.rsplit('/', 1)[-1]}": arn for arn in args.settings.admins},
        }
        return {
            **{key: eks.AccessEntryArgs(principal_arn=arn, access_policies={"admin": admin}) for key, arn in admins.items()},
            "preview": eks.AccessEntryArgs(principal_arn=args.preview_role_arn, kubernetes_groups=[PREVIEW_GROUP]),
        }

    def _service_role(
        self, name: str, args: ClusterArgs, purpose: str, trust: iam.Statement, policies: Sequence[str]
    ) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
        """A role with AWS's own policies for one of its services, and what must be in place before it is used."""
        role = aws.iam.Role(
            name,
            name=naming.role(args.environment, args.colour, purpose),
            permissions_boundary=args.boundary_arn,
            assume_role_policy=iam.document(trust),
            opts=pulumi.ResourceOptions(parent=self),
        )
        attached: list[pulumi.Resource] = [
            aws.iam.RolePolicyAttachment(
                f"{name}-{policy}",
                role=role.name,
                policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=pulumi.ResourceOptions(parent=self),
            )
            for policy in policies
        ]
        return role, attached

    def _nodes(self, name: str, args: ClusterArgs, cluster: eks.Cluster) -> aws.eks.NodeGroup:
        nodes = args.settings.nodes
        # EC2 names no source when it takes the role on: there is none to compare with.
        trust = iam.trust_service("ec2.amazonaws.com")
        role, ready = self._service_role(f"{name}-nodes", args, "nodes", trust, _NODE_POLICIES)
        template = aws.ec2.LaunchTemplate(
            name,
            name=self.name,
            block_device_mappings=[
                {
                    "device_name": "/dev/xvda",
                    "ebs": {"volume_size": nodes.disk_gib, "volume_type": "gp3", "encrypted": "true"},
                }
            ],
            # One hop: pods do not reach the node's role. https://docs.aws.amazon.com/eks/latest/best-practices/identity-and-access-management.html
            metadata_options={"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1},
            tag_specifications=[{"resource_type": "instance", "tags": {"Name": self.name}}],
            opts=pulumi.ResourceOptions(parent=self),
        )
        return aws.eks.NodeGroup(
            name,
            cluster_name=self.name,
            node_group_name_prefix=f"{self.name}-",
            node_role_arn=role.arn,
            subnet_ids=args.network.private_subnet_ids,
            ami_type="AL2023_ARM_64_STANDARD" if nodes.architecture == "arm64" else "AL2023_x86_64_STANDARD",
            instance_types=list(nodes.instance_types),
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            scaling_config={"min_size": nodes.minimum, "max_size": nodes.maximum, "desired_size": nodes.minimum},
            update_config={"max_unavailable_percentage": 33},
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[cluster, *ready],
                # The autoscaler's business from the first minute on.
                ignore_changes=["scalingConfig.desiredSize"],
            ),
        )

    def _identity(  # noqa: PLR0913 — the six that make one workload's identity
        self,
        name: str,
        args: ClusterArgs,
        *,
        namespace: str,
        service_account: str,
        statements: Sequence[iam.Statement],
        after: Sequence[pulumi.Resource],
    ) -> aws.eks.PodIdentityAssociation:
        """A role for one service account of this cluster, by Pod Identity.

        https://docs.aws.amazon.com/eks/latest/userguide/pod-id-role.html
        """
        own = pulumi.ResourceOptions(parent=self)
        role = aws.iam.Role(
            name,
            name=naming.role(args.environment, args.colour, service_account),
            permissions_boundary=args.boundary_arn,
            assume_role_policy=iam.document(iam.trust_pods(args.account, cluster_arn=self._arn(args))),
            opts=own,
        )
        aws.iam.RolePolicy(name, role=role.id, policy=iam.document(*statements), opts=own)
        return aws.eks.PodIdentityAssociation(
            name,
            cluster_name=self.name,
            namespace=namespace,
            service_account=service_account,
            role_arn=role.arn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )

    def release(  # noqa: PLR0913 — the parts of a Helm release
        self,
        name: str,
        chart: charts.Chart,
        *,
        namespace: str,
        values: Mapping[str, Any],
        after: Sequence[pulumi.Resource],
        parent: pulumi.Resource | None = None,
        create_namespace: bool = False,
    ) -> kubernetes.helm.v3.Release:
        """Install a chart under its own name, and wait until it runs.

        Args:
            name: Logical name.
            chart: The chart at its pinned version.
            namespace: Where to.
            values: Its values (components/charts.py).
            after: What it must wait for.
            parent: Component that it belongs to; this cluster unless given.
            create_namespace: Whether Helm makes the namespace.
        """
        return kubernetes.helm.v3.Release(
            name,
            name=chart.release,
            chart=chart.name,
            version=chart.version,
            repository_opts={"repo": chart.repository},
            namespace=namespace,
            create_namespace=create_namespace,
            values=dict(values),
            atomic=True,
            timeout=_RELEASE_SECONDS,
            opts=pulumi.ResourceOptions(parent=parent or self, provider=self.provider, depends_on=after),
        )

    def _controller(  # noqa: PLR0913 — the parts of a controller
        self,
        name: str,
        args: ClusterArgs,
        chart: charts.Chart,
        *,
        namespace: str,
        statements: Sequence[iam.Statement],
        values: Mapping[str, Any],
        after: Sequence[pulumi.Resource],
    ) -> kubernetes.helm.v3.Release:
        """A controller of AWS resources: its identity, and its chart, which names the service account after itself."""
        identity = self._identity(name, args, namespace=namespace, service_account=chart.name, statements=statements, after=after)
        return self.release(
            name,
            chart,
            namespace=namespace,
            values=values,
            after=[*after, identity],
            # kube-system is there already.
            create_namespace=namespace != "kube-system",
        )

    def _controllers(self, name: str, args: ClusterArgs, after: Sequence[pulumi.Resource]) -> Sequence[pulumi.Resource]:
        """What the flow needs of a cluster beside EKS's own add-ons."""
        where = f"arn:aws:secretsmanager:{args.region}:{args.account}:secret"
        return [
            self._controller(
                f"{name}-load-balancer-controller",
                args,
                charts.LOAD_BALANCER_CONTROLLER,
                namespace="kube-system",
                statements=load_balancer_controller_statements(args.account, args.region, self.name),
                values=charts.load_balancer_controller_values(
                    cluster=self.name,
                    region=args.region,
                    vpc_id=args.network.vpc_id,
                    service_account=charts.LOAD_BALANCER_CONTROLLER.name,
                    replicas=_REPLICAS,
                ),
                after=after,
            ),
            self._controller(
                f"{name}-external-secrets",
                args,
                charts.EXTERNAL_SECRETS,
                namespace="external-secrets",
                statements=[
                    iam.allow(
                        "ReadPlatformSecrets",
                        actions=["secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"],
                        resources=[f"{where}:{naming.argocd_secret('*')}"],
                    )
                ],
                values=charts.external_secrets_values(service_account=charts.EXTERNAL_SECRETS.name, replicas=_REPLICAS),
                after=after,
            ),
            self._controller(
                f"{name}-cluster-autoscaler",
                args,
                charts.CLUSTER_AUTOSCALER,
                namespace="kube-system",
                statements=autoscaler_statements(args.account, args.region, self.name),
                values=charts.cluster_autoscaler_values(
                    cluster=self.name, region=args.region, service_account=charts.CLUSTER_AUTOSCALER.name
                ),
                after=after,
            ),
        ]

    def _preview_rights(self, name: str) -> None:
        """Let previews try what the program declares, and see to it that they only try.

        A preview of a Kubernetes object is a server-side dry run, which asks for the rights of the real thing. The
        admission policy refuses the real thing, and comes before the rights.
        https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
        """
        own = pulumi.ResourceOptions(parent=self, provider=self.provider)
        policy = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicy(
            f"{name}-preview-only-tries",
            metadata={"name": "slipway-preview-only-tries"},
            spec={
                "failure_policy": "Fail",
                "match_constraints": {
                    "resource_rules": [
                        {
                            "api_groups": ["*"],
                            "api_versions": ["*"],
                            "operations": ["CREATE", "UPDATE", "DELETE", "CONNECT"],
                            "resources": ["*/*"],
                            "scope": "*",
                        }
                    ]
                },
                "match_conditions": [{"name": "previews", "expression": f"'{PREVIEW_GROUP}' in request.userInfo.groups"}],
                "validations": [
                    {
                        "expression": "has(request.dryRun) && request.dryRun",
                        "message": "The preview role only tries changes (dry run). Changes are made by the deploy role.",
                    }
                ],
            },
            opts=own,
        )
        binding = kubernetes.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
            f"{name}-preview-only-tries",
            metadata={"name": "slipway-preview-only-tries"},
            spec={"policy_name": "slipway-preview-only-tries", "validation_actions": ["Deny"]},
            opts=pulumi.ResourceOptions(parent=self, provider=self.provider, depends_on=[policy]),
        )
        role = kubernetes.rbac.v1.ClusterRole(
            f"{name}-preview",
            metadata={"name": "slipway-preview"},
            rules=PREVIEW_RULES,
            opts=own,
        )
        kubernetes.rbac.v1.ClusterRoleBinding(
            f"{name}-preview",
            metadata={"name": "slipway-preview"},
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "slipway-preview"},
            subjects=[{"api_group": "rbac.authorization.k8s.io", "kind": "Group", "name": PREVIEW_GROUP}],
            opts=pulumi.ResourceOptions(parent=self, provider=self.provider, depends_on=[role, binding]),
        )


_READ: Final = ("get", "list", "watch")
_TRY: Final = (*_READ, "create", "patch", "update")
# What a preview of this program touches: what it declares, and what its Helm releases consist of. Never a Secret.
PREVIEW_RULES: Final[Sequence[kubernetes.rbac.v1.PolicyRuleArgsDict]] = (
    {"api_groups": [""], "resources": ["namespaces"], "verbs": _TRY},
    {"api_groups": ["argoproj.io"], "resources": ["applications", "appprojects"], "verbs": _TRY},
    {"api_groups": ["elbv2.k8s.aws"], "resources": ["targetgroupbindings"], "verbs": _TRY},
    {"api_groups": ["external-secrets.io"], "resources": ["externalsecrets", "secretstores"], "verbs": _TRY},
    {"api_groups": [""], "resources": ["configmaps", "serviceaccounts", "services"], "verbs": _READ},
    {"api_groups": ["apps"], "resources": ["deployments", "statefulsets"], "verbs": _READ},
    {"api_groups": ["batch"], "resources": ["jobs"], "verbs": _READ},
    {"api_groups": ["networking.k8s.io"], "resources": ["ingressclasses", "networkpolicies"], "verbs": _READ},
    {"api_groups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": _READ},
    {
        "api_groups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterrolebindings", "clusterroles", "rolebindings", "roles"],
        "verbs": _READ,
    },
    {
        "api_groups": ["admissionregistration.k8s.io"],
        "resources": [
            "mutatingwebhookconfigurations",
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "validatingwebhookconfigurations",
        ],
        "verbs": _READ,
    },
    {"api_groups": ["apiextensions.k8s.io"], "resources": ["customresourcedefinitions"], "verbs": _READ},
)


def _no_creator_admin(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
    """Whoever creates the cluster is no administrator by that: access entries name everybody.

    pulumi_eks asks for the opposite and has no input for it (cluster.ts: bootstrapClusterCreatorAdminPermissions); the
    deploy role's own entry would collide with the one that AWS makes by itself.
    """
    if args.type_ != "aws:eks/cluster:Cluster":
        return None
    asked = cast("dict[str, Any]", args.props.get("accessConfig") or {})
    access = {**asked, "bootstrapClusterCreatorAdminPermissions": False}
    return pulumi.ResourceTransformResult(props={**args.props, "accessConfig": access}, opts=args.opts)


def load_balancer_controller_statements(account: str, region: str, cluster: str) -> Sequence[iam.Statement]:
    """What the controller needs for TargetGroupBindings of IP targets, and no more of its published policy.

    https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/installation/
    """
    return [
        iam.allow_everywhere(
            "Look",
            actions=[
                "ec2:DescribeAvailabilityZones",
                "ec2:DescribeInstances",
                "ec2:DescribeNetworkInterfaces",
                "ec2:DescribeSecurityGroups",
                "ec2:DescribeSubnets",
                "ec2:DescribeVpcs",
                "elasticloadbalancing:DescribeTags",
                "elasticloadbalancing:DescribeTargetGroupAttributes",
                "elasticloadbalancing:DescribeTargetGroups",
                "elasticloadbalancing:DescribeTargetHealth",
            ],
            because="describing knows no resource: "
            "https://docs.aws.amazon.com/service-authorization/latest/reference/list_awselasticloadbalancingv2.html",
        ),
        iam.allow(
            "RegisterPods",
            actions=["elasticloadbalancing:DeregisterTargets", "elasticloadbalancing:RegisterTargets"],
            # The target groups of this account: their names are the services', which the cluster does not know.
            resources=[f"arn:aws:elasticloadbalancing:{region}:{account}:targetgroup/*/*"],
        ),
        iam.allow(
            "LetTheLoadBalancerIn",
            actions=["ec2:AuthorizeSecurityGroupIngress", "ec2:RevokeSecurityGroupIngress"],
            resources=[f"arn:aws:ec2:{region}:{account}:security-group/*"],
            conditions={"StringEquals": {f"aws:ResourceTag/kubernetes.io/cluster/{cluster}": "owned"}},
        ),
    ]


def autoscaler_statements(account: str, region: str, cluster: str) -> Sequence[iam.Statement]:
    """What the cluster autoscaler needs, on this cluster's groups.

    https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/cloudprovider/aws/README.md
    """
    return [
        iam.allow_everywhere(
            "Look",
            actions=[
                "autoscaling:DescribeAutoScalingGroups",
                "autoscaling:DescribeAutoScalingInstances",
                "autoscaling:DescribeLaunchConfigurations",
                "autoscaling:DescribeScalingActivities",
                "ec2:DescribeImages",
                "ec2:DescribeInstanceTypes",
                "ec2:DescribeLaunchTemplateVersions",
                "ec2:GetInstanceTypesFromInstanceRequirements",
            ],
            because="describing knows no resource: "
            "https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2autoscaling.html",
        ),
        iam.allow(
            "DescribeNodeGroups",
            actions=["eks:DescribeNodegroup"],
            resources=[f"arn:aws:eks:{region}:{account}:nodegroup/{cluster}/*/*"],
        ),
        iam.allow(
            "Scale",
            actions=["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"],
            resources=[f"arn:aws:autoscaling:{region}:{account}:autoScalingGroup:*:autoScalingGroupName/*"],
            conditions={"StringEquals": {f"aws:ResourceTag/k8s.io/cluster-autoscaler/{cluster}": "owned"}},
        ),
    ]
