"""The catalogue: one `Service` call per application. The only file a new service touches.

The function is called twice: first to check all services before anything is registered, then to declare them. So it
calls `Service` and registers nothing else.
"""

from components.platform import Platform
from components.service import Service, ServiceArgs


def services(platform: Platform) -> None:
    """Declare every application."""
    Service("storefront", ServiceArgs(platform=platform, repository="storefront", port=8080))
    # A worker: no port, so nothing at the edge.
    Service("invoices", ServiceArgs(platform=platform, repository="invoices"))
