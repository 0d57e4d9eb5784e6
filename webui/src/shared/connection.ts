/** Whether the live connection to the server stands, for the banner and for whoever must read afresh after a cut. */

import { useSyncExternalStore } from 'react'

/** `idle`: nothing needs a connection. `back`: it stands again after a cut, for a few seconds. */
export type Connection = 'idle' | 'open' | 'lost' | 'reconnecting' | 'back'

const BACK_SHOWN = 4000

let state: Connection = 'idle'
let timer: ReturnType<typeof setTimeout> | undefined
const listeners = new Set<() => void>()
const returns = new Set<() => void>()

function become(next: Connection) {
  if (next === state) return
  state = next
  for (const listener of listeners) listener()
}

export function opened() {
  clearTimeout(timer)
  if (state !== 'lost' && state !== 'reconnecting') {
    become('open')
    return
  }
  become('back')
  timer = setTimeout(() => become('open'), BACK_SHOWN)
  for (const listener of returns) listener()
}

/** `wanted`: we closed it ourselves, for nothing listens any more. */
export function closed(wanted: boolean) {
  clearTimeout(timer)
  become(wanted ? 'idle' : 'lost')
}

export function connecting() {
  if (state === 'lost') become('reconnecting')
}

/** Calls back each time that the connection stands again after a cut; what was told meanwhile was missed. */
export function onReturn(listener: () => void): () => void {
  returns.add(listener)
  return () => returns.delete(listener)
}

export function connection(): Connection {
  return state
}

export function useConnection(): Connection {
  return useSyncExternalStore((listener) => {
    listeners.add(listener)
    return () => listeners.delete(listener)
  }, connection)
}
