"""Who sees and does what, over the whole schema: one row for each type, field, argument, input and enum.

`tests/api/test_matrix.py` walks the schema and compares every answer with this table; what has no row here fails, and so
does a row of something that is gone. The world that it is tried on is `tests/api/worlds.py`: everything in `ours` is
the owner's.

An object of a row is seen (by `node`, in lists, as an edge: the same everywhere) by whom its class says:

    class        a user who …          a domain admin who …   a superadmin
    DOMAIN       is of its domain      is of its domain       sees all
    GROUP        is a member           is of its domain       sees all
    OWNER        owns it               is of its domain       sees all
    PRIVATE      owns it               owns it                who owns it
    STARTER      owns it               owns it                sees all
    GRANTED      was granted it        was granted it         sees all
    POLICY       has a keypair of it   sees all               sees all
    EVERYBODY    sees all              sees all               sees all
    ADMINS       —                    is of its domain       sees all
    SUPERADMIN   —                     —                      sees all
    INSIDE       a value without an id: as the object that it is in

A field is seen by whoever sees the object; a reference to something that one does not see is null, and missing in a list.
Fields that are otherwise have a rule after a colon:

    :superadmin  null but for a superadmin
    :actions     exactly the mutations that have `v` below
    :current     true for the login that asks
    :counting    rises with each request
    :log         UNAVAILABLE while the node does not answer
    :image       empty for whom does not see the image that they are of
    :holder      null (a sentence: without numbers) for whom does not see whose limit it is
    :once        a secret, in this answer and never again

Roots, mutations and subscriptions have a letter for each actor, on what is the owner's:

    v done or shown    n null    N NOT_FOUND    F FORBIDDEN    U UNAUTHENTICATED
"""

from dataclasses import dataclass
from typing import Final

#: In the order of the letters.
ACTORS: Final = ("anonymous", "owner", "peer", "stranger", "admin", "other admin", "superadmin", "inactive")


@dataclass(frozen=True)
class Sees:
    """What one has to be to an object in order to see it: anything, of its domain, its group's member, its owner, granted."""

    user: str
    admin: str
    superadmin: str = "anything"


DOMAIN: Final = Sees("domain", "domain")
GROUP: Final = Sees("group", "domain")
OWNER: Final = Sees("owner", "domain")
PRIVATE: Final = Sees("owner", "owner", "owner")
STARTER: Final = Sees("owner", "owner")
GRANTED: Final = Sees("granted", "granted")
POLICY: Final = Sees("granted", "anything")
EVERYBODY: Final = Sees("anything", "anything")
ADMINS: Final = Sees("nothing", "domain")
SUPERADMIN: Final = Sees("nothing", "nothing")
INSIDE: Final = None

