"""The registry as the rehearsal's clients meet it: the emulated ECR behind a door that judges each request by IAM's rules.

`lifecycle` is what ECR does of itself and no emulator does: it expires what the declared policy says.
"""

from rehearsal.registry import lifecycle
from rehearsal.registry.door import Identify, KnownKeys, Passage, Push, RegistryDoor
from rehearsal.registry.lifecycle import LifecycleError
from rehearsal.registry.policy import Identity, PolicyError, Request, Service, Verdict, judge

__all__ = [
    "Identify",
    "Identity",
    "KnownKeys",
    "LifecycleError",
    "Passage",
    "PolicyError",
    "Push",
    "RegistryDoor",
    "Request",
    "Service",
    "Verdict",
    "judge",
    "lifecycle",
]
