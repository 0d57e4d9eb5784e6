import { useEffect, useState } from 'react'
import { useClient } from 'urql'
import { EVENTS } from './documents'

/** The name of the first node that connects for its first time at or after a moment of the server's clock. */
export function useNewAgent(since: number | undefined): string | undefined {
  const client = useClient()
  const [name, setName] = useState<string>()
  useEffect(() => {
    setName(undefined)
    if (since === undefined) return
    const { unsubscribe } = client.subscription(EVENTS, {}).subscribe(({ data }) => {
      const agent = data?.agentEvents.agent
      if (agent?.status !== 'ALIVE' || !agent.firstContactAt) return
      if (Date.parse(agent.firstContactAt) >= since) setName((first) => first ?? agent.name)
    })
    return unsubscribe
  }, [client, since])
  return name
}