#: Type → who sees its objects, and its fields.
TYPES: Final[dict[str, tuple[Sees | None, str]]] = {
    # things
    "Agent": (SUPERADMIN, """address allowedActions:actions architecture firstContactAt hardware id images isolated
        kernels lastContactAt lostAt name region resourceGroup runtime schedulable slots stats status version"""),
    "AuditEvent": (OWNER, "action address arguments at changes code domain id outcome requestId targetIds user userAgent"),
    "Announcement": (DOMAIN, """active allowedActions:actions createdAt domain endsAt id severity startsAt text title
        updatedAt"""),
    "Domain": (DOMAIN, """active allowedActions:actions allowedStorageHosts concurrentSessions createdAt description groups id
        maxConcurrentSessions name registries totalSlots users"""),
    "Group": (GROUP, """active allowedActions:actions allowedStorageHosts concurrentSessions createdAt description domain id
        maxConcurrentSessions members name registries totalSlots"""),
    "Image": (GRANTED, """active agents aliases allowedActions:actions architecture base createdAt digest environmentNames id
        installed labels language minimumSlots name namespace reference registry servicePorts size tag version"""),
    "Kernel": (OWNER, """agent exitCode hostname id logs:log rank role session slots startedAt stats status statusReason
        terminatedAt"""),
    "Keypair": (OWNER, """accessKey active allowedActions:actions concurrentSessions createdAt id isMain lastUsedAt
        policy queryCount rateLimit requestCount:counting role sessionCount usage user"""),
    "Login": (PRIVATE, "address createdAt current:current device expiresAt id lastUsedAt userAgent"),
    "Identity": (OWNER, "allowedActions:actions email id issuer lastUsedAt linkedAt provider subjectHint user"),
    "IdentityProvider": (SUPERADMIN, """active allowedActions:actions allowedEmailDomains clientId createUsers createdAt
        description domain group hasClientSecret id issuer name redirectUrl title"""),
    "Invitation": (ADMINS, """allowedActions:actions createdAt createdBy description domain expiresAt group id policy revokedAt
        uses usesAllowed"""),
    "Mail": (SUPERADMIN, "allowedActions:actions attempts createdAt id kind lastError nextAt recipient sentAt status"),
    "Registry": (GRANTED, """active allowedActions:actions createdAt grants:superadmin hasPassword hostname id kind
        projects:superadmin scannedAt trustedHosts:superadmin url username:superadmin verifyTls"""),
    "ResourceGroup": (GRANTED, """active agents allowedActions:actions backfill backfillOptions capacity concurrentSessions
        createdAt description grants:superadmin id idleAcceleratorPercent idleCpuPercent idleTimeoutSeconds
        maxLifetimeSeconds lostSessionGraceSeconds maxConcurrentSessions maxKernelsPerSession name placer placerOptions
        schedulerFault:superadmin sequencer sequencerOptions startRetries totalSlots"""),
    "ResourcePolicy": (POLICY, """allowedActions:actions allowedStorageHosts createdAt description id idleAcceleratorPercent
        idleCpuPercent idleTimeoutSeconds maxConcurrentSessions maxFolderBytes maxFolders maxKernelsPerSession maxLifetimeSeconds name
        totalSlots"""),
    "ResourcePreset": (EVERYBODY, "allowedActions:actions createdAt description id name sharedMemory slots"),
    "Session": (OWNER, """allowedActions:actions bootstrapScript clusterMode clusterSize createdAt dependsOn domain elapsedSeconds endsAt environ events exitCode
        expectedEnd group id idle image kernels keypair lifetime logs:log maxDurationSeconds name pendingReason phaseDeadline priority pull raised
        remainingSeconds resourceGroup result scheduledAt servicePorts:image slots startRetries startedAt startsAt startupCommand
        stats
        statsHistory status statusReason terminatedAt
        type unreachableSince user"""),
    "Task": (STARTER, """allowedActions:actions cancelRequested createdAt current endedAt error id kind lines message pulls
        startedAt status summary total user"""),
    "User": (OWNER, """totpEnabled consents emailVerified identities language active allowedActions:actions concurrentSessions createdAt description domain email fullName groups
        id keypairs mainKeypair maxConcurrentSessions mustChangePassword name role sessions totalSlots"""),
    # values
    "AcceleratorUse": (INSIDE, "name utilisation"),
    "AgentLoad": (INSIDE, "agentId stats"),
    "AgentStats": (INSIDE, "at cpuPercent devices diskTotal diskUsed kernelCount memoryTotal memoryUsed"),
    "AuditArgument": (INSIDE, "path value"),
    "AuditChange": (INSIDE, "after before field object"),
    "Availability": (INSIDE, "sessions slots"),
    "Consent": (INSIDE, "acceptedAt document version"),
    "LoginProvider": (INSIDE, "name title url"),
    "LegalText": (INSIDE, "text url version"),
    "DesignatedAgentsUnavailable": (INSIDE, "code estimatedStartAt message position designated drainedAgents lostAgents"),
    "Device": (INSIDE, "deviceId healthy memory model numaNode plugin reason slots"),
    "DeviceStats": (INSIDE, "deviceId memoryTotal memoryUsed power temperature utilisation"),
    "DeviceUse": (INSIDE, "amount deviceId memoryLimit memoryUsed slot utilisation"),
    "Environment": (INSIDE, "name versions"),
    "EnvironmentVersion": (INSIDE, "images name"),
    "EnvironmentVariable": (INSIDE, "name value"),
    "GangDoesNotFit": (INSIDE, "code estimatedStartAt message position atMost fitting kernels never unconnected drainedAgents lostAgents"),
    "Hardware": (INSIDE, "cpuCount cpuModel devices disk engine hostname kernel memory os pluginFaults"),
    "KernelStats": (INSIDE, """at blockReadBytes blockWriteBytes cpuPercent devices homeBytes memoryBytes memoryLimitBytes
        networkReceivedBytes networkSentBytes processes"""),
    "Label": (INSIDE, "name value"),
    "LimitReached": (INSIDE, """code estimatedStartAt message:holder position asked free:holder holder limit:holder
        scope slot used:holder"""),
    "MeasuredUse": (INSIDE, """accelerators cpuSeconds memoryMeanBytes memoryPeakBytes readBytes receivedBytes seconds sentBytes
        writtenBytes"""),
    "Log": (INSIDE, "size text truncated"),
    "NoAgentFits": (INSIDE, """code estimatedStartAt message position asked largestCapacity largestFree nearestFree never
        onOneDevice slot unconnected drainedAgents lostAgents"""),
    "NoAgents": (INSIDE, "code estimatedStartAt message position resourceGroup drainedAgents lostAgents"),
    "PageInfo": (INSIDE, "endCursor hasNextPage hasPreviousPage startCursor"),
    "PluginFault": (INSIDE, "message plugin"),
    "PresetAvailability": (INSIDE, "obstacle preset state"),
    "PresetObstacle": (INSIDE, "asked free limit message slot whose"),
    "Problem": (INSIDE, "code message"),
    "PullProgress": (INSIDE, "current percent total"),
    "RegistryGrant": (INSIDE, "grantee"),
    "Reserved": (INSIDE, "code estimatedStartAt message position reservedFor until"),
    "ResourceGroupGrant": (INSIDE, "grantee"),
    "RetryLater": (INSIDE, "code estimatedStartAt message position failedStarts retryAt"),
    "Scheduler": (INSIDE, "kind name optionsSchema problem"),
    "SchedulerFailed": (INSIDE, "code estimatedStartAt message position fault:superadmin plugin"),
    "SchedulerFault": (INSIDE, "message plugin since"),
    "Server": (INSIDE, "apiVersion features loginProviders privacyPolicy signUpMode termsOfService time url version"),
    "ServicePort": (INSIDE, "name port protocol"),
    "SessionAllowance": (INSIDE, "limit used"),
    "SessionEnd": (INSIDE, "at cause remainingSeconds"),
    "SessionLifetime": (INSIDE, "endsAt limitSeconds reason remainingSeconds"),
    "SessionIdle": (INSIDE, "reason remainingSeconds since timeoutSeconds"),
    "SessionEventEntry": (INSIDE, "at code id message status"),
    "Setting": (INSIDE, """choices default description isSecret isSet key kind maximum minimum section unit updatedAt updatedBy
        value"""),
    "Slot": (INSIDE, "amount name type"),
    "SlotAvailability": (INSIDE, "capacity free largestCapacity largestFree limit name type used"),
    "SlotLimit": (INSIDE, "amount name type used"),
    "SlotTime": (INSIDE, "name slotSeconds"),
    "SlotType": (INSIDE, "description name step unit"),
    "SlotUsage": (INSIDE, "capacity name type used"),
    "SshPublicKey": (INSIDE, "bits comment fingerprint publicKey type"),
    "StartsLater": (INSIDE, "code estimatedStartAt message position startsAt"),
    "StatusReason": (INSIDE, "code message"),
    "TaskError": (INSIDE, "code message"),
    "TaskPull": (INSIDE, "agentId current imageId reference total"),
    "TaskFigure": (INSIDE, "name value"),
    "TaskLine": (INSIDE, "message number outcome subject"),
    "Summary": (INSIDE, """agentsAlive agentsLost agentsTerminated groups myOtherSessions myRunningSessions otherSessions
        runningSessions users"""),
    "Usage": (INSIDE, "measured sessionSeconds slots"),
    "UsagePart": (INSIDE, "of ofId points total"),
    "UsagePoint": (INSIDE, "at usage"),
    "UsageReport": (INSIDE, "csv from parts to"),
    "UsageCorrection": (INSIDE, "after before scope scopeId slot"),
    "WaitsForSessions": (INSIDE, "code estimatedStartAt message position waitsFor"),
    "WrongArchitecture": (INSIDE, "code estimatedStartAt message position accepted available drainedAgents lostAgents"),
    "Viewer": (INSIDE, "mustSetUpTotp recoveryCodesLeft domain groups keypair logins mustChangePassword permissions resourceGroups role sshPublicKeys user"),
    # what mutations answer: as the mutation
    "ActivateKeypairsPayload": (INSIDE, "results"),
    "AddGroupMembersPayload": (INSIDE, "group"),
    "AssignResourcePolicyPayload": (INSIDE, "keypairs resourcePolicy"),
    "CleanUpImagesPayload": (INSIDE, "task"),
    "CancelTaskPayload": (INSIDE, "task"),
    "ChangePasswordPayload": (INSIDE, "accessToken:once expiresAt viewer"),
    "CloseTerminalPayload": (INSIDE, "terminalId"),
    "CreateAnnouncementPayload": (INSIDE, "announcement"),
    "CreateDomainPayload": (INSIDE, "domain"),
    "CreateGroupPayload": (INSIDE, "group"),
    "CreateJoinTokenPayload": (INSIDE, "command:once expiresAt token:once"),
    "CreateKeypairPayload": (INSIDE, "keypair secretKey:once"),
    "CreatePasswordLinkPayload": (INSIDE, "url:once"),
    "CreateRegistryPayload": (INSIDE, "registry"),
    "CreateResourceGroupPayload": (INSIDE, "resourceGroup"),
    "CreateResourcePolicyPayload": (INSIDE, "resourcePolicy"),
    "CreateResourcePresetPayload": (INSIDE, "resourcePreset"),
    "CreateSessionPayload": (INSIDE, "raised session"),
    "CreateUserPayload": (INSIDE, "passwordLink:once user"),
    "DeactivateDomainPayload": (INSIDE, "domain"),
    "DeactivateGroupPayload": (INSIDE, "group"),
    "DeactivateKeypairsPayload": (INSIDE, "results"),
    "DeactivateUsersPayload": (INSIDE, "results"),
    "DeleteAnnouncementPayload": (INSIDE, "deletedId"),
    "DeleteKeypairPayload": (INSIDE, "deletedId"),
    "DeleteRegistryPayload": (INSIDE, "deletedId"),
    "DeleteResourceGroupPayload": (INSIDE, "deletedId"),
    "DeleteResourcePolicyPayload": (INSIDE, "deletedId"),
    "DeleteResourcePresetPayload": (INSIDE, "deletedId"),
    "DomainResult": (INSIDE, "domain error id"),
    "ExemptSessionPayload": (INSIDE, "session"),
    "ForgetImagesPayload": (INSIDE, "deletedIds"),
    "GenerateSshKeypairPayload": (INSIDE, "privateKey:once publicKey viewer"),
    "GrantRegistryPayload": (INSIDE, "registry"),
    "GrantResourceGroupPayload": (INSIDE, "resourceGroup"),
    "ImageOnAgentResult": (INSIDE, "agentId error imageId"),
    "GroupResult": (INSIDE, "error group id"),
    "ImportProblem": (INSIDE, "column line message"),
    "ImportUsersPayload": (INSIDE, "done problems task users"),
    "ImportedUser": (INSIDE, """action email fullName groupNames line name password:once passwordLink:once role user"""),
    "InstallImagesPayload": (INSIDE, "task"),
    "KeypairResult": (INSIDE, "error id keypair"),
    "LoginPayload": (INSIDE, "accessToken:once expiresAt refreshToken:once secondFactor viewer"),
    "LogoutEverywherePayload": (INSIDE, "deletedIds"),
    "LogoutPayload": (INSIDE, "deletedId"),
    "UnlinkIdentityPayload": (INSIDE, "deletedId user"),
    "CreateIdentityProviderPayload": (INSIDE, "identityProvider"),
    "UpdateIdentityProviderPayload": (INSIDE, "identityProvider"),
    "DeleteIdentityProviderPayload": (INSIDE, "deletedId"),
    "SecondFactor": (INSIDE, "expiresAt ticket:once"),
    "StartTotpPayload": (INSIDE, "qrCode:once secret:once url:once"),
    "ConfirmTotpPayload": (INSIDE, "recoveryCodes:once"),
    "RegenerateRecoveryCodesPayload": (INSIDE, "recoveryCodes:once"),
    "DisableTotpPayload": (INSIDE, "user"),
    "ResetTotpPayload": (INSIDE, "user"),
    "EndLoginPayload": (INSIDE, "deletedId"),
    "UpdateProfilePayload": (INSIDE, "user"),
    "CreateInvitationTokensPayload": (INSIDE, "invitations"),
    "NewInvitation": (INSIDE, "invitation token:once url:once"),
    "InvitationResult": (INSIDE, "error id invitation"),
    "RevokeInvitationsPayload": (INSIDE, "results"),
    "SignUpPayload": (INSIDE, "mailDelayed verificationRequired"),
    "VerifyEmailPayload": (INSIDE, "email"),
    "ResendVerificationPayload": (INSIDE, "mailDelayed"),
    "MailResult": (INSIDE, "error id mail"),
    "OpenTerminalPayload": (INSIDE, "expiresAt terminalId url:once"),
    "RequestPasswordResetPayload": (INSIDE, "mailDelayed"),
    "ResetPasswordPayload": (INSIDE, "email"),
    "ReactivateUsersPayload": (INSIDE, "results"),
    "RecalculateUsagePayload": (INSIDE, "corrections"),
    "RemoveAgentPayload": (INSIDE, "agent"),
    "RemoveGroupMembersPayload": (INSIDE, "group"),
    "RemoveImagesPayload": (INSIDE, "results"),
    "RetryMailsPayload": (INSIDE, "results"),
    "RescanRegistriesPayload": (INSIDE, "task"),
    "RevokeRegistryPayload": (INSIDE, "registry"),
    "RevokeResourceGroupPayload": (INSIDE, "resourceGroup"),
    "SessionResult": (INSIDE, "error id session"),
    "SetMainKeypairPayload": (INSIDE, "keypair user"),
    "SetSshPublicKeysPayload": (INSIDE, "viewer"),
    "TerminateSessionsPayload": (INSIDE, "results"),
    "UpdateAnnouncementPayload": (INSIDE, "announcement"),
    "UpdateAgentPayload": (INSIDE, "agent"),
    "UpdateDomainPayload": (INSIDE, "domain"),
    "UpdateDomainsPayload": (INSIDE, "results"),
    "UpdateGroupPayload": (INSIDE, "group"),
    "UpdateGroupsPayload": (INSIDE, "results"),
    "UpdateImagePayload": (INSIDE, "image"),
    "UpdateKeypairPayload": (INSIDE, "keypair"),
    "UpdateRegistryPayload": (INSIDE, "registry"),
    "UpdateResourceGroupPayload": (INSIDE, "resourceGroup"),
    "UpdateResourcePolicyPayload": (INSIDE, "resourcePolicy"),
    "UpdateResourcePresetPayload": (INSIDE, "resourcePreset"),
    "UpdateSettingsPayload": (INSIDE, "settings"),
    "UpdateSessionPayload": (INSIDE, "session"),
    "UpdateUserPayload": (INSIDE, "user"),
    "UpdateUsersPayload": (INSIDE, "results"),
    "UserResult": (INSIDE, "error id user"),
    # what subscriptions tell: as the subscription
    "AgentEvent": (INSIDE, "agent code cursor kind message"),
    "LogChunk": (INSIDE, "end text"),
    "SessionEvent": (INSIDE, "cursor entry kind session"),
}  # fmt: skip
#: Of every type XConnection and XEdge.
CONNECTION: Final = "edges nodes pageInfo totalCount totalCountIsExact"
EDGE: Final = "cursor node"

