"""The AWS Load Balancer Controller's part for TargetGroupBindings: looks each one's target group up, and holds it until let go.

No pod is registered: nothing in the rehearsal sends packets to one.
https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/targetgroupbinding/targetgroupbinding/
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from rehearsal.cloud.identities import identity_of
from rehearsal.lab.clusters import LabCluster
from rehearsal.lab.controller import Controller
from rehearsal.lab.kube import KubeError
from rehearsal.registry.policy import Request, judge

API: Final = "elbv2.k8s.aws/v1beta1"
KIND: Final = "TargetGroupBinding"
NAME: Final = "aws-load-balancer-controller"
# https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/pkg/k8s/finalizer.go
FINALIZER: Final = "elbv2.k8s.aws/resources"
# What its webhook refuses: https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/webhooks/elbv2/targetgroupbinding_validator.go
_IMMUTABLE: Final = ("targetGroupARN", "targetType", "vpcID")
_RETRY_SECONDS: Final = 1
_CHANGED: Final = 409
_ACTIONS: Final = (
    ("elasticloadbalancing:DescribeTargetGroups", "*"),
    ("elasticloadbalancing:DescribeTargetHealth", "*"),
    ("elasticloadbalancing:RegisterTargets", "{arn}"),
    ("elasticloadbalancing:DeregisterTargets", "{arn}"),
)


class Bindings:
    """The controller of one cluster."""

    def __init__(self, cluster: LabCluster, *, namespace: str, service_account: str) -> None:
        """Prepare; its pods run in `namespace` as `service_account`."""
        self._cluster, self._namespace, self._service_account = cluster, namespace, service_account
        # When each was looked up last, at which generation.
        self._seen: dict[str, tuple[int, float]] = {}

    def controller(self) -> Controller:
        """What looks for bindings."""
        return Controller(NAME, self.look)

    def look(self) -> None:
        """Look at every binding."""
        there = self._cluster.kube.list(API, KIND)
        for each in there:
            try:
                self._look_at(each)
            except KubeError as error:
                if error.status not in {404, _CHANGED}:
                    raise
        named = {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in there}
        for gone in {*self._cluster.bindings} - named:
            del self._cluster.bindings[gone]

    def _look_at(self, binding: Mapping[str, Any]) -> None:
        metadata = binding["metadata"]
        key, finalizers = (metadata["namespace"], metadata["name"]), [str(each) for each in metadata.get("finalizers", [])]
        if metadata.get("deletionTimestamp"):
            if FINALIZER in finalizers:
                self._finalize(metadata, [each for each in finalizers if each != FINALIZER])
            return
        if FINALIZER not in finalizers:
            self._finalize(metadata, [*finalizers, FINALIZER])
        generation, at = self._seen.get(metadata["uid"], (0, 0.0))
        settled = not self._cluster.bindings.get(key, "unseen")
        if generation == metadata["generation"] and (settled or time.monotonic() - at < _RETRY_SECONDS):
            return
        fault = self._fault(binding["spec"])
        self._cluster.bindings[key] = fault
        self._seen[metadata["uid"]] = (metadata["generation"], time.monotonic())
        if not fault:
            told = {"status": {"observedGeneration": metadata["generation"]}}
            self._cluster.kube.patch(API, KIND, metadata["name"], told, metadata["namespace"], subresource="status")

    def _fault(self, spec: Mapping[str, Any]) -> str:
        """Why a binding is not served; "" when it is."""
        place, arn = self._cluster.place, str(spec["targetGroupARN"])
        try:
            role = self._cluster.role_of(self._namespace, self._service_account)
            who = identity_of(self._cluster.emulators, role, place.region, session=NAME)
            for action, resource in _ACTIONS:
                verdict = judge(Request(caller=who, action=action, resource=resource.format(arn=arn)))
                if not verdict:
                    return f"{role} may not {action} on {arn}: {verdict.reason}"
            groups = self._cluster.emulators.client("elbv2", place.account, place.region).describe_target_groups
            (group,) = groups(TargetGroupArns=[arn])["TargetGroups"]
        except Exception as error:  # noqa: BLE001 — whatever it is, it is this binding's fault and is told
            return f"{type(error).__name__}: {error}"
        for ours, theirs in (("targetType", "TargetType"), ("vpcID", "VpcId")):
            if ours in spec and spec[ours] != group[theirs]:
                return f"spec.{ours} is {spec[ours]}, and {arn} has {group[theirs]}"
        return ""

    def _finalize(self, metadata: Mapping[str, Any], finalizers: list[str]) -> None:
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": metadata["resourceVersion"]}}
        self._cluster.kube.patch(API, KIND, metadata["name"], patch, metadata["namespace"])


def admission() -> list[dict[str, Any]]:
    """What the controller's webhook refuses of one binding's change, as a policy of the API server."""
    name = "lab-targetgroupbindings"
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "apiGroups": ["elbv2.k8s.aws"],
                            "apiVersions": ["*"],
                            "operations": ["UPDATE"],
                            "resources": ["targetgroupbindings"],
                        }
                    ]
                },
                "validations": [
                    {
                        "expression": (
                            f"has(object.spec.{each}) == has(oldObject.spec.{each}) && "
                            f"(!has(object.spec.{each}) || object.spec.{each} == oldObject.spec.{each})"
                        ),
                        "message": f"TargetGroupBinding update may not change these immutable fields: spec.{each}",
                        "reason": "Invalid",
                    }
                    for each in _IMMUTABLE
                ],
            },
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name, "validationActions": ["Deny"]},
        },
    ]


def second(cluster: LabCluster, binding: Mapping[str, Any]) -> str:
    """Why a new binding would be refused by those that are there: one a target group; "" if it would not.

    https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/webhooks/elbv2/targetgroupbinding_validator.go
    """
    metadata, arn = binding["metadata"], binding.get("spec", {}).get("targetGroupARN")
    own = (metadata.get("namespace", "default"), metadata["name"])
    for each in cluster.kube.list(API, KIND):
        other = (each["metadata"]["namespace"], each["metadata"]["name"])
        if other != own and each["spec"].get("targetGroupARN") == arn:
            return f"TargetGroup {arn} is already bound to following TargetGroupBinding {'/'.join(other)}"
    return ""


__all__ = ["API", "FINALIZER", "KIND", "NAME", "Bindings", "admission", "second"]
