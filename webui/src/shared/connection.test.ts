import { afterEach, beforeEach, expect, test, vi } from 'vitest'

let connection: typeof import('./connection')

beforeEach(async () => {
  vi.useFakeTimers()
  vi.resetModules()
  connection = await import('./connection')
})
afterEach(() => vi.useRealTimers())

test('a socket that we close ourselves is not a lost connection', () => {
  connection.opened()
  connection.closed(true)
  expect(connection.connection()).toBe('idle')
  connection.opened()
  expect(connection.connection()).toBe('open')
})

test('a cut is told, then the return, then nothing', () => {
  const returned = vi.fn()
  connection.onReturn(returned)
  connection.opened()
  expect(returned).not.toHaveBeenCalled()
  connection.closed(false)
  expect(connection.connection()).toBe('lost')
  connection.connecting()
  expect(connection.connection()).toBe('reconnecting')
  connection.opened()
  expect(connection.connection()).toBe('back')
  expect(returned).toHaveBeenCalledOnce()
  vi.runAllTimers()
  expect(connection.connection()).toBe('open')
})

test('a cut while the return is still shown is told at once and stays', () => {
  connection.closed(false)
  connection.opened()
  connection.closed(false)
  vi.runAllTimers()
  expect(connection.connection()).toBe('lost')
})