CODES: Final = {"N": "NOT_FOUND", "F": "FORBIDDEN", "U": "UNAUTHENTICATED"}
PUBLIC: Final = "vvvvvvvU"
SIGNED_IN: Final = "UvvvvvvU"
VIEWER: Final = "nvvvvvvU"
BY_SUPERADMIN: Final = "UFFFFFvU"
BY_ADMIN: Final = "UFFFvNvU"
BY_OWNER: Final = "UvNNvNvU"
BY_STARTER: Final = "UvNNNNvU"

#: List roots show each their own: what is in them goes by the type's class.
QUERIES: Final = {
    "agents": SIGNED_IN,
    "announcements": SIGNED_IN,
    "auditEvents": SIGNED_IN,
    "availability": "UvvNvNvU",
    "availablePresets": "UvvNvNvU",
    "domains": SIGNED_IN,
    "environments": SIGNED_IN,
    "groups": SIGNED_IN,
    "images": SIGNED_IN,
    "keypairs": SIGNED_IN,
    "identityProviders": SIGNED_IN,
    "invitations": SIGNED_IN,
    "mails": SIGNED_IN,
    "node": SIGNED_IN,
    "registries": SIGNED_IN,
    "resourceGroups": SIGNED_IN,
    "resourcePolicies": SIGNED_IN,
    "resourcePresets": SIGNED_IN,
    "schedulers": SIGNED_IN,
    "server": PUBLIC,
    "sessions": SIGNED_IN,
    "settings": BY_SUPERADMIN,
    "slotTypes": SIGNED_IN,
    "tasks": SIGNED_IN,
    "summary": SIGNED_IN,
    "usageReport": SIGNED_IN,
    "users": SIGNED_IN,
    "viewer": VIEWER,
}

