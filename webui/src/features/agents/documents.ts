import { graphql } from '../../gql'
import type { AgentListQuery } from '../../gql/graphql'

export const LIST = graphql(`
  query AgentList($first: Int, $after: String, $last: Int, $before: String) {
    resourceGroups(first: 100) {
      nodes {
        id
        name
        schedulerFault {
          plugin
          message
          since
        }
      }
    }
    agents(
      first: $first
      after: $after
      last: $last
      before: $before
      filter: { statusIn: [ALIVE, LOST] }
      orderBy: [{ field: NAME, direction: ASC }]
    ) {
      totalCount
      totalCountIsExact
      pageInfo {
        ...Bounds
      }
      nodes {
        id
        name
        status
        schedulable
        isolated
        runtime
        architecture
        version
        address
        lastContactAt
        allowedActions
        resourceGroup {
          id
          name
        }
        slots {
          name
          capacity
          used
          type {
            unit
          }
        }
        kernels {
          totalCount
        }
        stats {
          cpuPercent
          memoryUsed
          memoryTotal
        }
        hardware {
          cpuCount
          engine
          os
        }
      }
    }
  }
`)

export const EVENTS = graphql(`
  subscription AgentEvents($after: String) {
    agentEvents(after: $after) {
      kind
      cursor
      code
      agent {
        id
        name
        status
        schedulable
        firstContactAt
      }
    }
  }
`)

export const STATS = graphql(`
  subscription AgentsStats($ids: [ID!]!) {
    agentsStats(agentIds: $ids) {
      agentId
      stats {
        cpuPercent
        memoryUsed
        memoryTotal
      }
    }
  }
`)

export const UPDATE = graphql(`
  mutation UpdateAgent($input: UpdateAgentInput!) {
    updateAgent(input: $input) {
      agent {
        id
        schedulable
      }
    }
  }
`)

export const REMOVE = graphql(`
  mutation RemoveAgent($input: RemoveAgentInput!) {
    removeAgent(input: $input) {
      agent {
        id
        status
      }
    }
  }
`)

export const JOIN = graphql(`
  mutation CreateJoinToken($input: CreateJoinTokenInput!) {
    createJoinToken(input: $input) {
      command
      expiresAt
    }
  }
`)

/** A node as the list shows it. */
export type Agent = AgentListQuery['agents']['nodes'][number]
