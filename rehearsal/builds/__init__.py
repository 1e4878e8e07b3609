"""What CodePipeline and CodeBuild do with a commit: whether it starts a build, and the build itself, from the very buildspec."""

from rehearsal.builds.buildspec import Build, BuildspecError, Phase, run_buildspec
from rehearsal.builds.pipeline import (
    BuildAction,
    PipelineError,
    Source,
    build_of,
    match_trigger,
    reach_artifact,
    source_of,
    use_connection,
)
from rehearsal.builds.tools import BASE_IMAGE, Images, ToolError, ensure_tools, make_base_image

__all__ = [
    "BASE_IMAGE",
    "Build",
    "BuildAction",
    "BuildspecError",
    "Images",
    "Phase",
    "PipelineError",
    "Source",
    "ToolError",
    "build_of",
    "ensure_tools",
    "make_base_image",
    "match_trigger",
    "reach_artifact",
    "run_buildspec",
    "source_of",
    "use_connection",
]