#: Mutation → the type of whose objects it is an allowed action, and who may perform it on the owner's.
MUTATIONS: Final[dict[str, tuple[str, str]]] = {
    "activateKeypairs": ("Keypair", BY_OWNER),
    "addGroupMembers": ("Group", BY_ADMIN),
    "assignResourcePolicy": ("ResourcePolicy", BY_SUPERADMIN),
    "cancelTask": ("Task", BY_STARTER),
    "changePassword": ("", SIGNED_IN),
    "cleanUpImages": ("", BY_SUPERADMIN),
    "closeTerminal": ("Session", "UvNNFNFU"),
    "createAnnouncement": ("", BY_ADMIN),
    "createDomain": ("", BY_SUPERADMIN),
    "createGroup": ("Domain", BY_ADMIN),
    "createJoinToken": ("ResourceGroup", BY_SUPERADMIN),
    "createKeypair": ("User", BY_OWNER),
    "createPasswordLink": ("", "UFNNvNvU"),
    "createRegistry": ("", BY_SUPERADMIN),
    "createResourceGroup": ("", BY_SUPERADMIN),
    "createResourcePolicy": ("", BY_SUPERADMIN),
    "createResourcePreset": ("", BY_SUPERADMIN),
    "createSession": ("Group", "UvvNNNNU"),
    "createUser": ("Domain", BY_SUPERADMIN),
    "deactivateDomain": ("Domain", BY_SUPERADMIN),
    "deactivateGroup": ("Group", BY_ADMIN),
    "deactivateKeypairs": ("Keypair", BY_OWNER),
    "deactivateUsers": ("User", BY_SUPERADMIN),
    "deleteAnnouncement": ("Announcement", BY_ADMIN),
    "deleteKeypair": ("Keypair", BY_OWNER),
    "deleteRegistry": ("Registry", BY_SUPERADMIN),
    "deleteResourceGroup": ("ResourceGroup", BY_SUPERADMIN),
    "deleteResourcePolicy": ("ResourcePolicy", BY_SUPERADMIN),
    "deleteResourcePreset": ("ResourcePreset", BY_SUPERADMIN),
    "exemptSession": ("Session", "UFNNvNvU"),
    "forgetImages": ("Image", BY_SUPERADMIN),
    "generateSshKeypair": ("", SIGNED_IN),
    "grantRegistry": ("Registry", BY_SUPERADMIN),
    "grantResourceGroup": ("ResourceGroup", BY_SUPERADMIN),
    "importUsers": ("Domain", BY_SUPERADMIN),
    "installImages": ("Image", BY_SUPERADMIN),
    "login": ("", PUBLIC),
    "loginWithKeypair": ("", PUBLIC),
    "logout": ("", SIGNED_IN),
    "logoutEverywhere": ("", SIGNED_IN),
    "openTerminal": ("Session", "UvNNFNFU"),
    "reactivateUsers": ("User", BY_SUPERADMIN),
    "recalculateUsage": ("", BY_SUPERADMIN),
    "redeemTicket": ("", PUBLIC),
    "refreshLogin": ("", PUBLIC),
    "removeAgent": ("Agent", BY_SUPERADMIN),
    "removeGroupMembers": ("Group", BY_ADMIN),
    "removeImages": ("Image", BY_SUPERADMIN),
    "unlinkIdentity": ("Identity", BY_OWNER),
    "createIdentityProvider": ("", BY_SUPERADMIN),
    "updateIdentityProvider": ("IdentityProvider", BY_SUPERADMIN),
    "deleteIdentityProvider": ("IdentityProvider", BY_SUPERADMIN),
    "confirmLogin": ("", PUBLIC),
    "startTotp": ("", SIGNED_IN),
    "confirmTotp": ("", SIGNED_IN),
    "regenerateRecoveryCodes": ("", SIGNED_IN),
    "disableTotp": ("", SIGNED_IN),
    "resetTotp": ("User", BY_ADMIN),
    "endLogin": ("", "UvNNNNNU"),
    "updateProfile": ("", SIGNED_IN),
    "createInvitationTokens": ("Domain", BY_ADMIN),
    "revokeInvitations": ("Invitation", BY_ADMIN),
    "signUp": ("", PUBLIC),
    "verifyEmail": ("", PUBLIC),
    "resendVerification": ("", PUBLIC),
    "requestPasswordReset": ("", PUBLIC),
    "resetPassword": ("", PUBLIC),
    "retryMails": ("Mail", BY_SUPERADMIN),
    "rescanRegistries": ("Registry", BY_SUPERADMIN),
    "revokeRegistry": ("Registry", BY_SUPERADMIN),
    "revokeResourceGroup": ("ResourceGroup", BY_SUPERADMIN),
    "setMainKeypair": ("Keypair", BY_OWNER),
    "setSshPublicKeys": ("", SIGNED_IN),
    "terminateSessions": ("Session", BY_OWNER),
    "updateAnnouncement": ("Announcement", BY_ADMIN),
    "updateAgent": ("Agent", BY_SUPERADMIN),
    "updateDomain": ("Domain", BY_SUPERADMIN),
    "updateDomains": ("Domain", BY_SUPERADMIN),
    "updateGroup": ("Group", BY_ADMIN),
    "updateGroups": ("Group", BY_ADMIN),
    "updateImage": ("Image", BY_SUPERADMIN),
    "updateKeypair": ("Keypair", BY_SUPERADMIN),
    "updateRegistry": ("Registry", BY_SUPERADMIN),
    "updateResourceGroup": ("ResourceGroup", BY_SUPERADMIN),
    "updateResourcePolicy": ("ResourcePolicy", BY_SUPERADMIN),
    "updateResourcePreset": ("ResourcePreset", BY_SUPERADMIN),
    "updateSession": ("Session", BY_OWNER),
    "updateSettings": ("", BY_SUPERADMIN),
    "updateUser": ("User", BY_ADMIN),
    "updateUsers": ("User", BY_ADMIN),
}

