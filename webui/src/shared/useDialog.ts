import { useState } from 'react'

/** A dialog about something: what it is about stays while it closes, so that nothing jumps and the focus goes back. */
export function useDialog<T>() {
  const [state, set] = useState<{ about?: T; opened: boolean }>({ opened: false })
  return {
    ...state,
    open: (about: T) => set({ about, opened: true }),
    close: () => set((before) => ({ ...before, opened: false })),
  }
}
