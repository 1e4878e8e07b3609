"""The restricted Pod Security standard, which every namespace of a service enforces.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ as of Kubernetes 1.34: the restricted controls, and those of
the baseline below them.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

_VOLUMES: Final = frozenset(
    {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
)
_SYSCTLS: Final = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_syncookies",
    }
)
_SELINUX_TYPES: Final = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
# What a container does not say, its pod says for it.
_INHERITED: Final = ("runAsNonRoot", "runAsUser", "seccompProfile", "seLinuxOptions", "windowsOptions", "appArmorProfile")

_Object = Mapping[str, Any]


def pods(given: _Object) -> Iterator[_Object]:
    """The spec of the pod that an object is or makes, if there is one."""
    spec = _part(given, "spec")
    if given.get("kind") == "CronJob":
        spec = _part(_part(spec, "jobTemplate"), "spec")
    pod = spec if given.get("kind") == "Pod" else _part(_part(spec, "template"), "spec")
    if "containers" in pod:
        yield pod


def containers(pod: _Object) -> list[_Object]:
    """All of a pod's containers."""
    return [each for key in ("containers", "initContainers", "ephemeralContainers") for each in pod.get(key) or []]


def refused(pod: _Object) -> Iterator[str]:
    """What the standard refuses in a pod's spec, in words."""
    own = _part(pod, "securityContext")
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    yield from (f"sysctl {each.get('name')}" for each in own.get("sysctls") or [] if each.get("name") not in _SYSCTLS)
    for volume in pod.get("volumes") or []:
        if strange := sorted(volume.keys() - {"name"} - _VOLUMES):
            yield f"volume {volume.get('name')} of type {', '.join(strange)}"
    for container in containers(pod):
        yield from (f"{each} (container {container.get('name')})" for each in _in_container(container, own))


def _in_container(container: _Object, pod: _Object) -> Iterator[str]:
    its = {key: pod[key] for key in _INHERITED if key in pod} | dict(_part(container, "securityContext"))
    capabilities, selinux = _part(its, "capabilities"), _part(its, "seLinuxOptions")
    hooks = [each for each in _part(container, "lifecycle").values() if isinstance(each, dict)]
    callers = [*(_part(container, each) for each in _PROBES), *cast("list[_Object]", hooks)]
    held = {
        "runAsNonRoot other than true": its.get("runAsNonRoot") is True,
        "runAsUser 0": its.get("runAsUser") != 0,
        "a seccompProfile other than RuntimeDefault or Localhost": _part(its, "seccompProfile").get("type")
        in {"RuntimeDefault", "Localhost"},
        "allowPrivilegeEscalation other than false": its.get("allowPrivilegeEscalation") is False,
        "capabilities that are not all dropped": "ALL" in (capabilities.get("drop") or []),
        "added capabilities but NET_BIND_SERVICE": set(capabilities.get("add") or []) <= {"NET_BIND_SERVICE"},
        "privileged": not its.get("privileged"),
        "procMount": its.get("procMount") in {None, "Default"},
        "hostPort": not any(port.get("hostPort") for port in container.get("ports") or []),
        "hostProcess": not _part(its, "windowsOptions").get("hostProcess"),
        "an appArmorProfile of type Unconfined": _part(its, "appArmorProfile").get("type") != "Unconfined",
        "seLinuxOptions": selinux.get("type", "") in _SELINUX_TYPES and not (selinux.get("user") or selinux.get("role")),
        "a probe's or hook's host": not any(_part(each, how).get("host") for each in callers for how in ("httpGet", "tcpSocket")),
    }
    yield from (what for what, fine in held.items() if not fine)


def _part(given: _Object, key: str) -> _Object:
    """What stands under a key, empty where that is no mapping: schemas are judged elsewhere."""
    found = given.get(key)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}
