"""Another company's catalogue: other names and ports, an internal service, and two services of one repository."""

from components.platform import Platform
from components.service import Service, ServiceArgs


def services(platform: Platform) -> None:
    """Declare every application."""
    Service(
        "basket",
        ServiceArgs(
            platform=platform,
            repository="Shop",
            port=9000,
            host="www",
            health_path="/health/live",
            context="services/basket",
            dockerfile="docker/Dockerfile",
        ),
    )
    Service("prices", ServiceArgs(platform=platform, repository="Shop", port=7070, public=False, context="services/prices"))
    Service("ledger", ServiceArgs(platform=platform, repository="ledger-worker"))
