import { useEffect, useState } from 'react'
import { useClient, useQuery } from 'urql'
import { onReturn } from '../../shared/connection'
import { type Place, pageArguments } from '../../shared/Pager'
import { type Agent, EVENTS, LIST } from './documents'

/** Nodes on a page; one subscription tells the load of all. */
const PAGE = 25
/** Milliseconds in which changes count as one: a burst is read once. */
const BURST = 300

/** A page of the nodes, read anew whenever one of them changes. */
export function useAgents() {
  const client = useClient()
  const [place, setPlace] = useState<Place>({})
  const [{ data, error }, ask] = useQuery({
    query: LIST,
    variables: pageArguments(PAGE, place),
    requestPolicy: 'cache-and-network',
  })

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const news = () => {
      timer ??= setTimeout(() => {
        timer = undefined
        ask({ requestPolicy: 'network-only' })
      }, BURST)
    }
    const { unsubscribe } = client.subscription(EVENTS, {}).subscribe(news)
    const forget = onReturn(news)
    return () => {
      clearTimeout(timer)
      forget()
      unsubscribe()
    }
  }, [client, ask])

  const agents: Agent[] = data?.agents.nodes ?? []
  return {
    page: data?.agents,
    agents,
    groups: data?.resourceGroups.nodes ?? [],
    error,
    go: setPlace,
    retry: () => ask({ requestPolicy: 'network-only' }),
  }
}
