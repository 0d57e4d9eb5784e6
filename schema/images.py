"""Images: environments that sessions start from."""

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated

import strawberry

from schema.context import Context, Info
from schema.errors import Problem
from schema.fields import answered, belongs, each, permitted_actions, said
from schema.nodes import Node
from schema.paging import After, Before, Connection, Direction, First, Last, page_args
from schema.scalars import ByteSize
from schema.slots import Slot, SlotInput
from services import images
from services.db import tables

if TYPE_CHECKING:
    from schema.agents import Agent
    from schema.tasks import Task

Agents = Connection[Annotated["Agent", strawberry.lazy("schema.agents")]]


@strawberry.type(description="An app that an image declares.")
class ServicePort:
    name: str = said("Such as jupyterlab.")
    protocol: str = said("http, tcp …")
    port: int = said("The port inside the container.")

    @classmethod
    def all(cls, row: tables.Image) -> list["ServicePort"]:
        return [
            cls(name=one["name"], protocol=one["protocol"], port=one["port"]) for one in row.service_ports
        ]


@strawberry.type(description="A label of an image.")
class Label:
    name: str = said("The label's name.")
    value: str = said("The label's value.")


@strawberry.type(description="An environment that sessions start from, of one architecture.")
class Image(Node):
    row: strawberry.Private[tables.Image]
    reference: str = said("As a container engine understands it.")
    registry: str = said("Host name of its registry.")
    namespace: str = said("The part of the path before the name.")
    name: str = said("Name.")
    tag: str = said("Tag.")
    architecture: str = said("Processor architecture.")
    digest: str = said("Of its content.")
    size: ByteSize = said("On a node's disk.")
    language: str = said("Language or framework, for people.")
    version: str = said("Version of the language or framework.")
    base: str = said("The distribution that it is built on.")
    active: bool = said("False: it may not be used for new sessions.")
    created_at: datetime = said("When it became known.")

    @classmethod
    def of(cls, row: tables.Image) -> "Image":
        return cls(
            row=row,
            id=strawberry.ID(row.id),
            reference=row.reference,
            registry=row.registry_host,
            namespace=row.namespace,
            name=row.name,
            tag=row.tag,
            architecture=row.architecture,
            digest=row.digest,
            size=ByteSize(row.size),
            language=row.language,
            version=row.version,
            base=row.base,
            active=row.active,
            created_at=row.created_at,
        )

    @strawberry.field(description="Sessions get at least this much.")
    def minimum_slots(self) -> list[Slot]:
        return Slot.all(self.row.minimum_slots)

    @strawberry.field(description="Apps that it declares.")
    def service_ports(self) -> list[ServicePort]:
        return ServicePort.all(self.row)

    @strawberry.field(description="Environment variables that are set to the number of cores.")
    def environment_names(self) -> list[str]:
        return self.row.environment_names

    @strawberry.field(description="All its labels.")
    def labels(self) -> list[Label]:
        return [Label(name=name, value=value) for name, value in sorted(self.row.labels.items())]

    aliases: list[str] = belongs("aliases", "Short names, by which a session can ask for it.")

    @answered(each("installed"), "Does a node have it, so that no download stands before a start?")
    def installed(self, found: list[str], _context: Context) -> bool:
        return bool(found)

    @strawberry.field(description="Nodes that have it, as far as you see them.")
    def agents(
        self, info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
    ) -> Agents:
        return info.context.page("agents", page_args(first, after, last, before), image_id=self.row.id)

    allowed_actions: list[str] = permitted_actions("Mutations that you may perform on it.")


@strawberry.type(description="A version of a language or framework.")
class EnvironmentVersion:
    name: str = said("Of the language or framework.")
    images: list[Image] = said("Its images: of several architectures, distributions or places.")


@strawberry.type(description="A language or framework that sessions can be started with.")
class Environment:
    name: str = said("Of the language or framework, for people.")
    versions: list[EnvironmentVersion] = said("Its versions, the newest first.")

    @classmethod
    def of(cls, found: images.Environment) -> "Environment":
        return cls(
            name=found.name,
            versions=[
                EnvironmentVersion(name=version.name, images=[Image.of(row) for row in version.images])
                for version in found.versions
            ],
        )


