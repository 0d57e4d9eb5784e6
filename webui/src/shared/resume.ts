/** Streams that go on where they stood. */

type Payload = { query: string; variables: Record<string, unknown> }
type Result = { data?: Record<string, unknown> | null }

/**
 * A subscription's payload that remembers the newest cursor in `after`. The websocket client sends the same payload again
 * when it has reconnected, so the server goes on after the last event that was seen.
 */
export function resumable(query: string, variables: Record<string, unknown>) {
  const payload: Payload = { query, variables: { ...variables } }
  const resumes = query.includes('$after')
  return {
    payload,
    see(result: Result) {
      if (!resumes || !result.data) return
      for (const event of Object.values(result.data)) {
        if (typeof event === 'object' && event !== null && 'cursor' in event)
          payload.variables.after = event.cursor
      }
    },
  }
}
