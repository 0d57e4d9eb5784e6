/** The project and resource group that one works in, kept over visits. */

import { useSyncExternalStore } from 'react'

export type Scope = { groupId: string | null; resourceGroupId: string | null }

const KEY = 'berth.scope'
const listeners = new Set<() => void>()
let scope: Scope = read()

function read(): Scope {
  try {
    return { groupId: null, resourceGroupId: null, ...JSON.parse(localStorage.getItem(KEY) ?? '{}') }
  } catch {
    return { groupId: null, resourceGroupId: null }
  }
}

export function setScope(change: Partial<Scope>) {
  scope = { ...scope, ...change }
  localStorage.setItem(KEY, JSON.stringify(scope))
  for (const listener of listeners) listener()
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
