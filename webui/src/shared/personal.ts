/** What this browser keeps for whoever is logged in. It goes when they log out, or when somebody else logs in. */

const OWNER = 'berth.owner'
const PREFIX = 'berth.my.'

/** `browser`: in all tabs and over visits. `tab`: in this tab, over reloads. */
type Where = 'browser' | 'tab'
const stores: Record<Where, Storage> = { browser: localStorage, tab: sessionStorage }
const listeners = new Set<() => void>()
let owner: string | null = null

export function recall<T>(where: Where, name: string, otherwise: T): T {
  try {
    const text = stores[where].getItem(PREFIX + name)
    return text === null ? otherwise : (JSON.parse(text) as T)
  } catch {
    // What is not readable is as good as nothing.
    return otherwise
  }
}

export function keep(where: Where, name: string, value: unknown) {
  stores[where].setItem(PREFIX + name, JSON.stringify(value))
}

/** Somebody is logged in: what was kept for another goes. */
export function belongTo(userId: string) {
  if (owner === userId) return
  owner = userId
  for (const store of Object.values(stores)) {
    if (store.getItem(OWNER) === userId) continue
    empty(store)
    store.setItem(OWNER, userId)
  }
  for (const listener of listeners) listener()
}

/** Nobody is any more, by their own wish. */
export function leaveNothing() {
  owner = null
  for (const store of Object.values(stores)) {
    empty(store)
    store.removeItem(OWNER)
  }
  for (const listener of listeners) listener()
}

function empty(store: Storage) {
  for (const key of Object.keys(store)) if (key.startsWith(PREFIX)) store.removeItem(key)
}

/** Calls back when what was kept may be gone. */
export function onNewOwner(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/** Calls back when somebody has logged in or out in another tab; null: nobody is logged in. */
export function onOwnerElsewhere(listener: (userId: string | null) => void): () => void {
  const heard = ({ key, newValue, storageArea }: StorageEvent) => {
    if (key === OWNER && storageArea === localStorage && newValue !== owner) listener(newValue)
  }
  addEventListener('storage', heard)
  return () => removeEventListener('storage', heard)
}
