import { graphql } from '../../gql'

export const CHOICES = graphql(`
  query Choices($groupId: ID!, $resourceGroupId: ID!) {
    images(first: 100, filter: { active: true }) {
      nodes {
        id
        reference
        language
        version
        installed
        minimumSlots {
          name
          amount
          type {
            unit
          }
        }
      }
    }
    availability(groupId: $groupId, resourceGroupId: $resourceGroupId) {
      slots {
        name
        limit
        used
        free
        largestFree
        largestCapacity
      }
      sessions {
        limit
        used
      }
    }
  }
`)

export const EARLIER = graphql(`
  query EarlierSession($id: ID!) {
    node(id: $id) {
      id
      ... on Session {
        type
        startupCommand
        clusterSize
        clusterMode
        image {
          id
          language
        }
        slots {
          name
          amount
        }
        environ {
          name
          value
        }
      }
    }
  }
`)

export const CREATE = graphql(`
  mutation CreateSession($input: CreateSessionInput!) {
    createSession(input: $input) {
      session {
        id
        name
        status
      }
      raised {
        name
        amount
      }
    }
  }
`)
