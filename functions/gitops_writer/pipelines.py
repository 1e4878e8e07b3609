"""CodePipeline: a run, its actions, and the runs beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import ClientError

from . import aws

_ABSENT: Final = frozenset({"PipelineExecutionNotFoundException", "PipelineNotFoundException"})
# A run has few actions, and its neighbours are among the newest: one page of each is enough.
# https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_ListPipelineExecutions.html
_PAGE: Final = 100


@dataclass(frozen=True, kw_only=True)
class Pipelines:
    """The pipelines of one track.

    Attributes:
        client: CodePipeline.
    """

    client: Any

    def look(
        self, pipeline: str, execution: str
    ) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]] | None:
        """A run, its actions and the pipeline's newest runs; None if the run or its pipeline is gone."""
        try:
            # The state last: what the actions say is at least as old.
            actions = self.client.list_action_executions(
                pipelineName=pipeline, filter={"pipelineExecutionId": execution}, maxResults=_PAGE
            )
            runs = self.client.list_pipeline_executions(pipelineName=pipeline, maxResults=_PAGE)
            run = self.client.get_pipeline_execution(pipelineName=pipeline, pipelineExecutionId=execution)
        except ClientError as error:
            if aws.code(error) in _ABSENT:
                return None
            raise
        return run["pipelineExecution"], actions["actionExecutionDetails"], runs["pipelineExecutionSummaries"]
