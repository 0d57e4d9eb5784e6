/** Sessions as they change: one stream for the whole console, whatever is on the screen. */

import { useEffect, useRef } from 'react'
import type { Client } from 'urql'
import { graphql } from '../gql'
import { onReturn } from './connection'

const EVENTS = graphql(`
  subscription SessionEvents($after: String) {
    sessionEvents(after: $after) {
      kind
      cursor
      session {
        ...SessionRow
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

/** An id that has changed; null when anything may have. */
type Listener = (id: string | null) => void
const listeners = new Set<Listener>()

/** Milliseconds before a stream that the server has ended is asked for again. */
const AGAIN_AFTER = 5000
/** Milliseconds in which changes count as one: a burst is read once. */
const BURST = 250

export function tell(id: string | null) {
  for (const listener of listeners) listener(id)
}

/** Keep the stream open; the cache patches what it knows by id. Returns what ends it. */
export function follow(client: Client): () => void {
  let stop: (() => void) | undefined
  let timer: ReturnType<typeof setTimeout> | undefined
  const begin = () => {
    const { unsubscribe } = client.subscription(EVENTS, {}).subscribe(({ data, error }) => {
      if (data) tell(data.sessionEvents.kind === 'RESYNC' ? null : (data.sessionEvents.session?.id ?? null))
      if (!error) return
      clearTimeout(timer)
      timer = setTimeout(() => {
        unsubscribe()
        begin()
        tell(null)
      }, AGAIN_AFTER)
    })
    stop = unsubscribe
  }
  begin()
  const forget = onReturn(() => tell(null))
  return () => {
    clearTimeout(timer)
    forget()
    stop?.()
  }
}

/** Calls back when sessions may read differently than before, at most a few times a second; `only`: that one session. */
export function useSessionNews(onNews: () => void, only?: string) {
  const news = useRef(onNews)
  news.current = onNews
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const listener: Listener = (id) => {
      if (only && id && id !== only) return
      timer ??= setTimeout(() => {
        timer = undefined
        news.current()
      }, BURST)
    }
    listeners.add(listener)
    return () => {
      clearTimeout(timer)
      listeners.delete(listener)
    }
  }, [only])
}
