/** What the list of sessions keeps in its address. */
export type ListSearch = { tab?: 'running' | 'finished' | 'other'; search?: string }