SUBSCRIPTIONS: Final = {
    "agentEvents": BY_SUPERADMIN,
    "agentStats": "UNNNNNvU",
    "agentsStats": "UNNNNNvU",
    "announcementsChanged": SIGNED_IN,
    "sessionEvents": SIGNED_IN,
    "sessionLogs": BY_OWNER,
    "sessionStats": BY_OWNER,
    "taskProgress": BY_STARTER,
    "settingsChanged": BY_SUPERADMIN,
}

#: Arguments of fields that are no list and no mutation; `name:kinds` for ids.
ARGUMENTS: Final = {
    "Query.availability": "groupId:grp resourceGroupId:rgp",
    "Query.availablePresets": "groupId:grp resourceGroupId:rgp",
    "Query.environments": "groupId:grp",
    "Query.node": "id:*",
    "Query.usageReport": "from groupBy resolution scopeId:usr,grp,dom,rgp timezone to",
    "Query.settings": "sectionIn",
    "Kernel.logs": "tail",
    "Session.logs": "tail",
    "Task.lines": "after first outcome",
    "Subscription.agentEvents": "after",
    "Subscription.agentStats": "agentId:agt",
    "Subscription.agentsStats": "agentIds:agt",
    "Subscription.sessionEvents": "after filter",
    "Subscription.sessionLogs": "kernelId:knl sessionId:ses tail",
    "Subscription.sessionStats": "kernelId:knl sessionId:ses",
    "Subscription.taskProgress": "taskId:tsk",
}
#: Of every list, and of those that are roots.
PAGING: Final = "after before first last"
ROOT_LIST: Final = "filter orderBy"

