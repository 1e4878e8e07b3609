"""The settings of a stack: their model and rules, and the only reader of `pulumi.Config`.

A wrong value raises `SettingsError` before any resource is registered; code behind it assumes that the settings are right.
"""

from components.settings.describe import Written
from components.settings.files import SettingsError, StackFile, file_name, read_stack_file
from components.settings.loading import load, parse, read_settings
from components.settings.model import (
    FULL_WEIGHT,
    LARGEST_PREFIX,
    LOG_RETENTION_DAYS,
    SMALLEST_PREFIX,
    VPC_RANGES,
    Access,
    Alarms,
    App,
    ArgoCdSettings,
    ArgoCdUi,
    Builds,
    ClusterSettings,
    CodeRepository,
    Endpoint,
    Environment,
    GitOpsSettings,
    Lifecycle,
    NetworkSettings,
    Nodes,
    Organization,
    Settings,
    Slack,
    Track,
)

__all__ = [
    "FULL_WEIGHT",
    "LARGEST_PREFIX",
    "LOG_RETENTION_DAYS",
    "SMALLEST_PREFIX",
    "VPC_RANGES",
    "Access",
    "Alarms",
    "App",
    "ArgoCdSettings",
    "ArgoCdUi",
    "Builds",
    "ClusterSettings",
    "CodeRepository",
    "Endpoint",
    "Environment",
    "GitOpsSettings",
    "Lifecycle",
    "NetworkSettings",
    "Nodes",
    "Organization",
    "Settings",
    "SettingsError",
    "Slack",
    "StackFile",
    "Track",
    "Written",
    "file_name",
    "load",
    "parse",
    "read_settings",
    "read_stack_file",
]