@strawberry.input(description="Which images are removed from which nodes.")
class CleanUpImagesInput:
    unused_days: int = said("Those that no session used on the node for so many days.", default=30)
    agent_ids: list[strawberry.ID] | None = said("Only from these nodes; null: from all.", default=None)
    include_local: bool = said(
        "Also those that no registry is known to have: the last copy may be lost.", default=False
    )
    dry_run: bool = said("Only say which, and how many bytes that would free.", default=False)


@strawberry.type(description="Images are being removed where nobody used them.")
class CleanUpImagesPayload:
    task: Annotated["Task", strawberry.lazy("schema.tasks")] = said(
        "Does it in the background; it has a line for each image and node, and `bytesFreed` in its summary."
    )


@strawberry.input(description="Which images; all given conditions hold together.")
class ImageFilter:
    search: str | None = said(
        "Part of the reference or the language, or the beginning of the id.", default=None
    )
    active: bool | None = said("Only usable (true) or hidden (false) ones.", default=None)
    architecture: str | None = said("Only of this architecture.", default=None)
    language: str | None = said("Only of this language or framework.", default=None)
    installed: bool | None = said("Only those that a node has (true) or none has (false).", default=None)
    agent_id: strawberry.ID | None = said("Only those that this agent has.", default=None)
    alias: str | None = said("Only the one with this short name.", default=None)
    group_id: strawberry.ID | None = said("Only those that sessions of this group may use.", default=None)


@strawberry.enum(description="What lists of images are ordered by.")
class ImageOrderField(Enum):
    REFERENCE = strawberry.enum_value("REFERENCE", description="By reference.")
    LANGUAGE = strawberry.enum_value("LANGUAGE", description="By language.")
    CREATED_AT = strawberry.enum_value("CREATED_AT", description="By when they became known.")
    SIZE = strawberry.enum_value("SIZE", description="By size.")


@strawberry.input(description="An order of images.")
class ImageOrder:
    field: ImageOrderField = said("By what.")
    direction: Direction = said("Which way.", default=Direction.ASC)


@strawberry.input(description="Changes of an image; what is absent stays as it is.")
class UpdateImageInput:
    id: strawberry.ID = said("The image.")
    minimum_slots: list[SlotInput] | None = said(
        "All minimums anew; from then on its labels no longer change them. Lower ones can make sessions fail.",
        default=None,
    )
    active: bool | None = said("Whether new sessions may use it.", default=None)
    aliases: list[str] | None = said(
        "All its short names anew; each belongs to one image. Letters, digits, dots, hyphens and underscores.",
        default=None,
    )


@strawberry.input(description="Several images.")
class ImagesInput:
    ids: list[strawberry.ID] = said("The images.")


@strawberry.input(description="Images and nodes.")
class ImagesOnAgentsInput:
    image_ids: list[strawberry.ID] = said("The images.")
    agent_ids: list[strawberry.ID] = said("The agents.")


@strawberry.type(description="What became of one image on one node.")
class ImageOnAgentResult:
    image_id: strawberry.ID = said("The image.")
    agent_id: strawberry.ID = said("The agent.")
    error: Problem | None = said("Why it was not done; null when it was.")


@strawberry.type(description="An image was changed.")
class UpdateImagePayload:
    image: Image = said("The image as it is now.")


@strawberry.type(description="Images were forgotten.")
class ForgetImagesPayload:
    deleted_ids: list[strawberry.ID] = said(
        "Ids that are gone, or hidden where sessions were made from them."
    )


@strawberry.type(description="Images are being brought to nodes.")
class InstallImagesPayload:
    task: Annotated["Task", strawberry.lazy("schema.tasks")] = said(
        "Does it in the background; it has a line for each image and node."
    )


@strawberry.type(description="Images were removed from nodes, each for itself.")
class RemoveImagesPayload:
    results: list[ImageOnAgentResult] = said("One for each image and node.")
