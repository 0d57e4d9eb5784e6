import { graphql } from '../../gql'
import type { SessionDetailsQuery, SessionListQuery } from '../../gql/graphql'

export const ROW = graphql(`
  fragment SessionRow on Session {
    id
    name
    type
    status
    createdAt
    startedAt
    terminatedAt
    elapsedSeconds
    unreachableSince
    exitCode
    allowedActions
    statusReason {
      code
      message
    }
    pendingReason {
      __typename
      ... on WaitingReason {
        code
        message
        position
        estimatedStartAt
      }
      ... on LimitReached {
        scope
        slot
        asked
        used
        limit
        holder {
          __typename
          ... on Node {
            id
          }
          ... on Domain {
            name
          }
          ... on Group {
            name
          }
          ... on ResourceGroup {
            name
          }
          ... on User {
            name
          }
        }
      }
      ... on NoAgents {
        drainedAgents
        lostAgents
      }
      ... on WrongArchitecture {
        accepted
        available
      }
      ... on NoAgentFits {
        slot
        asked
        nearestFree
        largestFree
        largestCapacity
        onOneDevice
        never
        unconnected
      }
      ... on GangDoesNotFit {
        kernels
        fitting
        atMost
        never
        unconnected
      }
      ... on Reserved {
        until
      }
      ... on SchedulerFailed {
        plugin
        fault
      }
      ... on StartsLater {
        startsAt
      }
      ... on RetryLater {
        retryAt
      }
      ... on WaitsForSessions {
        waitsFor {
          id
          name
        }
      }
    }
    pull {
      current
      total
      percent
    }
    slots {
      name
      amount
      type {
        unit
      }
    }
    image {
      id
      language
      version
    }
    user {
      id
      name
    }
    group {
      id
      name
    }
  }
`)

export const LIST = graphql(`
  query SessionList($filter: SessionFilter, $first: Int, $after: String, $last: Int, $before: String) {
    sessions(filter: $filter, first: $first, after: $after, last: $last, before: $before) {
      nodes {
        ...SessionRow
        stats {
          cpuPercent
          memoryBytes
        }
      }
      totalCount
      totalCountIsExact
      pageInfo {
        ...Bounds
      }
    }
  }
`)

export const TERMINATE = graphql(`
  mutation TerminateSessions($input: TerminateSessionsInput!) {
    terminateSessions(input: $input) {
      results {
        id
        session {
          ...SessionRow
        }
        error {
          code
          message
        }
      }
    }
  }
`)

export const DETAILS = graphql(`
  query SessionDetails($id: ID!) {
    node(id: $id) {
      id
      ... on Session {
        ...SessionRow
        startupCommand
        expectedEnd {
          cause
          at
        }
        raised {
          name
          amount
          type {
            unit
          }
        }
        resourceGroup {
          id
          name
        }
        image {
          id
          reference
        }
        kernels {
          id
          hostname
          status
          exitCode
          statusReason {
            code
            message
          }
          agent {
            id
            name
          }
        }
        events {
          id
          at
          status
          code
          message
        }
      }
    }
  }
`)

export const SAMPLE = graphql(`
  fragment Sample on KernelStats {
    at
    cpuPercent
    memoryBytes
    memoryLimitBytes
    blockReadBytes
    blockWriteBytes
    networkReceivedBytes
    networkSentBytes
  }
`)

export const HISTORY = graphql(`
  query SessionHistory($id: ID!) {
    node(id: $id) {
      id
      ... on Session {
        statsHistory {
          ...Sample
        }
      }
    }
  }
`)

export const STATS = graphql(`
  subscription SessionStats($id: ID!) {
    sessionStats(sessionId: $id) {
      ...Sample
    }
  }
`)

export const LOGS = graphql(`
  subscription SessionLogs($id: ID!, $kernel: ID, $tail: ByteSize) {
    sessionLogs(sessionId: $id, kernelId: $kernel, tail: $tail) {
      text
      end
    }
  }
`)

/** A session as the list shows it, and as its own page does. */
export type ListedSession = SessionListQuery['sessions']['nodes'][number]
export type Kernel = DetailedSession['kernels'][number]
export type DetailedSession = Extract<NonNullable<SessionDetailsQuery['node']>, { status: unknown }>
