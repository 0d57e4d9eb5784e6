import { useQuery } from 'urql'
import { useScope } from '../../shared/scope'
import { useSessionNews } from '../../shared/sessionStream'
import { CHOICES } from './documents'

/** What there is to choose from in the project and resource group at hand, and how much of it is free. */
export function useChoices() {
  const { groupId, resourceGroupId } = useScope()
  const known = Boolean(groupId && resourceGroupId)
  const [{ data, error }, ask] = useQuery({
    query: CHOICES,
    variables: { groupId: groupId ?? '', resourceGroupId: resourceGroupId ?? '' },
    pause: !known,
    requestPolicy: 'cache-and-network',
  })
  const reload = () => ask({ requestPolicy: 'network-only' })
  // What is free changes with every session that starts or ends.
  useSessionNews(() => known && reload())
  return { images: data?.images.nodes, availability: data?.availability, error, reload }
}
