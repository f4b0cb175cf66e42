"""The shape of KubeRay's and Kueue's kinds as far as infra/ uses them, strict: no package carries their schemas.

Written after the custom resource definitions of KubeRay 1.5 (ray.io/v1) and Kueue (v1beta1); pod templates are checked
against Kubernetes' own schema by whoever uses these.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Tree = dict[str, Any]


class Shape(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Shape):
    name: str
    namespace: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class AuthOptions(Shape):
    mode: Literal["disabled", "token"]


class AutoscalerOptions(Shape):
    version: Literal["v1", "v2"] | None = None
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] | None = None
    idleTimeoutSeconds: int | None = None
    resources: Tree = Field(default_factory=dict)
    securityContext: Tree = Field(default_factory=dict)


class HeadGroup(Shape):
    rayStartParams: dict[str, str]
    template: Tree


class WorkerGroup(Shape):
    groupName: str
    replicas: int
    minReplicas: int
    maxReplicas: int
    numOfHosts: int = 1
    idleTimeoutSeconds: int | None = None
    rayStartParams: dict[str, str]
    template: Tree


class ClusterSpec(Shape):
    rayVersion: str
    authOptions: AuthOptions | None = None
    enableInTreeAutoscaling: bool = False
    autoscalerOptions: AutoscalerOptions | None = None
    suspend: bool = False
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup]

    def templates(self) -> list[Tree]:
        """Every pod template."""
        return [self.headGroupSpec.template, *(group.template for group in self.workerGroupSpecs)]


class RayCluster(Shape):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayCluster"]
    metadata: Metadata
    spec: ClusterSpec


class JobSpec(Shape):
    entrypoint: str
    submissionMode: Literal["K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"]
    backoffLimit: int = 0
    activeDeadlineSeconds: int | None = None
    shutdownAfterJobFinishes: bool
    ttlSecondsAfterFinished: int = 0
    suspend: bool = False
    rayClusterSpec: ClusterSpec


class RayJob(Shape):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: JobSpec


class Quota(Shape):
    name: str
    nominalQuota: str


class FlavorQuotas(Shape):
    name: str
    resources: list[Quota]


class ResourceGroup(Shape):
    coveredResources: list[str]
    flavors: list[FlavorQuotas]


class ClusterQueueSpec(Shape):
    namespaceSelector: Tree
    resourceGroups: list[ResourceGroup]


class LocalQueueSpec(Shape):
    clusterQueue: str


class ResourceFlavor(Shape):
    apiVersion: Literal["kueue.x-k8s.io/v1beta1"]
    kind: Literal["ResourceFlavor"]
    metadata: Metadata


class ClusterQueue(Shape):
    apiVersion: Literal["kueue.x-k8s.io/v1beta1"]
    kind: Literal["ClusterQueue"]
    metadata: Metadata
    spec: ClusterQueueSpec


class LocalQueue(Shape):
    apiVersion: Literal["kueue.x-k8s.io/v1beta1"]
    kind: Literal["LocalQueue"]
    metadata: Metadata
    spec: LocalQueueSpec


CUSTOM: dict[str, type[BaseModel]] = {
    model.__name__: model for model in (RayCluster, RayJob, ResourceFlavor, ClusterQueue, LocalQueue)
}
