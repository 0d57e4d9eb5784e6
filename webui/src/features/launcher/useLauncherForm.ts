import { useEffect, useState } from 'react'
import { useQuery } from 'urql'
import { EARLIER } from './documents'
import { type Form, like, remembered } from './form'

/** What is filled in: the choices of the last time, or those of the session that is to be launched again. */
export function useLauncherForm(earlierId: string | undefined) {
  const [{ data: earlier }] = useQuery({
    query: EARLIER,
    variables: { id: earlierId ?? '' },
    pause: !earlierId,
  })
  const [form, setForm] = useState<Form>(remembered)
  useEffect(() => {
    const again = like(earlier?.node ?? null)
    if (again) setForm((before) => ({ ...before, ...again }))
  }, [earlier])
  const change = (part: Partial<Form>) => setForm((before) => ({ ...before, ...part }))
  return { form, change }
}
