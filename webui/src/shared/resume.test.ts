import { expect, test } from 'vitest'
import { resumable } from './resume'

const EVENTS = 'subscription($after: String) { sessionEvents(after: $after) { cursor } }'

test('a stream goes on after the newest cursor that was seen', () => {
  const stream = resumable(EVENTS, {})
  stream.see({ data: { sessionEvents: { cursor: '7' } } })
  stream.see({ data: { sessionEvents: { cursor: '9' } } })
  expect(stream.payload.variables).toEqual({ after: '9' })
})

test('the caller’s variables stay as they are', () => {
  const variables = { filter: 'x' }
  resumable(EVENTS, variables).see({ data: { sessionEvents: { cursor: '7' } } })
  expect(variables).toEqual({ filter: 'x' })
})

test('an error without data, and a stream that takes no cursor, change nothing', () => {
  const stream = resumable(EVENTS, {})
  stream.see({ data: null })
  const other = resumable('subscription { sessionStats(sessionId: "s") { cursor } }', {})
  other.see({ data: { sessionStats: { cursor: '7' } } })
  expect([stream.payload.variables, other.payload.variables]).toEqual([{}, {}])
})
