/** The projects and resource groups that one may work in; the scope is kept to one of each. */

import { useEffect } from 'react'
import { useQuery } from 'urql'
import { graphql } from '../gql'
import { setScope, useScope } from './scope'

const CHOICES = graphql(`
  query ScopeChoices {
    viewer {
      groups {
        id
        name
      }
      resourceGroups {
        id
        name
      }
    }
  }
`)

type Named = { id: string; name: string }

export function useScopeChoices(): { groups: Named[]; resourceGroups: Named[]; none: boolean } {
  const scope = useScope()
  const [{ data }] = useQuery({ query: CHOICES })
  const groups = data?.viewer?.groups
  const resourceGroups = data?.viewer?.resourceGroups
  useEffect(() => {
    if (groups && !groups.some((group) => group.id === scope.groupId))
      setScope({ groupId: groups[0]?.id ?? null })
  }, [groups, scope.groupId])
  useEffect(() => {
    if (resourceGroups && !resourceGroups.some((group) => group.id === scope.resourceGroupId))
      setScope({ resourceGroupId: resourceGroups[0]?.id ?? null })
  }, [resourceGroups, scope.resourceGroupId])
  return {
    groups: groups ?? [],
    resourceGroups: resourceGroups ?? [],
    none: groups?.length === 0 || resourceGroups?.length === 0,
  }
}
