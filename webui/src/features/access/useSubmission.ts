import { type FormEvent, useState } from 'react'

/** Sending a form: whether it is under way, and what was wrong with the last try. */
export function useSubmission(send: () => Promise<unknown>) {
  const [error, setError] = useState<string>()
  const [busy, setBusy] = useState(false)

  async function submit(event: FormEvent) {
    event.preventDefault()
    setBusy(true)
    setError(undefined)
    try {
      await send()
    } catch (failure) {
      setError((failure as Error).message)
    }
    setBusy(false)
  }

  return { submit, error, busy }
}
