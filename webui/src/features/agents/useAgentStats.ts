import { useEffect, useState } from 'react'
import { useClient } from 'urql'
import { type Agent, STATS } from './documents'

export type AgentStats = NonNullable<Agent['stats']>

/** The load of all nodes of a page as it changes, by one stream; nothing new comes from a node that is lost. */
export function useAgentStats(agents: Agent[]): Record<string, AgentStats> {
  const client = useClient()
  const [latest, setLatest] = useState<Record<string, AgentStats>>({})
  const alive = agents.flatMap(({ id, status }) => (status === 'ALIVE' ? [id] : [])).join(' ')
  useEffect(() => {
    if (!alive) return
    const { unsubscribe } = client.subscription(STATS, { ids: alive.split(' ') }).subscribe(({ data }) => {
      if (data) setLatest(Object.fromEntries(data.agentsStats.map(({ agentId, stats }) => [agentId, stats])))
    })
    return unsubscribe
  }, [client, alive])
  return latest
}