#: Input → its fields; `name:kinds` for ids: which prefixes are accepted.
INPUTS: Final = {
    "AgentFilter": "imageId:img resourceGroupId:rgp schedulable search statusIn",
    "AgentOrder": "direction field",
    "AnnouncementFilter": "active domainId:dom search severity",
    "AnnouncementOrder": "direction field",
    "AssignResourcePolicyInput": "id:pol keypairIds:key",
    "CleanUpImagesInput": "agentIds:agt dryRun includeLocal unusedDays",
    "CancelTaskInput": "id:tsk",
    "AuditEventFilter": "action code domainId:dom outcome search since target until userId:usr",
    "AuditEventOrder": "direction field",
    "ChangePasswordInput": "currentPassword newPassword",
    "CloseTerminalInput": "kernelId:knl sessionId:ses terminalId",
    "CreateAnnouncementInput": "domainId:dom endsAt idempotencyKey severity startsAt text title",
    "CreateDomainInput": "allowedStorageHosts description idempotencyKey maxConcurrentSessions name totalSlots",
    "CreateGroupInput": "allowedStorageHosts description domainId:dom idempotencyKey maxConcurrentSessions name totalSlots",
    "CreateJoinTokenInput": "expiresInSeconds resourceGroupId:rgp",
    "CreateKeypairInput": "accessKey idempotencyKey policyId:pol rateLimit secretKey userId:usr",
    "CreatePasswordLinkInput": "userId:usr",
    "CreateRegistryInput": "hostname idempotencyKey kind password projects trustedHosts url username verifyTls",
    "CreateResourceGroupInput": """description backfill backfillOptions idempotencyKey idleAcceleratorPercent idleCpuPercent
        idleTimeoutSeconds lostSessionGraceSeconds maxConcurrentSessions maxKernelsPerSession maxLifetimeSeconds name placer
        placerOptions sequencer sequencerOptions startRetries totalSlots""",
    "CreateResourcePolicyInput": """allowedStorageHosts maxFolderBytes maxFolders description idempotencyKey idleAcceleratorPercent idleCpuPercent
        idleTimeoutSeconds maxConcurrentSessions
        maxKernelsPerSession maxLifetimeSeconds name totalSlots""",
    "CreateResourcePresetInput": "description idempotencyKey name sharedMemory slots",
    "CreateSessionInput": """agentId:agt bootstrapScript clusterMode clusterSize dependsOn:ses environ groupId:grp idempotencyKey imageAlias imageId:img
        maxDurationSeconds name priority resourceGroupId:rgp sharedMemory slots startsAt startupCommand type""",
    "CreateUserInput": """description domainId:dom email fullName groupIds:grp idempotencyKey maxConcurrentSessions
        mustChangePassword name password role totalSlots""",
    "DeactivateDomainInput": "id:dom sessions",
    "DeactivateGroupInput": "id:grp sessions",
    "DeactivateUsersInput": "ids:usr sessions",
    "DeleteAnnouncementInput": "id:ann",
    "DeleteKeypairInput": "id:key",
    "DeleteRegistryInput": "id:reg",
    "DeleteResourceGroupInput": "id:rgp",
    "DeleteResourcePolicyInput": "id:pol",
    "DeleteResourcePresetInput": "id:pre",
    "DomainFilter": "active search",
    "DomainOrder": "direction field",
    "EnvironmentVariableInput": "name value",
    "ExemptSessionInput": "exempt id:ses",
    "GenerateSshKeypairInput": "add algorithm",
    "GroupFilter": "active domainId:dom search userId:usr",
    "GroupMembersInput": "id:grp userIds:usr",
    "GroupOrder": "direction field",
    "ImageFilter": "active agentId:agt alias architecture groupId:grp installed language search",
    "ImageOrder": "direction field",
    "ImagesInput": "ids:img",
    "ImagesOnAgentsInput": "agentIds:agt imageIds:img",
    "ImportUsersInput": "csv domainId:dom dryRun generatePasswords mailLinks skipExisting",
    "KeypairFilter": "active policyId:pol search userId:usr",
    "KeypairOrder": "direction field",
    "KeypairsInput": "ids:key",
    "LoginInput": "cookie email password",
    "LoginWithKeypairInput": "accessKey cookie secretKey",
    "CreateIdentityProviderInput": """active allowedEmailDomains clientId clientSecret createUsers description domainId:dom
        groupId:grp idempotencyKey issuer name title""",
    "UpdateIdentityProviderInput": """active allowedEmailDomains clientId clientSecret createUsers description domainId:dom
        groupId:grp id:idp issuer name title""",
    "DeleteIdentityProviderInput": "id:idp",
    "UnlinkIdentityInput": "id:idn",
    "IdentityProviderFilter": "active search",
    "IdentityProviderOrder": "direction field",
    "ConfirmLoginInput": "code cookie ticket",
    "StartTotpInput": "password",
    "ConfirmTotpInput": "code",
    "RegenerateRecoveryCodesInput": "code",
    "DisableTotpInput": "code password",
    "ResetTotpInput": "userId:usr",
    "EndLoginInput": "id:lgn",
    "UpdateProfileInput": "fullName language name",
    "CreateInvitationTokensInput": "count description domainId:dom expiresInSeconds groupId:grp idempotencyKey policyId:pol uses",
    "InvitationFilter": "domainId:dom search",
    "InvitationOrder": "direction field",
    "InvitationsInput": "ids:inv",
    "SignUpInput": """acceptedPrivacyVersion acceptedTermsVersion email fullName invitationToken language name password""",
    "VerifyEmailInput": "token",
    "ResendVerificationInput": "email",
    "MailFilter": "search status",
    "MailOrder": "direction field",
    "MailsInput": "ids:eml",
    "OpenTerminalInput": "columns kernelId:knl rows sessionId:ses terminalId",
    "RecalculateUsageInput": "dryRun",
    "RedeemTicketInput": "cookie newPassword ticket",
    "RefreshLoginInput": "refreshToken",
    "RemoveAgentInput": "force id:agt",
    "RequestPasswordResetInput": "email",
    "ResetPasswordInput": "newPassword token",
    "RegistryFilter": "active search",
    "RegistryGrantInput": "id:reg tenantId:dom,grp",
    "RegistryOrder": "direction field",
    "RescanRegistriesInput": "ids:reg",
    "ResourceGroupFilter": "active search",
    "ResourceGroupGrantInput": "granteeId:dom,grp,usr id:rgp",
    "ResourceGroupOrder": "direction field",
    "ResourcePolicyFilter": "search",
    "ResourcePolicyOrder": "direction field",
    "ResourcePresetFilter": "search",
    "ResourcePresetOrder": "direction field",
    "SessionFilter": """agentId:agt category createdAfter createdBefore domainId:dom groupId:grp resourceGroupId:rgp
        search statusIn type userId:usr""",
    "SessionOrder": "direction field",
    "SettingInput": "key value",
    "SetMainKeypairInput": "id:key",
    "SetSshPublicKeysInput": "publicKeys",
    "SlotInput": "amount name",
    "TaskFilter": "kind search statusIn userId:usr",
    "TaskOrder": "direction field",
    "TerminateSessionsInput": "force ids:ses",
    "UpdateAnnouncementInput": "endsAt id:ann severity startsAt text title",
    "UpdateAgentInput": "id:agt name resourceGroupId:rgp schedulable",
    "UpdateDomainInput": "active allowedStorageHosts description id:dom maxConcurrentSessions name totalSlots",
    "UpdateDomainsInput": "active allowedStorageHosts description ids:dom maxConcurrentSessions sessions totalSlots",
    "UpdateGroupInput": "active allowedStorageHosts description id:grp maxConcurrentSessions name totalSlots",
    "UpdateGroupsInput": "active allowedStorageHosts description ids:grp maxConcurrentSessions sessions totalSlots",
    "UpdateImageInput": "active aliases id:img minimumSlots",
    "UpdateKeypairInput": "id:key policyId:pol rateLimit",
    "UpdateRegistryInput": "active id:reg password projects trustedHosts url username verifyTls",
    "UpdateResourceGroupInput": """active description backfill backfillOptions id:rgp idleAcceleratorPercent idleCpuPercent
        idleTimeoutSeconds lostSessionGraceSeconds maxConcurrentSessions maxKernelsPerSession maxLifetimeSeconds name placer
        placerOptions sequencer sequencerOptions startRetries totalSlots""",
    "UpdateResourcePolicyInput": """allowedStorageHosts maxFolderBytes maxFolders description id:pol idleAcceleratorPercent idleCpuPercent
        idleTimeoutSeconds maxConcurrentSessions maxKernelsPerSession maxLifetimeSeconds
        name totalSlots""",
    "UpdateResourcePresetInput": "description id:pre name sharedMemory slots",
    "UpdateSessionInput": "id:ses name",
    "UpdateSettingsInput": "settings",
    "UpdateUserInput": """description domainId:dom fullName groupIds:grp id:usr maxConcurrentSessions mustChangePassword name
        password role totalSlots""",
    "UpdateUsersInput": """description domainId:dom groupIds:grp ids:usr maxConcurrentSessions mustChangePassword role
        totalSlots""",
    "UserFilter": "active domainId:dom groupId:grp role search",
    "UserOrder": "direction field",
    "UsersInput": "ids:usr",
}

