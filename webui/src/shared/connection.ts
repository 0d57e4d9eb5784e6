/** Whether the live connection to the server stands. */

import { useSyncExternalStore } from 'react'

export type Connection = 'connecting' | 'open' | 'lost'

let state: Connection = 'connecting'
const listeners = new Set<() => void>()

export function setConnection(next: Connection) {
  if (next === state) return
  state = next
  for (const listener of listeners) listener()
}

export function useConnection(): Connection {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => state,
  )
}
