"""The registry as the rehearsal's clients meet it: the emulated ECR behind a door that judges each request by IAM's rules."""

from rehearsal.registry.door import Identify, KnownKeys, Passage, Push, RegistryDoor
from rehearsal.registry.policy import Identity, PolicyError, Request, Service, Verdict, judge

__all__ = [
    "Identify",
    "Identity",
    "KnownKeys",
    "Passage",
    "PolicyError",
    "Push",
    "RegistryDoor",
    "Request",
    "Service",
    "Verdict",
    "judge",
]
