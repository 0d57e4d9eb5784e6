import { useRef } from 'react'
import { randomId } from '../../shared/ids'

/** One key for all tries of the same request: when an answer was lost, trying again starts no second session. */
export function useIdempotencyKey() {
  const last = useRef({ content: '', key: '' })
  return (input: object): string => {
    const content = JSON.stringify(input)
    if (content !== last.current.content) last.current = { content, key: randomId() }
    return last.current.key
  }
}
