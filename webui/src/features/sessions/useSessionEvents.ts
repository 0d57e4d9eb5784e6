import { useEffect, useRef } from 'react'
import { useClient } from 'urql'
import { EVENTS } from './documents'

/**
 * Keep sessions live. The cache patches what it knows by id; `onNews` is called when a list may have gained or lost a row,
 * at most a few times a second. A connection that was cut resumes at the last cursor; RESYNC asks for the list afresh.
 */
export function useSessionEvents(onNews: () => void) {
  const client = useClient()
  const news = useRef(onNews)
  news.current = onNews
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const { unsubscribe } = client.subscription(EVENTS, {}).subscribe(() => {
      timer ??= setTimeout(() => {
        timer = undefined
        news.current()
      }, 250)
    })
    return () => {
      clearTimeout(timer)
      unsubscribe()
    }
  }, [client])
}
