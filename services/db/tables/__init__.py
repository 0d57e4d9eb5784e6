"""The typed tables. What is true is here; everything else (bus, agents' reports, caches) is a hint.

Slots are integers: milli-units for what is counted (cpu 1500 = 1.5 cores), bytes for `mem`. A missing name in a map of
limits means "unlimited", in a map of amounts "none".
"""

from services.db.tables.access import (
    FailedAttempt,
    IdempotencyKey,
    Identity,
    IdentityProvider,
    Keypair,
    Login,
    Nonce,
    RecoveryCode,
    RetiredRefreshToken,
    Ticket,
)
from services.db.tables.base import Base, Slots, now
from services.db.tables.clusters import (
    Agent,
    AgentEvent,
    JoinToken,
    ResourceGroup,
    ResourceGroupGrant,
    ResourcePreset,
)
from services.db.tables.images import AgentImage, Image, ImageAlias, Registry, RegistryGrant
from services.db.tables.people import (
    Consent,
    Domain,
    Group,
    GroupMember,
    Invitation,
    Mail,
    ResourcePolicy,
    User,
)
from services.db.tables.sessions import (
    FINAL,
    IS_LIVE,
    STARTING,
    Kernel,
    KernelLog,
    Session,
    SessionDependency,
    SessionEvent,
    in_status,
    stage_of,
)
from services.db.tables.upkeep import Announcement, AuditEvent, AuditTarget, Lease, Setting, Task, TaskLine
from services.db.tables.uses import KernelMeter, Occupancy, UsageTotal

__all__ = [
    "FINAL",
    "IS_LIVE",
    "STARTING",
    "Agent",
    "AgentEvent",
    "AgentImage",
    "Announcement",
    "AuditEvent",
    "AuditTarget",
    "Base",
    "Consent",
    "Domain",
    "FailedAttempt",
    "Group",
    "GroupMember",
    "IdempotencyKey",
    "Identity",
    "IdentityProvider",
    "Image",
    "ImageAlias",
    "Invitation",
    "JoinToken",
    "Kernel",
    "KernelLog",
    "KernelMeter",
    "Keypair",
    "Lease",
    "Login",
    "Mail",
    "Nonce",
    "Occupancy",
    "RecoveryCode",
    "Registry",
    "RegistryGrant",
    "ResourceGroup",
    "ResourceGroupGrant",
    "ResourcePolicy",
    "ResourcePreset",
    "RetiredRefreshToken",
    "Session",
    "SessionDependency",
    "SessionEvent",
    "Setting",
    "Slots",
    "Task",
    "TaskLine",
    "Ticket",
    "UsageTotal",
    "User",
    "in_status",
    "now",
    "stage_of",
]
