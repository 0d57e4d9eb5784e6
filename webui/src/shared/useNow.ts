import { useEffect, useState } from 'react'

/** The present moment (milliseconds), renewed each second: for times that run. */
export function useNow(): number {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000)
    return () => clearInterval(timer)
  }, [])
  return now
}

/** Seconds that a session has run. */
export function elapsed(
  session: { startedAt?: string | null; terminatedAt?: string | null },
  now: number,
): number {
  if (!session.startedAt) return 0
  const end = session.terminatedAt ? Date.parse(session.terminatedAt) : now
  return Math.max(0, Math.floor((end - Date.parse(session.startedAt)) / 1000))
}