ENUMS: Final = {
    "AnnouncementOrderField": "CREATED_AT SEVERITY STARTS_AT",
    "Severity": "CRITICAL INFO WARNING",
    "AgentOrderField": "CREATED_AT LAST_CONTACT_AT NAME STATUS",
    "AgentStatus": "ALIVE LOST TERMINATED",
    "AuditEventOrderField": "CREATED_AT",
    "AuditOutcome": "DONE FAILED PARTLY REFUSED",
    "BatchResult": "FAILURE SUCCESS",
    "ClusterMode": "MULTI_NODE SINGLE_NODE",
    "ImportAction": "CREATE SKIP",
    "KernelRole": "MAIN SUB",
    "Direction": "ASC DESC",
    "DomainOrderField": "CREATED_AT NAME",
    "ErrorCode": """BAD_USER_INPUT CONFLICT FORBIDDEN INTERNAL NOT_FOUND QUOTA_EXCEEDED RATE_LIMITED UNAUTHENTICATED
        UNAVAILABLE""",
    "EventKind": "CHANGED LEFT RESYNC",
    "GroupOrderField": "CREATED_AT NAME",
    "IdleReason": "EXEMPT IN_USE NO_LIMIT UNUSED",
    "ImageOrderField": "CREATED_AT LANGUAGE REFERENCE SIZE",
    "LifetimeReason": "EXEMPT LIMITED NO_LIMIT",
    "LimitScope": "DOMAIN GROUP KEYPAIR RESOURCE_GROUP USER",
    "KeypairOrderField": "ACCESS_KEY CREATED_AT LAST_USED_AT QUERY_COUNT",
    "IdentityProviderOrderField": "CREATED_AT NAME",
    "ConsentDocument": "PRIVACY_POLICY TERMS_OF_SERVICE",
    "InvitationOrderField": "CREATED_AT EXPIRES_AT",
    "MailOrderField": "CREATED_AT NEXT_AT",
    "MailStatus": "FAILED QUEUED SENT",
    "PresetState": "LATER NEVER NOW",
    "RegistryKind": "DOCKER DOCKER_HUB HARBOR",
    "RegistryOrderField": "CREATED_AT HOSTNAME",
    "RemainingSessions": "KEEP TERMINATE",
    "ResourceGroupOrderField": "CREATED_AT NAME",
    "ResourcePolicyOrderField": "CREATED_AT NAME",
    "ResourcePresetOrderField": "CREATED_AT NAME",
    "Role": "DOMAIN_ADMIN SUPERADMIN USER",
    "SchedulerKind": "BACKFILL PLACER SEQUENCER",
    "ServerFeature": "BROWSER_OPERATIONS INTROSPECTION PASSWORD_RESET PLAYGROUND",
    "SessionEndCause": "MAX_DURATION MAX_LIFETIME UNUSED",
    "SessionCategory": "FINISHED OTHER RUNNING",
    "SessionOrderField": "CREATED_AT NAME STARTED_AT STATUS TERMINATED_AT",
    "SessionStatus": """CANCELLED CREATING ERROR PENDING PREPARED PREPARING PULLING RUNNING SCHEDULED TERMINATED
        TERMINATING""",
    "SessionType": "BATCH INTERACTIVE",
    "SettingKind": "BOOLEAN CHOICE INTEGER SECRET TEXT",
    "SettingSection": "ACCOUNTS DEFAULTS MAIL RECORDS SESSIONS",
    "SignUpMode": "CLOSED INVITATION OPEN",
    "SlotUnit": "BYTES COUNT",
    "SshAlgorithm": "ED25519 RSA",
    "TaskKind": "CLEAN_UP_IMAGES IMPORT_USERS INSTALL_IMAGES RESCAN_REGISTRIES",
    "TaskOrderField": "CREATED_AT",
    "TaskOutcome": "ADDED CHANGED DONE FAILED PLANNED SKIPPED VANISHED",
    "TaskStatus": "CANCELLED FAILED PENDING RUNNING SUCCEEDED",
    "UsageGrouping": "DOMAIN GROUP RESOURCE_GROUP USER",
    "UsageResolution": "DAY HOUR MONTH",
    "UserOrderField": "CREATED_AT EMAIL NAME ROLE",
}
UNIONS: Final = {
    "Grantee": "Domain Group User",
    "LimitHolder": "Domain Group Keypair ResourceGroup User",
    "PendingReason": """DesignatedAgentsUnavailable GangDoesNotFit LimitReached NoAgentFits NoAgents Reserved RetryLater
        SchedulerFailed StartsLater WaitsForSessions WrongArchitecture""",
    "RegistryGrantee": "Domain Group",
}
INTERFACES: Final = {"Node": "id", "WaitingReason": "code estimatedStartAt message position"}
SCALARS: Final = "Boolean ByteSize DateTime Float ID Int JSON SettingValue String"

#: Names of fields that sound like a secret and are none.
HARMLESS: Final = "hasClientSecret hasPassword isSecret mustChangePassword"


def fields(row: str) -> dict[str, str]:
    """Name → what follows its colon."""
    return {name: rule for name, _, rule in (field.partition(":") for field in row.split())}


def letter(row: str, who: str) -> str:
    return row[ACTORS.index(who)]
