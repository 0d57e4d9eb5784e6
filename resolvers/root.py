"""The schema put together."""

from typing import Any

import strawberry
from graphql import (
    GraphQLNamedType,
    build_schema,
    get_named_type,
    lexicographic_sort_schema,
    print_schema,
)
from strawberry.schema.config import StrawberryConfig

from resolvers.access import AccessMutations
from resolvers.agents import AgentMutations, AgentQueries, AgentSubscriptions
from resolvers.announcements import AnnouncementMutations, AnnouncementQueries, AnnouncementSubscriptions
from resolvers.auditing import record
from resolvers.audits import AuditQueries
from resolvers.domains import DomainMutations, DomainQueries
from resolvers.groups import GroupMutations, GroupQueries
from resolvers.identity_providers import IdentityProviderMutations, IdentityProviderQueries
from resolvers.images import ImageMutations, ImageQueries
from resolvers.keypairs import KeypairMutations, KeypairQueries
from resolvers.mails import MailMutations, MailQueries
from resolvers.policies import PolicyMutations, PolicyQueries
from resolvers.presets import PresetMutations, PresetQueries
from resolvers.registries import RegistryMutations, RegistryQueries
from resolvers.resource_groups import ResourceGroupMutations, ResourceGroupQueries
from resolvers.server import ServerQueries
from resolvers.sessions import SessionMutations, SessionQueries, SessionSubscriptions
from resolvers.settings import SettingMutations, SettingQueries, SettingSubscriptions
from resolvers.signups import SignUpMutations, SignUpQueries
from resolvers.tasks import TaskMutations, TaskQueries, TaskSubscriptions
from resolvers.usage import UsageMutations
from resolvers.usage_reports import UsageReportQueries
from resolvers.users import UserMutations, UserQueries
from schema import inputs
from schema.access import Login
from schema.errors import ErrorCode
from schema.execution import PageExecutor
from schema.identities import guard
from schema.limits import Limits, extensions
from schema.scalars import SCALARS
from schema.sessions import Kernel


@strawberry.type(description="Reading.")
class Query(
    ServerQueries,
    DomainQueries,
    GroupQueries,
    UserQueries,
    KeypairQueries,
    MailQueries,
    SignUpQueries,
    IdentityProviderQueries,
    PolicyQueries,
    PresetQueries,
    ResourceGroupQueries,
    AgentQueries,
    ImageQueries,
    RegistryQueries,
    TaskQueries,
    SessionQueries,
    SettingQueries,
    AuditQueries,
    UsageReportQueries,
    AnnouncementQueries,
):
    pass


@strawberry.type(description="Changing: each takes one input and answers with what has changed.")
class Mutation(
    AccessMutations,
    DomainMutations,
    GroupMutations,
    UserMutations,
    KeypairMutations,
    MailMutations,
    SignUpMutations,
    IdentityProviderMutations,
    PolicyMutations,
    PresetMutations,
    ResourceGroupMutations,
    AgentMutations,
    ImageMutations,
    RegistryMutations,
    TaskMutations,
    SessionMutations,
    UsageMutations,
    SettingMutations,
    AnnouncementMutations,
):
    pass


@strawberry.type(description="Being told.")
class Subscription(
    SessionSubscriptions,
    AgentSubscriptions,
    TaskSubscriptions,
    SettingSubscriptions,
    AnnouncementSubscriptions,
):
    pass


class Schema(strawberry.Schema):
    """Strawberry's, without its log of errors: `schema.errors.present` logs surprises; what a client does wrong is none."""

    def process_errors(self, errors: Any, execution_context: Any = None) -> None:
        """Nothing: errors are presented by the transport."""


def make_schema(limits: Limits | None = None) -> strawberry.Schema:
    """The schema that a manager serves."""
    schema = Schema(
        query=Query,
        mutation=Mutation,
        subscription=Subscription,
        types=[Kernel, Login, ErrorCode],
        extensions=extensions(limits or Limits()),
        execution_context_class=PageExecutor,
        config=StrawberryConfig(disable_field_suggestions=True, scalar_map=SCALARS),
    )
    _describe_arguments(schema)
    inputs.hasten(schema._schema, schema.config)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as below
    guard(schema._schema)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # the only way to the built types
    record(schema._schema)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as above
    return schema


def _describe_arguments(schema: strawberry.Schema) -> None:
    """An argument without words of its own says what its type says: `input`, `filter`, `orderBy`."""
    built = schema._schema  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # the only way to the built types
    for kind in built.type_map.values():
        for field in getattr(kind, "fields", {}).values():
            for argument in getattr(field, "args", {}).values():
                named: GraphQLNamedType = get_named_type(argument.type)
                argument.description = argument.description or named.description


def sdl() -> str:
    """The schema as text, in alphabetical order, so that a change of it is a small difference."""
    return print_schema(lexicographic_sort_schema(build_schema(make_schema().as_str()))) + "\n"
