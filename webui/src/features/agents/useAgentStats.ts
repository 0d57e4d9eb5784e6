import { useEffect, useState } from 'react'
import { useClient } from 'urql'
import { type Agent, STATS } from './documents'

/** A node's load as it changes; nothing new comes from a node that is lost. */
export function useAgentStats({ id, status, stats }: Agent): Agent['stats'] {
  const client = useClient()
  const [latest, setLatest] = useState(stats)
  useEffect(() => {
    if (status !== 'ALIVE') return
    const { unsubscribe } = client.subscription(STATS, { id }).subscribe(({ data }) => {
      if (data) setLatest(data.agentStats)
    })
    return unsubscribe
  }, [client, id, status])
  return latest
}
