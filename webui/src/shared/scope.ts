/** The project and resource group that one works in, kept over visits. */

import { useSyncExternalStore } from 'react'
import { keep, onNewOwner, recall } from './personal'

export type Scope = { groupId: string | null; resourceGroupId: string | null }

const NONE: Scope = { groupId: null, resourceGroupId: null }
const listeners = new Set<() => void>()
let scope: Scope = read()
onNewOwner(() => become(read()))

function read(): Scope {
  return { ...NONE, ...recall('browser', 'scope', NONE) }
}

function become(next: Scope) {
  scope = next
  for (const listener of listeners) listener()
}

export function setScope(change: Partial<Scope>) {
  keep('browser', 'scope', { ...scope, ...change })
  become({ ...scope, ...change })
}

export function useScope(): Scope {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => scope,
  )
}
