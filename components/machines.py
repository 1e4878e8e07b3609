"""EC2 instance types that cannot be nodes: the node image is Amazon Linux 2023 without drivers."""

import re
from typing import Final

_FAMILY: Final = re.compile(r"(?P<family>[a-z0-9-]+)\.(?P<size>[a-z0-9-]+)")
# https://docs.aws.amazon.com/ec2/latest/instancetypes/ac.html: families with GPUs, FPGAs or AI chips. Their nodes need another
# image (https://docs.aws.amazon.com/eks/latest/userguide/ml-eks-optimized-ami.html).
_ACCELERATED: Final = re.compile(r"(p|g|gr|dl|f|inf|trn|vt)\d[a-z0-9-]*|dl2q")
_MAC: Final = re.compile(r"mac[a-z0-9-]*")
# https://docs.aws.amazon.com/eks/latest/userguide/choosing-instance-type.html: no A1, no mac.
_FIRST_GRAVITON: Final = "a1"
# The first generation, from before 2011: processors without x86-64-v2, which Amazon Linux 2023 is compiled for.
# https://docs.aws.amazon.com/linux/al2023/ug/system-requirements.html
_ANCIENT: Final = frozenset({"c1", "cc1", "cg1", "m1", "m2", "t1"})
# Addresses of a node limit its pods: these two sizes hold four.
# https://docs.aws.amazon.com/eks/latest/userguide/choosing-instance-type.html
_TINY: Final = frozenset({"nano", "micro"})


def machine_fault(instance_type: str) -> str | None:
    """Say why `instance_type` cannot be a node, or None."""
    found = _FAMILY.fullmatch(instance_type)
    if found is None:
        return "this is no EC2 instance type. Write family and size, such as m7g.large"
    family, size = found["family"], found["size"]
    rules = {
        "Mac instances cannot be EKS nodes. Choose a Linux type, such as m7g.large": _MAC.fullmatch(family),
        "the node image has no drivers for GPUs, FPGAs and AI chips. Choose a type without them, such as m7g.large": (
            _ACCELERATED.fullmatch(family)
        ),
        "Amazon Linux 2023 does not run on first-generation Graviton. Choose a newer type, such as m7g.large": (
            family == _FIRST_GRAVITON
        ),
        "Amazon Linux 2023 does not run on the first generation of EC2. Choose a newer type, such as m7i.large": family
        in _ANCIENT,
        "such a node holds four pods, fewer than the platform's own. Choose a larger one, such as t4g.medium": size in _TINY,
    }
    return next((why for why, broken in rules.items() if broken), None)
